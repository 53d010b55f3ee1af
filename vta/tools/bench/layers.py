"""Benchmark streams of the operator library: layers of well-known networks at their full size.

Each has NumPy's result as expectation, and the cycles that the library's model foresees.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vta.image import Segment
from vta.isa import Isa, MemoryType, Opcode
from vta.tools.bench.kernels import BenchKernel

if TYPE_CHECKING:
    from vta.compiler.operators import Operator, Spec
    from vta.config import Config
    from vta.image import Image
    from vta.tools.bench.bound import Bound

__all__ = [
    "DEPTHWISE",
    "MOBILENET_STAGES",
    "RESNET",
    "Layer",
    "accumulator_cycles",
    "kernel",
    "layer_kernel",
    "operator_kernels",
]

Array = NDArray[Any]

SHIFT = 8
"""Of every convolution's epilogue, which adds a bias, shifts and clips."""
SMALL_ACC = 512
"""With fewer tiles of ACC than this a large layer is tens of thousands of instructions."""


@dataclass(frozen=True)
class Layer:
    """A convolution of square images."""

    name: str
    size: int
    inputs: int
    outputs: int
    taps: int
    stride: int = 1
    groups: int = 1

    def spec(self, images: int = 1) -> Spec:
        """The operator, for some images."""
        from vta.compiler.operators import Conv2d, Epilogue

        return Conv2d(
            (images, self.inputs, self.size, self.size),
            (self.outputs, self.inputs // self.groups, self.taps, self.taps),
            stride=self.stride,
            padding=self.taps // 2,
            groups=self.groups,
            epilogue=Epilogue(bias=True, shift=SHIFT),
        )

    def result(self, data: Array, weight: Array, bias: Array) -> Array:
        """What it must give, by NumPy; float64 holds every sum exactly."""
        pad = self.taps // 2
        padded = np.pad(data, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        return _int8(self.sums(padded, weight) + bias.reshape(-1, 1, 1) >> SHIFT)

    def sums(self, padded: Array, weight: Array) -> Array:
        """The products of padded data summed, as int64."""
        padded = padded.astype(np.float64)
        seen = np.lib.stride_tricks.sliding_window_view(padded, (self.taps, self.taps), (2, 3))
        seen = seen[:, :, :: self.stride, :: self.stride]
        if self.groups == 1:
            sums = np.tensordot(seen, weight.astype(np.float64), ((1, 4, 5), (1, 2, 3)))
            sums = sums.transpose(0, 3, 1, 2)
        else:  # depthwise
            sums = np.einsum("nchwyx,cyx->nchw", seen, weight[:, 0].astype(np.float64))
        found: Array = sums.astype(np.int64)
        return found


RESNET = (
    Layer("resnet_c2", 56, 64, 64, 3),
    Layer("resnet_c3", 56, 64, 128, 3, 2),
    Layer("resnet_c4", 56, 64, 128, 1, 2),
    Layer("resnet_c5", 28, 128, 128, 3),
    Layer("resnet_c6", 28, 128, 256, 3, 2),
    Layer("resnet_c7", 28, 128, 256, 1, 2),
    Layer("resnet_c8", 14, 256, 256, 3),
    Layer("resnet_c9", 14, 256, 512, 3, 2),
    Layer("resnet_c10", 14, 256, 512, 1, 2),
    Layer("resnet_c11", 7, 512, 512, 3),
)
"""ResNet-18's convolutions after the first."""

MOBILENET_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""MobileNetV2's stages: by what the channels grow within a block, the channels of its result, how
many blocks, and the stride of the first."""

DEPTHWISE = tuple(
    Layer(
        f"depthwise_{size}x{size}x{channels}" + (f"_s{stride}" if stride > 1 else ""),
        size,
        channels,
        channels,
        3,
        stride,
        channels,
    )
    for size, channels, stride in (
        (112, 32, 1),
        (112, 64, 2),
        (56, 128, 1),
        (56, 128, 2),
        (28, 256, 1),
        (28, 256, 2),
        (14, 512, 1),
        (14, 512, 2),
        (7, 1024, 1),
    )
)
"""MobileNet's depthwise convolutions."""

_RESIDUAL = (1, 64, 56, 56)


def operator_kernels(config: Config) -> list[BenchKernel]:
    """The kernels for one configuration; the small ones alone if its buffers are small."""
    layers = [*RESNET, *DEPTHWISE]
    if config.acc_depth < SMALL_ACC:
        layers = [
            layer
            for layer in layers
            if layer.size <= 14 and layer.taps**2 * layer.inputs // layer.groups <= 256
        ]
    kernels = [layer_kernel(layer, config) for layer in layers]
    if config.acc_depth >= SMALL_ACC:
        kernels.append(kernel("residual_add_56x56x64", config, _residual, _added))
    return kernels


def layer_kernel(layer: Layer, config: Config) -> BenchKernel:
    """One layer as a stream, of a full tile of images: what else is in one is computed too."""
    return kernel(layer.name, config, functools.partial(layer.spec, config.batch), layer.result)


def accumulator_cycles(image: Image, limit: Bound) -> int:
    """What a run asks of the accumulator: GEMM, ALU and the tiles that LOADs bring share its port.

    `limit` is the image's bound, which counts the first two.
    """
    loaded = sum(
        insn.values["x_size"] * insn.values["y_size"]
        for insn in Isa(image.config).decode_stream(image.stream())
        if insn.opcode == Opcode.LOAD and insn.memory_type in (MemoryType.ACC, MemoryType.ACC_8BIT)
    )
    return limit.gemm + limit.alu + loaded


def _residual() -> Spec:
    from vta.compiler.operators import Add

    return Add(_RESIDUAL)


def _added(a: Array, b: Array) -> Array:
    return _int8(a.astype(np.int64) + b)


def _int8(values: Array) -> Array:
    clipped: Array = np.clip(values, -128, 127).astype(np.int8)
    return clipped


def kernel(
    name: str, config: Config, spec: Callable[[], Spec], result: Callable[..., Array]
) -> BenchKernel:
    """An operator as a stream; `result` gives what NumPy makes of its operands."""

    @functools.cache
    def operator() -> Operator:
        return spec().compile(config)

    return BenchKernel(
        name, lambda: _image(operator(), result), predicted=lambda: operator().predicted_cycles
    )


def _image(operator: Operator, result: Callable[..., Array]) -> Image:
    """A run on random operands, and what memory must become."""
    from vta.compiler.operators import pack_data
    from vta.driver.program_image import to_image

    rng = np.random.default_rng(1)
    arrays = [
        rng.integers(-128, 128, operand.shape).astype(np.int8)
        if operand.dtype == "int8"
        else rng.uniform(5e-5, 5e-4, operand.shape).astype(np.float32)
        if operand.dtype == "float32"
        else rng.integers(-9000, 9000, operand.shape).astype(np.int32)
        for operand in operator.spec.operands
    ]
    program = operator.program
    names = [buffer.name for buffer in program.args if buffer.role == "input"]
    image = to_image(program, dict(zip(names, operator.pack(*arrays), strict=True)))
    (output,) = (buffer for buffer in program.args if buffer.role == "output")
    held = [buffer for buffer in program.buffers if buffer.role != "temp" and buffer.nbytes]
    (place,) = (
        segment.addr
        for buffer, segment in zip(held, image.before[1:], strict=True)
        if buffer is output
    )
    expected = result(*arrays)
    if len(arrays) > 2:  # a layer, whose channels are in blocks; sums are plain runs of numbers
        # What is stored for the channels that fill up the last tile: its sums are zero.
        fill = operator.spec.epilogue.zero_point  # type: ignore[attr-defined]
        spare = -expected.shape[1] % operator.config.block
        expected = np.pad(expected, ((0, 0), (0, spare), (0, 0), (0, 0)), constant_values=fill)
        expected = pack_data(expected, operator.config)
    data = np.zeros(output.nbytes, np.uint8)
    data[: expected.nbytes] = np.ascontiguousarray(expected).reshape(-1).view(np.uint8)
    return dataclasses.replace(image, after=(Segment(place, data),))
