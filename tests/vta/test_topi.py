"""`vta.topi`: each operator as a stage of a program, against numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import vta
from vta import nd, te, topi
from vta.compiler.te.expr import Binary, Cast, Const
from vta.errors import CompileError

ENV = vta.Environment("tiny")
TILE = (ENV.BATCH, ENV.BLOCK_OUT)
SHAPE = (3, 4, *TILE)
RNG = np.random.default_rng(11)
A = RNG.integers(-100, 100, SHAPE).astype(np.int32)


def run(
    operator: Callable[..., te.Tensor], *values: np.ndarray[Any, Any], loads_itself: bool = False
) -> np.ndarray[Any, Any]:
    """int8(operator(values)) by VTA: on the ALU, or as what loads its one input."""
    inputs = [te.placeholder(v.shape, v.dtype, f"x{n}") for n, v in enumerate(values)]
    loads = [te.compute(t.shape, lambda *i, t=t: t(*i), f"{t.name}_buf") for t in inputs]
    made = operator(*loads)
    if loads_itself:
        loads = [operator(*inputs)]
        made = topi.add(loads[0], 0)
    out = te.compute(made.shape, lambda *i: made(*i).astype("int8"), "out")
    s = te.create_schedule(out.op)
    for tensor, key in [*((load, ENV.dma_copy) for load in loads), (made, ENV.alu)]:
        s[tensor].set_scope(ENV.acc_scope).pragma(s[tensor].op.axis[0], key)
    s[out].pragma(out.op.axis[0], ENV.dma_copy)
    with ENV, vta.rpc.LocalSession() as remote, vta.testing.utils.tempdir() as folder:
        vta.build(s, [*inputs, out]).save(folder.relpath("f"))
        remote.upload(folder.relpath("f"))
        dev = remote.ext_dev(0)
        result = nd.empty(out.shape, "int8", dev)
        remote.load_module("f")(*(nd.array(value, dev) for value in values), result)
        return result.numpy()


@pytest.mark.parametrize(
    ("operator", "wanted"),
    [
        (topi.nn.relu, lambda a: np.maximum(a, 0)),
        (lambda a: topi.clip(a, -20, 30), lambda a: np.clip(a, -20, 30)),
        (lambda a: topi.right_shift(a, 3), lambda a: a >> 3),
        (lambda a: topi.left_shift(a, te.const(1)), lambda a: a << 1),
        (lambda a: topi.add(a, 5), lambda a: a + 5),
        (lambda a: topi.add(7, a), lambda a: 7 + a),
        (lambda a: topi.subtract(a, 9), lambda a: a - 9),
        (lambda a: topi.multiply(a, 3), lambda a: a * 3),
        (lambda a: topi.maximum(a, 4), lambda a: np.maximum(a, 4)),
        (lambda a: topi.minimum(a, -4), lambda a: np.minimum(a, -4)),
    ],
)
def test_with_a_number(operator: Any, wanted: Any) -> None:
    np.testing.assert_array_equal(run(operator, A), wanted(A).astype(np.int8))


@pytest.mark.parametrize("shape", [SHAPE, (1, 4, *TILE), (3, 1, *TILE), (4, *TILE), (1, *TILE)])
@pytest.mark.parametrize(
    ("operator", "wanted"),
    [
        (topi.add, np.add),
        (topi.multiply, np.multiply),
        (topi.maximum, np.maximum),
        (lambda a, b: topi.subtract(b, a), lambda a, b: b - a),
    ],
)
def test_with_another_tensor(operator: Any, wanted: Any, shape: tuple[int, ...]) -> None:
    b = RNG.integers(-100, 100, shape).astype(np.int32)
    np.testing.assert_array_equal(run(operator, A, b), wanted(A, b).astype(np.int8))


@pytest.mark.parametrize("strides", [(2, 1), (1, 3), (2, 3), (1, 1)])
@pytest.mark.parametrize("loads_itself", [True, False])
@pytest.mark.parametrize("dtype", ["int8", "int32"])
def test_dilate(strides: tuple[int, int], loads_itself: bool, dtype: str) -> None:
    value = A.astype(dtype)
    found = run(lambda a: topi.nn.dilate(a, [*strides, 1, 1]), value, loads_itself=loads_itself)
    wanted = np.zeros((2 * strides[0] + 1, 3 * strides[1] + 1, *TILE), np.int8)
    wanted[:: strides[0], :: strides[1]] = value.astype(np.int8)
    np.testing.assert_array_equal(found, wanted)


def test_dilate_with_another_value() -> None:
    found = run(lambda a: topi.nn.dilate(a, np.array([2, 2, 1, 1]), dilation_value=7), A)
    wanted = np.full((5, 7, *TILE), 7, np.int8)
    wanted[::2, ::2] = A.astype(np.int8)
    np.testing.assert_array_equal(found, wanted)


def test_cast() -> None:
    small = A.astype(np.int8)
    found = run(lambda a: topi.cast(a, "int32"), small)
    np.testing.assert_array_equal(found, small)
    assert isinstance(topi.cast(te.placeholder((1,), "int32")(0), "int8"), Cast)


def test_values_alone() -> None:
    x = te.placeholder((2,), "int32", "x")
    assert isinstance(topi.add(x(0), 1), Binary)
    assert isinstance(topi.add(2, 3), Const)
    assert topi.add(2, 3).number == 5


def test_shapes_that_cannot_be_broadcast() -> None:
    a, b = te.placeholder((2, 3)), te.placeholder((3, 2))
    with pytest.raises(CompileError, match=r"T_add: shapes \[2, 3\] and \[3, 2\] cannot be"):
        topi.add(a, b)
    with pytest.raises(CompileError, match="relu takes a tensor, not 3"):
        topi.nn.relu(3)
    with pytest.raises(CompileError, match="strides of a must be 2 numbers of 1 or more, not 2"):
        topi.nn.dilate(te.placeholder((2, 3), name="a"), 2)


def test_names() -> None:
    a = te.placeholder((2, 3), name="a")
    assert topi.add(a, 1).name == "T_add"
    assert topi.add(a, 1, name="sum").name == "sum"
    assert [topi.nn.relu(a).name, topi.cast(a, "int8").name] == ["compute", "T_cast"]


def test_tag_scope_changes_nothing() -> None:
    @te.tag_scope("conv2d")
    def declare() -> te.Tensor:
        return te.placeholder((2, 3), name="a")

    with te.tag_scope(tag="broadcast"):
        assert topi.add(declare(), 1).shape == (2, 3)
