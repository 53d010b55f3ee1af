"""Compiles an int8 graph: regions for the accelerator, the rest for the host."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vta import cache
from vta.compiler.graph.compiled_operators import compiler_version
from vta.compiler.graph.int8_graph import Graph, Node
from vta.compiler.graph.network_file import HostStep, MachineStep, Network, PackedTensor
from vta.compiler.graph.partition import Group, partition
from vta.compiler.graph.region_program import RegionProgram, compile_region
from vta.compiler.ir.timing import TIMING
from vta.config import Config
from vta.errors import NetworkError

__all__ = ["compile_network"]

_FILE = "model.vta"


def compile_network(
    graph: Graph,
    config: Config,
    *,
    latency: int = TIMING.latency,
    keep: bool = False,
    picture: Mapping[str, Any] | None = None,
) -> Network:
    """The network for a configuration, from the cache if it was compiled before.

    Parameters
    ----------
    graph : Graph
    config : Config
    latency : int
        Cycles after which the memory answers.
    keep : bool
        Whether the host reads every tensor, to find where a result goes wrong.
    picture : mapping, optional
        How pictures become inputs: ``mean`` and ``std``, lists of one number or three.

    Raises
    ------
    NetworkError
        If the configuration's machine cannot requantise.
    """
    if not config.requantises:
        raise NetworkError(
            f"networks need HW_VER 0.0.3 in the configuration, not {config.hw_ver}: set HW_VER"
        )
    key = _key(graph, config, latency, keep)

    def make(folder: Path) -> None:
        _compile(graph, config, latency, keep).save(folder / _FILE)

    folder = cache.cached("networks", key, make, f"{graph.name} for {config.bitstream}")
    network = Network.load(folder / _FILE)
    report = {**network.report, "picture": dict(picture or {"mean": [0.0], "std": [1.0]})}
    return dataclasses.replace(network, report=report)


def _key(graph: Graph, config: Config, latency: int, keep: bool) -> str:
    parts: list[str | bytes] = [
        compiler_version(),
        json.dumps(config.to_dict(), sort_keys=True),
        f"{latency} {keep}",
        repr((graph.name, graph.inputs, graph.outputs, dict(graph.tensors))),
    ]
    for node in graph.nodes:
        parts.append(repr(dataclasses.replace(node, constants={})))
        for name, array in sorted(node.constants.items()):
            parts += [name, f"{array.dtype} {array.shape}", np.ascontiguousarray(array).tobytes()]
        parts.append(graph.cpu_models.get(node.name, b""))
    return cache.digest(*parts)


def _compile(graph: Graph, config: Config, latency: int, keep: bool) -> Network:
    groups, reasons = partition(graph, config)
    readers: dict[str, list[int]] = {}
    for number, group in enumerate(groups):
        for node in group.nodes:
            for name in node.inputs:
                readers.setdefault(name, []).append(number)
    steps: list[MachineStep | HostStep] = []
    regions: dict[int, RegionProgram] = {}
    for number, group in enumerate(groups):
        if not group.machine:
            steps += [HostStep(node=node, model=_model(graph, node)) for node in group.nodes]
            continue
        made = [name for node in group.nodes for name in node.outputs]
        outside = {
            name
            for name in made
            if keep
            or name in graph.outputs
            or any(reader != number for reader in readers.get(name, ()))
        }
        region = compile_region(
            f"{graph.name}_{len(regions)}", group.nodes, graph, config, outside, latency
        )
        regions[number] = region
        steps.append(_machine_step(region))
    return Network(
        name=graph.name,
        config=config,
        inputs=graph.inputs,
        outputs=graph.outputs,
        tensors={
            name: info for name, info in graph.tensors.items() if name in _crossing(graph, steps)
        },
        steps=tuple(steps),
        report=_report(graph, groups, reasons, regions),
    )


def _model(graph: Graph, node: Node) -> bytes:
    return graph.cpu_models[node.name] if node.op == "cpu" else b""


def _crossing(graph: Graph, steps: list[MachineStep | HostStep]) -> set[str]:
    """The tensors that pass between steps, or into or out of the network."""
    found = {*graph.inputs, *graph.outputs}
    for step in steps:
        if isinstance(step, MachineStep):
            found |= {item.tensor for item in (*step.inputs, *step.outputs)}
        else:
            found |= {*step.node.inputs, *step.node.outputs}
    return found


def _machine_step(region: RegionProgram) -> MachineStep:
    return MachineStep(
        program=region.program,
        inputs=tuple(
            PackedTensor(tensor=tensor, buffer=buffer, layout=layout, windows=windows)
            for buffer, tensor, windows, layout in region.inputs
        ),
        outputs=tuple(
            PackedTensor(tensor=tensor, buffer=buffer, layout=layout)
            for buffer, tensor, layout in region.outputs
        ),
    )


def _report(
    graph: Graph, groups: list[Group], reasons: dict[str, str], regions: dict[int, RegionProgram]
) -> dict[str, Any]:
    """A row for each node, and the memory of each region."""
    rows: list[dict[str, Any]] = []
    makers = {name: node.name for node in graph.nodes for name in node.outputs}
    for number, group in enumerate(groups):
        region = regions.get(number)
        for node in group.nodes:
            parts = [part for part in region.parts if part.node == node.name] if region else []
            rows.append(
                {
                    "node": node.name,
                    "op": node.op,
                    "where": "accelerator" if region else "host",
                    "why": reasons.get(node.name)
                    or "; ".join(dict.fromkeys(part.why for part in parts if part.why)),
                    "shape": list(graph.tensors[node.outputs[0]].shape),
                    "macs": sum(part.macs for part in parts),
                    "cycles": sum(part.cycles for part in parts),
                    "bound": parts[-1].bound if parts else "",
                    "least": sum(part.least for part in parts),
                    "reads": [makers[name] for name in node.inputs if name in makers],
                    "bytes": sum(part.nbytes for part in parts),
                    "instructions": sum(part.instructions for part in parts),
                }
            )
    return {
        "rows": rows,
        "regions": [
            {
                "instructions": len(region.program.insns),
                "firsts": region.firsts,
                "arena_bytes": region.arena_bytes,
                "constant_bytes": region.constant_bytes,
                "buffer_bytes": sum(buffer.nbytes for buffer in region.program.buffers),
            }
            for region in regions.values()
        ],
    }
