"""Affine forms: index expressions as sums of loop indices times numbers, for access patterns.

A division that leaves a remainder is a `Quotient`, which counts as an index in such a sum. The
remainder uses it too: ``e % n = e - n * (e // n)``. Sums are normalised when they are made, so that
terms cancel: with a width ``w``, ``(k // w) * w + k % w`` is ``k``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vta.compiler.te.expr import DIVISIONS, Binary, Const, Expr, Read, Var, binary, substitute, walk
from vta.compiler.te.expr_text import show_expr

__all__ = [
    "MOST_POINTS",
    "Affine",
    "Extents",
    "Quotient",
    "affine",
    "as_expression",
    "flatten",
    "quotient",
    "has_division",
    "simple",
    "variables",
    "with_simple_indices",
]

Extents = Mapping[Var, int]
"""How many rounds each loop has."""

MOST_POINTS = 1 << 20
"""How many combinations of indices are tried, at most, for the range of a sum with divisions."""


@dataclass(frozen=True)
class Affine:
    """``offset + sum(factor * index)``, without factors of 0."""

    offset: int
    factors: Mapping[Var, int]

    def scaled(self, number: int) -> Affine:
        """This form times a number."""
        return Affine(
            self.offset * number,
            {var: factor * number for var, factor in self.factors.items() if number},
        )

    def plus(self, other: Affine) -> Affine:
        """The sum of two forms."""
        factors = dict(self.factors)
        for var, factor in other.factors.items():
            factors[var] = factors.get(var, 0) + factor
        return Affine(
            self.offset + other.offset, {var: factor for var, factor in factors.items() if factor}
        )

    def quotients(self) -> list[Quotient]:
        """The indices that are divisions of others."""
        return [var for var in self.factors if isinstance(var, Quotient)]

    def span(self, extents: Extents) -> tuple[int, int]:
        """The least and the greatest value while each index runs over ``range(extent)``.

        If divisions depend on more than `MOST_POINTS` combinations of indices, the range may be
        too wide.
        """
        low = high = self.offset
        divided = variables(self.quotients())
        together = self.factors.keys() & (divided | set(self.quotients())) if divided else ()
        for var, factor in self.factors.items():
            if var not in together:
                reach = factor * (extents[var] - 1)
                low, high = low + min(0, reach), high + max(0, reach)
        if together:
            part = Affine(0, {var: self.factors[var] for var in together})
            least, most = _range(part, divided, extents)
            low, high = low + least, high + most
        return low, high

    def values(self, points: Mapping[Var, np.ndarray]) -> np.ndarray:
        """The form's int64 values; each loop has an array of rounds, and the arrays broadcast."""
        total = np.array(self.offset, np.int64)
        for var, factor in self.factors.items():
            if isinstance(var, Quotient):
                total = total + var.form.values(points) // var.divisor * factor
            else:
                total = total + points[var] * factor
        return total

    def with_values(self, values: Mapping[Var, int]) -> Affine:
        """The form with some indices set to fixed values."""
        given = {var: Affine(value, {}) for var, value in values.items()}
        return self.substituted(given)

    def substituted(self, given: Mapping[Var, Affine], extents: Extents | None = None) -> Affine:
        """The form with some indices replaced; `extents` as for `quotient`."""
        offset, factors, others = self.offset, {}, []
        for var, factor in self.factors.items():
            if isinstance(var, Quotient) and not given.keys().isdisjoint(variables([var])):
                inner = var.form.substituted(given, extents)
                others.append(quotient(inner, var.divisor, extents).scaled(factor))
            elif var in given:
                others.append(given[var].scaled(factor))
            else:
                factors[var] = factor
        total = Affine(offset, factors)
        for other in others:
            total = total.plus(other)
        return total

    def __str__(self) -> str:
        return show_expr(as_expression(self))


