"""Networks on the simulated hardware: the same results, and how many cycles they take."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.graph.hand_made import evaluate, random_inputs
from tests.compiler.graph.test_network import branches, config
from vta.compiler.graph.int8_graph import Graph
from vta.compiler.graph.network import compile_network
from vta.config import Config
from vta.net import Net
from vta.tools.bench.draft_network import mobilenet_v2, resnet18


def run(graph: Graph, machine: Config) -> int:
    """Runs a graph on the RTL, compares its outputs with numpy, and returns the cycles."""
    values = random_inputs(graph)
    wanted = evaluate(graph, values)
    with Net(compile_network(graph, machine), target="tsim") as net:
        found = net.run_all(values)
        cycles = [step.report.cycles for step in net.times if step.report is not None]
    for name in graph.outputs:
        np.testing.assert_array_equal(found[name], wanted[name])
    assert all(cycles)
    return sum(each or 0 for each in cycles)


def test_branches_on_the_rtl() -> None:
    """Borders, concatenation, a residual and pools; the cycle model is near."""
    graph, machine = branches(), config("tiny")
    cycles = run(graph, machine)
    rows = compile_network(graph, machine).report["rows"]
    assert cycles < 1.2 * sum(row["cycles"] for row in rows)


@pytest.mark.full
@pytest.mark.parametrize(
    ("graph", "most"), [(resnet18, 8_300_000), (mobilenet_v2, 3_700_000)], ids=["resnet", "mobile"]
)
def test_whole_networks_on_the_rtl(graph: object, most: int) -> None:
    assert callable(graph)
    assert run(graph(), config("default")) <= most
