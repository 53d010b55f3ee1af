"""The tiles that an instruction reads and writes, known before it is encoded."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vta.compiler.ir.insn_ir import Kernel, Op, Transfer
from vta.config import Config
from vta.isa import AluOp, MemoryType, Opcode

__all__ = ["Access", "Index", "accesses"]

Index = slice | NDArray[np.int64]

SPACES = {
    MemoryType.UOP: "uop",
    MemoryType.INP: "inp",
    MemoryType.WGT: "wgt",
    MemoryType.ACC: "acc",
    MemoryType.OUT: "acc",
    MemoryType.ACC_8BIT: "acc",
}
"""The on-chip memory of each kind of transfer; OUT is a narrow view of ACC."""


class Access(NamedTuple):
    """Elements of an on-chip memory (``acc``) or of a buffer in main memory (``dram:A``).

    Attributes
    ----------
    space : str
    starts : range or tuple of int
        The elements that the innermost round of all loops touches first.
    loops : tuple of (int, int)
        The extent of each loop and its step, outermost first.
    write : bool
    """

    space: str
    starts: Sequence[int]
    loops: tuple[tuple[int, int], ...]
    write: bool

    @property
    def reach(self) -> tuple[int, int]:
        """The first element and the one after the last; they are equal if there is none."""
        return _reach(self.starts, self.loops)

    @property
    def elements(self) -> Index:
        """An index that selects each element once, in an array over the whole space."""
        return _elements(self.starts, self.loops)


def accesses(op: Op, config: Config) -> tuple[Access, ...]:
    """The accesses of an instruction. Elements of main memory are tiles of OUT."""
    if isinstance(op, Transfer):
        return _transfer(op, config)
    if isinstance(op, Kernel):
        return _kernel(op)
    return ()


@functools.lru_cache(maxsize=1024)
def _elements(starts: Sequence[int], loops: tuple[tuple[int, int], ...]) -> Index:
    """Each element once, in ascending order; a slice where they are consecutive."""
    loops = tuple(loop for loop in loops if loop[1] or not loop[0])
    count = len(starts)
    if count == 1 or isinstance(starts, range) and starts.step == 1 and count:
        # The usual case, without an array of indices: each loop continues where its inner one ends.
        for extent, step in reversed(loops):
            if extent != 1 and step != count:
                break
            count *= extent
        else:
            return slice(starts[0], starts[0] + count)
    index = np.asarray(starts, np.int64)
    for extent, step in loops:
        index = np.unique(np.add.outer(np.arange(extent) * step, index))
    index = np.unique(index)
    if index.size and index[-1] - index[0] == index.size - 1:
        return slice(int(index[0]), int(index[-1]) + 1)
    return index


@functools.lru_cache(maxsize=1024)
def _reach(starts: Sequence[int], loops: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    if not starts:
        return 0, 0
    low, high = min(starts), max(starts) + 1
    for extent, step in loops:
        if extent == 0:
            return low, low
        far = (extent - 1) * step
        low, high = low + min(0, far), high + max(0, far)
    return low, high


def _transfer(op: Transfer, config: Config) -> tuple[Access, ...]:
    y_before, y_after, x_before, x_after = op.pads
    tiles = (y_before + op.y_size + y_after) * (x_before + op.x_size + x_after)
    load, first = op.opcode == Opcode.LOAD, op.sram_base
    parts = config.elem_bytes(op.memory_type) // config.out_elem_bytes
    row = range(op.dram_base * parts, (op.dram_base + op.x_size) * parts)
    return (
        Access(f"dram:{op.buffer}", row, ((op.y_size, op.x_stride * parts),), not load),
        Access(SPACES[op.memory_type], range(first, first + tiles), (), load),
    )


def _kernel(op: Kernel) -> tuple[Access, ...]:
    dst, src, wgt = zip(*op.uops, strict=True)
    targets = tuple((loop.extent, loop.dst) for loop in op.loops)
    written = Access("acc", dst, targets, True)
    if op.opcode == Opcode.GEMM and op.reset:
        return (written,)
    read = Access("acc", dst, targets, False)
    sources = tuple((loop.extent, loop.src) for loop in op.loops)
    if op.opcode == Opcode.ALU:
        own = () if op.alu_opcode == AluOp.MOV else (read,)
        second = () if op.imm is not None else (Access("acc", src, sources, False),)
        return (written, *own, *second)
    weights = tuple((loop.extent, loop.wgt) for loop in op.loops)
    return written, read, Access("inp", src, sources, False), Access("wgt", wgt, weights, False)
