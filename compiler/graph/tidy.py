"""Makes a model simpler without changing what it computes: small rewrites, each a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import numpy_helper, reference

from vta.compiler.graph.infer_shapes import infer_shapes
from vta.compiler.graph.onnx_graph import OnnxGraph, Op, build_model, make_op

__all__ = ["RULES", "Rule", "pads_with_zeros", "tidy"]

LARGEST = 1 << 24
"""Results of more numbers are not computed in advance."""

KEPT = ("DequantizeLinear", "RandomNormal", "RandomUniform", "Multinomial", "Bernoulli")
"""Operators that stay even if all that they read is constant."""

Rule = Callable[[OnnxGraph, Op], bool]


def tidy(graph: OnnxGraph, rules: Sequence[Rule] | None = None) -> None:
    """Applies rewrites until none applies, and infers the shapes.

    By default the rewrites are those that change no number of any tensor.
    """
    for _ in range(4):
        infer_shapes(graph)
        if not _sweep(graph, RULES if rules is None else rules):
            break
    graph.prune()


def _sweep(graph: OnnxGraph, rules: Sequence[Rule]) -> bool:
    any_change, changed = False, True
    while changed:
        changed = False
        for op in graph.ops:
            for rule in rules:
                if graph.maker(op.outputs[0]) is op and rule(graph, op):
                    changed = any_change = True
                    break
    graph.prune()
    return any_change


def fold_constants(graph: OnnxGraph, op: Op) -> bool:
    """An operator whose operands are constant becomes a constant, and so does Shape."""
    if op.domain or op.kind in KEPT or op.captured or any(x in graph.outputs for x in op.outputs):
        return False
    if op.kind == "Shape":
        shape = graph.shape(op.input(0))
        if shape is None:
            return False
        whole = np.array(shape, np.int64)
        values: list[Any] = [whole[slice(op.get("start", 0), op.get("end"))]]
    elif op.kind == "Constant":
        values = [_constant_value(op)]
        if values[0] is None:
            return False
    elif any(name and name not in graph.constants for name in op.inputs):
        return False
    else:
        size = graph.shape(op.outputs[0])
        if size is not None and int(np.prod(size, dtype=np.float64)) > LARGEST:
            return False
        if any(attribute.HasField("g") for attribute in op.attributes.values()):
            return False
        try:
            model = build_model(graph, [op], [], [name for name in op.outputs if name])
            values = list(reference.ReferenceEvaluator(model).run(None, {}))
        except Exception:
            # The operator stays; whoever runs the network says what is wrong with it.
            return False
    graph.remove(op)
    for name, value in zip((name for name in op.outputs if name), values, strict=False):
        graph.constants[name] = np.asarray(value)
        graph.shapes[name] = graph.constants[name].shape
        graph.dtypes[name] = graph.constants[name].dtype.name
    return True


def _constant_value(op: Op) -> Any:
    if "value" in op.attributes:
        return numpy_helper.to_array(op.attributes["value"].t)
    for name, dtype in (("float", np.float32), ("int", np.int64)):
        for key in (f"value_{name}", f"value_{name}s"):
            if key in op.attributes:
                return np.array(op.get(key), dtype)
    return None


def drop_identity(graph: OnnxGraph, op: Op) -> bool:
    """Identity, Dropout and what else gives back what it reads."""
    if not op.is_a("Identity", "Dropout", "Cast", "Pad", "Concat", "Transpose", "Reshape"):
        return False
    source, result = op.input(0), op.outputs[0]
    if len(op.outputs) > 1 and any(graph.readers(name) for name in op.outputs[1:]):
        return False
    if not _does_nothing(graph, op):
        return False
    return replace_tensor(graph, op, source, result)


def _does_nothing(graph: OnnxGraph, op: Op) -> bool:
    before, after = graph.shape(op.input(0)), graph.shape(op.outputs[0])
    if op.kind == "Identity":
        return True
    if op.kind == "Dropout":
        training = graph.constant(op.input(2)) if op.input(2) else np.array(False)
        return training is not None and not training.any()
    if op.kind == "Cast":
        dtypes = [graph.dtypes.get(name) for name in (op.input(0), op.outputs[0])]
        return dtypes[0] is not None and dtypes[0] == dtypes[1]
    if op.kind == "Concat":
        return len(op.inputs) == 1
    if op.kind == "Transpose":
        order = op.get("perm")
        return order is not None and list(order) == sorted(order)
    if before is None or before != after:
        return False
    pads = _pads(graph, op) if op.kind == "Pad" else None
    return op.kind == "Reshape" or (pads is not None and not any(pads))


def replace_tensor(graph: OnnxGraph, op: Op, source: str, result: str) -> bool:
    """Removes an operator whose result equals `source`."""
    if graph.replaceable(result):
        graph.remove(op)
        graph.redirect(result, source)
        return True
    if graph.maker(source) is None or not graph.replaceable(source) or result not in graph.outputs:
        return False
    # The network's output keeps its name.
    graph.remove(op)
    graph.rename(source, result)
    return True


def _pads(graph: OnnxGraph, op: Op) -> list[int] | None:
    """The amounts of a Pad along all axes; None if they are not constant."""
    if op.input(3):
        return None
    if not op.input(1):
        return list(op.get("pads") or op.get("paddings") or []) or None
    value = graph.constant(op.input(1))
    return None if value is None else [int(each) for each in value]


def merge_transposes(graph: OnnxGraph, op: Op) -> bool:
    """Two transposes in a row are one."""
    first = graph.maker(op.input(0)) if op.is_a("Transpose") else None
    if first is None or not first.is_a("Transpose") or not first.get("perm") or not op.get("perm"):
        return False
    order = [first.get("perm")[axis] for axis in op.get("perm")]
    graph.replace(op, make_op(op.name, "Transpose", first.inputs, op.outputs, perm=order))
    return True


def transpose_weights(graph: OnnxGraph, op: Op) -> bool:
    """A Transpose of quantised weights happens before DequantizeLinear, and so in advance."""
    source = graph.maker(op.input(0)) if op.is_a("Transpose") else None
    if source is None or not source.is_a("DequantizeLinear"):
        return False
    value, scale = graph.constant(source.input(0)), graph.constant(source.input(1))
    if value is None or scale is None or source.get("block_size", 0):
        return False
    order = [int(axis) for axis in op.get("perm") or range(value.ndim)[::-1]]
    axis = order.index(int(source.get("axis", 1)) % value.ndim) if scale.size > 1 else None
    name = graph.add_constant(f"{op.outputs[0]}_weights", value.transpose(order))
    graph.replace(
        op, make_op(op.name, "DequantizeLinear", [name, *source.inputs[1:]], op.outputs, axis=axis)
    )
    return True


def pads_with_zeros(graph: OnnxGraph, op: Op) -> bool:
    """Whether a Pad adds zeros."""
    fill = graph.constant(op.input(2)) if op.input(2) else np.array(op.get("value", 0.0))
    return op.get("mode", "constant") == "constant" and fill is not None and not fill.any()


def fold_pad(graph: OnnxGraph, op: Op) -> bool:
    """A Pad with zeros in front of a Conv is the Conv's padding."""
    pad = graph.maker(op.input(0)) if op.is_a("Conv") else None
    if pad is None or not pad.is_a("Pad") or not pads_with_zeros(graph, pad):
        return False
    pads = _pads(graph, pad)
    if pads is None or min(pads) < 0:
        return False
    rank = len(pads) // 2
    if rank < 3 or any(pads[axis] or pads[rank + axis] for axis in (0, 1)):
        return False
    if op.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return False
    own = op.get("pads") or [0] * (2 * rank - 4)
    more = pads[2:rank] + pads[rank + 2 :]
    attributes = {key: op.get(key) for key in op.attributes if key not in ("pads", "auto_pad")}
    graph.replace(
        op,
        make_op(
            op.name,
            "Conv",
            [pad.input(0), *op.inputs[1:]],
            op.outputs,
            pads=[a + b for a, b in zip(own, more, strict=True)],
            **attributes,
        ),
    )
    return True


