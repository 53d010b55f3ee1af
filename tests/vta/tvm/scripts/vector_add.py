"""A vector addition, with the calls that TVM's users write for it."""

import os
import sys

import numpy as np
import tvm
from tvm import rpc, te
from tvm.contrib import utils

import vta
from vta.testing import simulator

env = vta.get_env()
rng = np.random.default_rng(1)
if env.TARGET == "pynq":
    assert tvm.runtime.enabled("rpc")
    remote = rpc.connect(
        os.environ.get("VTA_RPC_HOST", "192.168.2.99"), int(os.environ.get("VTA_RPC_PORT", "9091"))
    )
    vta.reconfig_runtime(remote)
    vta.program_fpga(remote, bitstream=None)
else:
    assert simulator.enabled()
    remote = rpc.LocalSession()

shape = (1, 24, env.BATCH, env.BLOCK_OUT)
left = te.placeholder(shape, name="left", dtype=env.acc_dtype)
right = te.placeholder(shape, name="right", dtype=env.acc_dtype)
left_buf = te.compute(shape, lambda *i: left(*i), "left_buf")
right_buf = te.compute(shape, lambda *i: right(*i), "right_buf")
total = te.compute(
    shape,
    lambda *i: left_buf(*i).astype(env.acc_dtype) + right_buf(*i).astype(env.acc_dtype),
    name="total",
)
out = te.compute(shape, lambda *i: total(*i).astype(env.inp_dtype), name="out")

s = te.create_schedule(out.op)
assert "total[" in str(tvm.lower(s, [left, right, out], simple_mode=True))
for tensor in (left_buf, right_buf, total):
    s[tensor].set_scope(env.acc_scope)
for tensor in (left_buf, right_buf, out):
    s[tensor].pragma(s[tensor].op.axis[0], env.dma_copy)
s[total].pragma(total.op.axis[0], env.alu)
assert "VTALoadBuffer2D" in str(vta.lower(s, [left, right, out], simple_mode=True))

module = vta.build(
    s, [left, right, out], tvm.target.Target("ext_dev", host=env.target_host), name="add"
)
temp = utils.tempdir()
module.save(temp.relpath("add.o"))
remote.upload(temp.relpath("add.o"))
f = remote.load_module("add.o")

ctx = remote.ext_dev(0)
left_np = rng.integers(-128, 128, size=shape).astype(left.dtype)
right_np = rng.integers(-128, 128, size=shape).astype(right.dtype)
left_nd = tvm.nd.array(left_np, ctx)
right_nd = tvm.nd.array(right_np, ctx)
out_nd = tvm.nd.empty(shape, out.dtype, ctx)
f(left_nd, right_nd, out_nd)
np.testing.assert_equal(out_nd.numpy(), (left_np + right_np).astype(out.dtype))

cost = f.time_evaluator(f.entry_name, ctx, number=2, repeat=2)(left_nd, right_nd, out_nd)
assert len(cost.results) == 2
assert cost.mean > 0
sys.stdout.write("vector_add: equal\n")
