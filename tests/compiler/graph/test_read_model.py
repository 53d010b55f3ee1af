"""Quantised models become int8 graphs that compute the same, tensor by tensor."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from onnxruntime.quantization import QuantFormat, QuantType

from tests.compiler.graph.checking import compare
from tests.compiler.graph.networks import Net, quantise, small_net

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
