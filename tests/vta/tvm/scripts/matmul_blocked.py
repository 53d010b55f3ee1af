"""A matrix product in blocks, shifted and clipped on the way out."""

import sys

import numpy as np
import tvm
from tvm import rpc, te
from tvm.contrib import utils

import vta

env = vta.get_env()
rng = np.random.default_rng(1)
remote = rpc.LocalSession()

batch, inner, outer, block = 2 * env.BATCH, 8 * env.BLOCK_IN, 4 * env.BLOCK_OUT, 2
x_shape = (batch // env.BATCH, inner // env.BLOCK_IN, env.BATCH, env.BLOCK_IN)
w_shape = (outer // env.BLOCK_OUT, inner // env.BLOCK_IN, env.BLOCK_OUT, env.BLOCK_IN)
y_shape = (batch // env.BATCH, outer // env.BLOCK_OUT, env.BATCH, env.BLOCK_OUT)
ic = te.reduce_axis((0, inner // env.BLOCK_IN), name="ic")
ic_tns = te.reduce_axis((0, env.BLOCK_IN), name="ic_tns")
x = te.placeholder(x_shape, name="x", dtype=env.inp_dtype)
w = te.placeholder(w_shape, name="w", dtype=env.wgt_dtype)
x_buf = te.compute(x_shape, lambda *i: x(*i), "x_buf")
w_buf = te.compute(w_shape, lambda *i: w(*i), "w_buf")
product = te.compute(
    y_shape,
    lambda bo, co, bi, ci: te.sum(
        x_buf[bo, ic, bi, ic_tns].astype(env.acc_dtype)
        * w_buf[co, ic, ci, ic_tns].astype(env.acc_dtype),
        axis=[ic, ic_tns],
    ),
    name="product",
)
top = (1 << (env.INP_WIDTH - 1)) - 1
shifted = te.compute(y_shape, lambda *i: product(*i) >> env.INP_WIDTH, name="shifted")
floored = te.compute(y_shape, lambda *i: tvm.te.max(shifted(*i), 0), "floored")
clipped = te.compute(y_shape, lambda *i: tvm.te.min(floored(*i), top), "clipped")
y = te.compute(y_shape, lambda *i: clipped(*i).astype(env.inp_dtype), name="y")

s = te.create_schedule(y.op)
b, oc, b_tns, oc_tns = s[y].op.axis
b_out, b_inn = s[y].split(b, 1)
oc_out, oc_inn = s[y].split(oc, block)
s[y].reorder(b_out, oc_out, b_inn, oc_inn)
for tensor in (product, shifted, floored, clipped):
    s[tensor].compute_at(s[y], oc_out)
    s[tensor].set_scope(env.acc_scope)
b_inn, oc_inn, b_tns, oc_tns = s[product].op.axis
ic_out, ic_inn = s[product].split(ic, block)
s[product].reorder(ic_out, b_inn, oc_inn, ic_inn, b_tns, oc_tns, ic_tns)
assert "product[" in str(tvm.lower(s, [x, w, y], simple_mode=True))
for tensor, scope in ((x_buf, env.inp_scope), (w_buf, env.wgt_scope)):
    s[tensor].set_scope(scope)
    s[tensor].compute_at(s[product], ic_out)
    s[tensor].pragma(s[tensor].op.axis[0], env.dma_copy)
s[y].pragma(s[y].op.axis[2], env.dma_copy)
s[product].tensorize(b_tns, env.gemm)
for tensor in (shifted, floored, clipped):
    s[tensor].pragma(s[tensor].op.axis[0], env.alu)
assert "VTALoadBuffer2D" in str(vta.lower(s, [x, w, y], simple_mode=True))

module = vta.build(s, [x, w, y], tvm.target.Target("ext_dev", host=env.target_host), name="blocks")
temp = utils.tempdir()
module.save(temp.relpath("blocks.o"))
remote.upload(temp.relpath("blocks.o"))
f = remote.load_module("blocks.o")

ctx = remote.ext_dev(0)
x_np = rng.integers(-128, 128, size=(batch, inner)).astype(x.dtype)
w_np = rng.integers(-128, 128, size=(outer, inner)).astype(w.dtype)
x_packed = x_np.reshape(batch // env.BATCH, env.BATCH, -1, env.BLOCK_IN).transpose((0, 2, 1, 3))
w_packed = w_np.reshape(outer // env.BLOCK_OUT, env.BLOCK_OUT, -1, env.BLOCK_IN)
y_nd = tvm.nd.array(np.zeros(y_shape).astype(y.dtype), ctx)
f(tvm.nd.array(x_packed, ctx), tvm.nd.array(w_packed.transpose((0, 2, 1, 3)), ctx), y_nd)

expected = np.dot(x_np.astype(env.acc_dtype), w_np.T.astype(env.acc_dtype)) >> env.INP_WIDTH
expected = np.clip(expected, 0, top).astype(y.dtype)
expected = expected.reshape(batch // env.BATCH, env.BATCH, -1, env.BLOCK_OUT)
np.testing.assert_equal(expected.transpose((0, 2, 1, 3)), y_nd.numpy())
sys.stdout.write("matmul_blocked: equal\n")
