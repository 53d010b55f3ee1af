"""Operands that are overwritten, and those that must not be: the numbers, as numpy has them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.shifts import shift_left, shift_right
from vta import te
from vta.config import PRESETS

TINY = PRESETS["tiny"]
ROWS = 4
SHAPE = (ROWS, TINY.batch, TINY.block)
ACC = "local.acc_buffer"

OPERATIONS = {
    "added": (lambda x, y: x + y, lambda x, y: x + y),
    "subtracted": (lambda x, y: x - y, lambda x, y: x - y),
    "multiplied": (lambda x, y: x * y, lambda x, y: x * y),
    "least": (te.min, np.minimum),
    "greatest": (te.max, np.maximum),
    "shifted right": (lambda x, y: x >> y, shift_right),
    "shifted left": (lambda x, y: x << y, shift_left),
}
PLACES = {
    "mirrored": (lambda i: ROWS - 1 - i, np.arange(ROWS)[::-1]),
    "rotated": (lambda i: (i + 1) % ROWS, (np.arange(ROWS) + 1) % ROWS),
    "always the first": (lambda i: 0, np.zeros(ROWS, int)),
}


@pytest.mark.parametrize("steps", ["whole", "in two loops"])
@pytest.mark.parametrize("source", ["loaded", "computed"])
@pytest.mark.parametrize("order", ["own first", "own last"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_tensor_read_at_its_own_place_and_at_another(kit, operation, place, order, source, steps):
    """What is written over an operand's own tile may not change a tile that is read later."""
    ours, theirs = OPERATIONS[operation]
    other, rows = PLACES[place]
    a = te.placeholder(SHAPE, name="A", dtype="int32")
    stages = [te.compute(SHAPE, lambda *i: a(*i), "L")]
    if source == "computed":
        stages.append(te.compute(SHAPE, lambda *i: stages[0](*i) * 3 + 1, "X"))
    x = stages[-1]

    def rule(i, *t):
        own, far = x(i, *t), x(other(i), *t)
        return ours(own, far) if order == "own first" else ours(far, own)

    stages.append(te.compute(SHAPE, rule, "M"))
    out = te.compute(SHAPE, lambda *i: stages[-1](*i).astype("int8"), "O")
    s = te.create_schedule(out.op)
    for stage in stages:
        axis = stage.op.axis[0]
        if stage is stages[-1] and steps != "whole":
            outer, axis = s[stage].split(axis, nparts=2)
        s[stage].set_scope(ACC).pragma(axis, "dma_copy" if stage is stages[0] else "alu")
    s[out].pragma(out.op.axis[0], "dma_copy")
    array = np.random.default_rng(1).integers(-40, 40, SHAPE).astype(np.int32)
    value = array * 3 + 1 if source == "computed" else array
    pair = (value, value[rows]) if order == "own first" else (value[rows], value)
    kit.check(s, [a, out], TINY, [array], [theirs(*pair).astype(np.int8)])
