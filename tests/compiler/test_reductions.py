"""Reductions on the ALU: sums, extremes, expressions inside them, and how int8 wraps around."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.known import ACC
from vta import te
from vta.compiler.pipeline import build
from vta.config import PRESETS
from vta.errors import ScheduleError

TINY = PRESETS["tiny"]
TILE = (TINY.batch, TINY.block)


def reduced(dtype, reduction, value, shape=(3, 5)):
    """``D = max(reduction of value(A), 3)`` over the second dimension, stored as int8."""
    a = te.placeholder((*shape, *TILE), name="A", dtype=dtype)
    b = te.compute(a.shape, lambda *i: a(*i), "B")
    r = te.reduce_axis((0, shape[1]), "r")
    c = te.compute((shape[0], *TILE), lambda i, *t: reduction(value(b(i, r, *t)), axis=r), "C")
    d = te.compute(c.shape, lambda *i: te.max(c(*i), 3), "D")
    out = te.compute(c.shape, lambda *i: d(*i).astype("int8"), "out")
    s = te.create_schedule(out.op)
    for tensor, key in ((b, "dma_copy"), (c, "alu"), (d, "alu")):
        s[tensor].set_scope(ACC).pragma(tensor.op.axis[0], key)
    s[out].pragma(out.op.axis[0], "dma_copy")
    return s, [a, out], (b, c, d)


VALUES = {
    "itself": lambda x: x,
    "twice": lambda x: x + x,
    "squared": lambda x: x * x,
    "shifted left": lambda x: x << 3,
    "shifted right": lambda x: x >> 1,
    "less one": lambda x: x - 1,
}
REDUCTIONS = {
    "sum": (te.sum, lambda x: x.sum(1, dtype=x.dtype)),
    "max": (te.max, lambda x: x.max(1)),
    "min": (te.min, lambda x: x.min(1)),
}


@pytest.mark.parametrize("dtype", ["int8", "int32"])
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_reductions(kit, dtype, value, reduction):
    """As numpy does with the same dtype: int8 wraps around at every step."""
    ours, theirs = REDUCTIONS[reduction]
    schedule, args, _ = reduced(dtype, ours, VALUES[value])
    limits = np.iinfo(dtype)
    array = np.random.default_rng(5).integers(
        limits.min, limits.max, args[0].shape, dtype, endpoint=True
    )
    expected = np.maximum(theirs(VALUES[value](array)), 3).astype(np.int8)
    kit.check(schedule, args, TINY, [array], [expected])


def test_a_reduction_taken_apart(kit):
    """Its operand loaded a part at a time, inside the reduction's loop."""
    schedule, args, (b, c, _) = reduced("int32", te.sum, lambda x: x >> 2, shape=(4, 7))
    i, *tile = c.op.axis
    outer, inner = schedule[c].split(c.op.reduce_axis[0], 3)
    schedule[c].pragmas.clear()
    schedule[c].reorder(outer, i, inner, *tile)
    schedule[c].pragma(i, "alu")
    schedule[b].compute_at(schedule[c], outer)
    array = np.random.default_rng(6).integers(-1000, 1000, args[0].shape, np.int32)
    kit.check(schedule, args, TINY, [array], [np.maximum((array >> 2).sum(1), 3).astype(np.int8)])


def test_what_a_reduction_feeds_back(kit):
    """The greatest of all channels is taken off each of them."""
    a = te.placeholder((6, 4, *TILE), name="A")
    b = te.compute(a.shape, lambda *i: a(*i), "B")
    r = te.reduce_axis((0, 6), "r")
    top = te.compute((4, *TILE), lambda i, *t: te.max(b(r, i, *t), axis=r), "top")
    c = te.compute(a.shape, lambda k, i, *t: b(k, i, *t) - top(i, *t), "C")
    out = te.compute(a.shape, lambda *i: c(*i).astype("int8"), "out")
    s = te.create_schedule(out.op)
    for tensor, key in ((b, "dma_copy"), (top, "alu"), (c, "alu")):
        s[tensor].set_scope(ACC).pragma(tensor.op.axis[0], key)
    s[out].pragma(out.op.axis[0], "dma_copy")
    array = np.random.default_rng(7).integers(-1000, 1000, a.shape, np.int32)
    kit.check(s, [a, out], TINY, [array], [(array - array.max(0)).astype(np.int8)])


def test_a_reduction_within_a_tile():
    """The ALU does not add numbers of the same tile."""
    a = te.placeholder((3, *TILE), name="A")
    b = te.compute(a.shape, lambda *i: a(*i), "B")
    r = te.reduce_axis((0, TINY.block), "r")
    c = te.compute((3, TINY.block), lambda i, j: te.sum(b(i, 0, r), axis=r), "C")
    out = te.compute(c.shape, lambda *i: c(*i).astype("int8"), "out")
    s = te.create_schedule(out.op)
    for tensor, key in ((b, "dma_copy"), (c, "alu")):
        s[tensor].set_scope(ACC).pragma(tensor.op.axis[0], key)
    s[out].pragma(out.op.axis[0], "dma_copy")
    with pytest.raises(
        ScheduleError,
        match="what it reads of B goes through a tile's 8 numbers in a different order",
    ):
        build(s, [a, out], TINY)
