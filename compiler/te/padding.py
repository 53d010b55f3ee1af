"""Padding as a separate stage, which a LOAD can then do itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vta.compiler.te.dtypes import items_of
from vta.compiler.te.expr import Condition, Expr, const
from vta.compiler.te.intrinsics import all_of, if_then_else
from vta.compiler.te.tensor import Tensor, compute
from vta.errors import CompileError

__all__ = ["pad"]


def pad(
    data: Tensor,
    pad_before: Sequence[int],
    pad_after: Sequence[int] | None = None,
    pad_value: object = 0,
    name: str = "PadInput",
) -> Tensor:
    """`data` with elements of `pad_value` added on both sides of every dimension.

    Parameters
    ----------
    data : Tensor
    pad_before, pad_after : sequence of int
        Elements to add, one number for each dimension; `pad_after` defaults to `pad_before`.
    pad_value : number or Expr
        A LOAD pads with zeros, or, with HW_VER 0.0.3, with the least number of the dtype.
        Reductions by max and min skip padding with their neutral value.
    """
    if not isinstance(data, Tensor):
        raise CompileError(f"pad takes a tensor, not {data!r}")
    before = _amounts(data, pad_before, "pad_before")
    after = before if pad_after is None else _amounts(data, pad_after, "pad_after")
    shape = tuple(size + a + b for size, a, b in zip(data.shape, before, after, strict=True))

    value = pad_value if isinstance(pad_value, Expr) else const(_whole(pad_value), data.dtype)

    def rule(*i: Expr) -> Expr:
        inside: list[Condition] = []
        moved: list[Expr] = []
        for index, size, a, b in zip(i, data.shape, before, after, strict=True):
            inside += [index >= a] if a else []
            inside += [index < a + size] if b else []
            moved.append(index - a if a else index)
        if not inside:
            return data(*moved)
        return if_then_else(all_of(*inside), data(*moved), value)

    return compute(shape, rule, name)


def _whole(value: object) -> Any:
    """`value` as an int if it is a whole number such as 0.0, which scripts write."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return int(value)
    return value


def _amounts(data: Tensor, amounts: Sequence[int], what: str) -> tuple[int, ...]:
    numbers = items_of(amounts)
    if len(numbers) != data.ndim or any(
        isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0 for n in numbers
    ):
        raise CompileError(
            f"{what} of {data.name} must be {data.ndim} numbers of 0 or more, not {amounts!r}"
        )
    return tuple(map(int, numbers))
