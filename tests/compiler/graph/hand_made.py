"""What an int8 graph must give: numpy alone, nothing of the compiler; and random inputs."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from vta.compiler.graph.int8_graph import Graph, Node, TensorInfo


def random_inputs(graph: Graph, seed: int = 1) -> dict[str, np.ndarray]:
    """Values of each input."""
    found = {}
    for name in graph.inputs:
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        info = graph.tensors[name]
        limits = np.iinfo(info.dtype)
        found[name] = rng.integers(limits.min, limits.max + 1, info.shape).astype(info.dtype)
    return found


def evaluate(graph: Graph, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every tensor of a network, by the definition of each operation."""
    values = dict(inputs)
    for node in graph.nodes:
        arrays = [
            values[name].astype(np.int64) - graph.tensors[name].zero_point for name in node.inputs
        ]
        infos = [graph.tensors[name] for name in node.inputs]
        output = graph.tensors[node.outputs[0]]
        found = EVALUATED[node.op](node, arrays, infos, output)
        low = node.attributes.get("lower", -128) + output.offset
        high = node.attributes.get("upper", 127) + output.offset
        values[output.name] = np.clip(found + output.zero_point, low, high).astype(output.dtype)
    return values


def _scaled(sums: np.ndarray, node: Node) -> np.ndarray:
    channel = (1, -1, *[1] * (sums.ndim - 2))
    sums = sums + node.constants["bias"].astype(np.int64).reshape(channel)
    product = sums.astype(np.float32) * node.constants["scale"].reshape(channel)
    return np.rint(product).astype(np.int64)


def _seen(data: np.ndarray, node: Node, kernel: Any, fill: int = 0) -> np.ndarray:
    """(N, C, OH, OW, KH, KW) for data less its zero point."""
    top, left, bottom, right = node.attributes.get("padding", (0, 0, 0, 0))
    (y, x), (dy, dx) = node.attributes["stride"], node.attributes.get("dilation", (1, 1))
    sides = ((0, 0), (0, 0), (top, bottom), (left, right))
    padded = np.pad(data, sides, constant_values=fill)
    reach = (kernel[0] - 1) * dy + 1, (kernel[1] - 1) * dx + 1
    view = np.lib.stride_tricks.sliding_window_view(padded, reach, (2, 3))
    return view[:, :, ::y, ::x, ::dy, ::dx]


def _conv(node: Node, arrays: Any, infos: Any, output: TensorInfo) -> np.ndarray:
    weight, groups = node.constants["weight"].astype(np.float64), node.attributes["groups"]
    seen = _seen(arrays[0].astype(np.float64), node, weight.shape[2:])
    sums = [
        np.tensordot(part, some, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
        for part, some in zip(np.split(seen, groups, axis=1), np.split(weight, groups), strict=True)
    ]
    return _scaled(np.concatenate(sums, 1).astype(np.int64), node)


def _conv_transpose(node: Node, arrays: Any, infos: Any, output: TensorInfo) -> np.ndarray:
    weight, groups = node.constants["weight"].astype(np.int64), node.attributes["groups"]
    (data,), stride = arrays, node.attributes["stride"][0]
    images, inputs, height, width = data.shape
    each, kernel = weight.shape[1], weight.shape[2]
    full = np.zeros(
        (images, each * groups, (height - 1) * stride + kernel, (width - 1) * stride + kernel),
        np.int64,
    )
    for channel in range(inputs):
        group = channel // (inputs // groups)
        for i in range(height):
            for j in range(width):
                part = full[
                    :,
                    group * each : (group + 1) * each,
                    i * stride : i * stride + kernel,
                    j * stride : j * stride + kernel,
                ]
                part += data[:, channel, i, j][:, None, None, None] * weight[channel]
    top, left, bottom, right = node.attributes["padding"]
    cut = full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]
    return _scaled(cut, node)


def _dense(node: Node, arrays: Any, infos: Any, output: TensorInfo) -> np.ndarray:
    return _scaled(arrays[0] @ node.constants["weight"].astype(np.int64).T, node)


def _add(node: Node, arrays: Any, infos: Any, output: TensorInfo) -> np.ndarray:
    left, right = (
        np.float32(info.scale) / np.float32(output.scale) * array.astype(np.float32)
        for array, info in zip(arrays, infos, strict=True)
    )
    total = left + right + np.float32(output.zero_point)
    return np.rint(total).astype(np.int64) - output.zero_point


def _mul(node: Node, arrays: Any, infos: Any, output: TensorInfo) -> np.ndarray:
    left, right = (np.float32(info.scale) for info in infos)
    product = (arrays[0] * arrays[1]).astype(np.float32)
    return np.rint(product * (left * right / np.float32(output.scale))).astype(np.int64)


def _max_pool(node: Node, arrays: Any, infos: Any, output: TensorInfo) -> np.ndarray:
    return _seen(arrays[0], node, node.attributes["kernel"], -1000).max((4, 5))


def _avg_pool(node: Node, arrays: Any, infos: Any, output: TensorInfo) -> np.ndarray:
    kernel = node.attributes["kernel"]
    sums = _seen(arrays[0], node, kernel).sum((4, 5))
    count: Any = np.float32(kernel[0] * kernel[1])
    if not node.attributes["count_include_pad"]:
        ones = np.ones((1, 1, *arrays[0].shape[2:]), np.int64)
        count = _seen(ones, node, kernel).sum((4, 5)).astype(np.float32)
    scale = np.float32(infos[0].scale) / (np.float32(output.scale) * count)
    return np.rint(sums.astype(np.float32) * scale).astype(np.int64)


def _rescaled(array: np.ndarray, info: TensorInfo, output: TensorInfo) -> np.ndarray:
    real = array.astype(np.float32) * np.float32(info.scale)
    return np.rint(real / np.float32(output.scale)).astype(np.int64)


def _concat(node: Node, arrays: Any, infos: Any, output: TensorInfo) -> np.ndarray:
    parts = [_rescaled(array, info, output) for array, info in zip(arrays, infos, strict=True)]
    return np.concatenate(parts, node.attributes["axis"])


def _requantize(node: Node, arrays: Any, infos: Any, output: TensorInfo) -> np.ndarray:
    return _rescaled(arrays[0], infos[0], output)


def _reshape(node: Node, arrays: Any, infos: Any, output: TensorInfo) -> np.ndarray:
    return arrays[0].reshape(output.shape)


EVALUATED = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "dense": _dense,
    "add": _add,
    "mul": _mul,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "concat": _concat,
    "requantize": _requantize,
    "reshape": _reshape,
}
