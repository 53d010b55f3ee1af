"""Splits conditional loops into boxes: a range for each loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vta.compiler.ir.affine import Affine
from vta.compiler.te.expr import Var

__all__ = ["Box", "boxes"]

Box = dict[Var, tuple[int, int]]
"""For each loop the first round, and the one after the last."""


def boxes(box: Box, conditions: Sequence[Affine]) -> Iterator[Box]:
    """Boxes that together cover the iterations of `box` in which all `conditions` are 0 or more.

    If a condition couples several loops, they are unrolled, the shortest first.
    """
    box = dict(box)
    open_conditions: list[Affine] = []
    todo = sorted(conditions, key=lambda form: len(form.factors))
    while todo:
        form = todo.pop(0)
        low, high = _span(form, box)
        if low >= 0:
            continue
        if high < 0:
            return
        free = [(var, factor) for var, factor in form.factors.items() if _rounds(box[var]) > 1]
        if len(free) > 1:
            open_conditions.append(form)
            continue
        var, factor = free[0]
        rest = form.offset + sum(
            other * box[name][0] for name, other in form.factors.items() if name is not var
        )
        begin, end = box[var]
        if factor > 0:
            begin = max(begin, -(rest // factor))
        else:
            end = min(end, rest // -factor + 1)
        if begin >= end:
            return
        box[var] = (begin, end)
        todo += open_conditions
        open_conditions = []
    if not open_conditions:
        yield box
        return
    # Keep a fixed order, so that the output is deterministic.
    tied = dict.fromkeys(
        var for form in open_conditions for var in form.factors if _rounds(box[var]) > 1
    )
    shortest = min(tied, key=lambda var: _rounds(box[var]))
    for number in range(*box[shortest]):
        yield from boxes({**box, shortest: (number, number + 1)}, open_conditions)


def _rounds(bounds: tuple[int, int]) -> int:
    return bounds[1] - bounds[0]


def _span(form: Affine, box: Box) -> tuple[int, int]:
    low = high = form.offset
    for var, factor in form.factors.items():
        ends = (factor * box[var][0], factor * (box[var][1] - 1))
        low, high = low + min(ends), high + max(ends)
    return low, high
