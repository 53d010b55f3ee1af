"""Well-known networks with random weights, and the graphs that the onnx package carries."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import QuantFormat, QuantType

from tests.compiler.graph.checking import compare
from tests.compiler.graph.large_networks import mobilenet_v2, resnet18, yolo_v3_tiny
from tests.compiler.graph.networks import quantise
from vta.compiler.graph.quantise_model import float_graph, quantise_model
from vta.compiler.graph.read_model import read

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
BORDERS = {"quantize": 1, "dequantize": 1}

RESNET = {"conv": 20, "add": 8, "max_pool": 1, "avg_pool": 1, "reshape": 1, "dense": 1, **BORDERS}
MOBILENET = {"conv": 52, "add": 10, "avg_pool": 1, "reshape": 1, "dense": 1, **BORDERS}


@pytest.mark.parametrize(
    ("network", "expected"), [(resnet18(32, 16, 10), RESNET), (mobilenet_v2(32, 2, 10), MOBILENET)]
)
def test_a_network_is_whole_on_the_accelerator(tmp_path, network, expected) -> None:
    found = compare(quantise(network, tmp_path))
    assert Counter(found.ops) == expected
    assert found.ties.total() <= found.values * 1e-4


def test_resnet_of_int8_operators_is_exactly_onnx_runtimes(tmp_path) -> None:
    # With uint8, ONNX Runtime's products saturate on processors without VNNI.
    model = quantise(
        resnet18(32, 16, 10), tmp_path, form=QuantFormat.QOperator, activations=QuantType.QInt8
    )
    found = compare(model)
    assert Counter(found.ops) == RESNET
    assert found.ties.total() == 0


def test_yolo_has_what_the_accelerator_lacks_on_the_host(tmp_path) -> None:
    found = compare(quantise(yolo_v3_tiny(64, 8), tmp_path))
    regions = [node for node in found.graph.nodes if node.op == "cpu"]
    assert Counter(found.ops)["conv"] == 13
    assert {node.reason for node in regions} <= {
        "LeakyRelu: no operation of the accelerator",
        "LeakyRelu, Resize: no operation of the accelerator",
    }
    # Each activation is a region of its own, the last one with the Resize behind it.
    assert len(regions) == 11
    assert sum(len(node.sources) for node in regions) == 24
    assert found.graph.outputs == ("conv_24", "conv_31")


@pytest.mark.full
@pytest.mark.parametrize("build", [resnet18, mobilenet_v2, yolo_v3_tiny])
def test_a_network_at_full_size(tmp_path, build) -> None:
    found = compare(quantise(build(), tmp_path))
    assert found.ties.total() <= found.values * 1e-4


LIGHT_GRAPHS = {
    "bvlc_alexnet": ("prob_1", (1, 1000)),
    "densenet121": ("fc6_1", (1, 1000, 1, 1)),
    "inception_v1": ("prob_1", (1, 1000)),
    "inception_v2": ("prob_1", (1, 1000)),
    "resnet50": ("gpu_0/softmax_1", (1, 1000)),
    "shufflenet": ("gpu_0/softmax_1", (1, 1000)),
    "squeezenet": ("softmaxout_1", (1, 1000, 1, 1)),
    "vgg19": ("prob_1", (1, 1000)),
    "zfnet512": ("gpu_0/softmax_1", (1, 1000)),
}
QUICK = ("squeezenet", "shufflenet")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.full]) for n in LIGHT_GRAPHS]
)
def test_a_float_network_is_one_region(name) -> None:
    graph = read(LIGHT / f"light_{name}.onnx")
    output, shape = LIGHT_GRAPHS[name]
    (node,) = graph.nodes
    assert node.op == "cpu"
    assert "the network is not quantised" in node.reason
    assert node.outputs == graph.outputs == (output,)
    assert graph.tensors[output].shape == shape
    onnx.checker.check_model(onnx.load_from_string(graph.cpu_models[node.name]))


LIGHT_INT8 = {
    "squeezenet": {"conv": 26, "concat": 8, "max_pool": 3, "avg_pool": 1},
    "resnet50": {"conv": 53, "add": 16, "max_pool": 1, "avg_pool": 1, "dense": 1},
    "inception_v2": {"conv": 69, "concat": 10, "max_pool": 5, "avg_pool": 8, "dense": 1},
}
LAYERS = ("conv", "add", "concat", "max_pool", "avg_pool", "dense")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n == "squeezenet" else [pytest.mark.full]) for n in LIGHT_INT8],
)
def test_a_quantised_network_has_only_its_last_layer_on_the_host(tmp_path, name) -> None:
    graph = float_graph(LIGHT / f"light_{name}.onnx")
    rng = np.random.default_rng(0)
    sample = {n: rng.standard_normal(graph.shape(n)).astype(np.float32) for n in graph.inputs}
    quantise_model(graph, [sample], tmp_path / "int8.onnx")
    nodes = read(tmp_path / "int8.onnx").nodes
    found = Counter(node.op for node in nodes)
    assert {op: found[op] for op in LAYERS if found[op]} == LIGHT_INT8[name]
    (host,) = (node for node in nodes if node.op == "cpu")
    assert host.reason.startswith("Softmax: no operation of the accelerator")
