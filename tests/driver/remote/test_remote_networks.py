"""A network on a board elsewhere, from the command line and from Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vta
from tests.compiler.graph.hand_made import evaluate, random_inputs
from tests.driver.remote.conftest import Serve
from tests.vta.commands import Run
from vta import rpc
from vta.compiler.graph.int8_graph import Graph
from vta.compiler.graph.network import compile_network
from vta.config import PRESETS, Config
from vta.errors import ProgramError
from vta.tools.bench.draft_network import Draft


@pytest.fixture
def graph() -> Graph:
    draft = Draft("small")
    return draft.graph(draft.conv(draft.conv(draft.input(1, 16, 6, 6), 16, 3), 8))


@pytest.fixture
def model(graph: Graph, tmp_path: Path) -> Path:
    path = tmp_path / "model.vta"
    compile_network(graph, PRESETS["tiny"]).save(path)
    return path


def test_run_on_a_board_elsewhere(
    serve: Serve,
    graph: Graph,
    model: Path,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = random_inputs(graph)
    np.save(tmp_path / "x.npy", values["input_0"])
    port = str(serve(functional=False).port)
    words = ["run", model, "--target", "pynq", "--input", tmp_path / "x.npy"]
    words += ["-o", tmp_path / "y.npz", "--profile"]
    (name,) = graph.outputs
    expected = evaluate(graph, values)[name]
    monkeypatch.setenv("VTA_RPC_HOST", "127.0.0.1")
    monkeypatch.setenv("VTA_RPC_PORT", port)
    result = run(*words)
    assert result.status == 0, result.err
    assert "cycles predicted" in result.out
    with np.load(tmp_path / "y.npz") as found:
        np.testing.assert_array_equal(found[name], expected)
    # The second time the machine is there already, and is programmed again all the same.
    monkeypatch.delenv("VTA_RPC_HOST")
    monkeypatch.delenv("VTA_RPC_PORT")
    (tmp_path / "y.npz").unlink()
    result = run(*words, "--host", "127.0.0.1", "--port", port)
    assert result.status == 0, result.err
    with np.load(tmp_path / "y.npz") as found:
        np.testing.assert_array_equal(found[name], expected)


def test_load_on_a_remote_session(serve: Serve, graph: Graph, model: Path, tiny: Config) -> None:
    with rpc.connect("127.0.0.1", serve(functional=False).port, config=tiny) as remote:
        remote.program_fpga()
        with vta.net.load(model, remote) as net:
            for seed in range(2):
                values = random_inputs(graph, seed)
                expected = evaluate(graph, values)[graph.outputs[0]]
                np.testing.assert_array_equal(net.run(values["input_0"]), expected)
            assert [step.report.target for step in net.times if step.report] == ["pynq"]
            assert all(step.report.cycles for step in net.times if step.report)


def test_the_session_must_have_the_networks_configuration(serve: Serve, model: Path) -> None:
    config = PRESETS["small"].replace(target="pynq")
    with rpc.connect("127.0.0.1", serve().port, config=config) as remote:
        with pytest.raises(ProgramError, match="LOG_BATCH"):
            vta.net.load(model, remote)


def test_a_board_in_this_computer(
    graph: Graph, model: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = random_inputs(graph)
    np.save(tmp_path / "x.npy", values["input_0"])
    words = ["run", model, "--input", tmp_path / "x.npy", "-o", tmp_path / "y.npz"]
    monkeypatch.setenv("VTA_EMULATE", "functional")
    result = run(*words, "--target", "intelfocl")
    assert result.status == 0, result.err
    with np.load(tmp_path / "y.npz") as found:
        np.testing.assert_array_equal(
            found[graph.outputs[0]], evaluate(graph, values)[graph.outputs[0]]
        )
    monkeypatch.delenv("VTA_EMULATE")
    result = run(*words, "--target", "pynq")
    assert result.status == 2
    assert "TARGET pynq is not this computer" in result.complaint


@pytest.mark.parametrize("words", [("--host", "x"), ("--port", "9091", "--target", "tsim")])
def test_a_host_needs_a_board(words: tuple[str, ...], run: Run, model: Path) -> None:
    result = run("run", model, *words)
    assert result.status == 2
    assert "--host and --port need --target with a board" in result.complaint
