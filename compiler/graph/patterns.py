"""Finds out what an operator of a quantised model reads and writes, in QDQ and QLinear form."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from vta.compiler.graph.int8_forms import Form, int8_form
from vta.compiler.graph.onnx_graph import OnnxGraph, Op
from vta.compiler.graph.quantised_tensors import (
    FixedOperand,
    HostOnlyError,
    Int8Operand,
    Parameters,
    clip_range,
    parameters_of,
    quantised,
    read_by,
)
from vta.compiler.te.dtypes import INT8

__all__ = ["IN_PLACE", "Match", "Patterns"]

IN_PLACE = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "MaxPool", "Concat", "Transpose")
"""Operators whose results are some of the numbers that they read, so that they do the same to int8
tensors; `int8_layout` moves them there."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """An operator with int8 tensors around it.

    Attributes
    ----------
    op : Op
        The operator itself.
    kind : str
        The operator on float32 that it computes.
    operands : tuple
    output : str
        Name of the quantised result.
    result : Parameters
    limits : (int, int)
        The least and greatest result as int8.
    parts : tuple of Op
        All operators that the match stands for, but for DequantizeLinear.
    """

    op: Op
    kind: str
    operands: tuple[Int8Operand | FixedOperand | None, ...]
    output: str
    result: Parameters
    limits: tuple[int, int] = INT8
    parts: tuple[Op, ...]

    @property
    def data(self) -> Int8Operand:
        """The first operand, which must be a tensor."""
        first = self.operands[0]
        if not isinstance(first, Int8Operand):
            raise HostOnlyError("its data is constant")
        return first


class Patterns:
    """The quantised tensors and operators of a graph."""

    def __init__(self, graph: OnnxGraph) -> None:
        self.graph = graph
        self._parameters = functools.cache(self._find_parameters)

    def parameters(self, name: str) -> Parameters | None:
        """What an int8 or uint8 tensor stands for, if any operator says so."""
        if self.graph.dtypes.get(name) not in ("int8", "uint8"):
            return None
        return self._parameters(name)

    def _find_parameters(self, name: str) -> Parameters | None:
        maker = self.graph.maker(name)
        try:
            if maker is not None:
                if maker.is_a("QuantizeLinear"):
                    return quantised(self.graph, maker)
                form = int8_form(maker)
                if form is not None:
                    scale, point = (maker.input(index) for index in form.result)
                    return parameters_of(self.graph, scale, point)
                if maker.is_a(*IN_PLACE, "Slice", "Identity"):
                    return self.parameters(maker.input(0))
            return self._from_readers(name)
        except HostOnlyError:
            return None

    def _from_readers(self, name: str) -> Parameters | None:
        """What those say that read the tensor, or else those that read the same numbers later."""
        readers = self.graph.readers(name)
        for reader in readers:
            if reader.is_a("DequantizeLinear"):
                return quantised(self.graph, reader)
            form = int8_form(reader)
            for index in form.operands_of(reader) if form is not None else ():
                if reader.input(index) == name:
                    scale, point = reader.input(index + 1), reader.input(index + 2)
                    return parameters_of(self.graph, scale, point)
        for reader in readers:
            if reader.is_a(*IN_PLACE):
                found = self._from_readers(reader.outputs[0])
                if found is not None:
                    return found
        return None

    def match(self, op: Op) -> Match:
        """What an operator reads and writes.

        Raises
        ------
        HostOnlyError
            If it does not stand between quantised tensors.
        """
        form = int8_form(op)
        if form is not None:
            return self._match_int8(op, form)
        if op.is_a(*IN_PLACE) and self.graph.dtypes.get(op.outputs[0]) in ("int8", "uint8"):
            return self._match_in_place(op)
        return self._match_qdq(op)

    def _match_int8(self, op: Op, form: Form) -> Match:
        operands: list[Int8Operand | FixedOperand | None] = []
        for index in form.operands_of(op):
            operands.append(self._int8_operand(op, index))
        if form.bias is not None and op.input(form.bias):
            bias = self.graph.constant(op.input(form.bias))
            if bias is None:
                raise HostOnlyError("its bias is not constant")
            operands.append(FixedOperand(bias))
        if not op.input(form.result[0]):
            raise HostOnlyError("its result is float32")
        result = parameters_of(self.graph, *(op.input(index) for index in form.result))
        return Match(
            op=op,
            kind=form.kind,
            operands=tuple(operands),
            output=op.outputs[0],
            result=result,
            parts=(op,),
        )

    def _int8_operand(self, op: Op, index: int) -> Int8Operand | FixedOperand:
        name, scale, point = (op.input(index + step) for step in range(3))
        value = self.graph.constant(name)
        if value is None:
            return self._checked(Int8Operand(name, parameters_of(self.graph, scale, point)))
        scales, points = self.graph.constant(scale), self.graph.constant(point)
        if scales is None or points is None:
            raise HostOnlyError("the scale of its weights is known only when the network runs")
        axis = 0 if op.kind == "QLinearConv" or op.get("transB", 0) else value.ndim - 1
        return FixedOperand(value, scales.reshape(-1), points.reshape(-1), axis)

    def _checked(self, tensor: Int8Operand) -> Int8Operand:
        own = self.parameters(tensor.name)
        if own != tensor.parameters:
            raise HostOnlyError(f"it reads {tensor.name} with another scale than that has")
        return tensor

    def _match_in_place(self, op: Op) -> Match:
        count = len(op.inputs) if op.kind == "Concat" else 1
        operands = []
        for name in op.inputs[:count]:
            parameters = self.parameters(name)
            if parameters is None:
                raise HostOnlyError(f"the scale of {name} is not known")
            operands.append(Int8Operand(name, parameters))
        result = self.parameters(op.outputs[0])
        assert result is not None
        return Match(
            op=op,
            kind=op.kind,
            operands=tuple(operands),
            output=op.outputs[0],
            result=result,
            parts=(op,),
        )

    def _match_qdq(self, op: Op) -> Match:
        operands: list[Int8Operand | FixedOperand | None] = []
        for index in range(len(op.inputs) if not op.is_a("Clip", "ReduceMean") else 1):
            if not op.input(index):
                operands.append(None)
                continue
            operand = read_by(self.graph, op.input(index))
            operands.append(self._checked(operand) if isinstance(operand, Int8Operand) else operand)
        if op.is_a("Relu", "Clip"):
            # The bounds come from the chain that starts with the operator itself.
            chain, last = self._to_quantise(op.input(0), op)
        else:
            if len([name for name in op.outputs if name]) != 1:
                raise HostOnlyError("it has several results")
            chain, last = self._to_quantise(op.outputs[0], None)
            chain = [op, *chain]
        result = quantised(self.graph, last)
        limits = INT8
        for each in chain:
            bounds = clip_range(self.graph, each)
            if bounds is not None:
                low, high = (result.quantise(bound) for bound in bounds)
                # As Clip does it: the upper bound wins where they cross.
                limits = (min(max(limits[0], low), high), min(max(limits[1], low), high))
        return Match(
            op=op,
            kind=op.kind,
            operands=tuple(operands),
            output=last.outputs[0],
            result=result,
            limits=limits,
            parts=(*chain, last),
        )

    def _to_quantise(self, tensor: str, first: Op | None) -> tuple[list[Op], Op]:
        """The activations after a tensor, and the QuantizeLinear at their end."""
        chain: list[Op] = []
        op = first or self.graph.only_reader(tensor)
        while op is not None and not op.is_a("QuantizeLinear"):
            if clip_range(self.graph, op) is None or op.input(0) != tensor:
                break
            chain.append(op)
            tensor = op.outputs[0]
            op = self.graph.only_reader(tensor)
        if op is None:
            raise HostOnlyError("its result is also used in float32, or several times")
        if not op.is_a("QuantizeLinear") or op.input(0) != tensor:
            raise HostOnlyError(f"its result goes to {op.kind} before it is quantised")
        return chain, op

    def match_requantise(self, op: Op) -> Match:
        """A QuantizeLinear right behind a DequantizeLinear."""
        operand = read_by(self.graph, op.input(0))
        if not isinstance(operand, Int8Operand):
            raise HostOnlyError("its data is constant")
        return Match(
            op=op,
            kind="QuantizeLinear",
            operands=(self._checked(operand),),
            output=op.outputs[0],
            result=quantised(self.graph, op),
            parts=(op,),
        )
