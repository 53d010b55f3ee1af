"""Where a network's cycles went, operator by operator, from a run on the RTL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vta.compiler.graph.network_file import Network
from vta.isa import Isa, ModuleId
from vta.net import StepTime
from vta.program import Program
from vta.sim.profile.profile import analyse
from vta.sim.profile.timeline import chrome_trace
from vta.sim.rtl.recording import Recording

__all__ = ["NodeCycles", "network_trace", "node_cycles"]


@dataclass(frozen=True)
class NodeCycles:
    """When a node ran: from `begin`, the end of the one before, in cycles of its program."""

    program: int
    node: str
    begin: int
    cycles: int


def node_cycles(network: Network, times: Sequence[StepTime]) -> list[NodeCycles]:
    """The measured cycles of each node on the accelerator; they add up to the programs'.

    Parameters
    ----------
    network : Network
    times : sequence of StepTime
        Of a call on a device that records.
    """
    found: list[NodeCycles] = []
    runs = [time.recording for time in times if time.report is not None]
    regions = network.report["regions"]
    for number, (program, recording) in enumerate(zip(network.programs, runs, strict=True)):
        assert recording is not None, "the device records"
        ends = _retired(program, recording)
        # A node may have several operators, which follow one another.
        begins: dict[str, int] = {}
        for node, first in regions[number]["firsts"]:
            begins.setdefault(node, int(first))
        names = list(begins)
        starts = [*begins.values(), len(ends)]
        before = 0
        for index, name in enumerate(names):
            part = ends[starts[index] : starts[index + 1]]
            end = recording.cycles if index == len(names) - 1 else int(part.max(initial=0)) + 1
            end = max(before, end)
            found.append(NodeCycles(number, name, before, end - before))
            before = end
    return found


def _retired(program: Program, recording: Recording) -> NDArray[np.int64]:
    """The cycle in which each instruction retired."""
    insns = Isa(program.config).decode_stream(program.insns)
    modules = np.array([insn.module for insn in insns])
    ends = np.zeros(len(insns), np.int64)
    for module in (ModuleId.LOAD, ModuleId.COMPUTE, ModuleId.STORE):
        chosen = modules == module
        ends[chosen] = recording.pulses("retire", module.name.lower())[: int(chosen.sum())]
    return ends


def network_trace(network: Network, times: Sequence[StepTime]) -> dict[str, Any]:
    """A Chrome trace of all programs, one after the other, with a track for the nodes.

    One microsecond is one cycle. What the host does between programs is not in it.
    """
    events: list[dict[str, Any]] = [
        {"name": "process_name", "ph": "M", "pid": 0, "args": {"name": "nodes"}}
    ]
    runs = [time.recording for time in times if time.report is not None]
    starts: list[int] = []
    total = 0
    for program, recording in zip(network.programs, runs, strict=True):
        assert recording is not None, "the device records"
        insns = Isa(program.config).decode_stream(program.insns)
        profile = analyse(insns, recording, bus_bytes=program.config.bus_bytes)
        for event in chrome_trace(profile)["traceEvents"]:
            if "ts" in event:
                event["ts"] += total
            if event["ph"] != "M" or not starts:
                events.append(event)
        starts.append(total)
        total += recording.cycles
    for node in node_cycles(network, times):
        events.append(
            {
                "name": node.node,
                "cat": "node",
                "ph": "X",
                "pid": 0,
                "tid": 0,
                "ts": starts[node.program] + node.begin,
                "dur": node.cycles,
                "args": {},
            }
        )
    return {
        "traceEvents": events,
        "displayTimeUnit": "ns",
        "otherData": {"name": network.name, "cycles": total, "unit": "1 us is 1 cycle"},
    }
