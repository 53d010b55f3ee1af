"""Which elements a GEMM or ALU instruction touches, from its encoded fields and its micro-ops."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vta.isa import AluOp, Isa, Opcode

__all__ = ["Footprint", "Footprints"]

KEPT = 1024
"""Instructions whose footprints are kept: programs repeat a few of them again and again."""


@dataclass(frozen=True, eq=False)
class Footprint:
    """Elements of one on-chip memory: micro-ops at `starts`, each inside two loops.

    Attributes
    ----------
    memory : str
        ``acc``, ``inp`` or ``wgt``.
    starts : (n,) int64
        The elements touched in the first iteration.
    loops : pairs of (int, int)
        The iteration count and the step of each loop.
    writes : bool
    """

    memory: str
    starts: NDArray[np.int64]
    loops: tuple[tuple[int, int], ...]
    writes: bool

    @functools.cached_property
    def begin(self) -> int:
        """The first element."""
        return int(self.starts.min())

    @functools.cached_property
    def end(self) -> int:
        """The index after the last element."""
        return int(self.starts.max()) + sum((count - 1) * step for count, step in self.loops) + 1

    @functools.cached_property
    def elements(self) -> slice | NDArray[np.int64]:
        """An index into an array over the whole memory; it selects each element once."""
        marked = np.zeros(self.end - self.begin, bool)
        marked[self.starts - self.begin] = True
        for count, step in self.loops:
            if count > 1 and step:
                found = np.flatnonzero(marked)
                marked[np.add.outer(np.arange(count) * step, found)] = True
        if marked.all():
            return slice(self.begin, self.end)
        return np.flatnonzero(marked) + self.begin


class Footprints:
    """The footprints of kernels, one instruction at a time."""

    def __init__(self, isa: Isa) -> None:
        self._isa = isa
        tokens = ("pop_prev", "pop_next", "push_prev", "push_next")
        self._ignored = sum(1 << isa.common.offset(name) for name in tokens)
        self._known = functools.lru_cache(KEPT)(self._find)

    def kernel(self, word: int, uops: bytes) -> tuple[Footprint, ...]:
        """What a GEMM or ALU instruction touches: its reads, then its write.

        The instruction must have at least one iteration.

        Parameters
        ----------
        word : int
            The encoded instruction.
        uops : bytes
            The encoded micro-ops from `uop_bgn` to `uop_end`.
        """
        return self._known(word & ~self._ignored, uops)

    def _find(self, word: int, uops: bytes) -> tuple[Footprint, ...]:
        gemm = word & 7 == Opcode.GEMM
        insn = (self._isa.gemm if gemm else self._isa.alu).unpack(word)
        fields = self._isa.uop.unpack_array(np.frombuffer(uops, "<u4"))

        def footprint(memory: str, side: str, writes: bool = False) -> Footprint:
            loops = tuple(
                (insn[f"iter_{name}"], insn[f"{side}_factor_{name}"]) for name in ("in", "out")
            )
            return Footprint(memory, fields[f"{side}_idx"], loops, writes)

        reads: list[Footprint] = []
        if not gemm:
            if insn["alu_opcode"] != AluOp.MOV:
                reads.append(footprint("acc", "dst"))
            if not insn["use_imm"]:
                reads.append(footprint("acc", "src"))
        elif not insn["reset"]:
            reads += [footprint("acc", "dst"), footprint("inp", "src"), footprint("wgt", "wgt")]
        return (*reads, footprint("acc", "dst", writes=True))
