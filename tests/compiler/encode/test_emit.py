"""The buffers of a finished program."""

from __future__ import annotations

import numpy as np

from vta import te
from vta.config import PRESETS

TINY = PRESETS["tiny"]
SHAPE = (3, TINY.batch, TINY.block)


def test_the_name_of_the_micro_ops_is_theirs_alone(kit):
    """Tensors may have the name that micro-ops usually have, and the next one, and the third."""
    a, b = (te.placeholder(SHAPE, name=name, dtype="int32") for name in ("uops", "uops_"))
    a_buf = te.compute(SHAPE, lambda *i: a(*i), "A")
    b_buf = te.compute(SHAPE, lambda *i: b(*i), "B")
    c = te.compute(SHAPE, lambda *i: a_buf(*i) - b_buf(*i), "C")
    out = te.compute(SHAPE, lambda *i: c(*i).astype("int8"), "uops__")
    s = te.create_schedule(out.op)
    for tensor, key in ((a_buf, "dma_copy"), (b_buf, "dma_copy"), (c, "alu")):
        s[tensor].set_scope("local.acc_buffer").pragma(tensor.op.axis[0], key)
    s[out].pragma(out.op.axis[0], "dma_copy")
    x, y = (np.arange(24, dtype=np.int32).reshape(SHAPE) * step for step in (5, 3))
    program = kit.check(s, [a, b, out], TINY, [x, y], [(x - y).astype(np.int8)])
    names = [buffer.name for buffer in program.buffers]
    assert names == ["uops", "uops_", "uops__", "uops___"]
