"""What operators must give, written out with NumPy and nothing of the library."""

from __future__ import annotations

import numpy as np


def finish(sums, *, bias=None, shift=0, rounding=False, relu=False, clip=True):
    """int8 of exact int64 sums, (N, C, ...): bias, shift, relu and clip in turn."""
    sums = sums.astype(np.int64)
    if bias is not None:
        sums = sums + bias.astype(np.int64).reshape(-1, *[1] * (sums.ndim - 2))
    if rounding and shift:
        sums = sums + (1 << (shift - 1))
    sums >>= shift
    if relu:
        sums = np.maximum(sums, 0)
    if clip:
        sums = np.clip(sums, -128, 127)
    return sums.astype(np.int8)


def requantise(sums, scale, *, bias=None, zero_point=0, lower=-128):
    """ONNX's formula in float32, for sums (N, C, ...) and one scale for each channel."""
    sums = sums.astype(np.int64)
    channel = (-1, *[1] * (sums.ndim - 2))
    if bias is not None:
        sums = sums + bias.astype(np.int64).reshape(channel)
    product = sums.astype(np.float32) * scale.reshape(channel)
    return np.clip(np.rint(product).astype(np.int64) + zero_point, lower, 127).astype(np.int8)


def windows(data, taps, stride, padding, dilation, fill=0):
    """(N, C, OH, OW, KH, KW) of (N, C, H, W): what each window sees."""
    top, left, bottom, right = padding
    padded = np.pad(
        data.astype(np.int64), ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill
    )
    rows, columns = (
        (padded.shape[2 + dim] - (taps[dim] - 1) * dilation[dim] - 1) // stride[dim] + 1
        for dim in range(2)
    )
    seen = np.zeros((*data.shape[:2], rows, columns, *taps), np.int64)
    for i in range(rows):
        for j in range(columns):
            y, x = i * stride[0], j * stride[1]
            seen[:, :, i, j] = padded[
                :,
                :,
                y : y + (taps[0] - 1) * dilation[0] + 1 : dilation[0],
                x : x + (taps[1] - 1) * dilation[1] + 1 : dilation[1],
            ]
    return seen


def conv2d(data, weight, *, stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1):
    """int64 sums of a convolution, group by group; float64, which is fast, holds each exactly."""
    seen = windows(data, weight.shape[2:], stride, padding, dilation).astype(np.float64)
    inputs, outputs = data.shape[1] // groups, weight.shape[0] // groups
    sums = [
        np.tensordot(
            seen[:, group * inputs : (group + 1) * inputs],
            weight[group * outputs : (group + 1) * outputs].astype(np.float64),
            ((1, 4, 5), (1, 2, 3)),
        )
        for group in range(groups)
    ]
    return np.concatenate(sums, axis=3).transpose(0, 3, 1, 2).astype(np.int64)


def conv2d_transpose(
    data,
    weight,
    *,
    stride=(1, 1),
    padding=(0, 0, 0, 0),
    dilation=(1, 1),
    output_padding=(0, 0),
    groups=1,
):
    """int64 sums of a transposed convolution: every number of the data spreads its weights."""
    images, channels, height, width = data.shape
    inputs, outputs = channels // groups, weight.shape[1]
    reach = [
        (size - 1) * stride[dim] + (weight.shape[2 + dim] - 1) * dilation[dim] + 1
        for dim, size in enumerate((height, width))
    ]
    full = np.zeros(
        (images, outputs * groups, reach[0] + output_padding[0], reach[1] + output_padding[1]),
        np.int64,
    )
    for channel in range(channels):
        group = channel // inputs
        for i in range(height):
            for j in range(width):
                spread = np.einsum(
                    "n,oyx->noyx",
                    data[:, channel, i, j].astype(np.int64),
                    weight[channel].astype(np.int64),
                )
                y, x = i * stride[0], j * stride[1]
                full[
                    :,
                    group * outputs : (group + 1) * outputs,
                    y : y + (weight.shape[2] - 1) * dilation[0] + 1 : dilation[0],
                    x : x + (weight.shape[3] - 1) * dilation[1] + 1 : dilation[1],
                ] += spread
    top, left, bottom, right = padding
    return full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]


def max_pool2d(data, window, *, stride, padding=(0, 0, 0, 0), dilation=(1, 1)):
    return windows(data, window, stride, padding, dilation, fill=-999).max((4, 5))


def avg_pool2d(
    data, window, *, stride, padding=(0, 0, 0, 0), dilation=(1, 1), count_include_pad=True
):
    """Rounded to the nearest, ties upwards, in whole numbers."""
    sums = windows(data, window, stride, padding, dilation).sum((4, 5))
    counts = np.full_like(sums, window[0] * window[1])
    if not count_include_pad:
        counts = windows(np.ones_like(data), window, stride, padding, dilation).sum((4, 5))
    return (2 * sums + counts) // (2 * counts)
