"""Conditions of a choice: those that always hold are left out, and what can never be is found."""

from __future__ import annotations

import pytest

from vta.compiler.ir.affine import affine
from vta.compiler.passes.loops.cases import possible
from vta.compiler.te.expr import Var

X, Y = Var("int32", "x"), Var("int32", "y")
EXTENTS = {X: 5, Y: 3}


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        ([X + 0], []),  # 0 at least
        ([X - 1], [0]),
        ([4 - X], []),  # 0 at most
        ([3 - X], [0]),
        ([X - 4], [0]),  # in the last round alone
        ([X - 5], None),
        ([-1 - Y], None),
        ([X - 2, Y - 1, X - 2], [0, 1]),  # twice the same
        ([X - Y + 2, X - Y + 1], [1]),
        ([X - 3, 2 - X], None),  # each of them, but not both
        ([X - 3, 3 - X], [0, 1]),  # both for x = 3
    ],
)
def test_conditions_that_are_left(conditions, kept):
    found = possible(conditions, EXTENTS)
    if kept is None:
        assert found is None
    else:
        assert [affine(item) for item in found] == [affine(conditions[n]) for n in kept]
