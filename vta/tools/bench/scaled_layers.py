"""Benchmark streams of networks quantised as ONNX does: real scales, zero points, encoding 0.0.3.

ResNet-18's convolutions with the first one, all convolutions of MobileNetV2 and its last layer, and
a residual addition with two scales. NumPy's float32 gives the results.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vta.tools.bench.layers import MOBILENET_STAGES, RESNET, Layer, kernel

if TYPE_CHECKING:
    from vta.compiler.operators import Spec
    from vta.config import Config
    from vta.tools.bench.kernels import BenchKernel

__all__ = ["MOBILENET", "RESNET_18", "scaled_kernels"]

Array = NDArray[Any]

ZERO = -128
"""Of every layer's data and result: uint8's 0, what ReLU gives."""
ADD_SCALES, ADD_ZEROS = (0.0131777, 0.0271333, 0.0310101), (-128, 5, -7)

RESNET_18 = (Layer("resnet_c1", 224, 3, 64, 7, 2), *RESNET)


def _mobilenet() -> tuple[tuple[Layer, int], ...]:
    """MobileNetV2's layers for a picture of 224 x 224, each once, with how often it is used."""
    uses: dict[tuple[int, ...], int] = {}

    def use(size: int, inputs: int, outputs: int, taps: int, stride: int = 1) -> int:
        groups = inputs if taps == 3 and inputs > 3 else 1
        key = size, inputs, outputs, taps, stride, groups
        uses[key] = uses.get(key, 0) + 1
        return -(-size // stride)

    size, channels = use(224, 3, 32, 3, 2), 32
    for widen, outputs, times, first in MOBILENET_STAGES:
        for number in range(times):
            wide = channels * widen
            if widen > 1:
                use(size, channels, wide, 1)
            size = use(size, wide, wide, 3, 1 if number else first)
            use(size, wide, outputs, 1)
            channels = outputs
    use(size, channels, 1280, 1)
    use(1, 1280, 1000, 1)
    return tuple(
        (Layer(f"mobilenet_{number}_{key[0]}x{key[0]}x{key[1]}_{key[2]}", *key), count)
        for number, (key, count) in enumerate(uses.items())
    )


MOBILENET = _mobilenet()


def scaled_kernels(config: Config) -> list[BenchKernel]:
    """The kernels for one configuration with encoding 0.0.3."""
    layers = [*RESNET_18, *(layer for layer, _ in MOBILENET)]
    found = [
        kernel(
            f"{layer.name}_scaled",
            config,
            functools.partial(_spec, layer, config.batch),
            functools.partial(_result, layer),
        )
        for layer in layers
    ]
    return [*found, kernel("residual_add_56x56x64_scaled", config, _residual, _added)]


def _spec(layer: Layer, images: int) -> Spec:
    from vta.compiler.operators import Conv2d, Epilogue

    return Conv2d(
        (images, layer.inputs, layer.size, layer.size),
        (layer.outputs, layer.inputs // layer.groups, layer.taps, layer.taps),
        stride=layer.stride,
        padding=layer.taps // 2,
        groups=layer.groups,
        epilogue=Epilogue(bias=True, scale=True, zero_point=ZERO),
        input_zero_point=ZERO,
    )


def _result(layer: Layer, data: Array, weight: Array, bias: Array, scale: Array) -> Array:
    pad = layer.taps // 2
    sides = ((0, 0), (0, 0), (pad, pad), (pad, pad))
    padded = np.pad(data.astype(np.int16), sides, constant_values=ZERO) - ZERO
    total = layer.sums(padded, weight) + bias.reshape(-1, 1, 1)
    return _requantised(total.astype(np.float32) * scale.reshape(-1, 1, 1), ZERO)


def _requantised(product: Array, zero_point: int) -> Array:
    rounded = np.rint(np.clip(product, -1000, 1000)).astype(np.int64) + zero_point
    found: Array = np.clip(rounded, -128, 127).astype(np.int8)
    return found


def _residual() -> Spec:
    from vta.compiler.operators import ScaledAdd

    return ScaledAdd((1, 64, 56, 56), ADD_SCALES, zero_points=ADD_ZEROS)


def _added(a: Array, b: Array) -> Array:
    scales: Array = np.array(ADD_SCALES, np.float32)
    zeros: Array = np.array(ADD_ZEROS, np.float32)
    total: Array = scales[0] / scales[2] * (a.astype(np.float32) - zeros[0])
    total = total + scales[1] / scales[2] * (b.astype(np.float32) - zeros[1])
    return _requantised(total + zeros[2], 0)
