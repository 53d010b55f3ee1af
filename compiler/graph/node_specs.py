"""The operators that do a node's work: the specs, and the arrays that they take beside the data."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vta.compiler.graph.int8_graph import Graph, Node, TensorInfo
from vta.compiler.graph.reference import pool_scale, product_scale
from vta.compiler.graph.tensor_layout import as_image
from vta.compiler.operators import (
    AvgPool2d,
    Conv2d,
    Conv2dTranspose,
    Epilogue,
    MaxPool2d,
    Multiply,
    ScaledAdd,
)

__all__ = [
    "convolution",
    "exact_scale",
    "pool_spec",
    "product_spec",
    "rescale",
    "sum_spec",
    "transposed_convolution",
]

Array = NDArray[Any]


def _epilogue(node: Node, output: TensorInfo, *, bias: bool = False) -> Epilogue:
    return Epilogue(
        bias=bias,
        scale=True,
        zero_point=output.int8_zero_point,
        lower=int(node.attributes.get("lower", -128)),
        upper=int(node.attributes.get("upper", 127)),
    )


def _channel_arrays(node: Node, channels: int) -> list[Array]:
    """Bias and scale, one number for each output channel."""
    bias = node.constants.get("bias", np.zeros(channels, np.int32))
    scale = np.asarray(node.constants["scale"], np.float32)
    return [
        np.broadcast_to(np.asarray(bias, np.int32), channels).copy(),
        np.broadcast_to(scale, channels).copy(),
    ]


def convolution(
    node: Node, graph: Graph, image: tuple[int, ...] | None = None
) -> tuple[Conv2d, list[Array]]:
    """The convolution of a ``conv`` node, or of a ``dense`` one on images of shape `image`.

    Returns the spec, and the weights, the bias and the scales.
    """
    data, output = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    weight = node.constants["weight"]
    spec = Conv2d(
        as_image(data.shape) if image is None else image,
        weight.shape,
        stride=node.attributes.get("stride", (1, 1)),
        dilation=node.attributes.get("dilation", (1, 1)),
        padding=node.attributes.get("padding", (0, 0, 0, 0)),
        groups=node.attributes.get("groups", 1),
        epilogue=_epilogue(node, output, bias=True),
        input_zero_point=data.int8_zero_point,
    )
    return spec, [weight, *_channel_arrays(node, weight.shape[0])]


def transposed_convolution(node: Node, graph: Graph) -> tuple[Conv2dTranspose, list[Array]]:
    """The transposed convolution of a node; weights, bias and scales."""
    data, output = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    weight, groups = node.constants["weight"], node.attributes.get("groups", 1)
    spec = Conv2dTranspose(
        data.shape,
        weight.shape,
        stride=node.attributes.get("stride", (1, 1)),
        dilation=node.attributes.get("dilation", (1, 1)),
        padding=node.attributes.get("padding", (0, 0, 0, 0)),
        output_padding=node.attributes.get("output_padding", (0, 0)),
        groups=groups,
        epilogue=_epilogue(node, output, bias=True),
        input_zero_point=data.int8_zero_point,
    )
    return spec, [weight, *_channel_arrays(node, weight.shape[1] * groups)]


def pool_spec(
    node: Node, graph: Graph, shape: tuple[int, ...]
) -> tuple[MaxPool2d | AvgPool2d, list[Array], int]:
    """The pool of a node over data of `shape`, its other arrays, and what padding holds."""
    data, output = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    kernel = node.attributes["kernel"]
    stride = node.attributes.get("stride", (1, 1))
    dilation = node.attributes.get("dilation", (1, 1))
    padding = _reached(shape, as_image(output.shape), node)
    if node.op == "max_pool":
        pool = MaxPool2d(shape, kernel, stride=stride, dilation=dilation, padding=padding)
        return pool, [], 0
    zero = data.int8_zero_point
    average = AvgPool2d(
        shape,
        kernel,
        stride=stride,
        dilation=dilation,
        padding=padding,
        count_include_pad=bool(node.attributes.get("count_include_pad")),
        epilogue=_epilogue(node, output),
        input_zero_point=zero,
    )
    assert data.scale is not None
    assert output.scale is not None
    counts = average.counts
    scales = [pool_scale(data.scale, output.scale, count) for count in counts]
    rows = np.tile(np.array(scales, np.float32)[:, None], (1, shape[1]))
    return average, [rows if len(counts) > 1 else rows[0]], zero


def _reached(
    shape: tuple[int, ...], output: tuple[int, ...], node: Node
) -> tuple[int, int, int, int]:
    """The padding with which the windows give `output`, also where the sizes are rounded up."""
    sides = list(node.attributes.get("padding", (0, 0, 0, 0)))
    for dim in range(2):
        reach = (node.attributes["kernel"][dim] - 1) * node.attributes.get("dilation", (1, 1))[dim]
        last = (output[2 + dim] - 1) * node.attributes.get("stride", (1, 1))[dim] + reach + 1
        sides[2 + dim] = max(sides[2 + dim], last - shape[2 + dim] - sides[dim])
    return sides[0], sides[1], sides[2], sides[3]


def rescale(
    node: Node, graph: Graph, name: str, shape: tuple[int, ...]
) -> tuple[AvgPool2d, list[Array]]:
    """A copy of tensor `name`, of `shape` with all lanes, as the node's output is quantised.

    It is an average of one number, which takes any zero points.
    """
    data, output = graph.tensors[name], graph.tensors[node.outputs[0]]
    scale = exact_scale(data, output)
    assert scale is not None, "the partition keeps others on the host"
    spec = AvgPool2d(
        shape, 1, epilogue=_epilogue(node, output), input_zero_point=data.int8_zero_point
    )
    return spec, [np.full(shape[1], scale, np.float32)]


def exact_scale(data: TensorInfo, output: TensorInfo) -> float | None:
    """The scale with which QNT equals dequantising and quantising, for all 256 numbers.

    None if there is none.
    """
    if data.scale is None or output.scale is None:
        return None
    return _exact_scale(data.scale, data.int8_zero_point, output.scale, output.int8_zero_point)


@functools.lru_cache(maxsize=256)
def _exact_scale(scale: float, zero: int, wanted_scale: float, wanted_zero: int) -> float | None:
    numbers = (np.arange(-128, 128) - zero).astype(np.float32)
    wanted = _rounded(numbers * np.float32(scale) / np.float32(wanted_scale), wanted_zero)
    nearest = np.float32(scale) / np.float32(wanted_scale)
    if not np.isfinite(nearest) or nearest < np.finfo(np.float32).tiny:
        return None
    for ulps in (0, 1, -1, 2, -2):
        tried = (nearest.view(np.int32) + np.int32(ulps)).view(np.float32)
        if (_rounded(numbers * tried, wanted_zero) == wanted).all():
            return float(tried)
    return None


def _rounded(values: NDArray[np.float32], zero: int) -> NDArray[np.float32]:
    rounded: NDArray[np.float32] = np.clip(np.rint(values) + np.float32(zero), -128, 127)
    return rounded


def sum_spec(node: Node, graph: Graph, size: int) -> ScaledAdd:
    """The addition of a node on `size` numbers."""
    output = graph.tensors[node.outputs[0]]
    scales, zero_points = _operand_facts(node, graph)
    assert output.scale is not None
    return ScaledAdd(
        (size,),
        (*scales, output.scale),
        zero_points=(*zero_points, output.int8_zero_point),
        lower=int(node.attributes.get("lower", -128)),
        upper=int(node.attributes.get("upper", 127)),
        whole_blocks=True,
    )


def product_spec(node: Node, graph: Graph, shape: tuple[int, ...]) -> tuple[Multiply, list[Array]]:
    """The product of a node, over data of `shape`, and its scales."""
    output = graph.tensors[node.outputs[0]]
    scales, zero_points = _operand_facts(node, graph)
    assert output.scale is not None
    spec = Multiply(shape, epilogue=_epilogue(node, output), zero_points=zero_points)
    scale = product_scale(*scales, output.scale)
    return spec, [np.full(shape[1], scale, np.float32)]


def _operand_facts(node: Node, graph: Graph) -> tuple[tuple[float, float], tuple[int, int]]:
    """The scales and the zero points of both operands; the second may be a constant."""
    first = graph.tensors[node.inputs[0]]
    assert first.scale is not None
    if len(node.inputs) == 2:
        second = graph.tensors[node.inputs[1]]
        assert second.scale is not None
        return (first.scale, second.scale), (first.int8_zero_point, second.int8_zero_point)
    attributes = node.attributes
    other = float(attributes["constant_scale"]), int(attributes["constant_zero_point"])
    return (first.scale, other[0]), (first.int8_zero_point, other[1])
