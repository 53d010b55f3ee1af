"""Makes a ReLU or Clip that stands alone part of the node before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from vta.compiler.graph.int8_graph import Node, TensorInfo

__all__ = ["merge_bounds"]

BOUNDED = ("conv", "conv_transpose", "dense", "add", "mul", "avg_pool", "requantize")
"""Operations with bounds."""


def merge_bounds(
    nodes: Sequence[Node], tensors: Mapping[str, TensorInfo], outputs: Sequence[str]
) -> tuple[Node, ...]:
    """The nodes without requantisations that only narrow what the node before gives.

    Such a node has the same scale and zero point on both sides, and is the only one that reads.

    Parameters
    ----------
    nodes : sequence of Node
        In order.
    tensors : mapping
    outputs : sequence of str
        The network's outputs, which stay.
    """
    readers = Counter(name for node in nodes for name in node.inputs)
    readers.update(outputs)
    found: dict[str, Node] = {}
    for node in nodes:
        before = found.get(node.inputs[0]) if node.op == "requantize" else None
        if (
            before is not None
            and before.op in BOUNDED
            and readers[node.inputs[0]] == 1
            and _numbers(tensors[node.inputs[0]]) == _numbers(tensors[node.outputs[0]])
        ):
            del found[node.inputs[0]]
            lower, upper = node.attributes["lower"], node.attributes["upper"]
            bounds = {
                name: min(max(before.attributes[name], lower), upper) for name in ("lower", "upper")
            }
            node = replace(
                before,
                outputs=node.outputs,
                attributes={**before.attributes, **bounds},
                sources=(*before.sources, *node.sources),
            )
        for name in node.outputs:
            found[name] = node
    unique = {node.name: node for node in found.values()}
    return tuple(unique.values())


def _numbers(info: TensorInfo) -> tuple[float | None, int, str]:
    return info.scale, info.zero_point, info.dtype
