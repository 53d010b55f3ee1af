"""The cycles below which no machine of this kind can run a stream.

    bound = max(GEMM operations, ALU cycles, bytes read / bus bytes, bytes written / bus bytes)

GEMM operations
    Iterations of GEMM instructions, resets included: one a cycle.
ALU cycles
    1 for each tile with an immediate; 1 with a register source that is still held from the
    iteration before, and 2 with a new one; 4 more for MUL, whose multiplier is narrow. A source
    is held while register operations follow one another and nothing writes that tile of ACC.
Bytes read
    What LOADs move (padding moves none), and 16 for each instruction.
Bytes written
    What STOREs move.

Everything is counted up to FINISH. GEMM and ALU share ACC, so a stream with much of both stays
above its bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vta.image import Image
from vta.isa import INSN_BYTES, AluOp, Insn, Isa, MemoryType, Opcode
from vta.sim.functional.iterations import Loops

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Bound", "bound", "bytes_read"]

MUL_EXTRA = 4
"""Cycles that MUL takes beyond those of the other operations."""

_LOADS = ("uop", "inp", "wgt", "acc")


@dataclass(frozen=True)
class Bound:
    """The cycles that a stream needs of each resource."""

    gemm: int
    alu: int
    read: int
    write: int

    @property
    def cycles(self) -> int:
        return max(self.gemm, self.alu, self.read, self.write)

    @property
    def resource(self) -> str:
        """The resource that needs the most cycles: ``gemm``, ``alu``, ``read`` or ``write``."""
        return max(("gemm", "alu", "read", "write"), key=lambda name: int(getattr(self, name)))


def bytes_read(stats: Mapping[str, int], instructions: int) -> int:
    """Bytes that a run read from memory, by what its report counted."""
    return sum(stats[f"{name}_load_nbytes"] for name in _LOADS) + instructions * INSN_BYTES


def bound(image: Image, stats: Mapping[str, int], instructions: int) -> Bound:
    """The bound of a run of `image` whose report has these `stats` and `instructions`."""
    bus = image.config.bus_bytes
    return Bound(
        gemm=stats["gemm_counter"] + stats["reset_counter"],
        alu=_Alu(image).cycles(),
        read=-(-bytes_read(stats, instructions) // bus),
        write=-(-stats["out_store_nbytes"] // bus),
    )


class _Alu:
    """Walks a stream in order, micro-op loads included, and counts what the ALU does.

    Micro-ops are those of memory before the run: a stream that stores its own is not followed.
    """

    def __init__(self, image: Image) -> None:
        self._image = image
        self._uops = np.zeros(image.config.uop_depth, np.uint32)
        self._loops = Loops(Isa(image.config), self._uops)
        self._held: int | None = None

    def cycles(self) -> int:
        total = 0
        for insn in Isa(self._image.config).decode_stream(self._image.stream()):
            if insn.opcode == Opcode.FINISH:
                break
            if insn.opcode == Opcode.LOAD:
                self._load(insn)
            elif insn.opcode == Opcode.GEMM:
                self._gemm(insn)
            elif insn.opcode == Opcode.ALU:
                total += self._alu(insn)
        return total

    def _load(self, insn: Insn) -> None:
        values = insn.values
        if not values["x_size"]:
            return
        pads = (values["y_pad_0"], values["y_pad_1"]), (values["x_pad_0"], values["x_pad_1"])
        height, width = values["y_size"] + sum(pads[0]), values["x_size"] + sum(pads[1])
        first = values["sram_base"]
        if values["memory_type"] == MemoryType.UOP:
            rows = values["dram_base"] + np.arange(values["y_size"]) * values["x_stride"]
            loaded = self._words(rows[:, None] + np.arange(values["x_size"]))
            self._uops[first : first + height * width] = np.pad(loaded, pads).reshape(-1)
        elif (
            values["memory_type"] in (MemoryType.ACC, MemoryType.ACC_8BIT)
            and self._held is not None
            and first <= self._held < first + height * width
        ):
            self._held = None

    def _words(self, places: NDArray[np.int64]) -> NDArray[np.uint32]:
        """Micro-ops of memory before the run, by their positions from the base register."""
        addresses = self._image.base["uop"] + 4 * places
        words = np.zeros(places.shape, np.uint32)
        for segment in self._image.before:
            # Micro-ops are aligned, and so are the segments of whoever lays them out.
            skip = -segment.addr % 4
            held = segment.data[skip : len(segment.data) - (len(segment.data) - skip) % 4].view(
                "<u4"
            )
            index = (addresses - segment.addr - skip) // 4
            inside = (index >= 0) & (index < len(held))
            words[inside] = held[index[inside]]
        return words

    def _gemm(self, insn: Insn) -> None:
        if not self._loops.count(insn.values) or self._held is None:
            return
        if not insn.values["reset"]:
            self._held = None
            return
        for (dst,) in self._loops.blocks(insn.values, (("dst", "acc"),)):
            if (dst == self._held).any():
                self._held = None

    def _alu(self, insn: Insn) -> int:
        values = insn.values
        count = self._loops.count(values)
        if not count:
            return 0
        cost = count * (1 + MUL_EXTRA * (values["alu_opcode"] == AluOp.MUL))
        if values["use_imm"]:
            self._held = None
            return cost
        for dst, src in self._loops.blocks(values, (("dst", "acc"), ("src", "acc"))):
            same = np.concatenate(
                [[src[0] == self._held], (src[1:] == src[:-1]) & (dst[:-1] != src[:-1])]
            )
            cost += int((~same).sum())
            self._held = None if dst[-1] == src[-1] else int(src[-1])
        return cost
