"""Compares a compiled network with ONNX's formulas and with ONNX Runtime, tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vta.compiler.graph.int8_graph import Graph
from vta.compiler.graph.network import compile_network
from vta.compiler.graph.read_model import read
from vta.compiler.graph.reference import run_node
from vta.errors import ArgumentError, NetworkError, ToolError
from vta.extras import needed
from vta.net import Net
from vta.onnx_session import onnx_session

__all__ = ["Check", "check_network"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Check:
    """What a comparison found, in words, and whether that is as it should be."""

    equal: bool
    text: str


def check_network(net: Net, original: str, values: Mapping[str, Array]) -> Check:
    """Runs a network beside the model that it came from.

    It is compiled again so that every tensor can be read. Then each node is looked at by itself:
    what the accelerator made of its inputs must be what ONNX's formula makes of them; and what the
    formula makes of ONNX Runtime's inputs may differ from ONNX Runtime's result by at most one
    step, because ONNX Runtime may compute in float32.

    Raises
    ------
    ArgumentError
        If the model has other inputs or outputs than the network.
    """
    network = net.network
    shapes = [network.tensors[name].shape for name in network.inputs]
    graph = read(original, next((shape[0] for shape in shapes if shape), 1))
    if (graph.inputs, graph.outputs) != (network.inputs, network.outputs):
        raise ArgumentError(f"{original} has other inputs or outputs than the network")
    final = net.run_all(values)
    with Net(compile_network(graph, network.config, keep=True), net.device) as whole:
        ours = whole.run_all(values)
    changed = [
        f"{name}: the network gives something else than the model compiled again"
        for name in network.outputs
        if not np.array_equal(final[name], ours[name], equal_nan=final[name].dtype.kind == "f")
    ]
    formulas = _compare(graph, ours)
    runtime = _compare(graph, _runtime(original, graph, values))
    lines = [
        *changed,
        formulas.text("ONNX's formulas"),
        runtime.text("ONNX Runtime"),
        *formulas.differences[1:],
        *runtime.differences[1:],
    ]
    equal = not changed and not formulas.differences and runtime.explained
    return Check(equal, "\n".join(lines))


@dataclass
class _Found:
    """The tensors that were compared, and those that differ.

    `most` is the greatest difference; `explained` says whether rounding explains them all.
    """

    tensors: int = 0
    values: int = 0
    wrong: int = 0
    most: float = 0
    explained: bool = True
    differences: list[str] = field(default_factory=list)

    def text(self, what: str) -> str:
        """In one line."""
        start = f"{self.tensors} tensors with {self.values:,} values compared with {what}"
        if not self.differences:
            return f"{start}: all equal"
        return (
            f"{start}, each node by itself: {self.wrong:,} values differ, by at most "
            f"{self.most:g}; the first tensor is {self.differences[0]}"
        )


def _compare(graph: Graph, values: Mapping[str, Array]) -> _Found:
    """Each node's formula on the values of its inputs, against the value of its output."""
    found = _Found()
    for node in graph.nodes:
        inputs = [values.get(name) for name in node.inputs]
        given = values.get(node.outputs[0])
        if node.op == "cpu" or given is None or any(each is None for each in inputs):
            continue
        wanted = run_node(node, [each for each in inputs if each is not None], graph.tensors)
        found.tensors, found.values = found.tensors + 1, found.values + wanted.size
        if wanted.dtype.kind == "f":
            wrong = ~np.isclose(given, wanted, rtol=1e-5, atol=1e-6, equal_nan=True)
        else:
            wrong = given != wanted
        if wrong.any():
            most = float(np.abs(given.astype(np.float64) - wanted)[wrong].max())
            found.wrong, found.most = found.wrong + int(wrong.sum()), max(found.most, most)
            found.explained &= wanted.dtype.kind != "f" and most <= 1
            found.differences.append(
                f"{node.outputs[0]} ({node.op} {node.name}): {int(wrong.sum()):,} of "
                f"{wrong.size:,} values, by at most {most:g}"
            )
    return found


def _runtime(original: str, graph: Graph, values: Mapping[str, Array]) -> dict[str, Array]:
    """ONNX Runtime's values of those of the graph's tensors that the model has."""
    what = "a comparison with ONNX Runtime"
    with needed(what, "onnx"):
        import onnx
    model = onnx.load(original)
    there = {name for node in model.graph.node for name in node.output}
    wanted: Sequence[str] = [name for name in graph.tensors if name in there]
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in wanted)
    try:
        found = onnx_session(model.SerializeToString(), what).run(wanted, dict(values))
    except ToolError:
        raise
    except Exception as error:  # ONNX Runtime's errors have no common base
        text = str(error).splitlines()[0]
        raise NetworkError(f"{original}: ONNX Runtime cannot run it ({text})") from None
    return {**values, **dict(zip(wanted, found, strict=True))}
