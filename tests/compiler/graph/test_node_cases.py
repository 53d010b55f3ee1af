"""The onnx package's own cases of operators on int8."""

from __future__ import annotations

import importlib

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.case import node as node_cases

from tests.compiler.graph.checking import run_on_host
from vta.compiler.graph.read_model import read

CASES = {
    "QLinearConv": {"test_qlinearconv": "its weights have a zero point other than 0"},
    "QLinearMatMul": {
        "test_qlinearmatmul_2D_uint8_float32": "its weights have a zero point other than 0",
        "test_qlinearmatmul_3D_uint8_float32": "its weights have a zero point other than 0",
        "test_qlinearmatmul_2D_int8_float32": "its weights have a zero point other than 0",
        "test_qlinearmatmul_3D_int8_float32": "its weights have a zero point other than 0",
        "test_qlinearmatmul_2D_int8_float16": "its scale is float16, not float32",
    },
    "QuantizeLinear": {
        "test_quantizelinear": "",
        "test_quantizelinear_axis": "its activations have a scale for each channel",
        "test_quantizelinear_uint16": "its activations are uint16, not int8 or uint8",
    },
    "DequantizeLinear": {
        "test_dequantizelinear": "",
        "test_dequantizelinear_axis": "its activations have a scale for each channel",
    },
}


def fixed(case):
    """A case's model with all but the first input constant, and what it reads and gives."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    # ONNX Runtime lags behind the onnx package.
    model.opset_import[0].version = min(model.opset_import[0].version, 21)
    ((inputs, outputs),) = case.data_sets
    names = [value.name for value in model.graph.input]
    del model.graph.input[1:]
    for name, value in list(zip(names, inputs, strict=True))[1:]:
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model, {names[0]: inputs[0]}, outputs


def cases_of(kind):
    """The cases of one operator by name; all operators' together take 10 s to make."""
    importlib.import_module(f"{node_cases.__name__}.{kind.lower()}")
    return {case.name: case for case in node_cases._NodeTestCases}


@pytest.mark.parametrize("kind", CASES)
def test_cases_of_an_operator(kind) -> None:
    cases = cases_of(kind)
    for name, reason in CASES[kind].items():
        model, inputs, outputs = fixed(cases[name])
        graph = read(model)
        (node,) = graph.nodes
        assert (node.op == "cpu") == bool(reason), name
        assert reason in node.reason, name
        found = run_on_host(graph, inputs)
        for output, expected in zip(graph.outputs, outputs, strict=True):
            np.testing.assert_array_equal(found[output], expected, name)


@pytest.mark.parametrize("kind", ["QLinearConv", "QLinearMatMul"])
def test_cases_with_weights_without_a_zero_point(kind) -> None:
    """The same cases, with weights that the accelerator takes, and results by hand."""
    names = {
        "QLinearConv": "test_qlinearconv",
        "QLinearMatMul": "test_qlinearmatmul_2D_uint8_float32",
    }
    case = cases_of(kind)[names[kind]]
    model, inputs, _ = fixed(case)
    graph = model.graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    (node,) = graph.node
    x, scale, zero, w, w_scale, w_zero, y_scale, y_zero = node.input
    weights = constants[w].astype(np.int8)
    constants |= {w: weights, w_zero: np.zeros_like(constants[w_zero], np.int8)}
    del graph.initializer[:]
    for value in graph.input:
        if value.name in (w, w_zero):
            value.type.tensor_type.elem_type = onnx.TensorProto.INT8
    graph.initializer.extend(numpy_helper.from_array(v, name) for name, v in constants.items())
    numbers = inputs[x].astype(np.int64) - constants[zero].astype(np.int64)
    if kind == "QLinearConv":
        sums = numbers * int(weights.reshape(-1)[0])
    else:
        sums = numbers @ weights.astype(np.int64)
    factor = constants[scale] * constants[w_scale] / constants[y_scale]
    steps = np.rint(sums.astype(np.float32) * factor.astype(np.float32))
    expected = np.clip(steps + constants[y_zero], 0, 255).astype(np.uint8)
    found = read(model)
    (only,) = found.nodes
    assert only.op == {"QLinearConv": "conv", "QLinearMatMul": "dense"}[kind]
    np.testing.assert_array_equal(run_on_host(found, inputs)[found.outputs[0]], expected)
