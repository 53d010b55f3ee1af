"""Rewrites of a float32 network before it is quantised: what scales and moves the channels of a
convolution's result becomes part of its weights. They change results by rounding only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vta.compiler.graph.onnx_graph import OnnxGraph, Op, make_op
from vta.compiler.graph.tidy import RULES, Rule

__all__ = ["FLOAT_RULES"]

Numbers = NDArray[np.float64]


def fold_affine(graph: OnnxGraph, op: Op) -> bool:
    """BatchNormalization, Mul, Div, Add or Sub with a number for each channel, behind a Conv,
    ConvTranspose or Gemm."""
    found = _source(graph, op)
    if found is None:
        return False
    before, source = found
    shape, weight = graph.shape(op.outputs[0]), graph.constant(before.input(1))
    bias = graph.constant(before.input(2)) if before.input(2) else np.zeros(1, np.float32)
    if shape is None or weight is None or bias is None or graph.shape(source) != shape:
        return False
    if before.is_a("ConvTranspose") and before.get("group", 1) != 1:
        return False
    if before.is_a("Gemm") and (before.get("alpha", 1.0) != 1 or before.get("beta", 1.0) != 1):
        return False
    change = _affine(graph, op, source, len(shape), shape[1])
    if change is None or bias.size not in (1, shape[1]):
        return False
    if bias.ndim > 1 and bias.shape[-1] != bias.size:
        return False  # a Gemm with a number for each row
    factor, shift = change
    outputs_first = before.is_a("Conv") or (before.is_a("Gemm") and bool(before.get("transB", 0)))
    along = [1] * weight.ndim
    along[0 if outputs_first else 1] = -1
    scaled = weight * factor.reshape(along)
    moved = np.broadcast_to(bias.reshape(-1), shape[1:2]) * factor + shift
    names = [
        graph.add_constant(f"{op.outputs[0]}_{what}", value.astype(np.float32))
        for what, value in (("weight", scaled), ("bias", moved))
    ]
    graph.remove(op)
    inputs = [before.input(0), *names]
    graph.replace(
        before, Op(before.name, before.kind, "", inputs, op.outputs[:1], before.attributes)
    )
    return True


def _source(graph: OnnxGraph, op: Op) -> tuple[Op, str] | None:
    """The operator with weights that only `op` reads, and the tensor between them."""
    if op.domain == "":
        for source in op.inputs[: 1 if op.kind == "BatchNormalization" else 2]:
            before = graph.maker(source)
            if before is not None and before.is_a("Conv", "ConvTranspose", "Gemm"):
                return (before, source) if graph.only_reader(source) is op else None
    return None


def _affine(
    graph: OnnxGraph, op: Op, source: str, rank: int, channels: int
) -> tuple[Numbers, Numbers] | None:
    """(C,) factor and (C,) shift of an operator."""
    if op.is_a("BatchNormalization"):
        return _normalisation(graph, op)
    if not op.is_a("Mul", "Div", "Add", "Sub") or len(op.inputs) != 2:
        return None
    if op.is_a("Div", "Sub") and op.input(0) != source:
        return None
    value = graph.constant(op.input(1) if op.input(0) == source else op.input(0))
    if value is None or value.dtype != np.float32 or value.ndim > rank:
        return None
    full = value.reshape((1,) * (rank - value.ndim) + value.shape)
    if full.size not in (1, channels) or full.shape[1] != full.size:
        return None
    numbers = np.broadcast_to(full.reshape(-1), channels).astype(np.float64)
    one, none = np.ones(channels), np.zeros(channels)
    if op.kind == "Div":
        return (1 / numbers, none) if numbers.all() else None
    return {"Mul": (numbers, none), "Add": (one, numbers), "Sub": (one, -numbers)}[op.kind]


def _normalisation(graph: OnnxGraph, op: Op) -> tuple[Numbers, Numbers] | None:
    if op.get("training_mode", 0) or any(graph.readers(name) for name in op.outputs[1:]):
        return None
    found = [graph.constant(name) for name in op.inputs[1:5]]
    numbers = [value.astype(np.float64) for value in found if value is not None]
    if len(numbers) != 4:
        return None
    gamma, beta, mean, variance = numbers
    factor = gamma / np.sqrt(variance + op.get("epsilon", 1e-5))
    return factor, beta - mean * factor


def normalisation_alone(graph: OnnxGraph, op: Op) -> bool:
    """A BatchNormalization of images that has no Conv before it becomes one, with 1x1 windows."""
    shape = graph.shape(op.outputs[0]) if op.is_a("BatchNormalization") else None
    if shape is None or len(shape) != 4 or _source(graph, op) is not None:
        return False
    change = _normalisation(graph, op)
    if change is None:
        return False
    names = [
        graph.add_constant(f"{op.outputs[0]}_{what}", value.astype(np.float32))
        for what, value in (("weight", change[0].reshape(-1, 1, 1, 1)), ("bias", change[1]))
    ]
    inputs = [op.input(0), *names]
    graph.replace(
        op, make_op(op.name, "Conv", inputs, op.outputs[:1], group=shape[1], kernel_shape=[1, 1])
    )
    return True


def product_and_bias(graph: OnnxGraph, op: Op) -> bool:
    """MatMul with a constant matrix, then Add with a number for each column: a Gemm."""
    if not op.is_a("Add"):
        return False
    for source, other in (op.inputs, op.inputs[::-1]):
        before, bias = graph.maker(source), graph.constant(other)
        if before is None or not before.is_a("MatMul") or graph.only_reader(source) is not op:
            continue
        weight, shape = graph.constant(before.input(1)), graph.shape(before.input(0))
        if weight is None or bias is None or shape is None or len(shape) != 2:
            continue
        if weight.ndim == 2 and bias.shape in (weight.shape[1:], (1, weight.shape[1])):
            name = graph.add_constant(f"{op.outputs[0]}_bias", bias.reshape(-1))
            graph.remove(op)
            graph.replace(before, make_op(before.name, "Gemm", [*before.inputs, name], op.outputs))
            return True
    return False


FLOAT_RULES: tuple[Rule, ...] = (*RULES, fold_affine, product_and_bias, normalisation_alone)
