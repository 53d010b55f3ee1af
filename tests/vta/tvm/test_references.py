"""The references that scripts check results with."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vta.errors import ArgumentError
from vta.tvm.references import assert_allclose, conv2d_nchw_python


def _convolution(
    data: NDArray[Any],
    kernel: NDArray[Any],
    stride: tuple[int, int],
    pads: tuple[int, int, int, int],
    groups: int,
) -> NDArray[Any]:
    """The definition, one output at a time."""
    top, left, bottom, right = pads
    padded = np.pad(data, ((0, 0), (0, 0), (top, bottom), (left, right)))
    batch, _, height, width = padded.shape
    filters, depth, rows, columns = kernel.shape
    out = np.zeros(
        (batch, filters, (height - rows) // stride[0] + 1, (width - columns) // stride[1] + 1),
        data.dtype,
    )
    for n, f, y, x in itertools.product(*map(range, out.shape)):
        first = f // (filters // groups) * depth
        window = padded[
            n,
            first : first + depth,
            y * stride[0] : y * stride[0] + rows,
            x * stride[1] : x * stride[1] + columns,
        ]
        out[n, f, y, x] = (window * kernel[f]).sum()
    return out


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "pads", "groups"),
    [
        ((5, 6), (3, 3), 1, 1, (1, 1, 1, 1), 1),
        ((7, 5), (3, 2), (2, 1), (1, 0), (1, 0, 1, 0), 1),
        ((4, 4), (1, 1), 2, 0, (0, 0, 0, 0), 1),
        ((5, 5), (3, 3), (1, 1), (2, 1, 0, 1), (2, 1, 0, 1), 1),
        ((6, 6), (3, 3), 1, "VALID", (0, 0, 0, 0), 2),
        ((6, 6), (3, 3), 1, "SAME", (1, 1, 1, 1), 4),
        ((7, 6), (2, 4), 2, "SAME", (0, 1, 1, 1), 1),
        ((6, 6), (5, 5), (1, 1), [2, 2], (2, 2, 2, 2), 4),
    ],
)
@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_convolution(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: Any,
    padding: Any,
    pads: tuple[int, int, int, int],
    groups: int,
    dtype: str,
) -> None:
    rng = np.random.default_rng(7)
    data = rng.integers(-128, 128, (2, 4, *size)).astype(dtype)
    weights = rng.integers(-128, 128, (8, 4 // groups, *kernel)).astype(dtype)
    steps = (stride, stride) if isinstance(stride, int) else stride
    result = conv2d_nchw_python(data, weights, stride, padding, groups=groups)
    assert result.dtype == data.dtype
    np.testing.assert_array_equal(result, _convolution(data, weights, steps, pads, groups))


def test_narrow_sums_wrap_at_the_end_only() -> None:
    data, kernel = np.full((1, 3, 1, 1), 100, np.int8), np.full((1, 3, 1, 1), 2, np.int8)
    assert conv2d_nchw_python(data, kernel, 1, 0).item() == 600 - 2 * 256 - 0
    assert conv2d_nchw_python(data.astype(np.int32), kernel, 1, 0).item() == 600


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding", "groups", "message"),
    [
        ((1, 2, 3), (1, 2, 1, 1), 1, 0, 1, "must have 4 dimensions, not 3 and 4"),
        ((1, 2, 3, 3), (1, 3, 1, 1), 1, 0, 1, "data of 2 channels does not match a kernel of 1 "),
        ((1, 2, 3, 3), (3, 1, 1, 1), 1, 0, 2, "groups 2: data of 2 channels does not match"),
        ((1, 2, 3, 3), (1, 2, 1, 1), 0, 0, 1, "stride must be at least 1, not 0"),
        ((1, 2, 3, 3), (1, 2, 1, 1), (1, 2, 3), 0, 1, "stride must be one number or two"),
        ((1, 2, 3, 3), (1, 2, 1, 1), 1, (1, 2, 3), 1, "padding must be one number or two"),
        ((1, 2, 3, 3), (1, 2, 1, 1), 1, "FULL", 1, "'VALID' or 'SAME', not 'FULL'"),
        ((1, 2, 3, 3), (1, 2, 4, 4), 1, 0, 1, "4 x 4 does not fit padded data of 3 x 3"),
    ],
)
def test_bad_arguments(
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: Any,
    padding: Any,
    groups: int,
    message: str,
) -> None:
    with pytest.raises(ArgumentError, match=message):
        conv2d_nchw_python(np.ones(shape), np.ones(kernel), stride, padding, groups)


def test_allclose() -> None:
    assert_allclose([1.0, 2.0], np.array([1.0, 2.0 + 1e-9]))
    assert_allclose(1.0, 1.4, atol=0.5)
    for other in ([1.0, 2.1], [1.0], [[1.0, 2.0]]):
        with pytest.raises(AssertionError):
            assert_allclose([1.0, 2.0], other)
