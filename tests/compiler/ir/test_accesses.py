"""The elements that loops around micro-ops touch, counted one by one."""

from __future__ import annotations

import numpy as np
import pytest

from vta.compiler.ir.accesses import Access, loop_indices


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
        (range(5, 5), ((3, 1),)),
        (range(5, 8), ((0, 3),)),
    ],
)
def test_loop_indices(starts, loops):
    expected = list(starts)
    for extent, step in reversed(loops):
        expected = [n * step + start for n in range(extent) for start in expected]
    found = loop_indices(starts, loops)
    assert np.arange(100)[found].tolist() == expected
    if expected:
        consecutive = list(range(expected[0], expected[0] + len(expected)))
        assert isinstance(found, slice) == (expected == consecutive)
    access = Access("acc", starts, loops, False)
    assert np.arange(100)[access.elements].tolist() == expected
    low, high = access.reach
    assert (low, high) == (min(expected), max(expected) + 1) if expected else low == high
