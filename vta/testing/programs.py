"""The tutorial's vector addition, for the command `vta vadd` and the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vta import te
from vta.calls import check_calls

if TYPE_CHECKING:
    from vta.compiler.te.schedule import Schedule
    from vta.compiler.te.tensor import Tensor
    from vta.environment import Environment

__all__ = ["vector_add"]


def vector_add(env: Environment, m: int = 64, o: int = 1) -> tuple[Schedule, list[Tensor]]:
    """Schedule and arguments of C = int8(A + B) over (o, m) tiles."""
    shape = (o, m, env.BATCH, env.BLOCK_OUT)
    a = te.placeholder(shape, name="A", dtype=env.acc_dtype)
    b = te.placeholder(shape, name="B", dtype=env.acc_dtype)
    a_buf = te.compute(shape, lambda *i: a(*i), "A_buf")
    b_buf = te.compute(shape, lambda *i: b(*i), "B_buf")
    c_buf = te.compute(shape, lambda *i: a_buf(*i) + b_buf(*i), "C_buf")
    c = te.compute(shape, lambda *i: c_buf(*i).astype(env.inp_dtype), "C")
    s = te.create_schedule(c.op)
    for stage in (a_buf, b_buf, c_buf):
        s[stage].set_scope(env.acc_scope)
    for stage in (a_buf, b_buf, c):
        s[stage].pragma(s[stage].axes[0], env.dma_copy)
    s[c_buf].pragma(s[c_buf].axes[0], env.alu)
    return s, [a, b, c]


check_calls("testing.programs.", globals(), __all__)
