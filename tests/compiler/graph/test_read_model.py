"""Quantised models become int8 graphs that compute the same, tensor by tensor."""

from __future__ import annotations

import pytest
from onnxruntime.quantization import QuantFormat, QuantType

from tests.compiler.graph.checking import compare
from tests.compiler.graph.networks import quantise, small_net

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
