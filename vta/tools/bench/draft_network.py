"""`Draft`: int8 graphs with random weights, for measurements and tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from vta.compiler.graph.int8_graph import Graph, Node, TensorInfo
from vta.tools.bench.layers import MOBILENET_STAGES

__all__ = ["Draft", "mobilenet_v2", "resnet18"]


class Draft:
    """A graph under construction, with random weights."""

    def __init__(self, name: str, seed: int = 0) -> None:
        self.name = name
        self.rng = np.random.default_rng(seed)
        self.tensors: dict[str, TensorInfo] = {}
        self.nodes: list[Node] = []
        self.inputs: list[str] = []

    def input(self, *shape: int, zero: int = 0, scale: float = 0.02, dtype: str = "int8") -> str:
        name = f"input_{len(self.inputs)}"
        self.inputs.append(name)
        return self._tensor(name, shape, scale, zero, dtype)

    def _tensor(self, name: str, shape: Any, scale: float, zero: int, dtype: str = "int8") -> str:
        self.tensors[name] = TensorInfo(
            name=name,
            shape=tuple(int(size) for size in shape),
            dtype=dtype,
            scale=float(np.float32(scale)),
            zero_point=zero,
        )
        return name

    def node(self, op: str, inputs: list[str], result: Any, /, **options: Any) -> str:
        """A node with one output, whose `scale` and `zero` default to those of its first input."""
        first = self.tensors[inputs[0]]
        name = f"{op}_{len(self.nodes)}"
        output = self._tensor(
            f"{name}_out",
            result,
            options.pop("scale", first.scale),
            options.pop("zero", first.zero_point),
            options.pop("dtype", first.dtype),
        )
        self.nodes.append(
            Node(
                name=name,
                op=op,
                inputs=tuple(inputs),
                outputs=(output,),
                constants=options.pop("constants", {}),
                attributes=options,
            )
        )
        return output

    def _constants(self, shape: tuple[int, ...], outputs: int, fan: int) -> dict[str, Any]:
        rng = self.rng
        return {
            "weight": rng.integers(-127, 128, shape).astype(np.int8),
            "bias": rng.integers(-4000, 4000, outputs).astype(np.int32),
            "scale": (rng.uniform(0.5, 1.5, outputs) / (80 * np.sqrt(fan))).astype(np.float32),
        }

    def conv(
        self,
        x: str,
        channels: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        **options: Any,
    ) -> str:
        images, inputs, height, width = self.tensors[x].shape
        pad = options.pop("pad", kernel // 2)
        padding = options.pop("padding", (pad, pad, pad, pad))
        dilation = options.pop("dilation", 1)
        reach = (kernel - 1) * dilation + 1
        rows = (height + padding[0] + padding[2] - reach) // stride + 1
        columns = (width + padding[1] + padding[3] - reach) // stride + 1
        shape = (channels, inputs // groups, kernel, kernel)
        return self.node(
            "conv",
            [x],
            (images, channels, rows, columns),
            stride=(stride, stride),
            dilation=(dilation, dilation),
            padding=padding,
            groups=groups,
            constants=self._constants(shape, channels, inputs // groups * kernel * kernel),
            **options,
        )

    def conv_transpose(
        self, x: str, channels: int, kernel: int, stride: int, **options: Any
    ) -> str:
        images, inputs, height, width = self.tensors[x].shape
        groups = options.pop("groups", 1)
        padding = options.pop("padding", (0, 0, 0, 0))
        rows = (height - 1) * stride + kernel - padding[0] - padding[2]
        columns = (width - 1) * stride + kernel - padding[1] - padding[3]
        shape = (inputs, channels // groups, kernel, kernel)
        return self.node(
            "conv_transpose",
            [x],
            (images, channels, rows, columns),
            stride=(stride, stride),
            padding=padding,
            output_padding=(0, 0),
            groups=groups,
            dilation=(1, 1),
            constants=self._constants(shape, channels, inputs * kernel),
            **options,
        )

    def dense(self, x: str, outputs: int, **options: Any) -> str:
        rows, inputs = self.tensors[x].shape
        constants = self._constants((outputs, inputs), outputs, inputs)
        return self.node("dense", [x], (rows, outputs), constants=constants, **options)

    def add(self, a: str, b: str, **options: Any) -> str:
        return self.node("add", [a, b], self.tensors[a].shape, **options)

    def pool(self, op: str, x: str, kernel: int, stride: int, pad: int = 0, **options: Any) -> str:
        images, channels, height, width = self.tensors[x].shape
        sizes = [(size + 2 * pad - kernel) // stride + 1 for size in (height, width)]
        return self.node(
            op,
            [x],
            (images, channels, *sizes),
            kernel=(kernel, kernel),
            stride=(stride, stride),
            padding=(pad, pad, pad, pad),
            **{"count_include_pad": True, **options},
        )

    def concat(self, *inputs: str, **options: Any) -> str:
        shapes = [self.tensors[name].shape for name in inputs]
        channels = sum(shape[1] for shape in shapes)
        shape = (shapes[0][0], channels, *shapes[0][2:])
        return self.node("concat", list(inputs), shape, axis=1, **options)

    def flatten(self, x: str) -> str:
        shape = self.tensors[x].shape
        flat = (shape[0], int(np.prod(shape[1:])))
        return self.node("reshape", [x], flat)

    def graph(self, *outputs: str) -> Graph:
        return Graph(
            name=self.name,
            inputs=tuple(self.inputs),
            outputs=outputs,
            tensors=self.tensors,
            nodes=tuple(self.nodes),
        )


def resnet18(size: int = 224, classes: int = 1000) -> Graph:
    """ResNet-18 as quantisers write it: ReLUs in the ranges, uint8's zero point 0 as -128."""
    draft = Draft("resnet18")
    relu: dict[str, Any] = {"zero": -128, "scale": 0.02}
    x = draft.input(1, 3, size, size, zero=-14)
    x = draft.conv(x, 64, 7, stride=2, **relu)
    x = draft.pool("max_pool", x, 3, 2, 1)
    for channels, first in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first, 1):
            y = draft.conv(x, channels, 3, stride=stride, **relu)
            y = draft.conv(y, channels, 3, scale=0.0213, zero=5)
            if stride > 1:
                x = draft.conv(x, channels, stride=stride, scale=0.0227, zero=-7)
            x = draft.add(y, x, zero=-128, scale=0.0251)
    return _classified(draft, x, classes)


def mobilenet_v2(size: int = 224, classes: int = 1000) -> Graph:
    """MobileNetV2 with ReLU6 in the ranges."""
    draft = Draft("mobilenet_v2")
    relu: dict[str, Any] = {"zero": -128, "scale": 0.02353}
    x = draft.input(1, 3, size, size, zero=-14)
    x = draft.conv(x, 32, 3, stride=2, **relu)
    for factor, channels, count, first in MOBILENET_STAGES:
        for number in range(count):
            stride = first if number == 0 else 1
            inputs = draft.tensors[x].shape[1]
            y = draft.conv(x, factor * inputs, **relu) if factor > 1 else x
            y = draft.conv(y, factor * inputs, 3, stride=stride, groups=factor * inputs, **relu)
            y = draft.conv(y, channels, scale=0.0213, zero=5)
            x = draft.add(y, x, scale=0.0251, zero=-3) if number else y
    return _classified(draft, draft.conv(x, 1280, **relu), classes)


def _classified(draft: Draft, x: str, classes: int) -> Graph:
    kernel = draft.tensors[x].shape[2]
    x = draft.pool("avg_pool", x, kernel, kernel, scale=0.01)
    return draft.graph(draft.dense(draft.flatten(x), classes, scale=0.05, zero=3))
