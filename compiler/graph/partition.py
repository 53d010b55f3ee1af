"""Where each node of a network runs, and the regions: runs of nodes that become one program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vta.compiler.graph.int8_graph import MACHINE_OPS, Graph, Node
from vta.compiler.graph.node_specs import (
    convolution,
    exact_scale,
    pool_spec,
    product_spec,
    sum_spec,
    transposed_convolution,
)
from vta.compiler.graph.tensor_layout import as_image
from vta.compiler.te.dtypes import is_scale
from vta.config import Config
from vta.errors import CompileError

__all__ = ["Group", "partition"]


@dataclass(frozen=True)
class Group:
    """Nodes that run together: on the accelerator, as one program, or one after the other."""

    machine: bool
    nodes: tuple[Node, ...]


def partition(graph: Graph, config: Config) -> tuple[list[Group], dict[str, str]]:
    """The groups in the order in which they run, and each host node's reason by its name.

    A node's level grows by one from a node on the accelerator to one on the host that reads it,
    and the other way round. Nodes of a level depend on one another at most within it, so the
    machine's nodes of a level are a region.
    """
    consumers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            consumers.setdefault(name, []).append(node)
    reasons: dict[str, str] = {}
    levels: dict[str, int] = {}
    groups: dict[int, list[Node]] = {}
    for node in graph.nodes:
        reason = _host_reason(node, graph, config, consumers)
        if reason:
            reasons[node.name] = reason
        parity = 1 if reason else 0
        level = parity
        for name in node.inputs:
            before = levels.get(name, 0)
            level = max(level, before + (before % 2 != parity))
        for name in node.outputs:
            levels[name] = level
        groups.setdefault(level, []).append(node)
    found = [Group(level % 2 == 0, tuple(groups[level])) for level in sorted(groups)]
    return found, reasons


def _host_reason(node: Node, graph: Graph, config: Config, consumers: dict[str, list[Node]]) -> str:
    """Why a node runs on the host; empty if it runs on the accelerator."""
    if node.op not in MACHINE_OPS:
        return node.reason or f"{node.op} runs on the host"
    tensors = [graph.tensors[name] for name in (*node.inputs, *node.outputs)]
    for tensor in tensors:
        if not tensor.quantised or tensor.dtype not in ("int8", "uint8"):
            return node.reason or f"{tensor.name} is not quantised"
        if not tensor.shape or min(tensor.shape) < 1:
            return f"{tensor.name} has the shape {list(tensor.shape)}"
    try:
        return _CHECKS[node.op](node, graph, config, consumers)
    except CompileError as error:
        return str(error)


Consumers = dict[str, list[Node]]


def _bad_scale(node: Node) -> str:
    if not np.all(is_scale(np.asarray(node.constants["scale"], np.float32))):
        return "a scale is 0, negative, or too small for float32"
    return ""


def _conv(node: Node, graph: Graph, config: Config, consumers: Consumers) -> str:
    if len(graph.tensors[node.inputs[0]].shape) != 4:
        return "its data are no images"
    if reason := _bad_scale(node):
        return reason
    spec, _ = convolution(node, graph)
    if spec.core is not spec:
        return "most of its windows see only padding"
    return _misfit(spec.output_shape, node, graph)


def _conv_transpose(node: Node, graph: Graph, config: Config, consumers: Consumers) -> str:
    data = graph.tensors[node.inputs[0]]
    if len(data.shape) != 4:
        return "its data are no images"
    if reason := _bad_scale(node):
        return reason
    spec, _ = transposed_convolution(node, graph)
    return _misfit(spec.output_shape, node, graph)


def _dense(node: Node, graph: Graph, config: Config, consumers: Consumers) -> str:
    shape = graph.tensors[node.inputs[0]].shape
    if len(shape) != 2:
        return f"its data have {len(shape)} dimensions, not 2"
    if shape[1] != node.constants["weight"].shape[1]:
        return "its weights have another number of inputs than its data"
    return _bad_scale(node)


def _add(node: Node, graph: Graph, config: Config, consumers: Consumers) -> str:
    if reason := _shapes(node, graph):
        return reason
    spec = sum_spec(node, graph, config.batch * config.block)
    if differences := spec.constants.differences:
        return f"whole numbers would differ from float32 for {differences} of 65536 pairs"
    return ""


def _mul(node: Node, graph: Graph, config: Config, consumers: Consumers) -> str:
    if reason := _shapes(node, graph):
        return reason
    _, arrays = product_spec(node, graph, (1, config.block))
    return "" if np.all(is_scale(arrays[0])) else "its scale is 0, or too small for float32"


def _shapes(node: Node, graph: Graph) -> str:
    """Whether the operands of an elementwise node have different shapes."""
    wanted = graph.tensors[node.outputs[0]].shape
    shapes = [graph.tensors[name].shape for name in node.inputs]
    if len(shapes) == 1:
        shapes.append(np.broadcast_shapes(node.constants["constant"].shape, shapes[0]))
    return "its operands have different shapes" if set(shapes) != {wanted} else ""


def _pool(node: Node, graph: Graph, config: Config, consumers: Consumers) -> str:
    data, output = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    if len(data.shape) != 4:
        return "its data are no images"
    same = (data.scale, data.zero_point) == (output.scale, output.zero_point)
    if node.op == "max_pool" and not same:
        return "its data and its results have different scales"
    spec, arrays, _ = pool_spec(node, graph, data.shape)
    given = tuple(node.attributes.get("padding", (0, 0, 0, 0)))
    beyond = tuple(spec.padding) != given  # type: ignore[arg-type]
    if node.op == "avg_pool" and beyond and node.attributes.get("count_include_pad"):
        return "windows at the end reach beyond the padding"
    if arrays and not np.all(is_scale(arrays[0])):
        return "a scale is 0, or too small for float32"
    return _misfit(spec.output_shape, node, graph)


def _requantize(node: Node, graph: Graph, config: Config, consumers: Consumers) -> str:
    if exact_scale(graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]) is None:
        return "no scale gives the same result for all 256 values"
    return ""


def _concat(node: Node, graph: Graph, config: Config, consumers: Consumers) -> str:
    output = graph.tensors[node.outputs[0]]
    if node.attributes["axis"] % len(output.shape) != 1:
        return f"it joins on axis {node.attributes['axis']}, not on channels"
    if output.shape[0] > config.batch:
        return "it joins more images than a tile has"
    for name in node.inputs:
        if exact_scale(graph.tensors[name], output) is None:
            return "no scale gives the same result for all 256 values"
    return ""


def _reshape(node: Node, graph: Graph, config: Config, consumers: Consumers) -> str:
    """Only the tiles of an image that stays one need not move."""
    data, output = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    if as_image(data.shape) == as_image(output.shape):
        return ""
    readers = consumers.get(output.name, [])
    flattens = len(output.shape) == 2 and output.shape[0] == data.shape[0] and len(data.shape) <= 4
    if flattens and all(reader.op == "dense" for reader in readers):
        return ""
    return "the values would have to move to other tiles"


def _misfit(shape: Sequence[int], node: Node, graph: Graph) -> str:
    wanted = graph.tensors[node.outputs[0]].shape
    if tuple(shape) != wanted:
        return f"its result would be {list(shape)}, not {list(wanted)}"
    return ""


_CHECKS: dict[str, Callable[[Node, Graph, Config, Consumers], str]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "dense": _dense,
    "add": _add,
    "mul": _mul,
    "max_pool": _pool,
    "avg_pool": _pool,
    "requantize": _requantize,
    "concat": _concat,
    "reshape": _reshape,
}
