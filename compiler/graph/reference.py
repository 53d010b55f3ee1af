"""What each node of an int8 graph gives, in numpy: the definition that the accelerator meets.

It also runs nodes that a configuration of the accelerator cannot. It does not need the onnx
package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vta.compiler.graph.int8_graph import Graph, Node, TensorInfo
from vta.errors import NetworkError

__all__ = ["dequantise", "pool_scale", "product_scale", "quantise", "run_graph", "run_node"]

Array = NDArray[Any]
Pair = tuple[int, int]


def quantise(values: Array, info: TensorInfo) -> Array:
    """QuantizeLinear: float32 numbers as int8 or uint8, ties to even."""
    assert info.scale is not None
    limits = np.iinfo(info.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = np.rint(np.asarray(values, np.float32) / np.float32(info.scale))
    # Beyond 2^16 all is clipped anyway; a number that is not one counts as 0.
    whole = np.nan_to_num(np.clip(numbers, -(2**16), 2**16)).astype(np.int64)
    result: Array = np.clip(whole + info.zero_point, limits.min, limits.max).astype(info.dtype)
    return result


def dequantise(values: Array, info: TensorInfo) -> Array:
    """DequantizeLinear: int8 or uint8 numbers as float32."""
    assert info.scale is not None
    centred: Array = (values.astype(np.int32) - info.zero_point).astype(np.float32)
    result: Array = centred * np.float32(info.scale)
    return result


def product_scale(a: float, b: float, result: float) -> np.float32:
    """The scale of a product of two tensors, in float32 step by step."""
    return np.float32(np.float32(a) * np.float32(b)) / np.float32(result)


def pool_scale(data: float, result: float, count: int) -> np.float32:
    """The scale of a sum of `count` numbers whose mean is the result, in float32."""
    return np.float32(data) / (np.float32(result) * np.float32(count))


def run_node(node: Node, inputs: Sequence[Array], tensors: Mapping[str, TensorInfo]) -> Array:
    """The result of a node other than ``cpu``, in the dtype of its output.

    Parameters
    ----------
    node : Node
    inputs : sequence of array
        Of the shapes and dtypes that `tensors` states.
    tensors : mapping
        As in `Graph.tensors`.

    Raises
    ------
    NetworkError
        If the node is a ``cpu`` node, which needs ONNX Runtime, or if its windows have no size.
    """
    result = tensors[node.outputs[0]]
    infos = [tensors[name] for name in node.inputs]
    if node.op == "quantize":
        return quantise(inputs[0], result)
    if node.op == "dequantize":
        return dequantise(inputs[0], infos[0])
    if node.op == "reshape":
        return inputs[0].reshape(result.shape)
    if node.op == "concat":
        return np.concatenate(list(inputs), node.attributes["axis"])
    if node.op == "max_pool":
        return _max_pool(node, inputs[0], result)
    if node.op not in _FORMULAS:
        raise NetworkError(f"the node {node.name} ({node.op}) has no formula; ONNX Runtime runs it")
    centred = [
        values.astype(np.int64) - info.zero_point
        for values, info in zip(inputs, infos, strict=True)
    ]
    numbers = _FORMULAS[node.op](node, centred, infos, result)
    zero = result.int8_zero_point
    # float32 beyond 2^16 is clipped in any case, and fits int64 then.
    whole = np.rint(np.clip(numbers, -(2**16), 2**16)).astype(np.int64) + zero
    lower, upper = node.attributes.get("lower", -128), node.attributes.get("upper", 127)
    clipped: Array = (np.clip(whole, lower, upper) + result.offset).astype(result.dtype)
    return clipped


def run_graph(graph: Graph, inputs: Mapping[str, Array], cpu: Any = None) -> dict[str, Array]:
    """Every tensor of a network.

    Parameters
    ----------
    graph : Graph
    inputs : mapping
        The network's inputs by name.
    cpu : callable, optional
        Called as ``cpu(node, {name: array})`` for nodes with op ``cpu``; gives a sequence of
        arrays, one for each output.
    """
    found = dict(inputs)
    for node in graph.nodes:
        values = [found[name] for name in node.inputs]
        if node.op == "cpu" and cpu is not None:
            results = cpu(node, dict(zip(node.inputs, values, strict=True)))
        else:
            results = [run_node(node, values, graph.tensors)]
        found.update(zip(node.outputs, results, strict=True))
    return found


def _scaled(node: Node, sums: Array, channel_axis: int) -> Array:
    """int32 sums with the bias, times the channels' scales, in float32."""
    shape = [1] * sums.ndim
    shape[channel_axis] = -1
    if "bias" in node.constants:
        sums = sums + node.constants["bias"].astype(np.int64).reshape(shape)
    scale: Array = node.constants["scale"].astype(np.float32)
    return sums.astype(np.int32).astype(np.float32) * scale.reshape(shape)