def sum_of_two(graph: OnnxGraph, op: Op) -> bool:
    """A Sum of two tensors is an Add."""
    if not op.is_a("Sum") or len(op.inputs) != 2:
        return False
    graph.replace(op, make_op(op.name, "Add", op.inputs, op.outputs))
    return True


def round_down(graph: OnnxGraph, op: Op) -> bool:
    """A pool that rounds its size up, but gets no window by that: it rounds down.

    A window that would start beyond the data and the padding before it does not count. Before
    version 22 of the operators ONNX's inference of shapes counts it; ONNX Runtime never does.
    """
    if not op.is_a("MaxPool", "AveragePool") or not op.get("ceil_mode", 0):
        return False
    shape, kernel = graph.shape(op.input(0)), op.get("kernel_shape")
    if shape is None or op.get("auto_pad", "NOTSET") != "NOTSET":
        return False
    dims = len(kernel)
    pads, strides = op.get("pads") or [0] * 2 * dims, op.get("strides") or [1] * dims
    dilations = op.get("dilations") or [1] * dims
    for d, size in enumerate(shape[2:]):
        room = size + pads[d] + pads[dims + d] - (kernel[d] - 1) * dilations[d] - 1
        last = -(-room // strides[d]) * strides[d]
        if room % strides[d] and last < size + pads[d]:
            return False
    attributes = {key: op.get(key) for key in op.attributes if key != "ceil_mode"}
    graph.replace(op, make_op(op.name, op.kind, op.inputs, op.outputs, **attributes))
    return True


RULES: tuple[Rule, ...] = (
    fold_constants,
    drop_identity,
    merge_transposes,
    transpose_weights,
    fold_pad,
    sum_of_two,
    round_down,
)
