"""Turns a tidy ONNX graph into an int8 graph: what matches a row of the table, and the rest."""

from __future__ import annotations

from vta.compiler.graph.cpu_regions import find_regions
from vta.compiler.graph.int8_forms import INT8_FORMS, int8_form
from vta.compiler.graph.int8_graph import Graph, Node, TensorInfo
from vta.compiler.graph.merge_bounds import merge_bounds
from vta.compiler.graph.node_builders import NodeBuilder
from vta.compiler.graph.onnx_graph import OnnxGraph, Op
from vta.compiler.graph.operator_table import ROWS
from vta.compiler.graph.patterns import Patterns
from vta.compiler.graph.quantised_tensors import HostOnlyError, quantised
from vta.errors import NetworkError

__all__ = ["make_int8_graph"]

REASONS = {
    **dict.fromkeys(("If", "Loop", "Scan"), "control flow"),
    **dict.fromkeys(
        ("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul"),
        "dynamic quantisation, whose scales are known only when the network runs",
    ),
}
"""Why operators run on the host that have a reason of their own."""

FLOAT_ONLY = "the network is not quantised; quantise it first (vta quantize)"


def make_int8_graph(graph: OnnxGraph) -> Graph:
    """The int8 graph of a tidy model.

    Raises
    ------
    NetworkError
        If a tensor between the host and the accelerator has no known shape.
    """
    return _Maker(graph).make()


class _Maker:
    """The nodes found so far, and the reasons of what stays on the host."""

    def __init__(self, graph: OnnxGraph) -> None:
        self.graph = graph
        self.patterns = Patterns(graph)
        self.nodes: list[Node] = []
        self.tensors: dict[str, TensorInfo] = {}
        self.done: set[str] = set()
        self.reasons: dict[str, str] = {}
        self.models: dict[str, bytes] = {}

    def make(self) -> Graph:
        ops = self.graph.ops
        for op in ops:
            if not op.is_a("QuantizeLinear", "DequantizeLinear"):
                self._convert(op)
        for op in ops:
            if op.is_a("QuantizeLinear") and op.name not in self.done:
                self._convert_quantise(op)
        for op in ops:
            if op.is_a("DequantizeLinear"):
                self._convert_dequantise(op)
        int8 = ("QuantizeLinear", "DequantizeLinear", *INT8_FORMS)
        if not any(op.kind in int8 for op in ops):
            for op in ops:
                self.reasons[op.name] = REASONS.get(op.kind, FLOAT_ONLY)
        self._add_regions()
        tensors = self._all_tensors()
        self.nodes = list(merge_bounds(self._ordered(), tensors, self.graph.outputs))
        return Graph(
            name=self.graph.name,
            inputs=tuple(self.graph.inputs),
            outputs=tuple(self.graph.outputs),
            tensors={name: tensors[name] for name in self._used()},
            nodes=tuple(self.nodes),
            cpu_models=self.models,
        )

    def _convert(self, op: Op) -> None:
        if op.name in self.done:
            return
        form = int8_form(op)
        kind = form.kind if form is not None else op.kind
        row = ROWS.get(kind) if form is not None or not op.domain else None
        if row is None:
            self.reasons[op.name] = REASONS.get(op.kind, "no operation of the accelerator")
            return
        try:
            builder = NodeBuilder(self.graph, self.patterns.match(op))
            row.build(builder)
        except HostOnlyError as error:
            self.reasons[op.name] = str(error)
            return
        self._take(builder)

    def _take(self, builder: NodeBuilder) -> None:
        self.nodes += builder.nodes
        self.tensors |= builder.tensors
        self.done |= {part.name for part in builder.match.parts}
        for part in builder.match.parts:
            self.reasons.pop(part.name, None)

    def _convert_quantise(self, op: Op) -> None:
        """A QuantizeLinear that no operator took: at the network's input, or between scales."""
        maker = self.graph.maker(op.input(0))
        try:
            if maker is None and op.input(0) in self.graph.inputs:
                quantised(self.graph, op)
                if self.graph.dtypes.get(op.input(0)) == "float32":
                    self._border(op, "quantize")
                    return
            elif maker is not None and maker.is_a("DequantizeLinear"):
                builder = NodeBuilder(self.graph, self.patterns.match_requantise(op))
                ROWS[op.kind].build(builder)
                self._take(builder)
                return
            self.reasons[op.name] = ""
        except HostOnlyError as error:
            self.reasons[op.name] = str(error)

    def _convert_dequantise(self, op: Op) -> None:
        """A DequantizeLinear whose result the network gives; others belong to their readers."""
        if op.outputs[0] not in self.graph.outputs:
            return
        try:
            if self.patterns.parameters(op.input(0)) == quantised(self.graph, op):
                self._border(op, "dequantize")
                return
            self.reasons[op.name] = "its input has another scale"
        except HostOnlyError as error:
            self.reasons[op.name] = str(error)

    def _border(self, op: Op, kind: str) -> None:
        self.nodes.append(
            Node(
                name=op.name,
                op=kind,
                inputs=(op.input(0),),
                outputs=(op.outputs[0],),
                sources=(op.name,),
                reason="the border between float32 and int8",
            )
        )

    def _add_regions(self) -> None:
        for region in find_regions(self.graph, self.reasons):
            self.models[region.name] = region.model
            self.nodes.append(
                Node(
                    name=region.name,
                    op="cpu",
                    inputs=region.inputs,
                    outputs=region.outputs,
                    sources=region.sources,
                    reason=region.reason,
                )
            )

    def _used(self) -> list[str]:
        """The tensors between nodes, and the network's own."""
        names = [*self.graph.inputs, *self.graph.outputs]
        names += [name for node in self.nodes for name in (*node.inputs, *node.outputs)]
        return list(dict.fromkeys(names))

    def _all_tensors(self) -> dict[str, TensorInfo]:
        return {name: self._tensor(name) for name in self._used()}

    def _tensor(self, name: str) -> TensorInfo:
        if name in self.tensors:
            return self.tensors[name]
        shape, dtype = self.graph.shape(name), self.graph.dtypes.get(name)
        if shape is None or dtype is None:
            maker = self.graph.maker(name)
            by = f", made by {maker.name} ({maker.kind})," if maker else ""
            raise NetworkError(f"the shape of the tensor {name}{by} cannot be inferred")
        found = self.patterns.parameters(name)
        return TensorInfo(
            name=name,
            shape=shape,
            dtype=dtype,
            scale=found.scale if found else None,
            zero_point=found.zero_point if found else 0,
        )

    def _ordered(self) -> tuple[Node, ...]:
        """The nodes, each after those that it reads from."""
        makers = {name: node for node in self.nodes for name in node.outputs}
        done: dict[str, Node] = {}
        for first in self.nodes:
            stack = [first]
            while stack:
                node = stack[-1]
                missing = [
                    maker
                    for name in node.inputs
                    if (maker := makers.get(name)) is not None and maker.name not in done
                ]
                if not missing or node.name in done:
                    done.setdefault(node.name, node)
                    stack.pop()
                else:
                    stack += missing
        return tuple(done.values())
