"""Each rewrite: a graph before, a graph after, equal in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.graph.checking import session
from tests.compiler.graph.networks import Net
from vta.compiler.graph.fold_float import FLOAT_RULES
from vta.compiler.graph.load_model import load_model
from vta.compiler.graph.onnx_graph import build_model, from_model
from vta.compiler.graph.tidy import RULES, tidy


def after(model, rules, *, exact=True):
    """The operators of a model that is tidied, which must compute the same."""
    graph = from_model(load_model(model))
    tidy(graph, rules)
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    x = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    before = session(model).run(None, x)
    results = session(build_model(graph)).run(None, x)
    for a, b in zip(before, results, strict=True):
        np.testing.assert_allclose(b, a, 0 if exact else 1e-4, 0 if exact else 1e-5)
    return [op.kind for op in graph.ops]


def normalised(net, x, channels):
    numbers = [net.numbers(channels) for _ in range(3)]
    variance = net.constant(np.linspace(0.5, 2, channels, dtype=np.float32))
    return net.op("BatchNormalization", x, *numbers, variance)


@pytest.fixture
def net():
    return Net((1, 4, 6, 6))


def test_identity_and_dropout(net) -> None:
    x = net.op("Identity", net.relu(net.op("Dropout", net.op("Identity", "x"))))
    assert after(net.model(x), RULES) == ["Relu"]


def test_transposes_that_undo_each_other(net) -> None:
    x = net.op("Transpose", "x", perm=[0, 2, 3, 1])
    x = net.relu(net.op("Transpose", x, perm=[0, 3, 1, 2]))
    assert after(net.model(x), RULES) == ["Relu"]


def test_transposes_become_one(net) -> None:
    x = net.op("Transpose", "x", perm=[0, 2, 3, 1])
    x = net.relu(net.op("Transpose", x, perm=[0, 2, 3, 1]))
    assert after(net.model(x), RULES) == ["Transpose", "Relu"]


def test_a_shape_that_is_computed(net) -> None:
    first = net.op("Gather", net.op("Shape", "x"), net.constant(np.int64(0)))
    axes = net.constant(np.int64([0]))
    first = net.op("Unsqueeze", first, axes)
    shape = net.op("Concat", first, net.constant(np.int64([-1])), axis=0)
    assert after(net.model(net.op("Reshape", "x", shape)), RULES) == ["Reshape"]


def test_pad_before_conv(net) -> None:
    pads = net.constant(np.int64([0, 0, 1, 0, 0, 0, 2, 1]))
    x = net.op("Pad", "x", pads)
    assert after(net.model(net.conv(x, 3, pad=[1, 0, 0, 1])), RULES) == ["Conv"]


def test_pad_with_other_numbers_stays(net) -> None:
    pads = net.constant(np.int64([0, 0, 1, 0, 0, 0, 2, 1]))
    x = net.op("Pad", "x", pads, net.constant(np.float32(1)))
    assert after(net.model(net.conv(x, 3)), RULES) == ["Pad", "Conv"]


def test_sum_of_two(net) -> None:
    assert after(net.model(net.op("Sum", "x", net.relu("x"))), RULES) == ["Relu", "Add"]


@pytest.mark.parametrize("bias", [False, True])
def test_normalisation_behind_conv(net, bias) -> None:
    x = normalised(net, net.conv("x", 5, bias=bias), 5)
    assert after(net.model(net.relu(x)), FLOAT_RULES, exact=False) == ["Conv", "Relu"]


def test_normalisation_behind_conv_with_another_reader(net) -> None:
    x = net.conv("x", 5)
    model = net.model(normalised(net, x, 5), net.relu(x))
    assert sorted(after(model, FLOAT_RULES, exact=False)) == ["Conv", "Conv", "Relu"]


def test_normalisation_alone(net) -> None:
    x = normalised(net, net.relu("x"), 4)
    assert after(net.model(x), FLOAT_RULES, exact=False) == ["Relu", "Conv"]


def test_products_and_sums_behind_conv(net) -> None:
    x = net.op("Mul", net.conv("x", 5), net.numbers(5, 1, 1))
    x = net.op("Add", net.numbers(1, 5, 1, 1), x)
    x = net.op("Sub", x, net.constant(np.float32([0.5])))
    x = net.op("Div", x, net.constant(np.float32([[[2]]])))
    assert after(net.model(x), FLOAT_RULES, exact=False) == ["Conv"]


def test_numbers_along_another_axis_stay(net) -> None:
    x = net.op("Mul", net.conv("x", 6), net.numbers(6))
    assert after(net.model(x), FLOAT_RULES, exact=False) == ["Conv", "Mul"]


def test_matmul_and_add_become_gemm(net) -> None:
    x = net.op("MatMul", net.op("Flatten", "x"), net.numbers(144, 7))
    x = net.op("Add", net.numbers(7), x)
    assert after(net.model(x), FLOAT_RULES, exact=False) == ["Flatten", "Gemm"]


def test_a_bias_for_each_row_stays() -> None:
    net = Net((4, 3))
    x = net.op("Gemm", "x", net.numbers(3, 4), net.numbers(4, 1))
    model = net.model(net.op("Mul", x, net.numbers(4)))
    assert after(model, FLOAT_RULES, exact=False) == ["Gemm", "Mul"]


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_pools_that_round_up_for_no_window(net, kind) -> None:
    """The last of 4 windows would start beyond the 6 columns; ONNX Runtime gives 3."""
    shape = {"kernel_shape": [2, 1], "strides": [1, 2], "ceil_mode": 1}
    model = net.model(net.op(kind, "x", **shape))
    graph = from_model(load_model(model))
    tidy(graph, RULES)
    (op,) = graph.ops
    assert op.get("ceil_mode") is None
    assert graph.shape(op.outputs[0]) == (1, 4, 5, 3)
    found = session(build_model(graph)).run(None, {"x": np.zeros((1, 4, 6, 6), np.float32)})
    assert found[0].shape == (1, 4, 5, 3)


def test_pools_that_round_up_for_a_window_stay(net) -> None:
    x = net.op("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    model = net.model(x)
    graph = from_model(load_model(model))
    tidy(graph, RULES)
    assert graph.shape(graph.ops[0].outputs[0]) == (1, 4, 3, 3)
    assert after(model, RULES) == ["MaxPool"]
