"""Affine forms with divisions: they are worth what the expression is worth in every round."""

from __future__ import annotations

import itertools

from hypothesis import example, given
from hypothesis import strategies as st

from vta import te
from vta.compiler.ir.affine import affine, as_expression, flatten
from vta.compiler.te.expr import Binary, Const, Var

X, Y, Z = (Var("int32", name) for name in "xyz")
VARS = (X, Y, Z)
WHOLE = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
}


def worth(expr, point):
    """The value of an index where its loops have these values, by Python's own operators."""
    if isinstance(expr, Const):
        return expr.number
    if isinstance(expr, Var):
        return point[expr]
    assert isinstance(expr, Binary)
    return WHOLE[expr.op](worth(expr.a, point), worth(expr.b, point))


def indices():
    def more(inner):
        return st.one_of(
            st.tuples(inner, inner).map(lambda pair: pair[0] + pair[1]),
            st.tuples(inner, inner).map(lambda pair: pair[0] - pair[1]),
            st.tuples(inner, st.integers(-4, 6)).map(lambda pair: pair[0] * pair[1]),
            st.tuples(inner, st.integers(1, 8)).map(lambda pair: pair[0] // pair[1]),
            st.tuples(inner, st.integers(1, 8)).map(lambda pair: pair[0] % pair[1]),
        )

    leaves = st.one_of(st.sampled_from(VARS), st.integers(-9, 9).map(te.const))
    return st.recursive(leaves, more, max_leaves=6)


def points(extents):
    for numbers in itertools.product(*map(range, extents)):
        yield dict(zip(VARS, numbers, strict=True))


@example(index=((X * 4 + Y) // 4 + Z % 3) // 2, extents=(3, 6, 7))
@example(index=X // 3 % 2 * 12 - X % 3 // 2, extents=(20, 1, 1))
@given(index=indices(), extents=st.tuples(*[st.integers(1, 9)] * 3))
def test_forms_are_worth_what_the_expression_is(index, extents):
    sizes = dict(zip(VARS, extents, strict=True))
    wanted = [worth(index, point) for point in points(extents)]
    for known in (None, sizes):
        form = affine(index, known)
        assert form is not None
        again = as_expression(form)
        assert [worth(again, point) for point in points(extents)] == wanted
        assert affine(again) == form
        fixed = [form.with_values(point) for point in points(extents)]
        assert [(item.offset, item.factors) for item in fixed] == [(n, {}) for n in wanted]
        assert form.span(sizes) == (min(wanted), max(wanted)) or not form.quotients()
        low, high = form.span(sizes)
        assert low <= min(wanted)
        assert max(wanted) <= high


@given(
    index=indices(),
    extents=st.tuples(*[st.integers(1, 9)] * 3),
    numbers=st.tuples(*[st.integers(0, 4)] * 2),
)
def test_forms_of_other_loops(index, extents, numbers):
    """``x`` as a sum of ``y`` and ``z``."""
    form = affine(index)
    assert form is not None
    given_i = affine(Y * numbers[0] + Z - numbers[1])
    assert given_i is not None
    changed = form.substituted({X: given_i})
    for point in points((1, *extents[1:])):
        value = point[Y] * numbers[0] + point[Z] - numbers[1]
        assert worth(as_expression(changed), point) == worth(index, {**point, X: value})


def test_what_belongs_together_cancels():
    flat = flatten((X // 12, X // 4 % 3, X % 4), (2, 3, 4))
    assert flat is not None
    assert (flat.offset, dict(flat.factors)) == (0, {X: 1})
    assert affine(X // 6 * 6 + X % 6) == affine(X)
    assert affine(X // 2 // 3) == affine(X // 6)
    assert affine((X * 4 + Y) // 4, {X: 9, Y: 4}) == affine(X)
    assert affine((X * 4 + Y + 2) % 4, {X: 9, Y: 2}) == affine(Y + 2)


def test_text_is_what_a_person_would_write():
    shown = {
        index: str(affine(index))
        for index in (X % 3, X // 3 % 2, (X + Y * 2) // 3, X % 4 * 6 + 1, X // 2 - 1)
    }
    assert list(shown.values()) == [
        "x % 3",
        "x // 3 % 2",
        "(x + y * 2) // 3",
        "x % 4 * 6 + 1",
        "x // 2 - 1",
    ]


def test_rounding_towards_zero():
    assert affine(te.truncdiv(X, 3)) is None  # it may be below 0
    assert affine(te.truncdiv(X, 3), {X: 9}) == affine(X // 3)
    below = affine(te.truncdiv(X - 9, 4), {X: 9})
    left = affine(te.truncmod(X - 9, 4), {X: 9})
    assert below is not None
    assert left is not None
    found = [(below.with_values({X: i}).offset, left.with_values({X: i}).offset) for i in range(9)]
    assert found == [
        (-2, -1),
        (-2, 0),
        (-1, -3),
        (-1, -2),
        (-1, -1),
        (-1, 0),
        (0, -3),
        (0, -2),
        (0, -1),
    ]
    assert affine(te.truncdiv(X - 4, 4), {X: 9}) is None


def test_ranges_of_long_loops():
    """Only the ends of a long loop are tried."""
    assert (affine(X % 7 * 3 + Y // 5)).span({X: 10**9, Y: 10**8}) == (0, 18 + (10**8 - 1) // 5)
    assert (affine((X * 2 + Y) % 1000)).span({X: 10**9, Y: 10**8}) == (0, 999)
