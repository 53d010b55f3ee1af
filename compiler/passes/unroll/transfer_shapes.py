"""Splits access patterns into 2-D transfers, each of which fits one LOAD or STORE."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vta.compiler.ir.insn_ir import Transfer
from vta.isa import MAX_PAD, MAX_SIZE, MemoryType, Opcode

__all__ = ["Dim", "transfers"]


@dataclass(frozen=True)
class Dim:
    """One loop of a transfer, in tiles.

    Attributes
    ----------
    rounds : int
    chip, dram : int
        Steps on chip and in main memory between iterations.
    valid : (int, int)
        The range of iterations that exist in main memory; the others are zeros.
    """

    rounds: int
    chip: int
    dram: int
    valid: tuple[int, int]

    @property
    def size(self) -> int:
        """The number of iterations that exist in main memory."""
        return self.valid[1] - self.valid[0]

    @property
    def padded(self) -> bool:
        """Whether some iterations are zeros."""
        return self.size != self.rounds


@dataclass
class _Side:
    """One of an instruction's two loops: zeros before, the data, zeros after."""

    total: int = 1
    size: int = 1
    before: int = 0
    after: int = 0
    stride: int = 1
    trivial: bool = True

    def take(self, dim: Dim, unit: int, most: int) -> bool:
        """Adds a loop around the present one, if the result is still one loop of `unit` tiles."""
        before, after = dim.valid[0] * self.total, (dim.rounds - dim.valid[1]) * self.total
        if (
            dim.chip != unit * self.total
            or self.before
            or self.after
            or max(before, after) > MAX_PAD
            or self.size * dim.size > most
        ):
            return False
        if self.trivial:
            if not 0 <= dim.dram <= MAX_SIZE:
                return False
            self.stride, self.trivial = dim.dram, False
        elif dim.dram != self.stride * self.size:
            return False
        self.before, self.after = before, after
        self.size *= dim.size
        self.total *= dim.rounds
        return True


def transfers(
    opcode: Opcode,
    memory_type: MemoryType,
    buffer: str,
    chip: int,
    dram: int,
    dims: Sequence[Dim],
    note: str = "",
) -> Iterator[Transfer]:
    """The instructions that move a box of tiles.

    `chip` and `dram` are the positions of iteration 0 of all loops. If an instruction cannot add
    all of the padding, the zeros are loaded separately.
    """
    rest = sorted((dim for dim in dims if dim.rounds > 1 or dim.padded), key=lambda dim: dim.chip)
    if any(dim.size <= 0 for dim in rest):
        yield from _zeros(memory_type, buffer, chip, rest, note)
        return
    x, y = _Side(), _Side()
    # The tiles of a row are adjacent in main memory; otherwise each tile is its own row.
    while rest and not (x.trivial and rest[0].dram != 1) and x.take(rest[0], 1, MAX_SIZE):
        rest.pop(0)
    while rest and y.take(rest[0], x.total, MAX_SIZE):
        rest.pop(0)
    if not rest:
        start, stride = dram + _first(dims), x.size if y.trivial else y.stride
        end = start + (y.size - 1) * stride + x.size
        yield Transfer(
            opcode,
            memory_type,
            buffer,
            start,
            chip,
            x.size,
            y.size,
            stride,
            (y.before, y.after, x.before, x.after),
            note=f"{note}[{start}:{end}]",
        )
        return
    outer = rest[-1]
    others = [dim for dim in dims if dim is not outer]

    def inside(first: int, dims: Sequence[Dim]) -> Iterator[Transfer]:
        """The transfers of the loops `dims`, from iteration `first` of the outer loop on."""
        places = (chip + first * outer.chip, dram + first * outer.dram)
        return transfers(opcode, memory_type, buffer, *places, dims, note)

    if outer.padded:
        # More zeros than one instruction can pad: load them separately around what fits.
        before, end = outer.valid
        data = dataclasses.replace(outer, rounds=outer.size, valid=(0, outer.size))
        yield from _filled(memory_type, buffer, chip, outer, before, others, note)
        yield from inside(before, [*others, data])
        yield from _filled(
            memory_type, buffer, chip + end * outer.chip, outer, outer.rounds - end, others, note
        )
        return
    if outer.rounds > MAX_SIZE:
        for begin in range(0, outer.rounds, MAX_SIZE):
            count = min(MAX_SIZE, outer.rounds - begin)
            part = dataclasses.replace(outer, rounds=count, valid=(0, count))
            yield from inside(begin, [*others, part])
        return
    # One loop too many: unroll its iterations.
    for number in range(outer.rounds):
        yield from inside(number, others)


def _filled(
    memory_type: MemoryType,
    buffer: str,
    chip: int,
    outer: Dim,
    rounds: int,
    others: Sequence[Dim],
    note: str,
) -> Iterator[Transfer]:
    """Zeros for some iterations of a loop, including all loops inside it."""
    if rounds:
        dims = [*others, dataclasses.replace(outer, rounds=rounds)]
        yield from _zeros(memory_type, buffer, chip, sorted(dims, key=lambda dim: dim.chip), note)


def _first(dims: Sequence[Dim]) -> int:
    """The offset from iteration 0 of all loops to the first that exists in main memory."""
    return sum(dim.valid[0] * dim.dram for dim in dims)


def _zeros(
    memory_type: MemoryType, buffer: str, chip: int, dims: Sequence[Dim], note: str
) -> Iterator[Transfer]:
    """Loads that contain only padding."""
    count = 1
    rest = [dim for dim in dims if dim.rounds > 1]
    while rest and rest[0].chip == count and count * rest[0].rounds <= MAX_SIZE:
        count *= rest.pop(0).rounds
    if not rest:
        yield Transfer(
            Opcode.LOAD,
            memory_type,
            buffer,
            0,
            chip,
            count,
            0,
            count,
            (1, 0, 0, 0),
            note=note.partition(" = ")[0] + " = 0",
        )
        return
    outer = rest[-1]
    for number in range(outer.rounds):
        yield from _zeros(
            memory_type,
            buffer,
            chip + number * outer.chip,
            [dim for dim in dims if dim is not outer],
            note,
        )
