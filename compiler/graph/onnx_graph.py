"""An ONNX model as plain objects, which rewrites can change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

__all__ = ["OnnxGraph", "Op", "build_model", "from_model", "make_op", "note_shapes", "tensors_of"]

FEW = 4096
"""Constants of at most so many numbers take part in the inference of shapes by value."""


@dataclass(eq=False)
class Op:
    """A node of an ONNX graph.

    Attributes
    ----------
    name : str
        Unique in its graph.
    kind : str
        The operator's name.
    domain : str
        Empty for ONNX's own operators.
    inputs, outputs : list of str
        Names of tensors; empty where an optional one is left out.
    attributes : dict of str to onnx.AttributeProto
    captured : tuple of str
        Tensors that the bodies of control flow read from outside.
    """

    name: str
    kind: str
    domain: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, onnx.AttributeProto] = field(default_factory=dict)
    captured: tuple[str, ...] = ()

    def get(self, name: str, default: Any = None) -> Any:
        """The value of an attribute; texts as str."""
        if name not in self.attributes:
            return default
        value = helper.get_attribute_value(self.attributes[name])
        return value.decode() if isinstance(value, bytes) else value

    def input(self, index: int) -> str:
        """The name of an input, empty if it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""

    @property
    def reads(self) -> tuple[str, ...]:
        """All tensors that it reads."""
        return (*(name for name in self.inputs if name), *self.captured)

    def is_a(self, *kinds: str) -> bool:
        """Whether it is one of these operators of ONNX itself."""
        return self.domain == "" and self.kind in kinds

    def to_node(self) -> onnx.NodeProto:
        node = helper.make_node(
            self.kind, self.inputs, self.outputs, name=self.name, domain=self.domain
        )
        node.attribute.extend(self.attributes.values())
        return node


def make_op(
    name: str,
    kind: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    domain: str = "",
    **attributes: Any,
) -> Op:
    """A new node; attributes that are None are left out."""
    found = {
        key: helper.make_attribute(key, value)
        for key, value in attributes.items()
        if value is not None
    }
    return Op(name, kind, domain, list(inputs), list(outputs), found)


class OnnxGraph:
    """The nodes, constants and shapes of a model, and who makes and reads each tensor.

    Attributes
    ----------
    name : str
    opsets : dict of str to int
    ir_version : int
    inputs, outputs : list of str
    constants : dict of str to array
    shapes : dict of str to tuple
        Of the tensors whose shape is known; a number is None where it is not.
    dtypes : dict of str to str
    """

    def __init__(self, name: str, opsets: dict[str, int], ir_version: int) -> None:
        self.name = name
        self.opsets = opsets
        self.ir_version = ir_version
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.shapes: dict[str, tuple[int | None, ...]] = {}
        self.dtypes: dict[str, str] = {}
        self._ops: dict[str, Op] = {}
        self._makers: dict[str, Op] = {}
        self._readers: dict[str, dict[str, Op]] = {}

    @property
    def opset(self) -> int:
        return self.opsets.get("", 1)

    @property
    def ops(self) -> list[Op]:
        """The nodes, each after those that it reads from."""
        done: dict[str, Op] = {}
        for first in self._ops.values():
            stack = [first]
            while stack:
                op = stack[-1]
                makers = (self._makers.get(name) for name in op.reads)
                missing = [m for m in makers if m is not None and m.name not in done]
                if op.name in done or not missing:
                    done.setdefault(op.name, op)
                    stack.pop()
                else:
                    stack += missing
        return list(done.values())

    def maker(self, tensor: str) -> Op | None:
        """The node that makes a tensor; None for inputs and constants."""
        return self._makers.get(tensor)

    def readers(self, tensor: str) -> list[Op]:
        """The nodes that read a tensor."""
        return list(self._readers.get(tensor, {}).values())

    def only_reader(self, tensor: str) -> Op | None:
        """The one node that reads a tensor, unless it is also an output of the graph."""
        readers = self.readers(tensor)
        return readers[0] if len(readers) == 1 and tensor not in self.outputs else None

    def add(self, op: Op) -> Op:
        name, count = op.name or f"{op.kind}_{op.outputs[0]}", 1
        op.name = name
        while op.name in self._ops:
            count += 1
            op.name = f"{name}_{count}"
        self._ops[op.name] = op
        for tensor in filter(None, op.outputs):
            self._makers[tensor] = op
        for tensor in op.reads:
            self._readers.setdefault(tensor, {})[op.name] = op
        return op

    def remove(self, op: Op) -> None:
        del self._ops[op.name]
        for tensor in op.outputs:
            if self._makers.get(tensor) is op:
                del self._makers[tensor]
        for tensor in op.reads:
            self._readers.get(tensor, {}).pop(op.name, None)

    def replace(self, op: Op, *new: Op) -> None:
        self.remove(op)
        for each in new:
            self.add(each)

    def set_inputs(self, op: Op, inputs: Iterable[str]) -> None:
        """Lets a node read other tensors."""
        for tensor in op.reads:
            self._readers.get(tensor, {}).pop(op.name, None)
        op.inputs = list(inputs)
        for tensor in op.reads:
            self._readers.setdefault(tensor, {})[op.name] = op

    def replaceable(self, tensor: str) -> bool:
        """Whether a tensor's readers can read another one: it is no output, nor captured."""
        return tensor not in self.outputs and not any(
            tensor in op.captured for op in self.readers(tensor)
        )

    def redirect(self, old: str, new: str) -> None:
        """Lets all that read `old` read `new`."""
        for op in self.readers(old):
            self.set_inputs(op, [new if name == old else name for name in op.inputs])

    def rename(self, tensor: str, name: str) -> None:
        """Gives a tensor that a node makes another name; all that read it still do."""
        maker = self._makers[tensor]
        self.remove(maker)
        maker.outputs = [name if each == tensor else each for each in maker.outputs]
        self.add(maker)
        self.redirect(tensor, name)

    def constant(self, tensor: str) -> NDArray[Any] | None:
        return self.constants.get(tensor)

    def unused(self, name: str) -> str:
        """`name`, or a name made of it, which no tensor and no node has."""
        found, count = name, 1
        taken = (self.constants, self._makers, self._ops, self.inputs)
        while any(found in names for names in taken):
            count += 1
            found = f"{name}_{count}"
        return found

    def add_constant(self, name: str, value: NDArray[Any]) -> str:
        """Adds a constant under `name` or a name made of it; returns the name."""
        unique = self.unused(name)
        self.constants[unique] = value
        self.shapes[unique] = value.shape
        self.dtypes[unique] = value.dtype.name
        return unique

    def shape(self, tensor: str) -> tuple[int, ...] | None:
        """The shape of a tensor if all of it is known."""
        shape = self.shapes.get(tensor)
        if shape is None or any(size is None for size in shape):
            return None
        return tuple(size for size in shape if size is not None)

    def prune(self) -> None:
        """Removes nodes whose results nobody reads, and constants that nobody reads."""
        for op in reversed(self.ops):
            if not any(
                name in self.outputs or self._readers.get(name) for name in op.outputs if name
            ):
                self.remove(op)
        self.constants = {
            name: value
            for name, value in self.constants.items()
            if self._readers.get(name) or name in self.outputs
        }


