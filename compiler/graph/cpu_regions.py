"""Joins the operators that run in ONNX Runtime into regions, each a model of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vta.compiler.graph.onnx_graph import OnnxGraph, Op, build_model

__all__ = ["Region", "find_regions"]

SHOWN = 4
"""How many reasons a region states."""


@dataclass(frozen=True)
class Region:
    """Operators that run together.

    Attributes
    ----------
    name : str
        Of the first operator.
    inputs, outputs : tuple of str
    sources : tuple of str
        The names of its operators.
    reason : str
    model : bytes
        ONNX.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sources: tuple[str, ...]
    reason: str
    model: bytes


def find_regions(graph: OnnxGraph, reasons: Mapping[str, str]) -> list[Region]:
    """The regions of the operators with these names, each of which has a reason (or none).

    Neighbours join, but no way leads out of a region and back into it. A DequantizeLinear is not
    among the operators: each region has those that it needs.
    """
    ops = graph.ops
    depth: dict[str, int] = {}
    root: dict[str, str] = {}

    def top(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    for op in ops:
        own = op.name in reasons
        before = [maker for name in op.reads if (maker := _maker(graph, name)) is not None]
        # Each change between the host and the accelerator counts.
        depth[op.name] = max(
            (depth[each.name] + ((each.name in reasons) != own) for each in before), default=0
        )
        if own:
            root[op.name] = op.name
            for each in before:
                if each.name in reasons and depth[each.name] == depth[op.name]:
                    root[top(each.name)] = top(op.name)
    groups: dict[str, list[Op]] = {}
    for op in ops:
        if op.name in reasons:
            groups.setdefault(top(op.name), []).append(op)
    return [_region(graph, ops, group, reasons) for group in groups.values()]


def _maker(graph: OnnxGraph, tensor: str) -> Op | None:
    """The operator that makes a tensor, behind a DequantizeLinear if there is one."""
    maker = graph.maker(tensor)
    if maker is not None and maker.is_a("DequantizeLinear"):
        return graph.maker(maker.input(0))
    return maker


def _region(graph: OnnxGraph, ops: list[Op], group: list[Op], reasons: Mapping[str, str]) -> Region:
    names = {op.name for op in group}
    for op in group:
        for tensor in op.reads:
            maker = graph.maker(tensor)
            if maker is not None and maker.is_a("DequantizeLinear"):
                names.add(maker.name)
    inside = [op for op in ops if op.name in names]
    made = {tensor for op in inside for tensor in op.outputs if tensor}
    inputs = [tensor for op in inside for tensor in op.reads]
    outputs = [
        tensor for op in group for tensor in op.outputs if tensor and _leaves(graph, tensor, names)
    ]
    inputs = [name for name in dict.fromkeys(inputs) if name not in made | graph.constants.keys()]
    return Region(
        name=group[0].name,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        sources=tuple(op.name for op in group),
        reason=_reason(group, reasons),
        model=build_model(graph, inside, inputs, outputs).SerializeToString(),
    )


def _leaves(graph: OnnxGraph, tensor: str, names: set[str]) -> bool:
    """Whether something outside of a region reads a tensor that the region makes."""
    if tensor in graph.outputs:
        return True
    for reader in graph.readers(tensor):
        if reader.is_a("DequantizeLinear"):
            result = reader.outputs[0]
            if result in graph.outputs or any(
                each.name not in names for each in graph.readers(result)
            ):
                return True
        elif reader.name not in names:
            return True
    return False


def _reason(group: list[Op], reasons: Mapping[str, str]) -> str:
    kinds: dict[str, list[str]] = {}
    for op in group:
        if reasons[op.name]:
            kinds.setdefault(reasons[op.name], []).append(op.kind)
    texts = [
        f"{', '.join(dict.fromkeys(found))}: {reason}"
        for reason, found in list(kinds.items())[:SHOWN]
    ]
    if len(kinds) > SHOWN:
        texts.append(f"and {len(kinds) - SHOWN} more")
    return "; ".join(texts)
