"""Splits expressions that contain `if_then_else` into cases."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from vta.compiler.ir.affine import Affine, Extents, affine
from vta.compiler.te.expr import (
    Binary,
    Cast,
    Condition,
    Const,
    Expr,
    Requantize,
    Select,
    binary,
    walk,
)
from vta.errors import CompileError

__all__ = ["Case", "cases", "failures", "possible"]

MOST_CASES = 64

Case = tuple[tuple[Expr, ...], Expr]
"""What must be 0 or more, and the value then."""


def failures(conditions: Sequence[Condition]) -> list[tuple[Expr, ...]]:
    """The disjoint cases in which some condition fails, each as forms that are 0 or more.

    In each case the first few conditions hold, and the next one does not.
    """
    found: list[tuple[Expr, ...]] = []
    held: tuple[Expr, ...] = ()
    for item in conditions:
        found.append((*held, binary("-", Const("int32", -1), item.value)))
        held = (*held, item.value)
    return found


def cases(expr: Expr, stage: str) -> list[Case]:
    """The cases of an expression, without `if_then_else`; one case holds in each iteration.

    Raises
    ------
    CompileError
        There are too many cases.
    """
    if not any(isinstance(node, Select) for node in walk(expr)):
        return [((), expr)]
    found: list[Case] = []
    if isinstance(expr, Select):
        inside = tuple(item.value for item in expr.conditions)
        found += (((*inside, *more), value) for more, value in cases(expr.then, stage))
        others = cases(expr.other, stage)
        for outside in failures(expr.conditions):
            found += (((*outside, *more), value) for more, value in others)
    elif isinstance(expr, Cast):
        found += ((held, value.astype(expr.dtype)) for held, value in cases(expr.value, stage))
    elif isinstance(expr, Requantize):
        found += (
            (held, dataclasses.replace(expr, value=value))
            for held, value in cases(expr.value, stage)
        )
    else:
        assert isinstance(expr, Binary), expr
        others = cases(expr.b, stage)
        for first, a in cases(expr.a, stage):
            found += (((*first, *second), binary(expr.op, a, b)) for second, b in others)
    if len(found) > MOST_CASES:
        raise CompileError(
            f"stage {stage} chooses between more than {MOST_CASES} cases; make some of its "
            "if_then_else stages of their own"
        )
    return found


def possible(conditions: Sequence[Expr], extents: Extents) -> list[Expr] | None:
    """The conditions that do not always hold, or None if they cannot all hold at once."""
    forms: list[Affine] = []
    kept: list[Expr] = []
    for item in conditions:
        form = affine(item, extents)
        if form is None:
            kept.append(item)
            continue
        low, high = form.span(extents)
        if high < 0 or any(form.plus(other).span(extents)[1] < 0 for other in forms):
            return None
        if low < 0 and form not in forms:
            forms.append(form)
            kept.append(item)
    return kept
