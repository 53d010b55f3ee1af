"""Scales and zero points of an ONNX graph's tensors, and the patterns of QuantizeLinear and
DequantizeLinear around an operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vta.compiler.graph.onnx_graph import OnnxGraph, Op
from vta.compiler.te.dtypes import INT8

__all__ = [
    "FixedOperand",
    "HostOnlyError",
    "Parameters",
    "Int8Operand",
    "clip_range",
    "parameters_of",
    "quantised",
    "read_by",
]

Array = NDArray[Any]


class HostOnlyError(Exception):
    """Why an operator runs on the host; the text continues "because"."""


@dataclass(frozen=True)
class Parameters:
    """What the numbers of a quantised tensor stand for: ``scale * (number - zero_point)``."""

    scale: float
    zero_point: int
    dtype: str

    def quantise(self, value: float) -> int:
        """The int8 number that stands for a value, as QuantizeLinear has it."""
        with np.errstate(over="ignore"):
            number = np.rint(np.float32(value) / np.float32(self.scale)) + self.zero_point
        limits = np.iinfo(self.dtype)
        return int(np.clip(number, limits.min, limits.max)) - (limits.min - INT8[0])


@dataclass(frozen=True)
class Int8Operand:
    """A quantised tensor that an operator reads."""

    name: str
    parameters: Parameters


@dataclass(frozen=True)
class FixedOperand:
    """A constant that an operator reads.

    `scale` and `zero_point` are arrays, or None for numbers that are not quantised; `axis` is the
    axis along which they run if they have more than one number.
    """

    value: Array
    scale: Array | None = None
    zero_point: Array | None = None
    axis: int = 0


def parameters_of(graph: OnnxGraph, scale: str, zero_point: str, dtype: str = "") -> Parameters:
    """One scale and zero point from the names of constants.

    Raises
    ------
    HostOnlyError
        If they are not constants of one number, or not of 8 bits.
    """
    found = graph.constant(scale)
    if found is None:
        raise HostOnlyError("its scale is known only when the network runs")
    if found.dtype != np.float32:
        raise HostOnlyError(f"its scale is {found.dtype}, not float32")
    point = np.zeros(1, dtype or "uint8") if not zero_point else graph.constant(zero_point)
    if point is None:
        raise HostOnlyError("its zero point is known only when the network runs")
    if found.size != 1 or point.size != 1:
        raise HostOnlyError("its activations have a scale for each channel")
    if point.dtype not in (np.int8, np.uint8):
        raise HostOnlyError(f"its activations are {point.dtype}, not int8 or uint8")
    number = float(found.reshape(-1)[0])
    if not np.isfinite(number) or number <= 0:
        raise HostOnlyError(f"its scale is {number}")
    return Parameters(number, int(point.reshape(-1)[0]), point.dtype.name)


def quantised(graph: OnnxGraph, op: Op) -> Parameters:
    """What a QuantizeLinear or DequantizeLinear says about its int8 tensor."""
    kind = op.get("output_dtype") if op.is_a("QuantizeLinear") else None
    if kind not in (None, 0, 2, 3) or op.get("block_size", 0):
        raise HostOnlyError("its activations are not int8 or uint8 with one scale")
    dtype = graph.dtypes.get(op.input(0), "") if op.is_a("DequantizeLinear") else ""
    if kind == 3:
        dtype = "int8"
    return parameters_of(graph, op.input(1), op.input(2), dtype)


def read_by(graph: OnnxGraph, name: str) -> Int8Operand | FixedOperand:
    """What an operator of float32 reads: a tensor behind DequantizeLinear, or a constant.

    Raises
    ------
    HostOnlyError
        If it is something else.
    """
    value = graph.constant(name)
    if value is not None:
        return FixedOperand(value)
    maker = graph.maker(name)
    if maker is None or not maker.is_a("DequantizeLinear"):
        raise HostOnlyError(f"its input {name} is not quantised")
    source = graph.constant(maker.input(0))
    if source is None:
        return Int8Operand(maker.input(0), quantised(graph, maker))
    return dequantised_constant(graph, maker, source)


def dequantised_constant(graph: OnnxGraph, op: Op, source: Array) -> FixedOperand:
    """The constant of a DequantizeLinear, still quantised."""
    scale = graph.constant(op.input(1))
    if scale is None:
        raise HostOnlyError("the scale of its weights is known only when the network runs")
    point = graph.constant(op.input(2)) if op.input(2) else np.zeros(scale.shape, source.dtype)
    if point is None:
        raise HostOnlyError("the zero point of its weights is known only when the network runs")
    if scale.dtype != np.float32 or op.get("block_size", 0):
        raise HostOnlyError("its weights have scales for blocks, or scales that are not float32")
    axis = int(op.get("axis", 1)) % max(source.ndim, 1)
    return FixedOperand(source, scale.reshape(-1), np.asarray(point).reshape(-1), axis)


def clip_range(graph: OnnxGraph, op: Op) -> tuple[float, float] | None:
    """The limits of a Relu or Clip; None for another operator or limits that are not constant."""
    if op.is_a("Relu"):
        return 0.0, np.inf
    if not op.is_a("Clip"):
        return None
    limits = [op.get("min", -np.inf), op.get("max", np.inf)]
    for index in (1, 2):
        if op.input(index):
            value = graph.constant(op.input(index))
            if value is None:
                return None
            limits[index - 1] = float(value.reshape(-1)[0])
    return float(limits[0]), float(limits[1])
