"""`vta compile` and `vta run`, on a small network that ONNX Runtime quantised."""

from __future__ import annotations

import dataclasses
import itertools
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

import vta
from tests.compiler.graph.networks import quantise, small_net
from tests.vta.commands import Run
from vta.compiler.graph.network_file import MachineStep, Network
from vta.tools.network_page import write_page


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    onnx.save(quantise(small_net(), folder), folder / "model.onnx")
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from vta.config import PRESETS

    path = tmp_path_factory.mktemp("config") / "tiny.json"
    path.write_text(json.dumps(PRESETS["tiny"].replace(hw_ver="0.0.3").to_dict()))
    return path


@pytest.fixture(scope="module")
def compiled(model: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from vta.compiler.graph.network import compile_network
    from vta.compiler.graph.read_model import read
    from vta.config import Config

    path = tmp_path_factory.mktemp("compiled") / "model.vta"
    compile_network(read(model), Config.load(tiny)).save(path)
    return path


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    path = tmp_path_factory.mktemp("picture") / "noise.png"
    Image.fromarray(pixels).save(path)
    return path


def test_compile_reports_each_node(run: Run, model: Path, tiny: Path, tmp_path: Path) -> None:
    result = run("compile", model, "-o", tmp_path / "m.vta", "--config", tiny, "--report")
    assert result.status == 0, result.err
    assert "nodes on the accelerator" in result.out
    for word in ("conv", "accelerator", "host", "multiply-accumulates", "constants"):
        assert word in result.out
    assert Network.load(tmp_path / "m.vta").inputs == ("x",)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--mean", "nan"), "must be one finite number or three, not 'nan'"),
        (("--mean", "1,2"), "must be one finite number or three, not '1,2'"),
        (("--std", "0.2,0,0.2"), "must not be 0"),
        (("--std", "a"), "must be numbers with commas between, not 'a'"),
    ],
)
def test_pictures_that_could_not_be_scaled(
    option: tuple[str, str], message: str, run: Run, model: Path, tmp_path: Path
) -> None:
    result = run("compile", model, "-o", tmp_path / "m.vta", *option)
    assert result.status == 2
    assert message in result.err
    assert not (tmp_path / "m.vta").exists()


def test_run_a_picture(run: Run, compiled: Path, picture: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"name{number}" for number in range(10)))
    result = run("run", compiled, "--input", picture, "--labels", labels, "--top", 2, "--profile")
    assert result.status == 0, result.err
    assert result.out.count("name") >= 2
    assert "cycles predicted" in result.out


def test_run_writes_outputs(run: Run, compiled: Path, tmp_path: Path) -> None:
    values = np.random.default_rng(4).standard_normal((1, 3, 16, 16)).astype(np.float32)
    np.save(tmp_path / "x.npy", values)
    np.savez(tmp_path / "x.npz", x=values)
    for name in ("x.npy", "x.npz"):
        result = run("run", compiled, "--input", tmp_path / name, "-o", tmp_path / f"y_{name}.npz")
        assert result.status == 0, result.err
    with np.load(tmp_path / "y_x.npy.npz") as one, np.load(tmp_path / "y_x.npz.npz") as other:
        assert one.files == other.files
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name])


def test_several_pictures(run: Run, compiled: Path, tmp_path: Path) -> None:
    """Each is a run of its own, and gives what it gives alone."""
    paths = [tmp_path / f"x{number}.npy" for number in range(3)]
    for number, path in enumerate(paths):
        values = np.random.default_rng(number).standard_normal((1, 3, 16, 16))
        np.save(path, values.astype(np.float32))
    inputs = [word for path in paths for word in ("--input", path)]
    result = run("run", compiled, *inputs, "-o", tmp_path / "all.npz")
    assert result.status == 0, result.err
    with np.load(tmp_path / "all.npz") as every:
        for number, path in enumerate(paths):
            assert f"{path}:\n" in result.out
            run("run", compiled, "--input", path, "-o", tmp_path / "one.npz")
            with np.load(tmp_path / "one.npz") as one:
                for name in one.files:
                    np.testing.assert_array_equal(every[name][number], one[name])