@dataclass(frozen=True, eq=False)
class Quotient(Var):
    """``form // divisor``, rounded down; equal divisions compare equal."""

    form: Affine
    divisor: int

    def __eq__(self, other: object) -> bool:  # type: ignore[override]
        return (
            isinstance(other, Quotient)
            and (self.divisor, self.form.offset) == (other.divisor, other.form.offset)
            and self.form.factors == other.form.factors
        )

    def __hash__(self) -> int:
        return hash((self.divisor, self.form.offset, frozenset(self.form.factors.items())))


def variables(indices: Sequence[Var]) -> set[Var]:
    """The loop indices that some indices depend on: themselves, or those in a quotient."""
    found: set[Var] = set()
    for var in indices:
        found |= variables(list(var.form.factors)) if isinstance(var, Quotient) else {var}
    return found


# -- division ------------------------------------------------------------------------------------


def quotient(form: Affine, divisor: int, extents: Extents | None = None) -> Affine:
    """``form // divisor``, rounded down and simplified.

    `extents`, if given, must have every loop in `form`. Then the ranges of its parts are used too:
    ``(4 * i + j) // 4`` is ``i`` if ``j`` is always below 4.
    """
    if divisor == 1:
        return form
    # Multiples of the divisor come out of the division.
    outside = {var: int(factor / divisor) for var, factor in form.factors.items()}
    whole = Affine(form.offset // divisor, {var: part for var, part in outside.items() if part})
    rest = form.plus(whole.scaled(-divisor))
    inner = next((var for var in rest.quotients() if rest.factors[var] == 1), None)
    if inner is not None:  # (e // m + x) // n is (e + m * x) // (m * n)
        others = rest.plus(Affine(0, {inner: -1})).scaled(inner.divisor)
        return whole.plus(quotient(inner.form.plus(others), divisor * inner.divisor, extents))
    if not rest.factors:
        return whole
    if extents is not None:
        for step in _steps(rest, divisor):
            fine = {var: factor for var, factor in rest.factors.items() if factor % step}
            low, high = Affine(rest.offset, fine).span(extents)
            if low // step == high // step:
                coarse = {
                    var: factor // step for var, factor in rest.factors.items() if var not in fine
                }
                return whole.plus(quotient(Affine(low // step, coarse), divisor // step, extents))
    name = f"({rest}) // {divisor}"
    return whole.plus(Affine(0, {Quotient("int32", name, rest, divisor): 1}))


def _steps(form: Affine, divisor: int) -> list[int]:
    """Candidate steps, largest first: common divisors of `divisor` and some of the factors."""
    found = {divisor}
    for factor in form.factors.values():
        found |= {math.gcd(factor, other) for other in found}
    return sorted(found - {1}, reverse=True)


def _range(form: Affine, divided: set[Var], extents: Extents) -> tuple[int, int]:
    """The least and the greatest value of a form whose indices all depend on divisions."""
    points = {var: _ends(form, var, divided, extents[var]) for var in divided}
    if math.prod(map(len, points.values())) <= MOST_POINTS:
        shape = dict(zip(points, np.ix_(*points.values()), strict=True))
        values = form.values(shape)
        return int(values.min()), int(values.max())
    low = high = form.offset
    for var, factor in form.factors.items():
        if isinstance(var, Quotient):
            ends = [factor * (end // var.divisor) for end in var.form.span(extents)]
        else:
            ends = [0, factor * (extents[var] - 1)]
        low, high = low + min(ends), high + max(ends)
    return low, high


def _period(form: Affine, var: Var) -> int:
    """The period of a loop: over this many rounds, the form grows by a fixed number."""
    period = 1
    for item in form.quotients():
        if var in variables([item]):
            inner = _period(item.form, var)
            factor = item.form.factors.get(var, 0) if inner == 1 else 1
            period = math.lcm(period, inner * item.divisor // math.gcd(item.divisor, factor))
    return period


def _ends(form: Affine, var: Var, divided: set[Var], extent: int) -> np.ndarray:
    """The rounds of a loop that include the extremes: one period at each end if the form grows."""
    period = _period(form, var)
    if extent <= 2 * period:
        return np.arange(extent)
    start = dict.fromkeys(divided, np.array(0))
    if form.values({**start, var: np.array(period)}) == form.values(start):
        return np.arange(period)
    return np.concatenate([np.arange(period), np.arange(extent - period, extent)])


# -- from expressions and back -------------------------------------------------------------------


def affine(expr: Expr, extents: Extents | None = None) -> Affine | None:
    """The affine form of an index, or None if it has none; `extents` as for `quotient`."""
    if isinstance(expr, Const):
        return Affine(expr.number, {})
    if isinstance(expr, Var):
        return Affine(0, {expr: 1})
    if isinstance(expr, Binary) and expr.op in ("+", "-", "*", *DIVISIONS):
        a, b = affine(expr.a, extents), affine(expr.b, extents)
        if a is None or b is None:
            return None
        if expr.op in DIVISIONS:
            return None if b.factors else _divided(expr.op, a, b.offset, extents)
        if expr.op != "*":
            return a.plus(b.scaled(-1 if expr.op == "-" else 1))
        if not b.factors:
            return a.scaled(b.offset)
        if not a.factors:
            return b.scaled(a.offset)
    return None


def _divided(op: str, form: Affine, divisor: int, extents: Extents | None) -> Affine | None:
    sign = 1
    if op in ("truncdiv", "truncmod"):
        # Rounding towards 0 can be resolved only if the sign is known.
        low, high = (-1, 1) if extents is None else form.span(extents)
        if low < 0 < high:
            return None
        sign = 1 if low >= 0 else -1
    whole = quotient(form.scaled(sign), divisor, extents).scaled(sign)
    return whole if op in ("//", "truncdiv") else form.plus(whole.scaled(-divisor))


def as_expression(form: Affine) -> Expr:
    """An affine form, turned back into an index expression."""
    parts: list[Expr] = []
    for inner, divisor, times in _remainders(form):
        form = form.plus(inner.scaled(-times))
        form = form.plus(quotient(inner, divisor).scaled(times * divisor))
        rest = Binary("int32", "%", as_expression(inner), Const("int32", divisor))
        parts.append(rest if times == 1 else binary("*", rest, times))
    for var, factor in form.factors.items():
        part: Expr = var
        if isinstance(var, Quotient):
            part = Binary("int32", "//", as_expression(var.form), Const("int32", var.divisor))
        parts.append(part if factor == 1 else binary("*", part, factor))
    total: Expr = Const("int32", form.offset)
    for number, part in enumerate(parts):
        total = part if number == 0 else binary("+", total, part)
    if parts and form.offset:
        total = binary("+" if form.offset > 0 else "-", total, abs(form.offset))
    return total


def _remainders(form: Affine) -> Iterator[tuple[Affine, int, int]]:
    """The parts of a form that are shorter as ``times * (inner % divisor)``."""
    for item in form.quotients():
        factor = form.factors.get(item, 0)
        divisor = math.gcd(factor, item.divisor)
        inner = quotient(item.form, item.divisor // divisor) if divisor > 1 else item.form
        times = -factor // divisor if divisor > 1 else 0
        part = inner.plus(quotient(inner, divisor).scaled(-divisor)).scaled(times)
        rest = form.plus(part.scaled(-1))
        if times and len(rest.factors) == len(form.factors) - len(part.factors):
            yield inner, divisor, times
            form = rest


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


def has_division(expr: Expr) -> bool:
    """Whether any index is divided."""
    return any(isinstance(node, Binary) and node.op in DIVISIONS for node in walk(expr))


def simple(index: Expr, extents: Extents | None = None) -> Expr:
    """An index in its affine form, if it has one; `extents` as for `quotient`."""
    form = affine(index, extents)
    return index if form is None else as_expression(form)


def with_simple_indices(
    expr: Expr, extents: Extents, known: Mapping[Var, Expr] | None = None
) -> Expr:
    """An expression with simplified divisions in its indices and conditions."""
    if not has_division(expr):
        return expr

    def changed(index: Expr) -> Expr:
        return simple(index, extents) if has_division(index) else index

    def read(item: Read) -> Expr:
        return Read(item.dtype, item.source, tuple(map(changed, item.indices)))

    return substitute(expr, known or {}, read, changed)
