"""Numbers for ACC, and instructions that bring all of it to memory."""

from __future__ import annotations

import numpy as np

from vta.isa import AluOp, MemoryType
from vta.sim.rtl.memory_model import MemoryModel

UOP = MemoryType.UOP

STALLS = MemoryModel(latency=3, stall_seed=11)


def numbers(rng, *shape):
    """int32 of all sizes, the extremes included."""
    values = rng.integers(-(2**31), 2**31, shape) >> rng.integers(0, 31, shape)
    extremes = rng.choice([-(2**31), 2**31 - 1, -1, 0, 128, -129], shape)
    return np.where(rng.random(shape) < 0.2, extremes, values).astype(np.int32)


def expose(pair, tiles):
    """Instructions that store all four bytes of every tile, one by one, and FINISH.

    STORE gives the low bits only, so ACC is shifted between. The shifts are loops over all tiles
    by micro-op 0.
    """
    insns = [pair.load(UOP, y=0, x=1, pads=(1, 0, 0, 0))]
    for byte in range(4):
        insns.append(pair.nop(push_next=1))
        insns.append(pair.store(x=tiles, dram=byte * tiles, pop_prev=1, push_prev=1))
        insns.append(pair.alu(AluOp.SHR, iters=(1, tiles), dst=(0, 1), imm=8, pop_next=1))
    return insns


def exposed(pair, tiles):
    """ACC, from what `expose` has stored."""
    config = pair.config
    planes = pair.out(4 * tiles).reshape(4, tiles, config.batch, config.block).view(np.uint8)
    total = sum(planes[byte].astype(np.uint32) << np.uint32(8 * byte) for byte in range(4))
    return total.view(np.int32)
