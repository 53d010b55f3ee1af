"""Reference functions in numpy, which scripts use to check results."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vta.calls import check_calls
from vta.errors import ArgumentError

__all__ = ["assert_allclose", "conv2d_nchw_python"]


def assert_allclose(
    actual: ArrayLike, desired: ArrayLike, rtol: float = 1e-7, atol: float = 1e-7
) -> None:
    """Asserts that two arrays have the same shape and equal values, within tolerances."""
    first, second = np.asanyarray(actual), np.asanyarray(desired)
    np.testing.assert_equal(first.shape, second.shape)
    np.testing.assert_allclose(first, second, rtol=rtol, atol=atol)


def conv2d_nchw_python(
    a_np: NDArray[Any],
    w_np: NDArray[Any],
    stride: int | Sequence[int],
    padding: int | str | Sequence[int],
    groups: int = 1,
) -> NDArray[Any]:
    """A 2-D convolution (without flipping the kernel), padded with zeros.

    Parameters
    ----------
    a_np : array
        (batch, channels, height, width).
    w_np : array
        (filters, channels // groups, kernel height, kernel width).
    stride : int or two
    padding : int, two (height, width), four (top, left, bottom, right), ``"VALID"`` or ``"SAME"``
        With ``"SAME"`` the output has 1/stride of the input's size, rounded up.
    groups : int

    Returns
    -------
    array
        (batch, filters, out height, out width) of a_np's dtype. Integers are summed in 64 bits
        and wrap around only at the end.
    """
    if a_np.ndim != 4 or w_np.ndim != 4:
        raise ArgumentError(
            f"data and kernel must have 4 dimensions, not {a_np.ndim} and {w_np.ndim}"
        )
    batch, channels, *_ = a_np.shape
    filters, depth, kernel_h, kernel_w = w_np.shape
    if groups < 1 or channels != depth * groups or filters % groups:
        raise ArgumentError(
            f"groups {groups}: data of {channels} channels does not match a "
            f"kernel of {filters} filters of {depth} channels"
        )
    stride_h, stride_w = _pair(stride, "stride")
    if stride_h < 1 or stride_w < 1:
        raise ArgumentError(f"stride must be at least 1, not {stride!r}")
    top, left, bottom, right = _pads(
        padding, a_np.shape[2:], (kernel_h, kernel_w), (stride_h, stride_w)
    )
    wide = np.int64 if a_np.dtype.kind in "biu" else a_np.dtype
    data = np.pad(a_np.astype(wide), ((0, 0), (0, 0), (top, bottom), (left, right)))
    out_h = (data.shape[2] - kernel_h) // stride_h + 1
    out_w = (data.shape[3] - kernel_w) // stride_w + 1
    if out_h < 1 or out_w < 1:
        raise ArgumentError(
            f"a kernel of {kernel_h} x {kernel_w} does not fit padded data of "
            f"{data.shape[2]} x {data.shape[3]}"
        )
    data = data.reshape(batch, groups, depth, *data.shape[2:])
    kernel = w_np.astype(wide).reshape(groups, filters // groups, depth, kernel_h, kernel_w)
    result = np.zeros((batch, groups, filters // groups, out_h * out_w), wide)
    for y, x in itertools.product(range(kernel_h), range(kernel_w)):
        window = data[..., y : y + stride_h * out_h : stride_h, x : x + stride_w * out_w : stride_w]
        window = window.reshape(batch, groups, depth, out_h * out_w)
        result += kernel[:, :, :, y, x] @ window
    return result.reshape(batch, filters, out_h, out_w).astype(a_np.dtype)


def _pair(value: int | Sequence[int], what: str) -> tuple[int, int]:
    sizes = (value, value) if isinstance(value, int) else tuple(value)
    if len(sizes) != 2:
        raise ArgumentError(f"{what} must be one number or two, not {value!r}")
    return sizes[0], sizes[1]


def _pads(
    padding: int | str | Sequence[int],
    sizes: Sequence[int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
) -> tuple[int, int, int, int]:
    """The padding above, left, below and right."""
    if isinstance(padding, str):
        if padding not in ("VALID", "SAME"):
            raise ArgumentError(f"padding must be numbers, 'VALID' or 'SAME', not {padding!r}")
        total = [0, 0]
        if padding == "SAME":
            # Enough padding for ceil(size / stride) windows.
            total = [
                max((-(-size // step) - 1) * step + length - size, 0)
                for size, length, step in zip(sizes, kernel, stride, strict=True)
            ]
        return total[0] // 2, total[1] // 2, -(-total[0] // 2), -(-total[1] // 2)
    if not isinstance(padding, int) and len(padding) == 4:
        top, left, bottom, right = padding
        return top, left, bottom, right
    height, width = _pair(padding, "padding")
    return height, width, height, width


check_calls("tvm.", globals(), __all__)
