"""Whole networks on the RTL: their cycles, and how much of the multipliers' work they use."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vta.compiler.graph.int8_graph import Graph
from vta.compiler.graph.network import compile_network
from vta.compiler.graph.network_file import Network
from vta.config import Config
from vta.driver.simulated import TsimDevice
from vta.net import Net
from vta.sim.rtl.memory_model import MemoryModel
from vta.tools.bench.draft_network import mobilenet_v2, resnet18

__all__ = [
    "NETWORKS",
    "OFFLOADED",
    "ORIGINAL_SECONDS",
    "PUBLISHED",
    "NetworkCycles",
    "measure_network",
    "simulator_seconds",
]

PUBLISHED = 7_730_000
"""Cycles published for the part of ResNet-18 that TVM ran on VTA: all but the first layer, the
first pool and the last two layers."""

OFFLOADED = "resnet18, as published"
"""The network of those layers."""

ORIGINAL_SECONDS = 0.56
"""Processor time that VTA's own simulator, in C++, takes for those layers. Measured once, on a
server's processor; a ratio to it means something only on a computer about as fast."""

SIMULATOR_RUNS = 3

CLOCK = 100e6
"""Hz, for images a second."""


def _offloaded() -> Graph:
    """The part of ResNet-18 of which `PUBLISHED` speaks."""
    graph = resnet18()
    first = next(index for index, node in enumerate(graph.nodes) if node.op == "max_pool")
    last = next(index for index, node in enumerate(graph.nodes) if node.op == "avg_pool")
    return dataclasses.replace(
        graph,
        name=OFFLOADED,
        inputs=graph.nodes[first].outputs,
        outputs=graph.nodes[last].inputs,
        nodes=graph.nodes[first + 1 : last],
    )


NETWORKS: dict[str, Callable[[], Graph]] = {
    "resnet18": resnet18,
    OFFLOADED: _offloaded,
    "mobilenet_v2": mobilenet_v2,
}
"""The networks that are measured, by name: 224 x 224, random weights."""


@dataclass(frozen=True)
class NetworkCycles:
    """What a network took.

    `predicted` is the sum of the cycle model's estimates for each operator by itself;
    `simulator_seconds` is the functional simulator's processor time.
    """

    name: str
    cycles: int
    predicted: int
    macs: int
    instructions: int
    utilisation: float
    simulator_seconds: float

    @property
    def images_a_second(self) -> float:
        """At a clock of 100 MHz."""
        return CLOCK / self.cycles

    def record(self) -> dict[str, str | int | float]:
        """For JSON."""
        return {"network": self.name, **dataclasses.asdict(self)}


def measure_network(name: str, config: Config, model: MemoryModel) -> NetworkCycles:
    """Runs a network of `NETWORKS` on the RTL and on the simulator, on random inputs."""
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
        simulator_seconds=simulator_seconds(network, values),
    )


def simulator_seconds(network: Network, values: Mapping[str, NDArray[Any]]) -> float:
    """Processor time of a call on the functional simulator: the median after a first call."""
    seconds = []
    with Net(network) as net:
        for _ in range(1 + SIMULATOR_RUNS):
            start = time.process_time()
            net.run(values)
            seconds.append(time.process_time() - start)
    return statistics.median(seconds[1:])
