"""Which tiles an instruction reads and writes, before it is encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vta.compiler.ir.insn_ir import Kernel, Op, Transfer
from vta.config import Config
from vta.isa import MemoryType, Opcode

__all__ = ["Access", "Index", "accesses", "loop_indices", "scaled"]

Index = slice | NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Access:
    """Elements `index` of `space`: an on-chip memory (``acc``) or a buffer (``dram:A``)."""

    space: str
    index: Index
    write: bool


def loop_indices(starts: Sequence[int], steps: Sequence[tuple[int, int]]) -> Index:
    """Every index of loops of (extent, step), outermost first, around micro-ops at `starts`.

    In the order of execution; a slice where the indices are consecutive.
    """
    count = len(starts)
    if count == 1 or isinstance(starts, range) and starts.step == 1 and count:
        # The usual case, without making the indices: each loop goes on where the one inside ends.
        for extent, step in reversed(steps):
            if extent != 1 and step != count:
                break
            count *= extent
        else:
            return slice(starts[0], starts[0] + count)
    index = np.asarray(starts, np.int64)
    for extent, step in reversed(steps):
        index = (np.arange(extent)[:, None] * step + index.reshape(1, -1)).reshape(-1)
    if index.size and np.array_equal(index, np.arange(index[0], index[0] + index.size)):
        return slice(int(index[0]), int(index[0]) + index.size)
    return index


def scaled(index: Index, factor: int) -> Index:
    """The same places counted in parts of which an element has `factor`."""
    if isinstance(index, slice):
        return slice(index.start * factor, index.stop * factor)
    return (index[:, None] * factor + np.arange(factor)).reshape(-1)


SPACES = {
    MemoryType.UOP: "uop",
    MemoryType.INP: "inp",
    MemoryType.WGT: "wgt",
    MemoryType.ACC: "acc",
    MemoryType.OUT: "acc",
    MemoryType.ACC_8BIT: "acc",
}
"""The memory that a transfer's on-chip side is; OUT is a narrow view of ACC."""


def accesses(op: Op, config: Config) -> tuple[Access, ...]:
    """What an instruction reads and writes. Buffers in main memory count by tiles of OUT."""
    if isinstance(op, Transfer):
        return _transfer(op, config)
    if isinstance(op, Kernel):
        return _kernel(op)
    return ()


def _transfer(op: Transfer, config: Config) -> tuple[Access, ...]:
    y_before, y_after, x_before, x_after = op.pads
    tiles = (y_before + op.y_size + y_after) * (x_before + op.x_size + x_after)
    load = op.opcode == Opcode.LOAD
    rows = loop_indices(range(op.dram_base, op.dram_base + op.x_size), [(op.y_size, op.x_stride)])
    nbytes = config.elem_bytes(op.memory_type)
    rows = scaled(rows, nbytes // config.out_elem_bytes)
    return (
        Access(f"dram:{op.buffer}", rows, not load),
        Access(SPACES[op.memory_type], slice(op.sram_base, op.sram_base + tiles), load),
    )


def _kernel(op: Kernel) -> tuple[Access, ...]:
    def indices(side: str) -> Index:
        return loop_indices(
            [getattr(uop, side) for uop in op.uops],
            [(loop.extent, getattr(loop, side)) for loop in op.loops],
        )

    dst = indices("dst")
    found = [Access("acc", dst, True)]
    if op.opcode == Opcode.ALU:
        found.append(Access("acc", dst, False))
        if op.imm is None:
            found.append(Access("acc", indices("src"), False))
    elif not op.reset:
        found += [
            Access("acc", dst, False),
            Access("inp", indices("src"), False),
            Access("wgt", indices("wgt"), False),
        ]
    return tuple(found)
