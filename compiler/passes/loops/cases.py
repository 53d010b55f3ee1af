"""Expressions with `if_then_else` in them, as the cases that there are."""

from __future__ import annotations

from collections.abc import Sequence

from vta.compiler.te.expr import Binary, Cast, Condition, Const, Expr, Select, binary, walk

__all__ = ["Case", "cases", "failures"]

Case = tuple[tuple[Expr, ...], Expr]
"""What must be 0 or more, and the value then."""


def failures(conditions: Sequence[Condition]) -> list[tuple[Expr, ...]]:
    """The ways in which not all of some conditions hold, no two at once: what is 0 or more then.

    In each the first few hold, and the next one does not.
    """
    found: list[tuple[Expr, ...]] = []
    held: tuple[Expr, ...] = ()
    for item in conditions:
        found.append((*held, binary("-", Const("int32", -1), item.value)))
        held = (*held, item.value)
    return found


def cases(expr: Expr) -> list[Case]:
    """The cases of an expression, of which one holds in every round; none chooses any more."""
    if not any(isinstance(node, Select) for node in walk(expr)):
        return [((), expr)]
    if isinstance(expr, Select):
        inside = tuple(item.value for item in expr.conditions)
        return [
            *(((*inside, *more), value) for more, value in cases(expr.then)),
            *(
                ((*outside, *more), value)
                for outside in failures(expr.conditions)
                for more, value in cases(expr.other)
            ),
        ]
    if isinstance(expr, Cast):
        return [(conditions, value.astype(expr.dtype)) for conditions, value in cases(expr.value)]
    assert isinstance(expr, Binary), expr
    return [
        ((*first, *second), binary(expr.op, a, b))
        for first, a in cases(expr.a)
        for second, b in cases(expr.b)
    ]
