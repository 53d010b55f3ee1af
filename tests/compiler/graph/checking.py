"""Compares the reader's graph with an interpreter of the model, and with ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime

from tests.compiler.graph.onnx_interpreter import Interpreter
from vta.compiler.graph.int8_graph import Graph
from vta.compiler.graph.read_model import read
from vta.compiler.graph.reference import run_graph


@dataclass
class Comparison:
    """What `compare` found.

    `ties` counts numbers that differ from ONNX Runtime by one step, `values` all that were
    compared with it.
    """

    graph: Graph
    ties: int
    values: int

    @property
    def ops(self):
        return [node.op for node in self.graph.nodes]


def session(model):
    """ONNX Runtime without any rewriting of the model."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(data, options)


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

    The int8 graph must equal the interpreter; ONNX Runtime may differ by one step, for what it
    computes in float32.
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
    ties = values = 0
    theirs = runtime_tensors(model, names, inputs)
    for name in names:
        info = graph.tensors[name]
        if info.quantised:
            steps = np.abs(found[name].astype(np.int64) - theirs[name])
            assert steps.max(initial=0) <= 1, name
            ties += int((steps > 0).sum())
            values += steps.size
        else:
            assert theirs[name].dtype == info.dtype, name
            assert theirs[name].shape == info.shape, name
    return Comparison(graph, ties, values)
