"""The shape of every tensor of a model, with a fixed batch."""

from __future__ import annotations

import numpy as np
from onnx import shape_inference

from vta.compiler.graph.int8_forms import MICROSOFT, int8_form
from vta.compiler.graph.onnx_graph import (
    OnnxGraph,
    Op,
    build_model,
    make_op,
    note_shapes,
    tensors_of,
)
from vta.errors import NetworkError

__all__ = ["fix_batch", "infer_shapes"]

SAME_SHAPE = ("QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax")
"""Operators of ONNX Runtime whose result has the shape of their first input."""

KEPT = (
    "axes",
    "axis",
    "auto_pad",
    "ceil_mode",
    "kernel_shape",
    "keepdims",
    "pads",
    "strides",
    "transA",
    "transB",
)
"""Attributes that matter for the shape."""


def fix_batch(graph: OnnxGraph, batch: int) -> None:
    """Sets the first number of each input's shape where it is not fixed.

    Raises
    ------
    NetworkError
        If another number is not fixed, or if there is no shape.
    """
    for name in graph.inputs:
        shape = graph.shapes.get(name)
        if shape is None:
            raise NetworkError(f"the input {name} must have a shape; the model states none")
        if shape and shape[0] in (None, 0, -1):
            shape = (batch, *shape[1:])
        if any(size is None or size < 1 for size in shape):
            sizes = ", ".join("?" if size is None else str(size) for size in shape)
            raise NetworkError(
                f"the input {name} must have a fixed shape but for the batch, not ({sizes})"
            )
        graph.shapes[name] = shape


def infer_shapes(graph: OnnxGraph) -> None:
    """Sets `graph.shapes` and `graph.dtypes` as far as the model's operators tell.

    Raises
    ------
    NetworkError
        If the shapes contradict each other.
    """
    ops = [_stand_in(graph, op) for op in graph.ops]
    # Of operators that ONNX does not define, the model itself may state the shapes.
    kept = {*graph.inputs, *graph.constants, *tensors_of(op for op in ops if op.domain)}
    stated = {
        name: graph.shapes[name]
        for name in tensors_of(op for op in graph.ops if op.domain)
        if name in graph.shapes
    }
    graph.shapes = {name: shape for name, shape in graph.shapes.items() if name in kept}
    model = build_model(graph, ops, only_shapes=True)
    try:
        found = shape_inference.infer_shapes(model, data_prop=True, strict_mode=True)
    except shape_inference.InferenceError:
        # Not all operators have a rule. Without them, what is known must still fit.
        found = shape_inference.infer_shapes(model, data_prop=True)
    note_shapes(graph, found.graph)
    graph.shapes |= {name: shape for name, shape in stated.items() if graph.shape(name) is None}


def _stand_in(graph: OnnxGraph, op: Op) -> Op:
    """An operator of ONNX whose result has the same shape."""
    if op.domain != MICROSOFT:
        return op
    if op.kind in SAME_SHAPE:
        return make_op(op.name, "Identity", op.inputs[:1], op.outputs)
    form = int8_form(op)
    if form is None:
        return op
    inputs = [op.input(index) for index in form.operands_of(op)]
    plain = make_op(op.name, form.kind, inputs, op.outputs)
    plain.attributes = {key: value for key, value in op.attributes.items() if key in KEPT}
    if form.kind == "ReduceMean" and graph.opset >= 18 and "axes" in plain.attributes:
        axes = np.array(plain.attributes.pop("axes").ints, np.int64)
        plain.inputs.append(graph.add_constant(f"{op.name}_axes", axes))
    return plain
