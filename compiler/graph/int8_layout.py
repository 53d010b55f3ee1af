"""Lets operators that only move numbers work on int8 tensors: ``DequantizeLinear`` goes behind
them, ``QuantizeLinear`` in front. The numbers of all tensors stay the same."""

from __future__ import annotations

from vta.compiler.graph.onnx_graph import OnnxGraph, Op, make_op
from vta.compiler.graph.patterns import IN_PLACE, Patterns
from vta.compiler.graph.quantised_tensors import HostOnlyError, quantised
from vta.compiler.graph.tidy import pads_with_zeros

__all__ = ["move_to_int8"]

MAX_POOL_INT8 = 12
"""Since this version MaxPool takes int8."""


def move_to_int8(graph: OnnxGraph) -> None:
    """Moves as many operators as possible, and drops pairs that change nothing."""
    made: set[str] = set()
    changed = True
    while changed:
        changed = False
        for op in graph.ops:
            # An earlier rewrite of this round may have removed it.
            if any(graph.maker(name) is op for name in op.outputs) and (
                _behind(graph, op, made)
                or _in_front(graph, op, made)
                or _same(graph, op, made)
                or _padded(graph, op)
            ):
                changed = True
    graph.prune()


def _moves(graph: OnnxGraph, op: Op) -> bool:
    return (
        op.is_a(*IN_PLACE)
        and graph.dtypes.get(op.outputs[0]) == "float32"
        and len([name for name in op.outputs if name]) == 1
        and (op.kind != "MaxPool" or graph.opset >= MAX_POOL_INT8)
    )


def _data(op: Op) -> list[str]:
    return op.inputs if op.kind == "Concat" else op.inputs[:1]


def _new(graph: OnnxGraph, name: str, like: str, dtype: str, made: set[str]) -> str:
    """A new int8 tensor with the shape of another, called `name` if nothing else is."""
    name = graph.unused(name)
    graph.dtypes[name] = dtype
    if like in graph.shapes:
        graph.shapes[name] = graph.shapes[like]
    made.add(name)
    return name


def _behind(graph: OnnxGraph, op: Op, made: set[str]) -> bool:
    """DequantizeLinear, then the operator: the other way round."""
    if not _moves(graph, op):
        return False
    makers = [graph.maker(name) for name in _data(op)]
    dequantisers = [maker for maker in makers if maker and maker.is_a("DequantizeLinear")]
    if len(dequantisers) != len(makers):
        return False
    try:
        found = {quantised(graph, each) for each in dequantisers}
    except HostOnlyError:
        return False
    if len(found) != 1 or any(each.input(0) in graph.constants for each in dequantisers):
        return False
    first, result = dequantisers[0], op.outputs[0]
    tensor = _new(graph, f"{result}_quantized", result, found.pop().dtype, made)
    inputs = [each.input(0) for each in dequantisers] + op.inputs[len(makers) :]
    graph.replace(
        op,
        Op(op.name, op.kind, op.domain, inputs, [tensor], op.attributes),
        make_op("", "DequantizeLinear", [tensor, *first.inputs[1:]], [result]),
    )
    return True


def _in_front(graph: OnnxGraph, op: Op, made: set[str]) -> bool:
    """The operator, then QuantizeLinear: the other way round."""
    if not _moves(graph, op) or op.kind == "Concat":
        return False
    reader, source = graph.only_reader(op.outputs[0]), op.input(0)
    if reader is None or not reader.is_a("QuantizeLinear") or graph.only_reader(source) is not op:
        return False
    try:
        dtype = quantised(graph, reader).dtype
    except HostOnlyError:
        return False
    if source in graph.constants or reader.input(0) != op.outputs[0]:
        return False
    tensor = _new(graph, f"{source}_quantized", source, dtype, made)
    graph.remove(reader)
    graph.replace(
        op,
        Op(
            reader.name,
            "QuantizeLinear",
            "",
            [source, *reader.inputs[1:]],
            [tensor],
            reader.attributes,
        ),
        Op(op.name, op.kind, op.domain, [tensor, *op.inputs[1:]], reader.outputs, op.attributes),
    )
    return True


def _same(graph: OnnxGraph, op: Op, made: set[str]) -> bool:
    """DequantizeLinear, then QuantizeLinear with the same scale: neither is needed."""
    maker = graph.maker(op.input(0)) if op.is_a("QuantizeLinear") else None
    if maker is None or not maker.is_a("DequantizeLinear"):
        return False
    old, new = op.outputs[0], maker.input(0)
    try:
        same = quantised(graph, op) == quantised(graph, maker)
    except HostOnlyError:
        return False
    if not same or Patterns(graph).parameters(new) != quantised(graph, op):
        return False
    if new in made and graph.maker(new) is not None and graph.replaceable(new):
        # A tensor of our own takes the model's name.
        graph.remove(op)
        graph.rename(new, old)
        return True
    if not graph.replaceable(old):
        return False
    graph.remove(op)
    graph.redirect(old, new)
    return True


def _padded(graph: OnnxGraph, op: Op) -> bool:
    """DequantizeLinear, a Pad with zeros, QuantizeLinear and DequantizeLinear with the same scale,
    then only convolutions: they read the Pad, which can become part of them."""
    pad = graph.maker(op.input(0)) if op.is_a("QuantizeLinear") else None
    if pad is None or not pad.is_a("Pad") or not pads_with_zeros(graph, pad):
        return False
    before, readers = graph.maker(pad.input(0)), graph.readers(op.outputs[0])
    if before is None or not readers or op.outputs[0] in graph.outputs:
        return False
    if not all(each.is_a("DequantizeLinear") for each in (before, *readers)):
        return False
    results = [reader.outputs[0] for reader in readers]
    users = [user for result in results for user in graph.readers(result)]
    if not all(user.is_a("Conv") for user in users):
        return False
    if not all(graph.replaceable(result) for result in results):
        return False
    try:
        if len({quantised(graph, each) for each in (before, op, *readers)}) != 1:
            return False
    except HostOnlyError:
        return False
    for reader in readers:
        graph.remove(reader)
        graph.redirect(reader.outputs[0], pad.outputs[0])
    return True