class Page(HTMLParser):
    """What a page refers to, and its cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.cells: list[str] = []
        self.scripts = 0
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_cell = tag == "td"
        self.scripts += tag == "script"
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.cells.append(data)


def test_a_page_that_needs_nothing_else(
    run: Run, compiled: Path, model: Path, tiny: Path, picture: Path, tmp_path: Path
) -> None:
    """As `vta compile` writes it, and with what was measured."""
    pages = [tmp_path / "compiled.html", tmp_path / "run.html"]
    first = ("compile", model, "-o", tmp_path / "m.vta", "--config", tiny, "--html", pages[0])
    second = ("run", compiled, "--input", picture, "--target", "tsim", "--html", pages[1])
    for command, path in zip((first, second), pages, strict=True):
        result = run(*command)
        assert result.status == 0, result.err
        text = path.read_text(encoding="utf-8")
        page = Page(text)
        assert page.links == []
        assert page.scripts >= 4
        for row in Network.load(compiled).report["rows"]:
            assert row["node"] in page.cells
            assert f"{row['cycles']:,}" in page.cells
        assert ("cycles, measured" in text) == (path == pages[1])


def test_names_in_a_page_are_only_text(compiled: Path, tmp_path: Path) -> None:
    network = Network.load(compiled)
    row = dict(network.report["rows"][1], node="<script>alert(1)</script>", reads=[])
    changed = dataclasses.replace(network, report={**network.report, "rows": [row]})
    write_page(tmp_path / "page.html", changed)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_profile_and_trace_on_the_hardware(
    run: Run, compiled: Path, picture: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "trace.json"
    result = run(
        "run", compiled, "--input", picture, "--target", "tsim", "--profile", "--trace", trace
    )
    assert result.status == 0, result.err
    assert "share" in result.out
    found = json.loads(trace.read_text())
    nodes = [event for event in found["traceEvents"] if event.get("cat") == "node"]
    rows = Network.load(compiled).report["rows"]
    assert {event["name"] for event in nodes} <= {row["node"] for row in rows}
    # One after the other, up to the last cycle.
    assert nodes[0]["ts"] == 0
    for before, after in itertools.pairwise(nodes):
        assert before["ts"] + before["dur"] == after["ts"]
    assert nodes[-1]["ts"] + nodes[-1]["dur"] == found["otherData"]["cycles"]
    predicted = {row["node"]: row["cycles"] for row in rows}
    total = sum(predicted[event["name"]] for event in nodes)
    assert 0.5 * total < found["otherData"]["cycles"] < 1.3 * total


def test_a_trace_needs_cycles(run: Run, compiled: Path, picture: Path) -> None:
    result = run("run", compiled, "--input", picture, "--trace", "x.json")
    assert result.status == 2
    assert "needs --target tsim" in result.err


def test_check_finds_no_difference(run: Run, compiled: Path, model: Path, picture: Path) -> None:
    result = run("run", compiled, "--input", picture, "--check", model)
    assert result.status == 0, result.out + result.err
    assert "compared with ONNX's formulas: all equal" in result.out


def test_check_names_the_first_difference(
    run: Run, compiled: Path, model: Path, picture: Path, tmp_path: Path
) -> None:
    """A model whose first bias is another."""
    changed = onnx.load(model)
    conv = next(node for node in changed.graph.node if node.op_type == "Conv")
    quantiser = next(node for node in changed.graph.node if node.output[0] == conv.input[2])
    bias = next(item for item in changed.graph.initializer if item.name == quantiser.input[0])
    values = onnx.numpy_helper.to_array(bias).copy()
    values[3] += 100_000
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    onnx.save(changed, tmp_path / "changed.onnx")
    result = run("run", compiled, "--input", picture, "--check", tmp_path / "changed.onnx")
    assert result.status == 1
    assert "the network gives something else than the model compiled again" in result.out


def test_check_names_the_first_wrong_tensor(
    compiled: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first convolution's weights are changed to, the formulas do not give."""
    from vta.tools import network_check

    right = network_check.compile_network

    def wrong(*args: Any, **options: Any) -> Network:
        network = right(*args, **options)
        (place,) = (n for n, step in enumerate(network.steps) if isinstance(step, MachineStep))
        step = network.steps[place]
        assert isinstance(step, MachineStep)
        buffers = list(step.program.buffers)
        (index,) = (n for n, buffer in enumerate(buffers) if buffer.name == "constants")
        data = buffers[index].data
        assert data is not None
        changed = data.copy()
        changed[:64] ^= 0x40
        buffers[index] = dataclasses.replace(buffers[index], data=changed)
        program = dataclasses.replace(step.program, buffers=tuple(buffers))
        steps = list(network.steps)
        steps[place] = dataclasses.replace(step, program=program)
        return dataclasses.replace(network, steps=tuple(steps))

    monkeypatch.setattr(network_check, "compile_network", wrong)
    values = {"x": np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32)}
    with vta.net.load(compiled) as net:
        found = network_check.check_network(net, str(model), values)
    assert not found.equal
    first = next(line for line in found.text.splitlines() if "formulas" in line)
    assert "the first tensor is relu_1_QuantizeLinear_Output (conv " in first


def test_check_finds_a_wrong_float(
    compiled: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a step of an int8 tensor would be is no rounding in a float32 one."""
    from vta.tools import network_check

    right = network_check._runtime

    def wrong(*args: Any) -> dict[str, Any]:
        found = right(*args)
        (name,) = Network.load(compiled).outputs
        return {**found, name: found[name] + np.float32(0.5)}

    monkeypatch.setattr(network_check, "_runtime", wrong)
    values = {"x": np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32)}
    with vta.net.load(compiled) as net:
        found = network_check.check_network(net, str(model), values)
    assert not found.equal
    assert "(dequantize " in found.text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b"no picture"), "not a picture that can be read"),
        (lambda path: None, "cannot be read (No such file or directory)"),
    ],
)
def test_a_picture_that_cannot_be_read(
    make, message: str, run: Run, compiled: Path, tmp_path: Path
) -> None:
    make(tmp_path / "cat.png")
    result = run("run", compiled, "--input", tmp_path / "cat.png")
    assert result.status != 0
    assert message in result.err
    assert result.err.count("\n") == 1


def test_an_input_of_the_wrong_shape(run: Run, compiled: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 16, 17), np.float32))
    result = run("run", compiled, "--input", tmp_path / "x.npy")
    assert result.status != 0
    assert "input x must be float32[1, 3, 16, 16], not float32[1, 3, 16, 17]" in result.err


def test_a_damaged_network(run: Run, compiled: Path, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.vta").write_bytes(compiled.read_bytes()[:5000])
    result = run("run", tmp_path / "cut.vta", "--input", picture)
    assert result.status != 0
    assert result.err.count("\n") == 1
    assert "cut.vta" in result.err


def test_an_older_machine(run: Run, model: Path, tmp_path: Path) -> None:
    from vta.config import PRESETS

    old = tmp_path / "old.json"
    old.write_text(json.dumps(PRESETS["tiny"].replace(hw_ver="0.0.2").to_dict()))
    result = run("compile", model, "-o", tmp_path / "m.vta", "--config", old)
    assert result.status != 0
    assert "HW_VER 0.0.3" in result.err
