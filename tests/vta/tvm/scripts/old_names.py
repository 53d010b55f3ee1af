"""A scaled vector, with the names of TVM 0.6."""

import sys

import numpy as np
import topi
import tvm
from topi.util import get_const_tuple
from tvm import rpc
from tvm.contrib import util

import vta

env = vta.get_env()
rng = np.random.default_rng(1)
assert tvm.module.enabled("rpc")
remote = rpc.LocalSession()

a = tvm.placeholder((2, 9, env.BATCH, env.BLOCK_OUT), name="a", dtype=env.acc_dtype)
a_buf = tvm.compute(a.shape, lambda *i: a(*i), "a_buf")
b_buf = tvm.compute(a.shape, lambda *i: tvm.max(a_buf(*i) * 3, tvm.const(0, a.dtype)), "b_buf")
b = tvm.compute(a.shape, lambda *i: b_buf(*i).astype(env.inp_dtype), "b")
s = tvm.create_schedule(b.op)
for tensor, key in ((a_buf, env.dma_copy), (b_buf, env.alu)):
    s[tensor].set_scope(env.acc_scope)
    s[tensor].pragma(s[tensor].op.axis[0], key)
s[b].pragma(s[b].op.axis[0], env.dma_copy)
module = vta.build(s, [a, b], "ext_dev", name="scale")
temp = util.tempdir()
module.save(temp.relpath("scale.o"))
remote.upload(temp.relpath("scale.o"))
f = remote.load_module("scale.o")

ctx = remote.ext_dev(0)
value = rng.integers(-40, 40, size=get_const_tuple(a.shape)).astype(a.dtype)
result = tvm.nd.empty(get_const_tuple(b.shape), b.dtype, ctx=ctx)
f(tvm.nd.array(value, ctx=ctx), result)
np.testing.assert_equal(result.asnumpy(), np.maximum(3 * value, 0).astype(b.dtype))
assert topi.testing.conv2d_nchw_python(np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)), 1, 0) == 4
sys.stdout.write("old_names: equal\n")
