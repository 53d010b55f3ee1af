"""Operators for scripts that write their own schedules, by the names that VTA's users know.

Each operator declares one stage, which is scheduled like any other stage. `vta.top` has operators
that schedule themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from vta.calls import check_calls
from vta.compiler.te.dtypes import items_of
from vta.compiler.te.expr import Expr, as_expr
from vta.compiler.te.intrinsics import all_of, if_then_else
from vta.compiler.te.intrinsics import maximum as larger
from vta.compiler.te.intrinsics import minimum as smaller
from vta.compiler.te.padding import pad
from vta.compiler.te.tensor import Tensor, compute
from vta.errors import CompileError

__all__ = [
    "add",
    "cast",
    "clip",
    "left_shift",
    "maximum",
    "minimum",
    "multiply",
    "nn",
    "right_shift",
    "subtract",
]

Operand = Tensor | Expr | int
"""An operand: a tensor, or one value for all elements."""


def add(lhs: Operand, rhs: Operand, name: str = "T_add") -> Any:
    """The elementwise sum; shapes broadcast as in numpy."""
    return _broadcast(lambda a, b: a + b, lhs, rhs, name)


def subtract(lhs: Operand, rhs: Operand, name: str = "T_subtract") -> Any:
    """The elementwise difference, like `add`."""
    return _broadcast(lambda a, b: a - b, lhs, rhs, name)


def multiply(lhs: Operand, rhs: Operand, name: str = "T_multiply") -> Any:
    """The elementwise product, like `add`."""
    return _broadcast(lambda a, b: a * b, lhs, rhs, name)


def maximum(lhs: Operand, rhs: Operand, name: str = "T_maximum") -> Any:
    """The elementwise maximum, like `add`."""
    return _broadcast(larger, lhs, rhs, name)


def minimum(lhs: Operand, rhs: Operand, name: str = "T_minimum") -> Any:
    """The elementwise minimum, like `add`."""
    return _broadcast(smaller, lhs, rhs, name)


def right_shift(lhs: Operand, rhs: Operand, name: str = "T_right_shift") -> Any:
    """``lhs >> rhs``, elementwise like `add`."""
    return _broadcast(lambda a, b: a >> b, lhs, rhs, name)


def left_shift(lhs: Operand, rhs: Operand, name: str = "T_left_shift") -> Any:
    """``lhs << rhs``, elementwise like `add`."""
    return _broadcast(lambda a, b: a << b, lhs, rhs, name)


def clip(x: Tensor, a_min: int, a_max: int, name: str = "compute") -> Tensor:
    """Limits every element to the range `a_min` to `a_max`."""
    return compute(_tensor(x, "clip").shape, lambda *i: larger(smaller(x(*i), a_max), a_min), name)


def cast(x: Tensor | Expr, dtype: Any, name: str = "T_cast") -> Any:
    """A tensor, or a value, in another dtype; narrowing wraps, as in numpy."""
    if isinstance(x, Tensor):
        return compute(x.shape, lambda *i: x(*i).astype(dtype), name)
    return as_expr(x).astype(dtype)


def relu(x: Tensor, name: str = "compute") -> Tensor:
    """Replaces negative elements by 0."""
    return compute(_tensor(x, "relu").shape, lambda *i: larger(x(*i), 0), name)


def dilate(
    data: Tensor, strides: Sequence[int], dilation_value: int = 0, name: str = "DilatedInput"
) -> Tensor:
    """Inserts `stride` - 1 elements of `dilation_value` between neighbours in each dimension."""
    steps = items_of(strides)
    if len(steps) != _tensor(data, "dilate").ndim or any(
        isinstance(step, bool) or not isinstance(step, (int, np.integer)) or step < 1
        for step in steps
    ):
        raise CompileError(
            f"strides of {data.name} must be {data.ndim} numbers of 1 or more, not {strides!r}"
        )
    shape = [int((size - 1) * step + 1) for size, step in zip(data.shape, steps, strict=True)]

    def rule(*i: Any) -> Expr:
        apart = [(index, int(step)) for index, step in zip(i, steps, strict=True)]
        value = data(*(index // step if step > 1 else index for index, step in apart))
        between = [index % step <= 0 for index, step in apart if step > 1]
        return if_then_else(all_of(*between), value, dilation_value) if between else value

    return compute(shape, rule, name)


def _tensor(x: object, what: str) -> Tensor:
    if not isinstance(x, Tensor):
        raise CompileError(f"{what} takes a tensor, not {x!r}")
    return x


def _broadcast(
    operation: Callable[[Any, Any], Expr], lhs: Operand, rhs: Operand, name: str
) -> Tensor | Expr:
    """An elementwise operation on two tensors, or on two values if neither is a tensor."""
    operands = (lhs, rhs)
    shapes = [item.shape for item in operands if isinstance(item, Tensor)]
    if not shapes:
        return operation(as_expr(lhs), as_expr(rhs))
    shape: list[int] = []
    for sizes in itertools.zip_longest(*(reversed(item) for item in shapes), fillvalue=1):
        if len(set(sizes) - {1}) > 1:
            listed = " and ".join(str(list(item)) for item in shapes)
            raise CompileError(f"{name}: shapes {listed} cannot be broadcast together")
        shape.insert(0, max(sizes))

    def element(item: Operand, indices: Sequence[Expr]) -> Any:
        if not isinstance(item, Tensor):
            return item
        own = indices[len(indices) - item.ndim :]
        # A dimension of size 1 broadcasts.
        return item(
            *(0 if size == 1 else index for size, index in zip(item.shape, own, strict=True))
        )

    return compute(shape, lambda *i: operation(element(lhs, i), element(rhs, i)), name)


nn = SimpleNamespace(dilate=dilate, pad=pad, relu=relu)
"""Operators of neural networks: `dilate`, `pad`, `relu`."""

check_calls("topi.", globals(), __all__)
check_calls("topi.nn.", vars(nn), list(vars(nn)))
