"""Quantised models become int8 graphs that compute the same, tensor by tensor."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType

from tests.compiler.graph.checking import compare
from tests.compiler.graph.networks import Net, quantise, small_net
from vta.compiler.graph.read_model import read

SMALL_NET = [
    "quantize",
    "conv",
    "max_pool",
    "conv",
    "conv",
    "add",
    "avg_pool",
    "reshape",
    "dense",
    "dequantize",
]


@pytest.mark.parametrize("activations", [QuantType.QUInt8, QuantType.QInt8])
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_small_network_in_qdq_form(tmp_path, activations, per_channel) -> None:
    model = quantise(small_net(), tmp_path, activations=activations, per_channel=per_channel)
    found = compare(model)
    assert found.ops == SMALL_NET
    assert found.ties.total() <= 2


def test_a_small_network_of_int8_operators(tmp_path) -> None:
    # With uint8, ONNX Runtime's products saturate on processors without VNNI.
    model = quantise(small_net(), tmp_path, form=QuantFormat.QOperator, activations=QuantType.QInt8)
    found = compare(model)
    assert found.ops == SMALL_NET
    assert found.ties.total() == 0


@pytest.mark.parametrize("activations", [QuantType.QUInt8, QuantType.QInt8])
def test_inputs_and_outputs_may_be_int8(tmp_path, activations) -> None:
    model = quantise(small_net(), tmp_path, activations=activations)
    graph = model.graph
    (first,) = (node for node in graph.node if "x" in node.input)
    last = next(node for node in graph.node if graph.output[0].name in node.output)
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(activations.name[1:].lower()))
    graph.input[0].CopyFrom(helper.make_tensor_value_info(first.output[0], dtype, (1, 3, 16, 16)))
    graph.output[0].CopyFrom(helper.make_tensor_value_info(last.input[0], dtype, (1, 10)))
    graph.node.remove(first)
    graph.node.remove(last)
    found = compare(model)
    assert found.ops == SMALL_NET[1:-1]
    assert found.graph.tensors[first.output[0]].scale is not None


def test_a_pad_becomes_part_of_the_convolution(tmp_path) -> None:
    net = Net((1, 3, 8, 8))
    x = net.relu(net.conv("x", 5))
    x = net.op("Pad", x, net.constant(np.int64([0, 0, 1, 0, 0, 0, 2, 1])))
    found = compare(quantise(net.model(net.conv(x, 4, pad=0)), tmp_path), interpret=False)
    assert found.ops == ["quantize", "conv", "conv", "dequantize"]
    assert found.graph.nodes[2].attributes["padding"] == (1, 0, 2, 1)


def test_a_pad_before_something_else_stays(tmp_path) -> None:
    net = Net((1, 3, 8, 8))
    x = net.relu(net.conv("x", 5))
    x = net.op("Pad", x, net.constant(np.int64([0, 0, 1, 0, 0, 0, 2, 1])))
    found = compare(quantise(net.model(net.max_pool(x)), tmp_path), interpret=False)
    assert found.ops == ["quantize", "conv", "cpu", "max_pool", "dequantize"]


def test_products_of_more_dimensions(tmp_path) -> None:
    net = Net((2, 3, 8))
    x = net.op("MatMul", "x", net.numbers(8, 5))
    found = compare(quantise(net.model(x), tmp_path))
    assert found.ops == ["quantize", "reshape", "dense", "reshape", "dequantize"]


def test_bounds_of_an_activation_that_is_quantised_alone(tmp_path) -> None:
    """A ReLU6 with a scale of its own narrows what the node before it gives."""
    net = Net((1, 3, 8, 8))
    x = net.clip6(net.conv("x", 5))
    found = compare(
        quantise(net.model(net.conv(x, 4)), tmp_path, activations=QuantType.QInt8, symmetric=True)
    )
    assert found.ops == ["quantize", "conv", "conv", "dequantize"]
    first = found.graph.nodes[1]
    scale = found.graph.tensors[first.outputs[0]].scale
    assert (first.attributes["lower"], first.attributes["upper"]) == (0, min(127, round(6 / scale)))


def rename(model, **names):
    """Gives tensors and nodes other names."""
    for node in model.graph.node:
        node.name = names.get(node.name, node.name)
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]
    return model


def test_a_quantised_tensor_that_has_the_name_of_a_new_one(tmp_path) -> None:
    """Concat moves to int8 with the scale of its operands; the result has another scale."""
    net = Net((1, 3, 8, 8))
    x = net.relu(net.conv("x", 5))
    x = net.op("Concat", x, x, axis=1, channels=10)
    model = quantise(net.model(net.conv(x, 4, bias=False)), tmp_path)
    (scale,) = (each for each in model.graph.initializer if each.name == f"{x}_scale")
    scale.CopyFrom(numpy_helper.from_array(np.float32(0.05), scale.name))
    compare(rename(model, **{f"{x}_QuantizeLinear_Output": f"{x}_quantized"}))


def test_nodes_that_have_the_names_of_new_ones(tmp_path) -> None:
    net = Net((2, 3, 8))
    x = net.op("MatMul", "x", net.numbers(8, 5))
    y = net.op("LeakyRelu", x, alpha=0.1)
    model = quantise(net.model(net.op("LeakyRelu", y, alpha=0.2)), tmp_path)
    product = f"{x}_QuantizeLinear_Output_product"
    names = {f"n_{y}": f"n_{x}_rows", f"{y}_QuantizeLinear_Output": product}
    found = compare(rename(model, **names))
    assert found.ops.count("dense") == 1
    assert len({node.name for node in found.graph.nodes}) == len(found.graph.nodes)


def with_weights(model, change):
    """The model with other weights: `change` gives new values and the zero point."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            values, _, zero = (constants[name] for name in makers[node.input[1]].input)
            array = numpy_helper.to_array(values)
            new, point = change(array)
            points = np.full(numpy_helper.to_array(zero).shape, point, new.dtype)
            values.CopyFrom(numpy_helper.from_array(new, values.name))
            zero.CopyFrom(numpy_helper.from_array(points, zero.name))
    return model


def test_uint8_weights_with_the_middle_as_zero_are_int8(tmp_path) -> None:
    model = quantise(small_net(), tmp_path)
    wanted = [node.constants["weight"] for node in read(model).nodes if "weight" in node.constants]
    changed = with_weights(model, lambda w: ((w.astype(np.int16) + 128).astype(np.uint8), 128))
    found = compare(changed)
    assert found.ops == SMALL_NET
    weights = [node.constants["weight"] for node in found.graph.nodes if node.constants]
    for a, b in zip(weights, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_with_another_zero_point_run_on_the_host(tmp_path) -> None:
    model = with_weights(quantise(small_net(), tmp_path), lambda w: (w, 3))
    found = compare(model, interpret=False)
    reasons = [node.reason for node in found.graph.nodes if node.op == "cpu"]
    assert len(reasons) == 3
    assert all("its weights have a zero point other than 0" in reason for reason in reasons)


def test_a_float_bias_is_rounded_to_units_of_the_products(tmp_path) -> None:
    model = quantise(small_net(), tmp_path)
    makers = {node.output[0]: node for node in model.graph.node}
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    value, scale, _ = (
        numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == name))
        for name in makers[conv.input[2]].input
    )
    bias = (value + 0.3) * scale.astype(np.float64)
    model.graph.initializer.append(numpy_helper.from_array(bias.astype(np.float32), "real"))
    conv.input[2] = "real"
    first = read(model).nodes[1]
    np.testing.assert_array_equal(first.constants["bias"], value)
