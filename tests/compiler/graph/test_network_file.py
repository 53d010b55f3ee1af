"""A network's file: what was saved comes back, and nothing else is opened."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, load_model_from_string, save_model

from tests.compiler.graph.hand_made import evaluate, random_inputs
from tests.compiler.graph.test_network import config
from vta.compiler.graph.embedded_model import check_embedded_model
from vta.compiler.graph.int8_graph import Graph
from vta.compiler.graph.network import compile_network
from vta.compiler.graph.network_file import Network
from vta.errors import NetworkError, ProgramError
from vta.net import Net
from vta.tools.bench.draft_network import Draft


def graph() -> Graph:
    draft = Draft("file")
    x = draft.input(1, 3, 8, 8, zero=-3)
    y = draft.conv(x, 16, 3, zero=4)
    return draft.graph(draft.node("concat", [y, y], (1, 16, 16, 8), axis=2))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "model.vta"
    compile_network(graph(), config("tiny")).save(path)
    return path


def test_it_comes_back(saved: Path) -> None:
    network = Network.load(saved)
    made = graph()
    values = random_inputs(made)
    with Net(network) as net:
        found = net.run(values)
    np.testing.assert_array_equal(found, evaluate(made, values)[made.outputs[0]])


def test_it_has_no_pickles(saved: Path) -> None:
    with np.load(saved, allow_pickle=False) as arrays:
        assert all(arrays[name].dtype.kind in "iuf" for name in arrays.files)


def test_every_truncation_is_one_line(saved: Path, tmp_path: Path) -> None:
    raw = saved.read_bytes()
    for size in (0, 10, len(raw) // 2, len(raw) - 1):
        path = tmp_path / "cut.vta"
        path.write_bytes(raw[:size])
        with pytest.raises(NetworkError, match=r"^\S*cut.vta: [^\n]*$"):
            Network.load(path)


def test_every_flip_is_one_line_or_harmless(saved: Path, tmp_path: Path) -> None:
    raw = saved.read_bytes()
    rng = np.random.default_rng(3)
    refused = 0
    for place in rng.integers(0, len(raw), 60):
        changed = bytearray(raw)
        changed[place] ^= 1 << int(rng.integers(8))
        path = tmp_path / "flip.vta"
        path.write_bytes(bytes(changed))
        if message := _refusal(path):
            assert "\n" not in message
            assert str(path) in message
            refused += 1
    assert refused > 30


def _refusal(path: Path) -> str:
    """Why a file is refused; empty if it is not."""
    try:
        Network.load(path)
    except NetworkError as error:
        return str(error)
    return ""


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="cannot be read"):
        Network.load(tmp_path / "none.vta")


def test_another_configuration_is_refused(saved: Path) -> None:
    from vta.driver.simulated import SimDevice

    with (
        SimDevice(config("default")) as device,
        pytest.raises(ProgramError, match="another configuration: LOG_BLOCK"),
    ):
        Net(Network.load(saved), device)


def _tampered(
    saved: Path, path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]
) -> Path:
    """The file with its manifest and arrays changed."""
    with np.load(saved) as loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    manifest = json.loads(arrays.pop("manifest").tobytes())
    change(manifest, arrays)
    raw = np.frombuffer(json.dumps(manifest).encode(), np.uint8)
    with open(path, "wb") as file:
        np.savez(file, manifest=raw, **arrays)
    return path


def _machine(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(step for step in manifest["steps"] if step["kind"] == "machine")
    return found


def _windows(pad: int, stride: int) -> dict[str, Any]:
    """Windows of one value."""
    return {
        "padding": [pad] * 4,
        "zero": 0,
        "taps": [1, 1],
        "stride": [stride, stride],
        "dilation": [1, 1],
    }


CHANGES: dict[str, tuple[Callable[[dict[str, Any], dict[str, Any]], Any], str]] = {
    "an unknown tensor": (lambda m, a: m["inputs"].append("nothing"), "no tensor nothing"),
    "a tensor too early": (
        lambda m, a: m["steps"][-1].update(inputs=m["outputs"]),
        "read before it is there",
    ),
    "an output that is missing": (lambda m, a: m["steps"].pop(), "never computed"),
    "a huge tensor": (
        lambda m, a: m["tensors"][0].update(shape=[1 << 20, 1 << 20]),
        "has the shape",
    ),
    "a negative size": (lambda m, a: m["tensors"][0].update(shape=[-1]), "has the shape"),
    "a buffer that is too small": (
        lambda m, a: _machine(m)["program"]["buffers"][0].update(shape=[1]),
        "beyond|does not fit",
    ),
    "a layout beyond its lanes": (
        lambda m, a: _machine(m)["inputs"][0]["layout"].update(runs=[[0, 1000]]),
        "must lie in",
    ),
    "another shape of windows": (
        lambda m, a: _machine(m)["inputs"][0].update(
            windows=[
                {
                    "padding": [0, 0, 0, 0],
                    "zero": 0,
                    "taps": [900, 900],
                    "stride": [1, 1],
                    "dilation": [1, 1],
                }
            ]
        ),
        "larger than the image",
    ),
    "windows that grow and shrink again": (
        # 8 + 4 * 8180 rows, of which every 4091st is taken: 8 again.
        lambda m, a: _machine(m)["inputs"][0]["windows"].__setitem__(
            slice(0, 0), [*[_windows(4090, 1)] * 4, _windows(0, 4091)]
        ),
        "windows give tensor",
    ),
    "another tile": (
        lambda m, a: _machine(m)["inputs"][0]["layout"].update(block=4, blocks=99),
        "does not fit|layout",
    ),
    "no tokens of FINISH": (
        lambda m, a: a.update({"0/insns": a["0/insns"][:-1], "0/refs": a["0/refs"][:-1]}),
        "must end with FINISH",
    ),
    "an unknown operation": (
        lambda m, a: m["steps"][-1].update(op="system", kind="host"),
        "KeyError|no operation|damaged",
    ),
    "a report of nothing": (lambda m, a: m["report"].update(rows=[{}]), "KeyError"),
    "a report of other programs": (lambda m, a: m["report"].update(regions=[]), "other programs"),
    "instructions that are not there": (
        lambda m, a: m["report"]["regions"][0].update(firsts=[["x", 1 << 40]]),
        "not in order",
    ),
    "pictures of two numbers": (
        lambda m, a: m["report"].update(picture={"mean": [1, 2], "std": [1]}),
        "one number or three",
    ),
    "a newer version": (lambda m, a: m.update(version=2), "must be version 1"),
    "another format": (lambda m, a: m.update(format="vta-program"), "must be a vta-network"),
    "a wrong configuration": (lambda m, a: m["config"].update(LOG_BLOCK=99), "LOG_BLOCK"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_claims_are_checked(what: str, saved: Path, tmp_path: Path) -> None:
    change, message = CHANGES[what]
    path = _tampered(saved, tmp_path / "changed.vta", change)
    with pytest.raises(NetworkError, match=message) as caught:
        Network.load(path)
    assert "\n" not in str(caught.value)


def test_a_load_beyond_its_buffer_is_refused(saved: Path, tmp_path: Path) -> None:
    """The first instruction reads far away: its word of 64 bits has `dram_base` at bit 26."""

    def change(manifest: dict[str, Any], arrays: dict[str, Any]) -> None:
        name = next(name for name in arrays if name.endswith("/insns"))
        arrays[name] = arrays[name].copy()
        arrays[name][0, 0] |= np.uint64(0xFFFFFFF0 << 26)

    with pytest.raises(NetworkError, match="reaches beyond buffer"):
        Network.load(_tampered(saved, tmp_path / "far.vta", change))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"kernel": [1, 1], "stride": [-1, 1]}, "strides and dilations must be 1 or more"),
        ({"kernel": [2, 1], "stride": [1, 1], "dilation": [-9, 1]}, "must be 1 or more"),
        ({"stride": [1, 1]}, r"the network is damaged \(KeyError\('kernel'\)\)"),
    ],
)
def test_a_node_of_the_host_that_makes_no_sense(
    saved: Path, tmp_path: Path, attributes: dict[str, Any], message: str
) -> None:
    """Windows that go backwards would read memory in front of the data."""

    def change(manifest: dict[str, Any], arrays: dict[str, Any]) -> None:
        step = manifest["steps"][-1]
        step.update(op="max_pool", inputs=step["inputs"][:1], attributes=attributes)

    network = Network.load(_tampered(saved, tmp_path / "changed.vta", change))
    with Net(network) as net, pytest.raises(NetworkError, match=message):
        net.run(random_inputs(graph()))


# -- embedded ONNX models ------------------------------------------------------------------------


def _model(node: Any, *tensors: Any, domains: tuple[str, ...] = ("",)) -> bytes:
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    made = helper.make_graph([node], "g", [info], [result], list(tensors))
    opsets = [helper.make_opsetid(domain, 17) for domain in domains]
    raw: bytes = helper.make_model(made, opset_imports=opsets).SerializeToString()
    return raw


def test_an_ordinary_model_passes() -> None:
    tensor = helper.make_tensor("c", TensorProto.FLOAT, [2], [1.0, 2.0])
    check_embedded_model(_model(helper.make_node("Add", ["x", "c"], ["y"]), tensor))


def test_custom_operators_are_refused() -> None:
    node = helper.make_node("Evil", ["x"], ["y"], domain="com.stranger")
    with pytest.raises(NetworkError, match=r"com\.stranger, which need other libraries"):
        check_embedded_model(_model(node))
    plain = helper.make_node("Neg", ["x"], ["y"])
    with pytest.raises(NetworkError, match=r"com\.stranger"):
        check_embedded_model(_model(plain, domains=("", "com.stranger")))


def test_custom_operators_in_branches_are_refused() -> None:
    inner = helper.make_graph(
        [helper.make_node("Evil", ["x"], ["z"], domain="com.stranger")],
        "inner",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [2])],
    )
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    with pytest.raises(NetworkError, match=r"com\.stranger"):
        check_embedded_model(_model(node))


def test_tensors_in_other_files_are_refused(tmp_path: Path) -> None:
    tensor = helper.make_tensor("c", TensorProto.FLOAT, [2], bytes(8), raw=True)
    raw = _model(helper.make_node("Add", ["x", "c"], ["y"]), tensor)

    model = load_model_from_string(raw)
    save_model(
        model,
        tmp_path / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    with pytest.raises(NetworkError, match="tensors in other files"):
        check_embedded_model((tmp_path / "model.onnx").read_bytes())


@pytest.mark.parametrize("where", ["initializer", "attribute"])
def test_sparse_tensors_in_other_files_are_refused(where: str) -> None:
    values = helper.make_tensor("c", TensorProto.FLOAT, [1], [1.0])
    values.data_location = TensorProto.EXTERNAL
    values.external_data.add(key="location", value="weights.bin")
    places = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    sparse = helper.make_sparse_tensor(values, places, [2])
    node = helper.make_node("Constant", [], ["y"], sparse_value=sparse)
    raw = _model(node if where == "attribute" else helper.make_node("Neg", ["x"], ["y"]))
    model = load_model_from_string(raw)
    if where == "initializer":
        model.graph.sparse_initializer.append(sparse)
    with pytest.raises(NetworkError, match="tensors in other files"):
        check_embedded_model(model.SerializeToString())


@pytest.mark.parametrize("size", [1, 7, 20, 40])
def test_a_truncated_model_is_refused(size: int) -> None:
    raw = _model(helper.make_node("Neg", ["x"], ["y"]))
    with pytest.raises(NetworkError, match="damaged"):
        check_embedded_model(raw[:size])
