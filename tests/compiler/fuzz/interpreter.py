"""What a te program computes, element by element: the judge of what the compiler makes of it.

It follows the tensors as they were declared and knows nothing of schedules, passes or machines. A
number is a Python-like integer that wraps to its dtype after each operation; a shift by a negative
amount shifts the other way, as the instruction set says. A float32 is the number of its bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vta.compiler.te.expr import Binary, Cast, Const, Expr, Read, Reduce, Requantize, Select, Var
from vta.compiler.te.tensor import ComputeOp, Operation, Tensor
from vta.tools.fuzz.plain_interpreter import requantise

__all__ = ["evaluate"]

BITS = {"int8": 8, "int32": 32}
Points = dict[Var, np.ndarray]
"""The value of each index at every point that an expression is evaluated at, in int64."""


def evaluate(outputs: Sequence[Tensor], inputs: Mapping[Tensor, np.ndarray]) -> list[np.ndarray]:
    """The arrays that some tensors are, given those of the placeholders."""
    known = {
        tensor.op: (array.view(np.int32) if array.dtype == np.float32 else array).astype(np.int64)
        for tensor, array in inputs.items()
    }
    return [_array(tensor.op, known).astype(tensor.dtype) for tensor in outputs]


def _array(op: Operation, known: dict[Operation, np.ndarray]) -> np.ndarray:
    if op not in known:
        assert isinstance(op, ComputeOp), f"{op.name} is a placeholder without an array"
        for tensor in op.input_tensors:
            _array(tensor.op, known)
        grid = np.indices(op.shape).reshape(len(op.shape), -1)
        points = {axis.var: row for axis, row in zip(op.axis, grid, strict=True)}
        known[op] = _Evaluation(points, known).value(op.body).reshape(op.shape)
    return known[op]


def _wrapped(value: np.ndarray, dtype: str) -> np.ndarray:
    half = 1 << (BITS[dtype] - 1)
    return (value + half) % (2 * half) - half


def _shifted(value: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Shifted to the right by `right` bits, to the left where that is negative."""
    down = value >> np.clip(right, 0, 32)
    return np.where(right >= 0, down, value << np.clip(-right, 0, 32))


class _Evaluation:
    """Of expressions at the same points; what several share is evaluated once."""

    def __init__(self, points: Points, known: dict[Operation, np.ndarray]) -> None:
        self.points = points
        self.count = len(next(iter(points.values())))
        self.known = known
        self.done: dict[Expr, np.ndarray] = {}

    def value(self, expr: Expr) -> np.ndarray:
        if expr not in self.done:
            self.done[expr] = self._new(expr)
        return self.done[expr]

    def _new(self, expr: Expr) -> np.ndarray:
        if isinstance(expr, Const):
            return np.full(self.count, expr.number, np.int64)
        if isinstance(expr, Var):
            return self.points[expr]
        if isinstance(expr, Cast):
            return _wrapped(self.value(expr.value), expr.dtype)
        if isinstance(expr, Read):
            assert isinstance(expr.source, Tensor)
            places = tuple(self.value(index) for index in expr.indices)
            for place, size in zip(places, expr.source.shape, strict=True):
                assert (place >= 0).all(), "a read below 0"
                assert (place < size).all(), "a read beyond the end"
            return self.known[expr.source.op][places]
        if isinstance(expr, Select):
            return self._select(expr)
        if isinstance(expr, Reduce):
            return self._reduce(expr)
        if isinstance(expr, Requantize):
            return self._requantize(expr)
        assert isinstance(expr, Binary)
        return _wrapped(self._binary(expr.op, self.value(expr.a), self.value(expr.b)), expr.dtype)

    @staticmethod
    def _binary(op: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if op in ("min", "max"):
            return np.minimum(a, b) if op == "min" else np.maximum(a, b)
        if op in ("<<", ">>"):
            return _shifted(a, b if op == ">>" else -b)
        if op in ("//", "%"):  # of indices by numbers of 1 or more
            return a // b if op == "//" else a % b
        return {"+": a + b, "-": a - b, "*": a * b}[op]

    def _requantize(self, expr: Requantize) -> np.ndarray:
        imm = expr.lower * 256 + expr.zero_point % 256
        numbers = zip(self.value(expr.value), self.value(expr.scale), strict=True)
        return np.array([requantise(int(acc), int(scale), imm) for acc, scale in numbers])

    def _select(self, expr: Select) -> np.ndarray:
        """The branch that is not taken is not evaluated: it may read out of bounds."""
        taken = np.ones(self.count, bool)
        for condition in expr.conditions:
            taken &= self.value(condition.value) >= 0
        found = np.zeros(self.count, np.int64)
        for mask, branch in ((taken, expr.then), (~taken, expr.other)):
            if mask.any():
                points = {var: row[mask] for var, row in self.points.items()}
                found[mask] = _Evaluation(points, self.known).value(branch)
        return found

    def _reduce(self, expr: Reduce) -> np.ndarray:
        extents = [axis.extent for axis in expr.axes]
        rounds = np.indices(extents).reshape(len(extents), -1)
        count = rounds.shape[1]
        points = {var: np.repeat(row, count) for var, row in self.points.items()}
        for axis, row in zip(expr.axes, rounds, strict=True):
            points[axis.var] = np.tile(row, self.count)
        terms = _Evaluation(points, self.known).value(expr.value).reshape(self.count, count)
        combine = {"+": np.add, "min": np.minimum, "max": np.maximum}[expr.op]
        found = combine.reduce(terms, axis=1)
        if expr.init is not None:
            found = combine(found, self.value(expr.init))
        return _wrapped(found, expr.dtype)
