"""Compares the reader's graph with an interpreter of the model, and with ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import onnx

from tests.compiler.graph.onnx_interpreter import Interpreter
from vta.compiler.graph.int8_graph import Graph
from vta.compiler.graph.read_model import read
from vta.compiler.graph.reference import run_graph
from vta.onnx_session import onnx_session


@dataclass
class Comparison:
    """What `compare` found.

    `ties` counts, by operation, numbers for which ONNX Runtime's float32 fell on the other side of
    a rounding tie; `values` counts all that were compared with it.
    """

    graph: Graph
    ties: Counter[str]
    values: int

    @property
    def ops(self):
        return [node.op for node in self.graph.nodes]


def session(model):
    """ONNX Runtime without any rewriting of the model."""
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return onnx_session(data, "a test")


def runtime_tensors(model, names, inputs):
    """What ONNX Runtime gives for some tensors of a model."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    return dict(zip(names, session(shown).run(names, inputs), strict=True))


def random_inputs(graph, seed=0):
    """For each input, normally distributed numbers, or all numbers of its whole dtype."""
    rng = np.random.default_rng(seed)
    found = {}
    for name in graph.inputs:
        info = graph.tensors[name]
        if info.dtype == "float32":
            found[name] = rng.standard_normal(info.shape).astype(np.float32)
        else:
            limits = np.iinfo(info.dtype)
            found[name] = rng.integers(limits.min, limits.max + 1, info.shape, info.dtype)
    return found


def run_on_host(graph, inputs):
    """Every tensor of an int8 graph: by its formulas, and CPU regions by ONNX Runtime."""

    def cpu(node, values):
        return session(graph.cpu_models[node.name]).run(list(node.outputs), values)

    return run_graph(graph, inputs, cpu)


def compare(model, *, interpret=True, batch=1, seed=0) -> Comparison:
    """Reads a model, runs it three ways, and compares every tensor.

    The int8 graph must equal the interpreter from the inputs to the outputs. ONNX Runtime, which
    computes QDQ models in float32, may differ at rounding ties; so each node gets what ONNX Runtime
    gave for its inputs.
    """
    graph = read(model, batch)
    inputs = random_inputs(graph, seed)
    found = run_on_host(graph, inputs)
    made = {name for node in model.graph.node for name in node.output}
    names = [name for name in graph.tensors if name in made]
    assert {*graph.outputs} <= {*names}
    for name, info in graph.tensors.items():
        assert found[name].shape == info.shape, name
        assert found[name].dtype == info.dtype, name
    if interpret:
        expected = Interpreter(model).run(inputs)
        for name in names:
            np.testing.assert_array_equal(found[name], expected[name], name)
    theirs = {**inputs, **runtime_tensors(model, names, inputs)}
    ties: Counter[str] = Counter()
    values = 0
    for node in graph.nodes:
        result = run_on_host(replace(graph, nodes=(node,)), theirs)
        for name in node.outputs:
            info = graph.tensors[name]
            # A tensor between nodes that stand for one operator.
            theirs.setdefault(name, result[name])
            if not info.quantised:
                np.testing.assert_allclose(result[name], theirs[name], 1e-5, 1e-6, err_msg=name)
                continue
            steps = np.abs(result[name].astype(np.int64) - theirs[name])
            assert steps.max(initial=0) <= 1, name
            ties[node.op] += int((steps > 0).sum())
            values += steps.size
    return Comparison(graph, ties, values)
