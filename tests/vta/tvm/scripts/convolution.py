"""A padded convolution on two virtual threads."""

import sys

import numpy as np
import tvm
import tvm.testing
from tvm import rpc, te, topi
from tvm.contrib import utils
from tvm.topi.testing import conv2d_nchw_python

import vta
from vta.testing import simulator

env = vta.get_env()
rng = np.random.default_rng(1)
remote = rpc.LocalSession()

size, pad, window, threads = 4, 1, 3, 2
channels, filters = 2 * env.BLOCK_IN, 4 * env.BLOCK_OUT
x_shape = (1, channels // env.BLOCK_IN, size, size, env.BATCH, env.BLOCK_IN)
w_shape = (
    filters // env.BLOCK_OUT,
    channels // env.BLOCK_IN,
    window,
    window,
    env.BLOCK_OUT,
    env.BLOCK_IN,
)
y_shape = (1, filters // env.BLOCK_OUT, size, size, env.BATCH, env.BLOCK_OUT)
dy = te.reduce_axis((0, window), name="dy")
dx = te.reduce_axis((0, window), name="dx")
ic = te.reduce_axis((0, channels // env.BLOCK_IN), name="ic")
ic_tns = te.reduce_axis((0, env.BLOCK_IN), name="ic_tns")
x = te.placeholder(x_shape, name="x", dtype=env.inp_dtype)
w = te.placeholder(w_shape, name="w", dtype=env.wgt_dtype)
x_buf = topi.nn.pad(x, [0, 0, pad, pad, 0, 0], name="x_buf")
w_buf = te.compute(w_shape, lambda *i: w(*i), "w_buf")
conv = te.compute(
    y_shape,
    lambda bo, co, i, j, bi, ci: te.sum(
        x_buf[bo, ic, i + dy, j + dx, bi, ic_tns].astype(env.acc_dtype)
        * w_buf[co, ic, dy, dx, ci, ic_tns].astype(env.acc_dtype),
        axis=[ic, dy, dx, ic_tns],
    ),
    name="conv",
)
top = (1 << (env.INP_WIDTH - 1)) - 1
shifted = te.compute(y_shape, lambda *i: conv(*i) >> 8, name="shifted")
floored = te.compute(y_shape, lambda *i: tvm.te.max(shifted(*i), 0), "floored")
clipped = te.compute(y_shape, lambda *i: tvm.te.min(floored(*i), top), "clipped")
y = te.compute(y_shape, lambda *i: clipped(*i).astype(env.inp_dtype), name="y")

s = te.create_schedule(y.op)
b, oc, i, j, b_tns, oc_tns = s[y].op.axis
b_out, b_inn = s[y].split(b, factor=1)
oc_out, oc_inn = s[y].split(oc, factor=1)
i_out, i_inn = s[y].split(i, factor=2)
j_out, j_inn = s[y].split(j, factor=size)
s[y].reorder(b_out, oc_out, i_out, j_out, b_inn, oc_inn, i_inn, j_inn, b_tns, oc_tns)
for tensor in (conv, shifted, floored, clipped):
    s[tensor].compute_at(s[y], j_out)
    s[tensor].set_scope(env.acc_scope)
b_inn, oc_inn, i_inn, j_inn, b_tns, oc_tns = s[conv].op.axis
ic_out, ic_inn = s[conv].split(ic, factor=1)
s[conv].reorder(ic_out, b_inn, oc_inn, i_inn, ic_inn, dy, dx, j_inn, b_tns, oc_tns, ic_tns)
_, tx = s[y].split(oc_out, factor=threads)
s[y].reorder(tx, b_out)
s[y].bind(tx, te.thread_axis("cthread"))
assert "conv[" in str(tvm.lower(s, [x, w, y], simple_mode=True))
for tensor, scope in ((x_buf, env.inp_scope), (w_buf, env.wgt_scope)):
    s[tensor].set_scope(scope)
    s[tensor].compute_at(s[conv], ic_out)
    s[tensor].pragma(s[tensor].op.axis[0], env.dma_copy)
s[y].pragma(s[y].op.axis[4], env.dma_copy)
s[conv].tensorize(b_tns, env.gemm)
for tensor in (shifted, floored, clipped):
    s[tensor].pragma(s[tensor].op.axis[0], env.alu)
assert "VTALoadBuffer2D" in str(vta.lower(s, [x, w, y], simple_mode=True))

with vta.build_config(disabled_pass={"tir.CommonSubexprElimTIR"}):
    module = vta.build(
        s, [x, w, y], tvm.target.Target("ext_dev", host=env.target_host), name="conv"
    )
temp = utils.tempdir()
module.save(temp.relpath("conv.o"))
remote.upload(temp.relpath("conv.o"))
f = remote.load_module("conv.o")

ctx = remote.ext_dev(0)
x_np = rng.integers(-128, 128, size=(env.BATCH, channels, size, size)).astype(x.dtype)
w_np = rng.integers(-128, 128, size=(filters, channels, window, window)).astype(w.dtype)
x_packed = x_np.reshape(1, env.BATCH, -1, env.BLOCK_IN, size, size).transpose((0, 2, 4, 5, 1, 3))
w_packed = w_np.reshape(
    filters // env.BLOCK_OUT, env.BLOCK_OUT, -1, env.BLOCK_IN, window, window
).transpose((0, 2, 4, 5, 1, 3))
y_nd = tvm.nd.array(np.zeros(y_shape).astype(y.dtype), ctx)
simulator.clear_stats()
f(tvm.nd.array(x_packed, ctx), tvm.nd.array(w_packed, ctx), y_nd)

expected = conv2d_nchw_python(
    x_np.astype(env.acc_dtype), w_np.astype(env.acc_dtype), (1, 1), (pad, pad)
).astype(env.acc_dtype)
expected = np.clip(expected >> 8, 0, top).astype(y.dtype)
expected = expected.reshape(1, env.BATCH, -1, env.BLOCK_OUT, size, size)
tvm.testing.assert_allclose(expected.transpose((0, 2, 4, 5, 1, 3)), y_nd.numpy())
tiles = 4 * size * size * 2 * window * window
assert simulator.stats()["gemm_counter"] == tiles
sys.stdout.write("convolution: equal\n")
