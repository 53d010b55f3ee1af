"""ONNX models, compiled and run: each tensor is what the formulas and ONNX Runtime give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime.quantization import QuantFormat, QuantType

from tests.compiler.graph.checking import random_inputs, run_on_host
from tests.compiler.graph.large_networks import mobilenet_v2, resnet18, yolo_v3_tiny
from tests.compiler.graph.networks import quantise
from tests.compiler.graph.random_networks import quantised_networks
from tests.compiler.graph.test_network import config
from vta.compiler.graph.network import compile_network
from vta.compiler.graph.network_file import Network
from vta.compiler.graph.read_model import read
from vta.net import Net


def check(model: Any, name: str = "tiny", *, keep: bool = True) -> Network:
    """Compiles a model, runs it, and compares every tensor that the host sees."""
    graph = read(model)
    values = random_inputs(graph)
    expected = run_on_host(graph, values)
    network = compile_network(graph, config(name), keep=keep)
    with Net(network) as net:
        found = net.run_all(values)
    for tensor, array in found.items():
        if array.dtype.kind == "f":
            np.testing.assert_allclose(array, expected[tensor], 1e-5, 1e-6, err_msg=tensor)
        else:
            np.testing.assert_array_equal(array, expected[tensor], tensor)
    return network


def on_the_host(network: Network) -> set[str]:
    """The operations that do not run on the accelerator."""
    return {row["op"] for row in network.report["rows"] if row["where"] == "host"}


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_resnet(tmp_path: Path, form: QuantFormat) -> None:
    model = quantise(resnet18(32, 8, 10), tmp_path, form=form, activations=QuantType.QInt8)
    network = check(model)
    assert on_the_host(network) == {"quantize", "dequantize"}
    assert len(network.programs) == 1


def test_mobilenet_of_uint8(tmp_path: Path) -> None:
    network = check(quantise(mobilenet_v2(32, 8, 10), tmp_path), keep=False)
    assert on_the_host(network) == {"quantize", "dequantize"}
    assert len(network.programs) == 1


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_yolo_in_parts(tmp_path: Path, form: QuantFormat) -> None:
    network = check(quantise(yolo_v3_tiny(64, 8), tmp_path, form=form), keep=False)
    assert on_the_host(network) == {"quantize", "dequantize", "cpu"}
    reasons = {row["why"] for row in network.report["rows"] if row["op"] == "cpu"}
    assert all("LeakyRelu" in reason for reason in reasons)


@given(quantised_networks(), st.booleans())
@settings(max_examples=4)
def test_random_models(model: Any, keep: bool) -> None:
    check(model, keep=keep)


@pytest.mark.full
@given(quantised_networks(), st.sampled_from(["default", "tiny", "small", "batch4"]), st.booleans())
@settings(max_examples=200)
def test_more_random_models(model: Any, name: str, keep: bool) -> None:
    check(model, name, keep=keep)


@pytest.mark.full
@pytest.mark.parametrize("build", [resnet18, mobilenet_v2, yolo_v3_tiny])
def test_models_at_full_size(tmp_path: Path, build: Any) -> None:
    check(quantise(build(), tmp_path), "default", keep=False)
