"""The elements that loops around micro-ops touch, counted one by one."""

from __future__ import annotations

import numpy as np
import pytest

from vta.compiler.ir.accesses import Access


@pytest.mark.parametrize(
    ("starts", "loops"),
    [
        ((3,), ((4, 1),)),
        ((3,), ((4, 0),)),
        ((3,), ((2, 8), (4, 2))),
        ((0, 5), ((3, 1),)),
        ((0,), ((3, 4), (4, 1))),
        (range(2, 6), ((3, 4),)),
        (range(2, 6), ((3, 7),)),
        ((7,), ()),
        ((4, 5), ((2, 2),)),
        ((9,), ((1, 3), (5, 1))),
        ((9, 4), ((3, -2),)),
        ((4, 4), ((3, 0), (2, 1))),
        (range(5, 5), ((3, 1),)),
        (range(5, 8), ((0, 3),)),
    ],
)
def test_elements_and_reach(starts, loops):
    touched = list(starts)
    for extent, step in loops:
        touched = [n * step + start for n in range(extent) for start in touched]
    expected = sorted(set(touched))
    access = Access("acc", starts, loops, False)
    assert np.arange(100)[access.elements].tolist() == expected
    low, high = access.reach
    if expected:
        assert (low, high) == (expected[0], expected[-1] + 1)
        assert isinstance(access.elements, slice) == (len(expected) == high - low)
    else:
        assert low == high
