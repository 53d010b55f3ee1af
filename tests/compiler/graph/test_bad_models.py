"""Files and models that cannot be read give one clear line; what only the host can run says why."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

from tests.compiler.graph.checking import random_inputs, run_on_host, session
from tests.compiler.graph.networks import Net, small_net
from vta.compiler.graph.read_model import read
from vta.errors import NetworkError


def fails(source, match):
    with pytest.raises(NetworkError, match=match) as caught:
        read(source)
    assert "\n" not in str(caught.value)


def floats(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def model_of(nodes, inputs, outputs, constants=(), **more):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(constants))
    opsets = [helper.make_opsetid("", more.get("opset", 17)), *more.get("domains", ())]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def relu(*shape, opset=17):
    return model_of(
        [helper.make_node("Relu", ["x"], ["y"])],
        [floats("x", *shape)],
        [floats("y", *shape)],
        opset=opset,
    )


def test_no_file(tmp_path) -> None:
    fails(tmp_path / "none.onnx", r"none\.onnx cannot be read: No such file")


@pytest.mark.parametrize("data", [b"", b"hello, this is a text\n" * 20, b"\x89PNG\r\n\x1a\n" * 9])
def test_not_an_onnx_file(tmp_path, data) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(data)
    fails(path, r"other\.onnx must be an ONNX")


@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
def test_truncated(tmp_path, part) -> None:
    data = small_net().SerializeToString()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(len(data) * part)])
    fails(path, r"cut\.onnx (must be an ONNX|is not a valid ONNX model)")


def test_missing_external_data(tmp_path) -> None:
    path = tmp_path / "outside.onnx"
    onnx.save(small_net(), path, save_as_external_data=True, location="weights", size_threshold=64)
    assert read(path).nodes
    (tmp_path / "weights").unlink()
    fails(path, r"outside\.onnx needs data from another file, which cannot be read")


@pytest.mark.parametrize("opset", [6, 99])
def test_unsupported_opset(opset) -> None:
    fails(relu(1, 3, opset=opset), rf"opset\) from 7 to \d+, not {opset}$")


def test_operators_that_onnx_does_not_have() -> None:
    model = relu(1, 3)
    model.graph.node[0].op_type = "Rolu"
    fails(model, r"not a valid ONNX model: .*Rolu")


def test_sizes_that_are_not_fixed() -> None:
    fails(relu("n", 3, "h", "w"), r"the input x must have a fixed shape but .*\(1, 3, \?, \?\)")


def test_an_input_without_a_shape() -> None:
    model = relu(1, 3)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    fails(model, "not a valid ONNX model: Field 'shape' of 'type' is required but missing")


def test_shapes_that_cannot_be_inferred() -> None:
    node = helper.make_node("NonZero", ["x"], ["y"])
    output = helper.make_tensor_value_info("y", TensorProto.INT64, (2, None))
    fails(
        model_of([node], [floats("x", 2, 3)], [output]),
        r"the shape of the tensor y, made by \w+ \(NonZero\), cannot be inferred",
    )


def test_the_batch_is_what_was_asked_for() -> None:
    assert read(relu("n", 3)).tensors["y"].shape == (1, 3)
    assert read(relu("n", 3), batch=4).tensors["y"].shape == (4, 3)


def only_region(model):
    """The one node of a model that the host runs, which must compute what the model does."""
    graph = read(model)
    (node,) = graph.nodes
    inputs = random_inputs(graph)
    found = run_on_host(graph, inputs)
    expected = session(model).run(list(graph.outputs), inputs)
    for name, value in zip(graph.outputs, expected, strict=True):
        np.testing.assert_array_equal(found[name], value)
    return node


def test_a_float_network() -> None:
    node = only_region(small_net())
    assert node.op == "cpu"
    assert node.reason.endswith("the network is not quantised; quantise it first (vta quantize)")


def test_control_flow() -> None:
    weight = numpy_helper.from_array(np.float32([2, 3]), "w")
    positive = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["a"])], "yes", [], [floats("a", 1, 2)]
    )
    negative = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["b"])], "no", [], [floats("b", 1, 2)]
    )
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["c"]),
        helper.make_node("If", ["c"], ["y"], then_branch=positive, else_branch=negative),
    ]
    zero = numpy_helper.from_array(np.float32(0), "zero")
    node = only_region(model_of(nodes, [floats("x", 1, 2)], [floats("y", 1, 2)], [weight, zero]))
    assert "If: control flow" in node.reason


def test_dynamic_quantisation(tmp_path) -> None:
    net = Net((2, 8))
    onnx.save(net.model(net.op("MatMul", "x", net.numbers(8, 4))), tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "int8.onnx")
    node = only_region(onnx.load(tmp_path / "int8.onnx"))
    assert "dynamic quantisation, whose scales are known only when" in node.reason


@pytest.mark.parametrize("kind", ["QLinearAdd", "QLinearConcat", "QLinearReduceMean", "QGemm"])
def test_operators_of_onnx_runtime_that_lack_inputs_and_attributes(kind) -> None:
    """ONNX's checker knows nothing of them."""
    node = helper.make_node(kind, ["x", "s", "z"], ["y"], domain="com.microsoft")
    x, y = (helper.make_tensor_value_info(name, TensorProto.INT8, (1, 3)) for name in "xy")
    constants = [
        numpy_helper.from_array(np.float32(0.1), "s"),
        numpy_helper.from_array(np.int8(0), "z"),
    ]
    domains = [helper.make_opsetid("com.microsoft", 1)]
    graph = read(model_of([node], [x], [y], constants, domains=domains, opset=18))
    assert [each.op for each in graph.nodes] == ["cpu"]


def test_operators_of_another_domain() -> None:
    node = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
    domains = [helper.make_opsetid("com.microsoft", 1)]
    model = model_of([node], [floats("x", 1, 3)], [floats("y", 1, 3)], domains=domains)
    assert only_region(model).op == "cpu"
