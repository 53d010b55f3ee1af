"""A matrix product whose operands fit on the chip a slice at a time."""

import sys

import numpy as np
import tvm
from tvm import rpc, te
from tvm.contrib import utils

import vta
from vta.testing import simulator

env = vta.get_env()
rng = np.random.default_rng(1)
remote = rpc.LocalSession()

rows, columns, depth = 2, 3, 4
x = te.placeholder((rows, depth, env.BATCH, env.BLOCK_IN), name="x", dtype=env.inp_dtype)
w = te.placeholder((columns, depth, env.BLOCK_OUT, env.BLOCK_IN), name="w", dtype=env.wgt_dtype)
x_buf = te.compute(x.shape, lambda *i: x(*i), "x_buf")
w_buf = te.compute(w.shape, lambda *i: w(*i), "w_buf")
ko = te.reduce_axis((0, depth), name="ko")
ki = te.reduce_axis((0, env.BLOCK_IN), name="ki")
y_buf = te.compute(
    (rows, columns, env.BATCH, env.BLOCK_OUT),
    lambda bo, co, bi, ci: te.sum(
        x_buf[bo, ko, bi, ki].astype(env.acc_dtype) * w_buf[co, ko, ci, ki].astype(env.acc_dtype),
        axis=[ko, ki],
    ),
    name="y_buf",
)
y = te.compute(y_buf.shape, lambda *i: y_buf(*i).astype(env.inp_dtype), name="y")

s = te.create_schedule(y.op)
assert "y_buf[" in str(tvm.lower(s, [x, w, y], simple_mode=True))
s[x_buf].set_scope(env.inp_scope)
s[w_buf].set_scope(env.wgt_scope)
s[y_buf].set_scope(env.acc_scope)
s[x_buf].compute_at(s[y_buf], ko)
s[w_buf].compute_at(s[y_buf], ko)
for tensor in (x_buf, w_buf, y):
    s[tensor].pragma(s[tensor].op.axis[0], env.dma_copy)
assert "y_buf[" in str(tvm.lower(s, [x, w, y], simple_mode=True))
axis = s[y_buf].op.axis
s[y_buf].reorder(ko, axis[0], axis[1], axis[2], axis[3], s[y_buf].op.reduce_axis[1])
s[y_buf].tensorize(axis[2], env.gemm)
assert "VTALoadBuffer2D" in str(vta.lower(s, [x, w, y], simple_mode=True))

with vta.build_config(debug_flag=0):
    module = vta.build(s, [x, w, y], "ext_dev", name="product")
temp = utils.tempdir()
module.save(temp.relpath("product.o"))
remote.upload(temp.relpath("product.o"))
f = remote.load_module("product.o")

ctx = remote.ext_dev(0)
x_np = rng.integers(-128, 128, size=x.shape).astype(x.dtype)
w_np = rng.integers(-128, 128, size=w.shape).astype(w.dtype)
y_nd = tvm.nd.array(np.zeros(y.shape).astype(y.dtype), ctx)
simulator.clear_stats()
f(tvm.nd.array(x_np, ctx), tvm.nd.array(w_np, ctx), y_nd)

expected = np.einsum("okbi,mkci->ombc", x_np.astype(np.int64), w_np.astype(np.int64))
np.testing.assert_equal(y_nd.numpy(), expected.astype(y.dtype))
stats = simulator.stats()
assert stats["gemm_counter"] == rows * columns * depth
assert stats["out_store_nbytes"] == expected.size
assert stats["wgt_load_nbytes"] == w_np.size
assert stats["inp_load_nbytes"] == x_np.size
sys.stdout.write("matmul: equal\n")
