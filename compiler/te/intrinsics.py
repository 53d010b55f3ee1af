"""Functions for rules, in addition to operators: reductions, min and max, conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vta.compiler.te.dtypes import (
    ABILITIES,
    SCALE,
    as_int8,
    dtype_name,
    items_of,
    no_scale,
    scale_bits,
)
from vta.compiler.te.expr import (
    Axis,
    Condition,
    Const,
    Equality,
    Expr,
    Read,
    Reduce,
    Requantize,
    Select,
    Var,
    as_expr,
    binary,
    const,
    divided,
    walk,
)
from vta.errors import CompileError

__all__ = [
    "all_of",
    "floordiv",
    "floormod",
    "if_then_else",
    "max_value",
    "maximum",
    "min_value",
    "minimum",
    "neutral",
    "reduce_axis",
    "reduce_sum",
    "requantize",
    "truncdiv",
    "truncmod",
]


def reduce_axis(bounds: Sequence[int], name: str = "rv") -> Axis:
    """An axis to reduce over, with an index in ``range(0, n)`` for ``bounds = (0, n)``."""
    numbers = items_of(bounds)
    if (
        len(numbers) != 2
        or numbers[0] != 0
        or isinstance(numbers[1], bool)
        or not isinstance(numbers[1], (int, np.integer))
        or numbers[1] < 1
    ):
        raise CompileError(
            f"reduce_axis {name} must go from 0 to 1 or more, as (0, n), not {bounds!r}"
        )
    return Axis(Var("int32", name), int(numbers[1]), reduces=True)


def reduce_sum(value: object, axis: Axis | Sequence[Axis], init: object = None) -> Reduce:
    """The sum of an expression over reduce axes, which starts from `init` (or 0)."""
    return _reduce("+", "sum", value, axis, init)


def maximum(a: object, b: object = None, *, axis: Any = None) -> Expr:
    """The larger of two signed values, or the maximum of one value over reduce axes."""
    return _extreme("max", a, b, axis)


def minimum(a: object, b: object = None, *, axis: Any = None) -> Expr:
    """The smaller of two signed values, or the minimum of one value over reduce axes."""
    return _extreme("min", a, b, axis)


def requantize(x: object, scale: object, zero_point: int = 0, lower: int = -128) -> Requantize:
    """``max(lower, min(127, rint(float32(x) * scale) + zero_point))``, an int8.

    The product is rounded to float32, and `rint` rounds ties to even. One instruction computes it
    (QNT), which needs a machine with HW_VER 0.0.3.

    Parameters
    ----------
    x : int32 or int8 expression
    scale : element of a float32 tensor, or a number
        An element must be at the same place of its tile as the result: a tile of scales usually
        repeats one number for each channel. A number is rounded to float32, and must then be
        positive, finite and at least 2^-126.
    zero_point, lower : int
        -128 to 127.

    Raises
    ------
    CompileError
        An argument is something else.
    """
    value = as_expr(x).astype("int32")
    if not isinstance(scale, Expr):
        whole = hasattr(scale, "shape") and hasattr(scale, "op")
        scale = as_expr(scale) if whole else Const(SCALE, scale_bits(scale))
    if scale.dtype != SCALE or not isinstance(scale, Read | Const):
        raise CompileError(
            f"a scale must be an element of a {SCALE} tensor or a number, not an expression of "
            f"{scale.dtype}"
        )
    limits = as_int8(zero_point, "zero_point"), as_int8(lower, "lower")
    return Requantize("int8", value, scale, *limits)


def _extreme(op: str, a: object, b: object, axis: Any) -> Expr:
    if isinstance(b, (Axis, list, tuple)):
        axis, b = b, None
    if axis is not None and b is None:
        return _reduce(op, op, a, axis)
    if axis is not None or b is None:
        raise CompileError(
            f"{op} takes two values, or one and the axes to reduce over; {ABILITIES}"
        )
    return binary(op, a, b)


def _reduce(
    op: str, name: str, value: object, axis: Axis | Sequence[Axis], init: object = None
) -> Reduce:
    axes = tuple(axis) if isinstance(axis, (list, tuple)) else (axis,)
    for item in axes:
        if not isinstance(item, Axis) or not item.reduces:
            raise CompileError(
                f"{name} must be given axes of te.reduce_axis, not {getattr(item, 'name', item)!r}"
            )
    if not axes or len(set(map(id, axes))) != len(axes):
        raise CompileError(f"{name} must be given at least one axis, and each only once")
    expr = as_expr(value)
    no_scale(expr.dtype)
    if init is None:
        return Reduce(expr.dtype, op, expr, axes)
    start = as_expr(init, expr.dtype).astype(expr.dtype)
    if any(isinstance(node, Reduce) for node in walk(start)):
        raise CompileError(f"init of {name} must not reduce; make it a stage of its own")
    if any(item.var is node for item in axes for node in walk(start)):
        raise CompileError(f"init of {name} must not use an axis that is reduced")
    return Reduce(expr.dtype, op, expr, axes, start)


def all_of(*conditions: object) -> tuple[Condition, ...]:
    """Conditions that must all hold, for `if_then_else`."""
    found: list[Condition] = []
    for item in conditions:
        if isinstance(item, Equality):
            found += item.conditions()
        elif isinstance(item, Condition):
            found.append(item)
        else:
            raise CompileError(f"te.all takes comparisons of indices, not {item!r}")
    return tuple(found)


def if_then_else(
    condition: Condition | Equality | tuple[Condition, ...], then: object, other: object
) -> Expr:
    """`then` where a condition on indices (or each of several) holds, else `other`."""
    conditions = all_of(*condition) if isinstance(condition, tuple) else all_of(condition)
    first = as_expr(then, other.dtype if isinstance(other, Expr) else "int32")
    second = as_expr(other, first.dtype)
    no_scale(first.dtype, second.dtype)
    dtype = np.promote_types(first.dtype, second.dtype).name
    return Select(dtype, conditions, first.astype(dtype), second.astype(dtype))


def floordiv(index: object, number: object) -> Expr:
    """An index divided by a number of 1 or more, rounded down like ``//``."""
    return divided("//", index, number)


def floormod(index: object, number: object) -> Expr:
    """The remainder of `floordiv`, 0 or more like ``%``."""
    return divided("%", index, number)


def truncdiv(index: object, number: object) -> Expr:
    """An index divided by a number of 1 or more, rounded towards 0."""
    return divided("truncdiv", index, number)


def truncmod(index: object, number: object) -> Expr:
    """The remainder of `truncdiv`, with the sign of the index."""
    return divided("truncmod", index, number)


def min_value(dtype: Any) -> Const:
    """The least number of a dtype."""
    name = dtype_name(dtype, "min_value")
    return const(int(np.iinfo(name).min), name)


def max_value(dtype: Any) -> Const:
    """The greatest number of a dtype."""
    name = dtype_name(dtype, "max_value")
    return const(int(np.iinfo(name).max), name)


def neutral(op: str, dtype: str) -> int:
    """The neutral element of a reduction by `op`."""
    limits = np.iinfo(dtype)
    return {"+": 0, "max": int(limits.min), "min": int(limits.max)}[op]