def from_model(model: onnx.ModelProto) -> OnnxGraph:
    """The graph of a model whose data is in memory."""
    proto = model.graph
    opsets = {
        "" if opset.domain == "ai.onnx" else opset.domain: opset.version
        for opset in model.opset_import
    }
    graph = OnnxGraph(proto.name, opsets, model.ir_version)
    for tensor in proto.initializer:
        graph.add_constant(tensor.name, numpy_helper.to_array(tensor))
    graph.inputs = [value.name for value in proto.input if value.name not in graph.constants]
    graph.outputs = [value.name for value in proto.output]
    for node in proto.node:
        graph.add(
            Op(
                node.name,
                node.op_type,
                "" if node.domain == "ai.onnx" else node.domain,
                list(node.input),
                list(node.output),
                {attribute.name: attribute for attribute in node.attribute},
                tuple(sorted(_captured(node))),
            )
        )
    note_shapes(graph, proto)
    return graph


def note_shapes(graph: OnnxGraph, proto: onnx.GraphProto) -> None:
    """Takes over the shapes and dtypes that a model states."""
    for value in (*proto.input, *proto.value_info, *proto.output):
        kind = value.type.tensor_type
        if kind.elem_type and value.name not in graph.constants:
            graph.dtypes[value.name] = helper.tensor_dtype_to_np_dtype(kind.elem_type).name
            if kind.HasField("shape"):
                graph.shapes[value.name] = tuple(
                    dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim
                )


def _captured(node: onnx.NodeProto) -> set[str]:
    """What the bodies of a node read from outside."""
    found: set[str] = set()
    for attribute in node.attribute:
        bodies = [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
        for body in bodies:
            own = {value.name for value in body.input} | {t.name for t in body.initializer}
            for inner in body.node:
                found |= ({*inner.input} | _captured(inner)) - own - {""}
                own |= {*inner.output}
            found |= {value.name for value in body.output} - own
    return found


def _value(graph: OnnxGraph, name: str) -> onnx.ValueInfoProto:
    dtype = graph.dtypes.get(name)
    if dtype is None:
        return helper.make_empty_tensor_value_info(name)
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), graph.shapes.get(name)
    )


def build_model(
    graph: OnnxGraph,
    ops: Iterable[Op] | None = None,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    *,
    only_shapes: bool = False,
) -> onnx.ModelProto:
    """A model of the whole graph, or of some of its nodes, which must come in order.

    With `only_shapes`, large constants are inputs: enough to infer shapes.
    """
    chosen = graph.ops if ops is None else list(ops)
    names = list(graph.inputs if inputs is None else inputs)
    read = {name for op in chosen for name in op.reads}
    last = list(graph.outputs if outputs is None else outputs)
    constants = []
    for name in sorted((read | {*last}) & graph.constants.keys()):
        if only_shapes and graph.constants[name].size > FEW:
            names.append(name)
        else:
            constants.append(numpy_helper.from_array(graph.constants[name], name))
    proto = helper.make_graph(
        [op.to_node() for op in chosen],
        graph.name or "network",
        [_value(graph, name) for name in names],
        [_value(graph, name) for name in last],
        constants,
    )
    domains = {op.domain for op in chosen} | {""}
    opsets = [
        helper.make_opsetid(domain, version)
        for domain, version in graph.opsets.items()
        if domain in domains or any(op.captured for op in chosen)
    ]
    if only_shapes:
        made = tensors_of(op for op in chosen if op.domain)
        proto.value_info.extend(_value(graph, name) for name in made if name not in last)
    model = helper.make_model(proto, opset_imports=opsets, producer_name="vta")
    model.ir_version = graph.ir_version
    return model


def tensors_of(ops: Iterable[Op]) -> Iterator[str]:
    """Every tensor that some nodes make."""
    for op in ops:
        yield from filter(None, op.outputs)
