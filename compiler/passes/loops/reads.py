"""Checks that every stage reads within its tensors; the user's declaration may be wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from vta.compiler.ir.affine import MOST_POINTS, Affine, affine, has_division, variables
from vta.compiler.passes.loops.bounds import inlined_body
from vta.compiler.passes.loops.cases import failures
from vta.compiler.te.expr import Expr, Read, Reduce, Select, Var, parts, walk
from vta.compiler.te.expr_text import show_expr
from vta.compiler.te.schedule import Schedule
from vta.compiler.te.tensor import ComputeOp
from vta.errors import CompileError

__all__ = ["check_reads"]


def check_reads(schedule: Schedule) -> None:
    """Checks that every stage reads within its tensors, no matter where it is computed.

    Raises
    ------
    CompileError
        A read lies outside its tensor.
    """
    for stage in schedule.stages:
        if not isinstance(stage.op, ComputeOp) or stage.inlined:
            continue
        body = inlined_body(schedule, stage)
        extents = {axis.var: axis.extent for axis in stage.axes}
        for expr in parts(body) if isinstance(body, Reduce) else (body,):
            for read, conditions in _guarded(expr, ()):
                name, shape = read.source.name, read.source.shape
                _bounds(stage.name, name, read.indices, shape, extents, conditions)


def _guarded(expr: Expr, conditions: tuple[Expr, ...]) -> Iterator[tuple[Read, tuple[Expr, ...]]]:
    """Every read of an expression, with the forms that are 0 or more where it is evaluated."""
    if isinstance(expr, Select):
        inside = (*conditions, *(item.value for item in expr.conditions))
        yield from _guarded(expr.then, inside)
        if any(isinstance(node, Read) for node in walk(expr.other)):
            for outside in failures(expr.conditions):
                yield from _guarded(expr.other, (*conditions, *outside))
    elif any(isinstance(node, Select) for node in walk(expr)):
        for part in parts(expr):
            yield from _guarded(part, conditions)
    else:
        yield from ((node, conditions) for node in walk(expr) if isinstance(node, Read))


def _bounds(
    stage: str,
    name: str,
    indices: tuple[Expr, ...],
    shape: tuple[int, ...],
    extents: dict[Var, int],
    conditions: tuple[Expr, ...],
) -> None:
    guards = [form for form in map(affine, conditions) if form is not None]
    if any(guard.span(extents)[1] < 0 for guard in guards):
        return  # only padding: the tensor is never read
    for place, (index, size) in enumerate(zip(indices, shape, strict=True)):
        form = affine(index)
        if form is None:
            continue  # a later pass fails to match it and reports the error
        span = _span(form, guards, extents, size)
        if span is not None and (span[0] < 0 or span[1] >= size):
            shown = f", {show_expr(index)}," if has_division(index) else ""
            raise CompileError(
                f"{stage} reads {name} {list(shape)} out of its bounds: index "
                f"{place}{shown} runs from {span[0]} to {span[1]}, but must be 0 to {size - 1}"
            )


def _span(
    form: Affine, guards: Sequence[Affine], extents: dict[Var, int], size: int
) -> tuple[int, int] | None:
    """The minimum and maximum of a form where all guards hold; None if they never do.

    If sums of guards do not prove that it is within `size`, all iterations are tried.
    """
    high = min(item.span(extents)[1] for item in _sums(form, guards))
    low = -min(item.span(extents)[1] for item in _sums(form.scaled(-1), guards))
    if low >= 0 and high < size:
        return low, high
    loops = sorted(
        {var for item in (form, *guards) for var in variables(list(item.factors))},
        key=list(extents).index,
    )
    if not guards or math.prod(extents[var] for var in loops) > MOST_POINTS:
        return low, high
    grid = np.ix_(*(np.arange(extents[var]) for var in loops))
    points = dict(zip(loops, grid, strict=True))
    values, *holds = np.broadcast_arrays(
        form.values(points), *(item.values(points) >= 0 for item in guards)
    )
    found = values[np.logical_and.reduce(holds)]
    return (int(found.min()), int(found.max())) if found.size else None


def _sums(form: Affine, guards: Iterable[Affine]) -> list[Affine]:
    """Upper bounds of a form: itself, and sums with guards that have fewer indices."""
    found = [form]
    for guard in guards:
        for item in tuple(found):
            for times in {
                -(item.factors[var] // factor)
                for var, factor in guard.factors.items()
                if item.factors.get(var, 0) % factor == 0 and var in item.factors
            }:
                more = item.plus(guard.scaled(times))
                if times > 0 and len(more.factors) < len(item.factors):
                    found.append(more)
    return found
