"""The interpreter says what numpy says, and what the instruction set says of shifts."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.fuzz.interpreter import evaluate
from vta import te
from vta.compiler.te.padding import pad


def of(rule, *arrays, shape=None):
    """The array of ``rule(*tensors, *i)``."""
    tensors = [
        te.placeholder(array.shape, name=f"I{number}", dtype=array.dtype)
        for number, array in enumerate(arrays)
    ]
    result = te.compute(shape or arrays[0].shape, lambda *i: rule(*tensors, *i), "R")
    return evaluate([result], dict(zip(tensors, arrays, strict=True)))[0]


INT8 = np.arange(-128, 128, dtype=np.int8).reshape(16, 16)
INT32 = (np.arange(256, dtype=np.int64) * 16843009 - 2**31).astype(np.int32).reshape(16, 16)


@pytest.mark.parametrize("array", [INT8, INT32], ids=["int8", "int32"])
@pytest.mark.parametrize(
    "rule",
    [
        lambda x: x + x,
        lambda x: x * x,
        lambda x: 5 - x,
        lambda x: -x,
        lambda x: x << 3,
        lambda x: x >> 3,
        lambda x: (x.astype("int8") * x).astype("int32") >> 1,
        lambda x: np.maximum(x, 5) - np.minimum(x, -7),
    ],
)
def test_arithmetic_is_that_of_numpy(rule, array):
    with np.errstate(over="ignore"):
        expected = rule(array)
    found = of(lambda x, i, j: rule(x(i, j)), array)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("x", "y", "right", "left"),
    [
        (-5, 0, -5, -5),
        (-5, 1, -3, -10),
        (-5, -1, -10, -3),
        (-5, 31, -1, -(1 << 31)),
        (-5, 32, -1, 0),
        (-5, -(1 << 31), 0, -1),
        (7, (1 << 31) - 1, 0, 0),
        (1 << 30, -1, -(1 << 31), 1 << 29),
    ],
)
def test_shifts(x, y, right, left):
    arrays = np.full((1,), x, np.int32), np.full((1,), y, np.int32)
    assert of(lambda a, b, i: a(i) >> b(i), *arrays)[0] == right
    assert of(lambda a, b, i: a(i) << b(i), *arrays)[0] == left


def test_reads_anywhere():
    found = of(lambda x, i, j: x(15 - i, 2 * j + 1), INT32, shape=(16, 8))
    np.testing.assert_array_equal(found, INT32[::-1, 1::2])
    np.testing.assert_array_equal(of(lambda x, i: x(i, i), INT32, shape=(16,)), INT32.diagonal())


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(te.sum, np.add), (te.max, np.maximum), (te.min, np.minimum)],
    ids=["sum", "max", "min"],
)
def test_reductions(ours, theirs):
    r = te.reduce_axis((0, 16), "r")
    found = of(lambda x, i: ours(x(r, i), axis=r), INT8, shape=(16,))
    np.testing.assert_array_equal(found, theirs.reduce(INT8, axis=0, dtype=np.int8))


def test_padding_reads_nothing_outside():
    x = te.placeholder(INT8.shape, name="x", dtype="int8")
    padded = pad(x, [1, 0], [0, 2])
    expected = np.pad(INT8, ((1, 0), (0, 2)))
    np.testing.assert_array_equal(evaluate([padded], {x: INT8})[0], expected)
