"""Index expressions as sums of loop indices times numbers: what access patterns are read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vta.compiler.te.expr import Binary, Const, Expr, Var, binary
from vta.compiler.te.expr_text import show_expr

__all__ = ["Affine", "affine", "as_expression", "flatten"]


@dataclass(frozen=True)
class Affine:
    """``offset + sum(factor * index)``, without factors of 0."""

    offset: int
    factors: Mapping[Var, int]

    def scaled(self, number: int) -> Affine:
        return Affine(
            self.offset * number,
            {var: factor * number for var, factor in self.factors.items() if number},
        )

    def plus(self, other: Affine) -> Affine:
        factors = dict(self.factors)
        for var, factor in other.factors.items():
            factors[var] = factors.get(var, 0) + factor
        return Affine(
            self.offset + other.offset, {var: factor for var, factor in factors.items() if factor}
        )

    def span(self, extents: Mapping[Var, int]) -> tuple[int, int]:
        """The least and the greatest value while each index runs over ``range(extent)``."""
        reach = [factor * (extents[var] - 1) for var, factor in self.factors.items()]
        return (
            self.offset + sum(min(0, part) for part in reach),
            self.offset + sum(max(0, part) for part in reach),
        )

    def __str__(self) -> str:
        return show_expr(as_expression(self))


def affine(expr: Expr) -> Affine | None:
    """The affine form of an index, or None where it has none."""
    if isinstance(expr, Const):
        return Affine(expr.number, {})
    if isinstance(expr, Var):
        return Affine(0, {expr: 1})
    if isinstance(expr, Binary) and expr.op in ("+", "-", "*"):
        a, b = affine(expr.a), affine(expr.b)
        if a is None or b is None:
            return None
        if expr.op != "*":
            return a.plus(b.scaled(-1 if expr.op == "-" else 1))
        if not b.factors:
            return a.scaled(b.offset)
        if not a.factors:
            return b.scaled(a.offset)
    return None


def as_expression(form: Affine) -> Expr:
    """An affine form as an index again."""
    total: Expr = Const("int32", form.offset)
    parts: list[Expr] = [
        var if factor == 1 else binary("*", var, factor) for var, factor in form.factors.items()
    ]
    for number, part in enumerate(parts):
        total = part if number == 0 else binary("+", total, part)
    if parts and form.offset:
        total = binary("+" if form.offset > 0 else "-", total, abs(form.offset))
    return total


def flatten(indices: Sequence[Expr], shape: Sequence[int]) -> Affine | None:
    """The position in a row-major array of `shape` that `indices` select."""
    total, stride = Affine(0, {}), 1
    for index, size in zip(reversed(indices), reversed(shape), strict=True):
        part = affine(index)
        if part is None:
            return None
        total = total.plus(part.scaled(stride))
        stride *= size
    return total
