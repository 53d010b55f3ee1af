"""Compares a compiled network with ONNX Runtime, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vta.compiler.graph.network import compile_network
from vta.compiler.graph.network_file import Network
from vta.compiler.graph.read_model import read
from vta.errors import ArgumentError, NetworkError
from vta.extras import needed
from vta.net import Net

__all__ = ["Check", "check_network"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Check:
    """What a comparison found: `text` says it in one line for each tensor that differs."""

    equal: bool
    text: str


def check_network(
    network: Network, original: str, values: Mapping[str, Array], target: str
) -> Check:
    """Runs a network beside the model that it came from.

    It is compiled again so that no tensor's memory is reused, and every tensor can be read.

    Raises
    ------
    ArgumentError
        If the model has other inputs or outputs than the network.
    """
    batch = next((info.shape[0] for info in _inputs(network) if info.shape), 1)
    graph = read(original, batch)
    if (graph.inputs, graph.outputs) != (network.inputs, network.outputs):
        raise ArgumentError(f"{original} has other inputs or outputs than the network")
    with Net(network, target=target) as net:
        final = net.run_all(values)
    whole = compile_network(graph, network.config, keep=True)
    with Net(whole, target=target) as net:
        ours = net.run_all(values)
    order = [*graph.inputs, *(name for node in graph.nodes for name in node.outputs)]
    names = [name for name in order if name in ours and name not in graph.inputs]
    theirs = _runtime(original, names, values)
    lines: list[str] = []
    compared = numbers = 0
    for name in names:
        if name not in theirs:
            continue
        compared, numbers = compared + 1, numbers + ours[name].size
        if line := _difference(name, ours[name], theirs[name]):
            lines.append(line)
    for name in network.outputs:
        if not np.array_equal(final[name], ours[name], equal_nan=final[name].dtype.kind == "f"):
            lines.append(f"{name}: the network itself gives something else than its parts")
    summary = f"{compared} tensors with {numbers:,} values compared with ONNX Runtime"
    if not lines:
        return Check(True, f"{summary}: all equal")
    first = f"the first that differs is {lines[0]}"
    return Check(False, "\n".join([f"{summary}: {len(lines)} differ; {first}", *lines[1:]]))


def _inputs(network: Network) -> Iterable[Any]:
    return [network.tensors[name] for name in network.inputs]


def _difference(name: str, ours: Array, theirs: Array) -> str:
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return f"{name}: {ours.dtype}{list(ours.shape)}, not {theirs.dtype}{list(theirs.shape)}"
    if ours.dtype.kind == "f":
        wrong = ~np.isclose(ours, theirs, rtol=1e-5, atol=1e-6, equal_nan=True)
    else:
        wrong = ours != theirs
    if not wrong.any():
        return ""
    most = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))[wrong].max()
    return f"{name}: {int(wrong.sum()):,} of {wrong.size:,} values, by at most {most:g}"


def _runtime(original: str, names: list[str], values: Mapping[str, Array]) -> dict[str, Array]:
    """What ONNX Runtime gives for those of the tensors that the model has."""
    with needed("a comparison with ONNX Runtime", "onnx"):
        import onnx
        import onnxruntime
    model = onnx.load(original)
    there = {name for node in model.graph.node for name in node.output}
    wanted = [name for name in names if name in there]
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in wanted)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        found = session.run(wanted, dict(values))
    except Exception as error:  # ONNX Runtime's errors have no common base
        text = str(error).splitlines()[0]
        raise NetworkError(f"{original}: ONNX Runtime cannot run it ({text})") from None
    return dict(zip(wanted, found, strict=True))
