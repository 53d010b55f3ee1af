"""Whole networks on the RTL: their cycles, and how much of the multipliers' work they use."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vta.compiler.graph.int8_graph import Graph
from vta.compiler.graph.network import compile_network
from vta.config import Config
from vta.driver.simulated import TsimDevice
from vta.net import Net
from vta.sim.rtl.memory_model import MemoryModel
from vta.tools.bench.draft_network import mobilenet_v2, resnet18

__all__ = ["NETWORKS", "PUBLISHED", "NetworkCycles", "measure_network"]

PUBLISHED = 7_730_000
"""Cycles published for the part of ResNet-18 that TVM ran on VTA: all but the first layer, the
first pool and the last two layers."""

CLOCK = 100e6
"""Hz, for images a second."""


def _offloaded() -> Graph:
    """The part of ResNet-18 of which `PUBLISHED` speaks."""
    graph = resnet18()
    first = next(index for index, node in enumerate(graph.nodes) if node.op == "max_pool")
    last = next(index for index, node in enumerate(graph.nodes) if node.op == "avg_pool")
    return dataclasses.replace(
        graph,
        name="resnet18, as published",
        inputs=graph.nodes[first].outputs,
        outputs=graph.nodes[last].inputs,
        nodes=graph.nodes[first + 1 : last],
    )


NETWORKS: dict[str, Callable[[], Graph]] = {
    "resnet18": resnet18,
    "resnet18, as published": _offloaded,
    "mobilenet_v2": mobilenet_v2,
}
"""The networks that are measured, by name: 224 x 224, random weights."""


@dataclass(frozen=True)
class NetworkCycles:
    """What a network took.

    `predicted` is the sum of the cycle model's estimates for each operator by itself.
    """

    name: str
    cycles: int
    predicted: int
    macs: int
    instructions: int
    utilisation: float

    @property
    def images_a_second(self) -> float:
        """At a clock of 100 MHz."""
        return CLOCK / self.cycles

    def record(self) -> dict[str, str | int | float]:
        """For JSON."""
        return {"network": self.name, **dataclasses.asdict(self)}


def measure_network(name: str, config: Config, model: MemoryModel) -> NetworkCycles:
    """Runs a network of `NETWORKS` on the RTL, on random inputs."""
    graph = NETWORKS[name]()
    network = compile_network(graph, config)
    rng = np.random.default_rng(1)
    values = {}
    for tensor in graph.inputs:
        info = graph.tensors[tensor]
        values[tensor] = rng.integers(-128, 128, info.shape).astype(np.int8)
    with TsimDevice(config, model=model) as device, Net(network, device) as net:
        net.run(values)
        reports = [step.report for step in net.times if step.report is not None]
    cycles = sum(report.cycles or 0 for report in reports)
    rows = network.report["rows"]
    macs = sum(int(row["macs"]) for row in rows)
    return NetworkCycles(
        name=name,
        cycles=cycles,
        predicted=sum(int(row["cycles"]) for row in rows),
        macs=macs,
        instructions=sum(report.instructions for report in reports),
        utilisation=macs / (cycles * config.batch * config.block**2),
    )
