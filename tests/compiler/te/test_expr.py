"""Expressions follow numpy's rules for dtypes, numbers and folding."""

from __future__ import annotations

import numpy as np
import pytest

from vta import te
from vta.compiler.ir.affine import affine, flatten
from vta.compiler.te.expr import Binary, Const, Var, walk
from vta.compiler.te.tensor import Tensor


def element(dtype="int32", name="A"):
    return te.placeholder((4,), name=name, dtype=dtype)(0)


@pytest.mark.parametrize("left", ["int8", "int32"])
@pytest.mark.parametrize("right", ["int8", "int32", 3, np.int8(3), np.int32(3)])
def test_dtypes_are_those_of_numpy(left, right):
    array = np.ones(1, left)
    other = np.ones(1, right) if isinstance(right, str) else right
    x = element(left)
    y = element(right) if isinstance(right, str) else right
    for result, expected in (
        (x + y, array + other),
        (y * x, other * array),
        (x >> y, array >> other),
        (te.max(x, y), np.maximum(array, other)),
        (y - x, other - array),
        (te.min(y, x), np.minimum(other, array)),
    ):
        assert result.dtype == expected.dtype.name


@pytest.mark.parametrize("dtype", ["int8", "int32"])
@pytest.mark.parametrize(
    "op",
    [
        lambda a, b: a + b,
        lambda a, b: a - b,
        lambda a, b: a * b,
        lambda a, b: a << (b * 0 + 3),
        lambda a, b: a >> (b * 0 + 2),
        lambda a, b: (a + b).astype("int8"),
        lambda a, b: -a,
    ],
)
def test_constants_fold_as_numpy_computes(op, dtype):
    limits = np.iinfo(dtype)
    for a, b in ((limits.max, 7), (limits.min, -1), (limits.min, limits.max), (-5, 3)):
        folded = op(te.const(a, dtype), te.const(b, dtype))
        assert isinstance(folded, Const)
        with np.errstate(over="ignore"):
            assert folded.number == op(np.array([a], dtype), np.array([b], dtype))[0]


def test_a_cast_to_the_same_is_nothing():
    x = element("int8")
    assert x.astype("int8") is x
    assert x.astype(np.int32).dtype == "int32"
    assert +x is x


def test_shared_parts_are_walked_once():
    x = element()
    for _ in range(60):
        x = x + x
    assert sum(isinstance(node, Binary) for node in walk(x)) == 60


def test_a_value_that_is_used_very_often(kit, config):
    """Sixty doublings: as text 2^60 operands, as a graph sixty additions."""

    def rule(t, x):
        for _ in range(60):
            x = x + x
        return x + 7

    shape = (3, config.batch, config.block)
    schedule, args = kit.one(shape, rule, "int32")
    kit.check(schedule, args, config, [np.ones(shape, np.int32)], [np.full(shape, 7, np.int8)])


def test_tensors_of_one_operation_are_the_same():
    a = te.placeholder((2, 3), name="A", dtype="int8")
    assert a == a.op.output(0)
    assert hash(a) == hash(a.op.output(0))
    assert a != te.placeholder((2, 3), name="A", dtype="int8")
    assert (a.shape, a.dtype, a.name, a.ndim) == ((2, 3), "int8", "A", 2)
    assert repr(a) == "Tensor(A, [2, 3], int8)"
    c = te.compute((2, 3), lambda *i: a[i] + a(*i), "C")
    assert c.op.input_tensors == (a,)
    assert isinstance(c, Tensor)


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        (lambda *i: 1, ["i0", "i1"]),
        (lambda y, x: 1, ["y", "x"]),
        (lambda b, *i: 1, ["b", "i1"]),
        (lambda i1, *i: 1, ["i1", "i1_"]),
    ],
)
def test_names_of_axes(rule, names):
    c = te.compute((2, 3), rule, "C")
    assert [axis.name for axis in c.op.axis] == names
    assert [axis.extent for axis in c.op.axis] == [2, 3]


def test_shapes_may_be_plain_or_numpy_numbers():
    assert te.placeholder(5).shape == (5,)
    assert te.placeholder([np.int64(2), 3]).shape == (2, 3)


def test_schedules_are_values():
    a = te.placeholder((16,), name="A")
    a_buf = te.compute((16,), lambda i: a(i), "A_buf")
    s = te.create_schedule(a_buf)
    stage = s[a_buf].set_scope("local.acc_buffer")
    assert stage is s[a_buf.op]
    stage.pragma(s[a_buf].op.axis[0], "dma_copy")
    assert [str(step) for step in s.steps] == [
        "s[A_buf].set_scope('local.acc_buffer')",
        "s[A_buf].pragma(i, 'dma_copy')",
    ]
    assert str(s).splitlines()[:2] == [
        "placeholder(A, [16], int32)",
        "stage(A_buf[i: 16] in local.acc_buffer, dma_copy at i)",
    ]


def test_affine_forms():
    i, j = Var("int32", "i"), Var("int32", "j")
    form = affine((i - 2) * 8 + 3 * j - i)
    assert form is not None
    assert (form.offset, dict(form.factors)) == (-16, {i: 7, j: 3})
    assert form.span({i: 4, j: 5}) == (-16, 17)
    assert affine(i * j) is None
    assert affine(i >> 1) is None
    flat = flatten((i + 1, j), (4, 5))
    assert flat is not None
    assert (flat.offset, dict(flat.factors)) == (5, {i: 5, j: 1})
