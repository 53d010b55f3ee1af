"""From an ONNX model to numbers: what the machine gives is what the interpreter of ONNX gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings

import vta
from tests.compiler.graph.checking import random_inputs, session
from tests.compiler.graph.large_networks import mobilenet_v2, resnet18, yolo_v3_tiny
from tests.compiler.graph.networks import quantise, small_net
from tests.compiler.graph.onnx_interpreter import Interpreter
from tests.compiler.graph.random_networks import quantised_networks
from vta.compiler.graph.network import compile_network
from vta.compiler.graph.quantise_model import float_graph, quantise_model
from vta.compiler.graph.read_model import read
from vta.config import PRESETS
from vta.net import Net

DIGITS = Path(vta.__file__).parent.parent / "examples" / "digits"


def check(model, preset="tiny", target="sim"):
    """Every tensor that the host sees equals what the model's definition gives."""
    graph = read(model)
    inputs = random_inputs(graph)
    expected = Interpreter(model).run(inputs)
    network = compile_network(graph, PRESETS[preset])
    with Net(network, target=target) as net:
        found = net.run_all(inputs)
    assert {*graph.outputs} <= {*found}
    made = {name for node in model.graph.node for name in node.output}
    for name in found.keys() & made:
        np.testing.assert_array_equal(found[name], expected[name], name)
    return network


@given(quantised_networks())
@settings(max_examples=3)
def test_random_networks(model) -> None:
    check(model)


@pytest.mark.full
@given(quantised_networks())
@settings(max_examples=150)
def test_more_random_networks(model) -> None:
    check(model)


@pytest.mark.parametrize("target", ["sim", "tsim"])
def test_a_small_network(tmp_path, target) -> None:
    network = check(quantise(small_net(), tmp_path), target=target)
    assert len(network.programs) == 1


@pytest.mark.full
@pytest.mark.parametrize("build", [resnet18, mobilenet_v2, yolo_v3_tiny])
def test_a_large_network_with_few_channels(tmp_path, build) -> None:
    arguments = {resnet18: (32, 16, 10), mobilenet_v2: (32, 2, 10), yolo_v3_tiny: (64, 8)}[build]
    check(quantise(build(*arguments), tmp_path), "default")


@pytest.mark.full
def test_accuracy_on_two_thousand_digits(tmp_path) -> None:
    """Within half a point of float32, and the same on the simulator, on the RTL for some."""
    with np.load(Path(__file__).parent / "digits_2000.npz") as file:
        pictures, labels = file["images"], file["labels"]
    with np.load(DIGITS / "digits.npz") as file:
        calibration = file["calibration"]
    images = pictures[:, None].astype(np.float32) / np.float32(255)
    assert len(images) == 2000
    samples = [{"image": each[None, None].astype(np.float32) / 255} for each in calibration]
    quantise_model(float_graph(DIGITS / "digits.onnx"), samples, tmp_path / "int8.onnx")
    graph = read(tmp_path / "int8.onnx")
    network = compile_network(graph, PRESETS["default"])
    with Net(network) as net:
        scores = np.concatenate([net.run(image[None]) for image in images])
    with Net(network, target="tsim") as net:
        some = np.concatenate([net.run(image[None]) for image in images[:200]])
    np.testing.assert_array_equal(some, scores[:200])
    (wanted,) = session(onnx.load(DIGITS / "digits.onnx")).run(None, {"image": images})
    share, float_share = ((each.argmax(1) == labels).mean() for each in (scores, wanted))
    assert float_share >= 0.98
    assert share >= float_share - 0.005
