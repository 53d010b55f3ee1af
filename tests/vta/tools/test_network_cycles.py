"""`vta bench --networks`, for a network of one layer in the place of ResNet-18."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.vta.commands import Run
from vta.compiler.graph.int8_graph import Graph
from vta.config import PRESETS
from vta.tools.bench import network_cycles
from vta.tools.bench.draft_network import Draft

TINY = PRESETS["tiny"].replace(hw_ver="0.0.3")


def _one_layer() -> Graph:
    draft = Draft("one layer")
    return draft.graph(draft.conv(draft.input(1, 16, 6, 6), 16, 3))


@pytest.fixture
def arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[str | Path, ...]:
    name = network_cycles.OFFLOADED
    monkeypatch.setitem(network_cycles.NETWORKS, name, _one_layer)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(TINY.to_dict()), encoding="utf-8")
    return ("bench", "--networks", "--only", name, "--config", config)


def test_record(run: Run, arguments: tuple[str | Path, ...]) -> None:
    result = run(*arguments, "--json")
    assert result.status == 0, result.err
    record = json.loads(result.out)
    assert record["network"] == network_cycles.OFFLOADED
    assert record["macs"] == 6 * 6 * 16 * 16 * 3 * 3
    # 8 x 8 products a cycle.
    assert record["cycles"] > record["macs"] / 64
    assert record["utilisation"] == record["macs"] / 64 / record["cycles"]
    assert record["simulator_seconds"] > 0


def test_the_ratio_to_the_original_simulator(
    run: Run, arguments: tuple[str | Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """1.4 s are 2.5 times 0.56 s."""
    monkeypatch.setattr(network_cycles, "simulator_seconds", lambda network, values: 1.4)
    result = run(*arguments)
    assert result.status == 0, result.err
    assert "simulator" in result.out
    assert " 1.40" in result.out
    assert "takes 2.5 times the 0.56 s of processor time that VTA's own in C++ took" in result.out
