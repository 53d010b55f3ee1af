"""Averages by multiplication and shift are exact for every sum there can be."""

from __future__ import annotations

import numpy as np
import pytest

from vta.compiler.operators.division import average
from vta.errors import CompileError

COUNTS = [
    *range(1, 41),
    49,
    64,
    81,
    100,
    121,
    144,
    169,
    196,
    203,
    225,
    289,
    379,
    625,
    1024,
    1369,
    65536,
    65534,
]


def applied(steps, values):
    """What the ALU makes of numbers, step by step; nothing ever leaves 32 bits."""
    for step in steps:
        assert -(1 << 15) <= step.value < 1 << 15
        if step.op == "+":
            values = values + step.value
        elif step.op == "*":
            values = values * step.value
        elif step.op == ">>":
            values = values >> step.value
        else:
            assert step.op == "/"
            estimate = applied(step.division.estimate, values)
            missing = values // step.value - estimate
            assert set(np.unique(missing)) <= {0, 1}
            values = values // step.value
        assert np.abs(values).max() < 1 << 31
    return values


@pytest.mark.parametrize("count", COUNTS)
def test_nearest_with_ties_upwards(count):
    # Of very many, every 97th.
    sums = np.arange(-128 * count, 127 * count + 1, 1 if count < 5000 else 97, dtype=np.int64)
    np.testing.assert_array_equal(applied(average(count), sums), (2 * sums + count) // (2 * count))


def test_powers_of_two_need_no_multiplication():
    assert average(1) == ()
    assert [(step.op, step.value) for step in average(64)] == [("+", 32), (">>", 6)]


def test_too_many_numbers():
    for count in (32769, 1 << 24):
        with pytest.raises(CompileError, match=f"average of {count} numbers does not fit 32-bit"):
            average(count)


@pytest.mark.parametrize("count", [0, -1])
def test_no_numbers(count):
    with pytest.raises(CompileError, match=f"must be of 1 number or more, not {count}"):
        average(count)
