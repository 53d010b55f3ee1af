"""Tensors of any number of elements, through build, save, upload, load and call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vta
from vta import nd, rpc, te


@pytest.mark.parametrize("count", [1, 15, 17, 1000])
def test_a_last_tile_that_is_not_full_spares_its_neighbours(count: int, tmp_path: Path) -> None:
    env = vta.get_env()
    a = te.placeholder((count,), name="A", dtype=env.acc_dtype)
    a_buf = te.compute((count,), lambda i: a(i), "A_buf")
    b_buf = te.compute((count,), lambda i: a_buf(i) + 1, "B_buf")
    b = te.compute((count,), lambda i: b_buf(i).astype(env.inp_dtype), "B")
    s = te.create_schedule(b.op)
    for stage in (a_buf, b_buf):
        s[stage].set_scope(env.acc_scope)
    for stage in (a_buf, b):
        s[stage].pragma(s[stage].op.axis[0], env.dma_copy)
    s[b_buf].pragma(s[b_buf].op.axis[0], env.alu)
    vta.build(s, [a, b], "ext_dev", name="increment").save(str(tmp_path / "f.o"))

    with rpc.LocalSession() as remote:
        remote.upload(str(tmp_path / "f.o"))
        f = remote.load_module("f.o")
        ctx = remote.ext_dev(0)
        x = np.random.default_rng(count).integers(-1000, 1000, count).astype("int32")
        first = nd.array(np.full(7, 77, np.int8), ctx)
        x_nd, y_nd = nd.array(x, ctx), nd.empty((count,), "int8", ctx)
        last = nd.array(np.full(7, 78, np.int8), ctx)
        f(x_nd, y_nd)
        np.testing.assert_equal(y_nd.numpy(), (x + 1).astype(np.int8))
        np.testing.assert_equal(first.numpy(), 77)
        np.testing.assert_equal(last.numpy(), 78)
