"""What the functions for rules refuse, and the limits of dtypes."""

from __future__ import annotations

from typing import Any

import pytest

from vta import te
from vta.compiler.te.padding import pad
from vta.errors import CompileError

A = te.placeholder((4, 4), name="A", dtype="int8")
K = te.reduce_axis((0, 4), name="k")


@pytest.mark.parametrize("bounds", [(1, 4), (0, 0), (0, True), (0, 2.5), (0,), (0, 1, 2)])
def test_bounds_of_a_reduce_axis(bounds: Any) -> None:
    with pytest.raises(CompileError, match=r"reduce_axis k must go from 0 to 1 or more, .* not "):
        te.reduce_axis(bounds, name="k")


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        (A.op, "sum must be given axes of te.reduce_axis, not 'A'"),
        ([K, 3], "sum must be given axes of te.reduce_axis, not 3"),
        ([], "sum must be given at least one axis, and each only once"),
        ([K, K], "sum must be given at least one axis, and each only once"),
    ],
)
def test_axes_of_a_reduction(axis: Any, message: str) -> None:
    with pytest.raises(CompileError, match=message):
        te.compute((4,), lambda i: te.sum(A(i, K), axis=axis), name="B")


def test_all_takes_only_comparisons() -> None:
    with pytest.raises(CompileError, match="te.all takes comparisons of indices, not True"):
        te.compute((4, 4), lambda i, j: te.if_then_else(te.all(i < 2, True), A(i, j), 0))


def test_limits_of_dtypes() -> None:
    assert (te.min_value("int8").number, te.max_value("int8").number) == (-128, 127)
    assert te.min_value("int32").number == -(2**31)
    assert te.max_value("int32").number == 2**31 - 1
    with pytest.raises(CompileError, match="dtype of max_value must be int8 or int32, not 'int16'"):
        te.max_value("int16")


@pytest.mark.parametrize("amounts", [(1,), (1, 2, 3), (1, -1), (1, 0.5), (1, True)])
def test_amounts_of_padding(amounts: Any) -> None:
    with pytest.raises(CompileError, match=r"pad_before of A must be 2 numbers of 0 or more, not "):
        pad(A, amounts)
    with pytest.raises(CompileError, match=r"pad_after of A must be 2 numbers of 0 or more, not "):
        pad(A, (1, 1), amounts)


def test_padding_takes_a_tensor_and_a_whole_number() -> None:
    with pytest.raises(CompileError, match=r"pad takes a tensor, not \[1, 2\]"):
        pad([1, 2], (1,))  # type: ignore[arg-type]
    assert pad(A, (0, 0), (0, 1), pad_value=2.0).shape == (4, 5)
    with pytest.raises(CompileError, match=r"a constant must be a whole number, not 0\.5"):
        pad(A, (1, 1), pad_value=0.5)
