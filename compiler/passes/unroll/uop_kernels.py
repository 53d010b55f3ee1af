"""Builds micro-op kernels: two loops become hardware loops, the others micro-ops."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from vta.compiler.ir.insn_ir import MicroOp, UopLoop
from vta.isa import MAX_ITER

__all__ = ["Round", "kernels"]


@dataclass(frozen=True)
class Round:
    """A loop around an operation, with its step through each operand's tiles."""

    extent: int
    dst: int
    src: int
    wgt: int
    unrolled: bool = False

    @property
    def steps(self) -> tuple[int, int, int]:
        """The steps of destination, source and weight."""
        return self.dst, self.src, self.wgt


Kernels = tuple[tuple[tuple[UopLoop, ...], tuple[MicroOp, ...]], ...]


@functools.lru_cache(maxsize=64)
def kernels(
    rounds: tuple[Round, ...],
    base: tuple[int, int, int],
    limits: tuple[int, int, int],
    uop_depth: int,
    *,
    holds_source: bool = False,
) -> Kernels:
    """The loops and micro-ops of instructions that cover all iterations; usually one instruction.

    Iterations may run in any order: each writes its own tile, or adds to it.

    Parameters
    ----------
    rounds : tuple of Round
    base : (int, int, int)
        The tiles of destination, source and weight in iteration 0 of all loops.
    limits : (int, int, int)
        Exclusive upper limits of a loop's steps.
    uop_depth : int
    holds_source : bool
        Whether the hardware is faster while the source stays the same (as the ALU is).
    """
    loops, pair, inner, apart = _plan(rounds, limits, max(1, uop_depth // 2), holds_source)
    found = []
    for start in _places(base, [loops[place] for place in apart]):
        uops = tuple(itertools.starmap(MicroOp, _places(start, [loops[place] for place in inner])))
        found.append(
            (tuple(UopLoop(loops[place].extent, *loops[place].steps) for place in pair), uops)
        )
    return tuple(found)


def _places(base: tuple[int, int, int], loops: Sequence[Round]) -> list[tuple[int, int, int]]:
    """The positions that loops reach from `base`; the last loop is innermost."""
    places = [base]
    for loop in loops:
        places = [
            (dst + number * loop.dst, src + number * loop.src, wgt + number * loop.wgt)
            for dst, src, wgt in places
            for number in range(loop.extent)
        ]
    return places


@functools.lru_cache(maxsize=4096)
def _plan(
    rounds: tuple[Round, ...], limits: tuple[int, int, int], most: int, holds_source: bool
) -> tuple[tuple[Round, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Assigns loops to the hardware, to micro-ops, or to neither."""
    loops = _merged([item for item in rounds if item.extent > 1])
    pair = _choose(loops, limits, most, holds_source)
    inner = [place for place in range(len(loops)) if place not in pair]
    if holds_source:
        inner.sort(key=lambda place: loops[place].src == 0)
    apart: list[int] = []
    while math.prod(loops[place].extent for place in inner) > most:
        apart.append(max(inner, key=lambda place: loops[place].extent))
        inner.remove(apart[-1])
    return loops, pair, tuple(inner), tuple(apart)


def _merged(found: list[Round]) -> tuple[Round, ...]:
    """Merges two loops if one continues where the other ends."""
    loops = list(found)
    for _ in found:  # each pass merges two loops
        for a, b in itertools.permutations(range(len(loops)), 2):
            outer, inner = loops[a], loops[b]
            together = outer.extent * inner.extent
            if (
                together <= MAX_ITER
                and outer.unrolled == inner.unrolled
                and all(
                    far == near * inner.extent
                    for far, near in zip(outer.steps, inner.steps, strict=True)
                )
            ):
                loops[a] = Round(together, *inner.steps, inner.unrolled)
                del loops[b]
                break
        else:
            break
    return tuple(loops)


def _choose(
    loops: tuple[Round, ...], limits: tuple[int, int, int], most: int, holds_source: bool
) -> tuple[int, ...]:
    """The hardware loops, outer first, chosen to leave the fewest micro-ops."""
    able = [
        place
        for place, item in enumerate(loops)
        if not item.unrolled
        and item.extent <= MAX_ITER
        and all(0 <= step < limit for step, limit in zip(item.steps, limits, strict=True))
    ]
    total = math.prod(item.extent for item in loops)
    choices: list[tuple[int, ...]] = [
        (),
        *((item,) for item in able),
        *itertools.permutations(able, 2),
    ]

    def cost(choice: tuple[int, ...]) -> tuple[float, int]:
        rest = [item for place, item in enumerate(loops) if place not in choice]
        uops = math.prod(item.extent for item in rest)
        innermost = (
            any(item.src == 0 for item in rest)
            if rest
            else (bool(choice) and loops[choice[-1]].src == 0)
        )
        held = not holds_source or total == 1 or innermost
        return (
            total * (1 if held else 2) + min(uops, most) / 2 + 40 * -(-uops // most),
            -loops[choice[-1]].extent if choice else 0,
        )

    return min(choices, key=cost)
