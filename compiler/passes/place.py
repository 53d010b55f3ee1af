"""Gives every value its place in its buffer, one for each virtual thread."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vta.compiler.ir.affine import Affine
from vta.compiler.ir.tile_ir import (
    Loop,
    Node,
    TileOperand,
    TileOperation,
    TileProgram,
    Value,
    names_of,
    with_operands,
)
from vta.compiler.passes.inplace import homes
from vta.compiler.te.expr import Var
from vta.compiler.te.stage import ACC_SCOPE, INP_SCOPE, SCOPES, WGT_SCOPE
from vta.config import Config
from vta.errors import ScheduleError
from vta.isa import MemoryType

__all__ = ["place", "places_at_once"]


def place(program: TileProgram, config: Config) -> TileProgram:
    """The program with every position counted from the start of its buffer.

    Values that live at different times share a place only if they would not all fit otherwise,
    because a shared place causes waiting.

    Raises
    ------
    ScheduleError
        If more tiles are needed at once than a buffer has; the message names the stages and their
        tiles.
    """
    survey = _Survey(program.values)
    survey.body(program.body, (), set())
    where: dict[str, Affine] = {}
    for scope in (INP_SCOPE, WGT_SCOPE, ACC_SCOPE):
        lives = [life for life in survey.lives.values() if life.value.scope == scope]
        where.update(_allocate(scope, lives, config))
    return dataclasses.replace(program, body=_moved(program.body, where))


def places_at_once(ops: Sequence[TileOperation], values: Mapping[str, Value]) -> int:
    """How many of the given values, all of one size, need a place at the same time."""
    lives: dict[str, tuple[int, int]] = {}
    for index, op in enumerate(ops):
        for name in names_of(op):
            if name in values:
                lives[name] = (lives.get(name, (index, index))[0], index)
    return _fit([(first, last, 1) for first, last in lives.values()], apart=False)[1]


@dataclass
class _Life:
    """The first and last operation that need a value, and the threads around it."""

    value: Value
    threads: tuple[tuple[Var, int], ...]
    first: int
    last: int

    @property
    def copies(self) -> int:
        return math.prod(extent for _, extent in self.threads)


class _Survey:
    def __init__(self, values: dict[str, Value]) -> None:
        self.values = values
        self.lives: dict[str, _Life] = {}
        self.position = 0

    def body(
        self, body: tuple[Node, ...], threads: tuple[tuple[Var, int], ...], outside: set[str]
    ) -> set[str]:
        """Records the values of a body; returns all values that it touches."""
        own = homes(body) - outside
        for name in (name for name in self.values if name in own):
            self.lives[name] = _Life(self.values[name], threads, -1, -1)
        touched: set[str] = set()
        for node in body:
            first = self.position
            if isinstance(node, Loop):
                inner = (*threads, (node.var, node.extent)) if node.thread else threads
                names = self.body(node.body, inner, outside | own)
            else:
                self.position += 1
                names = set(names_of(node))
            for name in names & own:
                life = self.lives[name]
                life.first = first if life.first < 0 else life.first
                # Every round of an inner loop may need it.
                life.last = self.position - 1
            touched |= names
        return touched


def _allocate(scope: str, lives: list[_Life], config: Config) -> dict[str, Affine]:
    kind = {INP_SCOPE: MemoryType.INP, WGT_SCOPE: MemoryType.WGT, ACC_SCOPE: MemoryType.ACC}[scope]
    depth = config.depth(kind)
    arenas: dict[tuple[tuple[Var, int], ...] | str, list[_Life]] = {}
    for life in lives:
        # Outside all threads, each value has its own place.
        arenas.setdefault(life.threads or life.value.name, []).append(life)
    for apart, alone in ((True, True), (False, True), (False, False)):
        fits = {
            key: _fit([(life.first, life.last, life.value.tiles) for life in members], alone)
            for key, members in arenas.items()
        }
        bases, total = _fit(
            [
                (
                    min(life.first for life in members),
                    max(life.last for life in members),
                    fits[key][1] * members[0].copies,
                )
                for key, members in arenas.items()
            ],
            apart,
        )
        if total <= depth:
            return {
                life.value.name: place
                for base, (key, members) in zip(bases, arenas.items(), strict=True)
                for life, place in zip(
                    members, _places(base, members[0].threads, *fits[key]), strict=True
                )
            }
    nbytes = config.elem_bytes(kind)
    needs = ", ".join(
        f"{life.value.name} {life.value.tiles} tiles"
        + (f" x {life.copies} threads" if life.copies > 1 else "")
        for life in sorted(lives, key=lambda life: -life.value.tiles * life.copies)[:4]
    )
    raise ScheduleError(
        f"stage {max(lives, key=lambda life: life.value.tiles * life.copies).value.stage}: "
        f"{SCOPES[scope]} holds {depth} tiles of {nbytes} bytes ({depth * nbytes} bytes), but the "
        f"schedule needs {total} ({total * nbytes} bytes): {needs}"
        + (", ..." if len(lives) > 4 else "")
        + "; compute less at a time (smaller splits, or compute_at further inside)"
    )


def _places(
    base: int, threads: tuple[tuple[Var, int], ...], offsets: list[int], size: int
) -> Iterator[Affine]:
    """The addresses of a value in each thread; every thread has `size` tiles of its own."""
    factors: dict[Var, int] = {}
    step = size
    for var, extent in reversed(threads):
        factors[var] = step
        step *= extent
    for offset in offsets:
        yield Affine(base + offset, factors)


def _fit(lives: Sequence[tuple[int, int, int]], apart: bool) -> tuple[list[int], int]:
    """An offset for each (first, last, tiles), and the total number of tiles.

    Values that are not needed at the same time may overlap, unless `apart` is set. Two orders are
    tried. In the order in which they are first needed, values of one size take the fewest places.
    In the order of their lifetimes, longest first, a small value that is needed for long does not
    split the space for large ones.
    """
    starts = sorted(range(len(lives)), key=lambda number: lives[number][0])
    longest = sorted(starts, key=lambda number: lives[number][0] - lives[number][1])
    return min(
        (_first_fit(lives, numbers, apart) for numbers in (starts, longest)), key=lambda fit: fit[1]
    )


def _first_fit(
    lives: Sequence[tuple[int, int, int]], numbers: Sequence[int], apart: bool
) -> tuple[list[int], int]:
    offsets: dict[int, int] = {}
    for number in numbers:
        first, last, tiles = lives[number]
        others = sorted(
            (offset, offset + lives[other][2])
            for other, offset in offsets.items()
            if apart or (lives[other][0] <= last and first <= lives[other][1])
        )
        place = 0
        for begin, end in others:
            if place + tiles <= begin:
                break
            place = max(place, end)
        offsets[number] = place
    size = max((offset + lives[number][2] for number, offset in offsets.items()), default=0)
    return [offsets[number] for number in range(len(lives))], size


def _moved(body: tuple[Node, ...], where: dict[str, Affine]) -> tuple[Node, ...]:
    def moved(item: TileOperand) -> TileOperand:
        return dataclasses.replace(item, at=item.at.plus(where[item.value]))

    return tuple(
        dataclasses.replace(node, body=_moved(node.body, where))
        if isinstance(node, Loop)
        else with_operands(node, moved)
        for node in body
    )
