"""LOADs of ACC beside running loops, on both simulators, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench import BASE
from tests.pair import Pair
from tests.sim.acc_contents import STALLS, expose, exposed, numbers
from vta.config import PRESETS
from vta.driver.verilog_cache import simulated_verilog
from vta.isa import AluOp, MemoryType
from vta.sim.replay import replay
from vta.sim.rtl.memory_model import MemoryModel
from vta.sim.rtl.rtl_machine import RtlMachine
from vta.tools.bench.stream import Stream
from vta.tools.fuzz.plain_interpreter import PlainInterpreter

UOP, WGT, INP, ACC, ACC_8BIT = (
    MemoryType[name] for name in ("UOP", "WGT", "INP", "ACC", "ACC_8BIT")
)


def residual_add(config, blocks, size):
    """clip(a + b) block by block; the next block's loads come before a block's operations."""
    stream, rng = Stream(config), np.random.default_rng(3)
    a, b = rng.integers(-128, 128, (2, blocks * size, config.batch, config.block)).astype(np.int8)
    total = np.clip(a.astype(np.int16) + b, -128, 127).astype(np.int8)
    places = [stream.place(ACC_8BIT, a), stream.place(ACC_8BIT, b)]
    out = stream.expect(MemoryType.OUT, total)
    # Three regions in turn, each with a's tiles and then b's.
    stream.uops([(2 * size * region, 2 * size * region + size, 0) for region in range(3)])
    for turn in range(blocks + 1):
        if turn < blocks:
            for half, place in enumerate(places):
                stream.load(
                    ACC_8BIT,
                    sram=size * (2 * (turn % 3) + half),
                    cols=size,
                    dram=place + turn * size,
                    pop_next=int(turn >= 3 and half == 0),
                )
        if turn == 0:
            continue
        region = (turn - 1) % 3
        loops = {"uop_bgn": region, "uop_end": region + 1, "iter_in": size, "dst_factor_in": 1}
        stream.alu(alu_opcode=AluOp.ADD, src_factor_in=1, **loops)
        stream.alu(alu_opcode=AluOp.MAX, use_imm=1, imm=-128, **loops)
        stream.alu(alu_opcode=AluOp.MIN, use_imm=1, imm=127, push_next=1, **loops)
        stream.store(
            sram=2 * size * region,
            cols=size,
            dram=out + (turn - 1) * size,
            pop_prev=1,
            push_prev=int(turn + 2 < blocks),
        )
    return stream.image()


@pytest.mark.parametrize("size", [64, 256])
def test_a_residual_add_takes_as_long_as_its_steps(size):
    """Two loads, two steps of ADD and two clips are six steps a tile. At the rate of 80,000 cycles
    for the 12,544 tiles of 56 x 56 x 64, the loads are all but hidden."""
    config = PRESETS["default"]
    verilog = simulated_verilog(config)
    cycles = {}
    for blocks in (4, 12):
        result = replay(
            residual_add(config, blocks, size),
            lambda config, memory: RtlMachine(config, verilog, memory),
        )
        assert result.match is True
        cycles[blocks] = result.report.cycles
    slope = (cycles[12] - cycles[4]) / (8 * size)
    assert 6 <= slope <= 80_000 / 12_544


class Overlaps:
    """LOADs of random ranges of ACC, and loops over random ranges, mostly others."""

    def __init__(self, pair, rng):
        self.pair, self.rng = pair, rng
        self.tiles = tiles = min(48, pair.config.acc_depth)
        # Half of the micro-ops are for the begin of a region each, the others for any tile.
        self.uops = [
            (
                tiles // 4 * (number % 4) + int(rng.integers(3)),
                tiles // 4 * (number // 4) + int(rng.integers(3)),
                number % 8,
            )
            for number in range(16)
        ]
        self.uops += [tuple(map(int, rng.integers(0, (tiles, tiles, 8)))) for _ in range(16)]
        self.gemm_uops = [(dst, src % 8, wgt) for dst, src, wgt in self.uops]

    def instructions(self, count):
        choices = [self.load] * 3 + [self.alu] * 3 + [self.gemm]
        return [choices[self.rng.integers(len(choices))]() for _ in range(count)]

    def load(self):
        rng = self.rng
        y, x = int(rng.integers(0, 3)), int(rng.integers(1, 7))
        pads = tuple(map(int, rng.integers(0, 2, 4) * (rng.random() < 0.3)))
        size = (pads[0] + y + pads[1]) * (pads[2] + x + pads[3])
        return self.pair.load(
            ACC if rng.random() < 0.5 else ACC_8BIT,
            y=y,
            x=x,
            pads=pads,
            sram=int(rng.integers(self.tiles - size + 1)),
            dram=int(rng.integers(64)),
            stride=int(rng.integers(9)),
        )

    def loop(self, uops, *operands):
        """The ranges and factors of a loop, each of whose indices is below `tiles`."""
        rng = self.rng
        first = int(rng.integers(len(uops)))
        last = min(len(uops), first + int(rng.integers(1, 4))) if first > 15 else first + 1
        iters = tuple(map(int, rng.choice([(1, 1), (1, 3), (2, 4), (1, 12), (4, 9), (12, 3)])))
        fields = {"uops": (first, last), "iters": iters}
        for place, name in enumerate(operands):
            room = self.tiles - 1 - max(uop[place] for uop in uops[first:last])
            inner = int(rng.integers(3)) if room >= 2 * (iters[1] - 1) else 0
            room -= inner * (iters[1] - 1)
            fields[name] = (int(room >= iters[0] - 1 and rng.random() < 0.5), inner)
        return fields

    def alu(self):
        rng = self.rng
        imm = int(rng.integers(-40, 41)) if rng.random() < 0.5 else None
        return self.pair.alu(int(rng.integers(5)), imm=imm, **self.loop(self.uops, "dst", "src"))

    def gemm(self):
        fields = self.loop(self.gemm_uops, "dst")
        fields["uops"] = tuple(bound + 32 for bound in fields["uops"])
        return self.pair.gemm(reset=int(self.rng.random() < 0.3), **fields)


@pytest.mark.parametrize(
    "model",
    [MemoryModel(), MemoryModel(latency=1), STALLS, MemoryModel(latency=100, stall_seed=4)],
    ids=["default", "fast", "stalls", "slow"],
)
@pytest.mark.parametrize("name", ["tiny", "small", "default"])
def test_random_loads_beside_random_loops(name, model):
    """All of ACC against an interpreter that executes one instruction after the other."""
    config = PRESETS[name]
    for seed in range(8):
        rng = np.random.default_rng(seed)
        with Pair(config, model=model) as pair:
            overlaps, oracle = Overlaps(pair, rng), PlainInterpreter(config)
            arrays = {
                "inp": rng.integers(0, 256, 16 * config.inp_elem_bytes, np.uint8),
                "wgt": rng.integers(0, 256, 8 * config.wgt_elem_bytes, np.uint8),
                "acc": numbers(rng, 128, config.batch, config.block).view(np.uint8),
                "uop": np.array(
                    [
                        pair.isa.uop.pack(dst_idx=dst, src_idx=src, wgt_idx=wgt)
                        for dst, src, wgt in overlaps.uops + overlaps.gemm_uops
                    ],
                    np.uint32,
                ).view(np.uint8),
            }
            for place, data in arrays.items():
                pair.put(place, data)
                oracle.write(BASE[place], data.reshape(-1))
            insns = [
                pair.load(INP, x=8),
                pair.load(WGT, x=8, push_next=1),
                pair.load(UOP, x=64),
                pair.nop(pop_prev=1),
                *overlaps.instructions(60),
            ]
            oracle.run(insns, BASE)
            pair.ok(*insns, *expose(pair, overlaps.tiles))
            np.testing.assert_array_equal(
                exposed(pair, overlaps.tiles), oracle.acc[: overlaps.tiles]
            )