def _windows(data: Array, kernel: Pair, node: Node, out: Pair, fill: Any) -> Array:
    """(N, C, OH, OW, KH, KW): what each window sees; beyond the data it sees `fill`."""
    top, left, _, _ = node.attributes.get("padding", (0, 0, 0, 0))
    stride, dilation = node.attributes["stride"], node.attributes.get("dilation", (1, 1))
    if min(*kernel, *stride, *dilation) < 1:
        raise NetworkError(f"{node.name}: windows, strides and dilations must be 1 or more")
    reach = [(out[d] - 1) * stride[d] + (kernel[d] - 1) * dilation[d] + 1 for d in range(2)]
    height, width = data.shape[2:]
    below, right = max(reach[0] - top - height, 0), max(reach[1] - left - width, 0)
    padded = np.pad(data, ((0, 0), (0, 0), (top, below), (left, right)), constant_values=fill)
    span = [(kernel[d] - 1) * dilation[d] + 1 for d in range(2)]
    seen = np.lib.stride_tricks.sliding_window_view(padded, span, (2, 3))
    wanted: Array = seen[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    return wanted[:, :, : out[0], : out[1]]


def _conv(node: Node, centred: list[Array], infos: list[TensorInfo], result: TensorInfo) -> Array:
    weight, groups = node.constants["weight"].astype(np.float64), node.attributes["groups"]
    # float64 holds each sum exactly, and is fast.
    data = centred[0].astype(np.float64)
    inputs, outputs = data.shape[1] // groups, weight.shape[0] // groups
    out = (result.shape[2], result.shape[3])
    seen = _windows(data, (weight.shape[2], weight.shape[3]), node, out, 0)
    sums = np.empty(result.shape)
    for group in range(groups):
        own = slice(group * outputs, (group + 1) * outputs)
        part = seen[:, group * inputs : (group + 1) * inputs]
        sums[:, own] = np.tensordot(part, weight[own], ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
    return _scaled(node, sums.astype(np.int64), 1)


def _conv_transpose(
    node: Node, centred: list[Array], infos: list[TensorInfo], result: TensorInfo
) -> Array:
    weight, groups = node.constants["weight"].astype(np.float64), node.attributes["groups"]
    data, stride = centred[0].astype(np.float64), node.attributes["stride"]
    dilation = node.attributes.get("dilation", (1, 1))
    top, left, _, _ = node.attributes["padding"]
    images, channels, height, width = data.shape
    inputs, outputs = channels // groups, weight.shape[1]
    # Room for all that the windows reach and for all of the result, which starts at the padding.
    room = np.zeros(
        (
            images,
            outputs * groups,
            max(height * stride[0] + weight.shape[2] * dilation[0], top + result.shape[2]),
            max(width * stride[1] + weight.shape[3] * dilation[1], left + result.shape[3]),
        )
    )
    for group in range(groups):
        own = slice(group * inputs, (group + 1) * inputs)
        target = room[:, group * outputs : (group + 1) * outputs]
        for y, x in np.ndindex(weight.shape[2], weight.shape[3]):
            part = np.einsum("nihw,io->nohw", data[:, own], weight[own, :, y, x])
            rows = target[:, :, y * dilation[0] :: stride[0], x * dilation[1] :: stride[1]]
            rows[:, :, :height, :width] += part
    sums = room[:, :, top : top + result.shape[2], left : left + result.shape[3]]
    return _scaled(node, sums.astype(np.int64), 1)


def _dense(node: Node, centred: list[Array], infos: list[TensorInfo], result: TensorInfo) -> Array:
    sums = centred[0].astype(np.float64) @ node.constants["weight"].astype(np.float64).T
    return _scaled(node, sums.astype(np.int64), 1)


def _operands(
    node: Node, centred: list[Array], infos: list[TensorInfo]
) -> tuple[list[Array], list[float]]:
    """Both operands of an addition or product without their zero points, and their scales."""
    scales = [float(info.scale or 0) for info in infos]
    if "constant" in node.constants:
        constant = node.constants["constant"].astype(np.int64)
        centred = [*centred, constant - node.attributes["constant_zero_point"]]
        scales.append(node.attributes["constant_scale"])
    return centred, scales


def _add(node: Node, centred: list[Array], infos: list[TensorInfo], result: TensorInfo) -> Array:
    operands, scales = _operands(node, centred, infos)
    left, right = (
        values.astype(np.float32) * (np.float32(scale) / np.float32(result.scale))
        for values, scale in zip(operands, scales, strict=True)
    )
    # The zero point takes part in the rounding of float32; run_node adds it, so it goes off here.
    zero = result.int8_zero_point
    total = left + right + np.float32(zero)
    return np.rint(total).astype(np.float64) - zero


def _mul(node: Node, centred: list[Array], infos: list[TensorInfo], result: TensorInfo) -> Array:
    (a, b), scales = _operands(node, centred, infos)
    assert result.scale is not None
    return (a * b).astype(np.float32) * product_scale(scales[0], scales[1], result.scale)


def _requantize(
    node: Node, centred: list[Array], infos: list[TensorInfo], result: TensorInfo
) -> Array:
    values: Array = centred[0].astype(np.float32) * np.float32(infos[0].scale)
    return values / np.float32(result.scale)


def _avg_pool(
    node: Node, centred: list[Array], infos: list[TensorInfo], result: TensorInfo
) -> Array:
    kernel, out = node.attributes["kernel"], (result.shape[2], result.shape[3])
    data = centred[0]
    sums = _windows(data, kernel, node, out, 0).sum((4, 5))
    ones = np.ones((1, 1, *data.shape[2:]), np.int64)
    if node.attributes.get("count_include_pad"):
        # With ceil, a window may reach beyond the padding, which never counts.
        top, left, bottom, right = node.attributes["padding"]
        ones = np.pad(ones, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=1)
        bare = Node(
            name=node.name,
            op=node.op,
            inputs=(),
            outputs=(),
            attributes={**node.attributes, "padding": (0, 0, 0, 0)},
        )
        counts = _windows(ones, kernel, bare, out, 0).sum((4, 5))
    else:
        counts = _windows(ones, kernel, node, out, 0).sum((4, 5))
    assert infos[0].scale is not None
    assert result.scale is not None
    scales = np.float32(infos[0].scale) / (np.float32(result.scale) * counts.astype(np.float32))
    product: Array = sums.astype(np.float32) * scales
    return product


def _max_pool(node: Node, data: Array, result: TensorInfo) -> Array:
    out = (result.shape[2], result.shape[3])
    least = np.iinfo(data.dtype).min
    seen = _windows(data, node.attributes["kernel"], node, out, least)
    greatest: Array = seen.max((4, 5))
    return greatest


_FORMULAS = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "dense": _dense,
    "add": _add,
    "mul": _mul,
    "requantize": _requantize,
    "avg_pool": _avg_pool,
}
