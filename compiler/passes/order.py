"""Reorders the instructions of the compute module so that they wait less.

The module issues in order, so an instruction that waits for a token delays all later ones.

- A reset or a MOV waits for the store that still reads the tiles that it fills. It moves down to
  just before the first instruction that needs it, so that another thread can compute meanwhile.
- A LOAD of ACC takes a long time on the bus. It moves up past computations that do not touch its
  tiles, and overlaps with them. But it stays far enough behind a store of the same tiles that it
  does not wait for the store.
"""

from __future__ import annotations

import dataclasses
import functools
import math

from vta.compiler.ir.accesses import accesses
from vta.compiler.ir.insn_ir import InsnProgram, Kernel, Op, Transfer
from vta.compiler.ir.timing import TIMING
from vta.config import Config
from vta.isa import AluOp, MemoryType, Opcode

__all__ = ["order"]

_Range = tuple[str, int, int]
"""A memory, the first element and the one behind the last."""


def order(program: InsnProgram, config: Config) -> InsnProgram:
    """The same instructions in a better order, with the same results."""
    entries = [_Entry(op, *_ranges(op, config)) for op in program.ops]
    # Cycles for each tile of a store.
    cycles = -(-config.out_elem_bytes // config.bus_bytes)
    return dataclasses.replace(
        program, ops=tuple(entry.op for entry in _raised(_lowered(entries), cycles))
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Entry:
    """An instruction with the ranges that it reads and writes."""

    op: Op
    reads: list[_Range]
    writes: list[_Range]

    @functools.cached_property
    def cycles(self) -> int:
        """Cycles of a computation, one for each tile operation; 0 for other instructions."""
        if not isinstance(self.op, Kernel):
            return 0
        return math.prod(loop.extent for loop in self.op.loops) * len(self.op.uops)

    @property
    def is_reset(self) -> bool:
        return isinstance(self.op, Kernel) and self.op.reset

    @property
    def fills(self) -> bool:
        """Whether it is a reset or a MOV."""
        op = self.op
        moves = isinstance(op, Kernel) and op.opcode == Opcode.ALU and op.alu_opcode == AluOp.MOV
        return self.is_reset or moves

    @property
    def is_acc_load(self) -> bool:
        return (
            isinstance(self.op, Transfer)
            and self.op.opcode == Opcode.LOAD
            and self.op.memory_type in (MemoryType.ACC, MemoryType.ACC_8BIT)
        )

    def touches(self, other: _Entry) -> bool:
        """Whether the two must stay in order."""
        return (
            _meet(self.writes, other.writes)
            or _meet(self.writes, other.reads)
            or _meet(self.reads, other.writes)
        )


def _ranges(op: Op, config: Config) -> tuple[list[_Range], list[_Range]]:
    """What the instruction reads, and what it writes."""
    found: tuple[list[_Range], list[_Range]] = ([], [])
    for access in accesses(op, config):
        begin, end = access.reach
        if begin != end:
            found[access.write].append((access.space, begin, end))
    return found


def _meet(a: list[_Range], b: list[_Range]) -> bool:
    return any(
        space == other and begin < last and first < end
        for space, begin, end in a
        for other, first, last in b
    )


def _lowered(entries: list[_Entry]) -> list[_Entry]:
    """The instructions, with every reset and MOV just before the first one that needs it."""
    found: list[_Entry] = []
    waiting: list[_Entry] = []
    for entry in entries:
        # Of those that wait, only resets may write the same tiles.
        needed = [
            item
            for item in waiting
            if item.touches(entry) and not (item.is_reset and entry.is_reset)
        ]
        found += needed
        waiting = [item for item in waiting if item not in needed]
        (waiting if entry.fills else found).append(entry)
    assert not waiting or found, "a program must not consist of resets only"
    return found[:-1] + waiting + found[-1:]


def _raised(entries: list[_Entry], store_cycles: int) -> list[_Entry]:
    """The instructions, with every LOAD of ACC as early as possible without extra waiting."""
    found: list[_Entry] = []
    longest = max((_store_cycles(entry, store_cycles) for entry in entries), default=0)
    for entry in entries:
        place = len(found)
        if entry.is_acc_load:
            place = _earliest(found, entry, store_cycles, longest)
        found.insert(place, entry)
    return found


def _store_cycles(entry: _Entry, each: int) -> int:
    """How long a store may still read its tiles, at `each` cycles a tile; 0 for other ops."""
    op = entry.op
    if isinstance(op, Transfer) and op.opcode == Opcode.STORE:
        return each * op.x_size * op.y_size + TIMING.store_margin
    return 0


def _earliest(found: list[_Entry], entry: _Entry, store_cycles: int, longest: int) -> int:
    """The best place for a LOAD of ACC among the instructions before it."""
    place = len(found)
    while place and not (found[place - 1].is_acc_load or found[place - 1].touches(entry)):
        place -= 1
    if place and found[place - 1].is_acc_load:
        # Those loads belong to the computation after them, which is issued first.
        place = _behind(found, place, 1)
    blocker = _blocker(found, place, entry, longest)
    if blocker is not None:
        cycles = _store_cycles(found[blocker], store_cycles)
        place = max(place, _behind(found, blocker + 1, cycles))
    return place


def _blocker(found: list[_Entry], place: int, entry: _Entry, longest: int) -> int | None:
    """The last instruction before `place` that must stay before `entry`.

    None if there is none, or if the computations in between take so long that even the `longest`
    store has ended.
    """
    cycles = 0
    for index in range(place - 1, -1, -1):
        if found[index].touches(entry):
            return index
        cycles += found[index].cycles
        if cycles >= longest:
            break
    return None


def _behind(found: list[_Entry], place: int, cycles: int) -> int:
    """The first position with at least `cycles` cycles of computation between it and `place`."""
    while place < len(found) and cycles > 0:
        cycles -= found[place].cycles
        place += 1
    return place
