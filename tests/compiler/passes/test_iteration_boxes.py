"""Boxes of rounds: all that conditions allow, each once."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vta.compiler.ir.affine import Affine
from vta.compiler.passes.unroll.iteration_boxes import boxes
from vta.compiler.te.expr import Var

X, Y, Z = (Var("int32", name) for name in "xyz")
VARS = (X, Y, Z)


def value(form, point):
    return form.offset + sum(factor * point[var] for var, factor in form.factors.items())


def points(box):
    names = list(box)
    for numbers in itertools.product(*(range(*box[name]) for name in names)):
        yield dict(zip(names, numbers, strict=True))


ranges = st.tuples(st.integers(-3, 4), st.integers(1, 5)).map(lambda pair: (pair[0], sum(pair)))
forms = st.builds(
    lambda offset, factors: Affine(
        offset, {var: factor for var, factor in zip(VARS, factors, strict=True) if factor}
    ),
    st.integers(-8, 8),
    st.tuples(*[st.integers(-4, 4)] * 3),
)


@example(
    bounds=[(0, 5)] * 3, conditions=[Affine(-4, {X: 1, Y: 1, Z: -1}), Affine(3, {X: -2, Z: 1})]
)
@given(bounds=st.tuples(ranges, ranges, ranges), conditions=st.lists(forms, max_size=4))
def test_boxes_are_what_conditions_allow(bounds, conditions):
    box = dict(zip(VARS, bounds, strict=True))
    wanted = [
        tuple(point.values())
        for point in points(box)
        if all(value(form, point) >= 0 for form in conditions)
    ]
    found = [
        tuple(point[var] for var in VARS)
        for part in boxes(box, conditions)
        for point in points(part)
    ]
    assert sorted(found) == sorted(wanted)


def test_a_condition_on_one_loop_is_one_box():
    assert list(boxes({X: (0, 10), Y: (0, 4)}, [Affine(7, {X: -2}), Affine(-1, {Y: 1})])) == [
        {X: (0, 4), Y: (1, 4)}
    ]


def test_no_condition():
    assert list(boxes({X: (0, 3)}, [])) == [{X: (0, 3)}]
    assert list(boxes({}, [])) == [{}]
    assert list(boxes({}, [Affine(0, {})])) == [{}]
    assert list(boxes({}, [Affine(-1, {})])) == []


@pytest.mark.parametrize(("extents", "parts"), [((3, 100), 3), ((100, 3), 3), ((5, 4), 4)])
def test_the_shorter_loop_is_taken_apart(extents, parts):
    """A condition on two loops makes as many boxes as the shorter of them has rounds."""
    box = {X: (0, extents[0]), Y: (0, extents[1])}
    found = list(boxes(box, [Affine(sum(extents) - 3, {X: -1, Y: -1})]))
    assert len(found) == parts
