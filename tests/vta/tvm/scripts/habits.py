"""What users' scripts do beside the schedule itself: targets in every form, tags, keywords that
only TVM needs, functions by name, and a product with the operator library behind it."""

import sys

import numpy as np
import tvm
from tvm import rpc, te, topi
from tvm.contrib import utils

import vta

env = vta.get_env()
rng = np.random.default_rng(1)
rows, columns, depth = 4, 2, 3

x = te.placeholder((rows, depth, env.BATCH, env.BLOCK_IN), name="x", dtype=env.inp_dtype)
w = te.placeholder((columns, depth, env.BLOCK_OUT, env.BLOCK_IN), name="w", dtype=env.wgt_dtype)
bias = te.placeholder((columns, env.BATCH, env.BLOCK_OUT), name="bias", dtype=env.acc_dtype)
with te.tag_scope(tag="copy"):
    x_buf, w_buf, bias_buf = (
        te.compute(t.shape, lambda *i, t=t: t(*i), name=f"{t.name}_buf", tag="dma", attrs={"n": 1})
        for t in (x, w, bias)
    )
ko = te.reduce_axis(dom=(0, depth), name="ko")
ki = te.reduce_axis((0, env.BLOCK_IN), name="ki")


@tvm.te.tag_scope("dense")
def product():
    return te.compute(
        (rows, columns, env.BATCH, env.BLOCK_OUT),
        lambda bo, co, bi, ci: te.sum(
            x_buf[bo, ko, bi, ki].astype(env.acc_dtype)
            * w_buf[co, ko, ci, ki].astype(env.acc_dtype),
            axis=[ko, ki],
        ),
        name="product",
        tag="dense",
    )


y_gem = product()
y_add = topi.add(y_gem, bias_buf)
y_shift = topi.right_shift(y_add, 5)
y_relu = topi.nn.relu(y_shift)
y_scaled = topi.multiply(y_relu, 3)
y_clip = topi.clip(y_scaled, 0, 100)
y = topi.cast(y_clip, env.out_dtype)


def scheduled(parts):
    """`parts` has an environment for each kind of work: `env`, or `env.mock` to leave it out."""
    s = te.create_schedule(y.op)
    for tensor, scope in (
        (x_buf, env.inp_scope),
        (w_buf, env.wgt_scope),
        (bias_buf, env.acc_scope),
    ):
        s[tensor].set_scope(scope)
    outer, inner = s[y].split(y.op.axis[0], factor=2, disable_predication=False)
    s[y].bind(outer, te.thread_axis("cthread", name="vt"))
    s[y].pragma(inner, parts["store"].dma_copy, True)
    work = (y_gem, y_add, y_shift, y_relu, y_scaled, y_clip)
    for tensor in work:
        s[tensor].set_scope(env.acc_scope)
        s[tensor].compute_at(s[y], outer)
    for tensor in work[1:]:
        s[tensor].pragma(s[tensor].op.axis[0], parts["alu"].alu)
    bo, co, bi, ci = y_gem.op.axis
    s[y_gem].reorder(ko, bo, co, bi, ci, ki)
    s[y_gem].tensorize(bi, parts["gemm"].gemm)
    for tensor, at in ((x_buf, (y_gem, ko)), (w_buf, (y_gem, ko)), (bias_buf, (y, outer))):
        s[tensor].compute_at(s[at[0]], at[1])
        s[tensor].pragma(s[tensor].op.axis[0], parts["load"].dma_copy)
    return s


KINDS = ("load", "gemm", "alu", "store")
s = scheduled(dict.fromkeys(KINDS, env))
args = [x, w, bias, y]
assert "main" not in str(tvm.lower(s, args, name="dense", simple_mode=True)).splitlines()[0]

target = tvm.target.Target(env.target, host=env.target_host)
with target, vta.build_config(opt_level=3, disabled_pass={"tir.CommonSubexprElimTIR"}):
    modules = [
        vta.build(s, args, target, name="dense"),
        vta.build(s, args, tvm.target.Target({"kind": "ext_dev"}), "llvm", name="dense", binds={}),
        vta.build(s, args, name="dense"),
        tvm.build(s, args, tvm.target.vta(model=env.MODEL), name="dense", binds=None),
    ]
assert tvm.target.arm_cpu("pynq").kind == "llvm"

values = [
    rng.integers(low, -low, size=t.shape).astype(t.dtype)
    for t, low in ((x, -128), (w, -128), (bias, -1000))
]
wanted = np.einsum("okbi,mkci->ombc", values[0].astype(np.int64), values[1].astype(np.int64))
wanted = np.clip(np.maximum((wanted + values[2]) >> 5, 0) * 3, 0, 100).astype(y.dtype)

remote = rpc.LocalSession()
temp = utils.tempdir()
for number, module in enumerate(modules):
    path = temp.relpath(f"dense{number}.tar")
    module.export_library(path)
    remote.upload(path)
    f = remote.load_module(f"dense{number}.tar")
    dev = (remote.device("ext_dev", 0), remote.context("ext_dev"), remote.ext_dev(0))[number % 3]
    arrays = [tvm.nd.array(value, device=dev) for value in values]
    out = tvm.nd.empty(y.shape, y.dtype, device=dev)
    f["dense"](*arrays, out)
    np.testing.assert_equal(out.numpy(), wanted)

timer = f.time_evaluator("dense", dev, number=1, repeat=2, min_repeat_ms=0)
assert len(timer(*arrays, out).results) == 2
for kept in KINDS:
    parts = {kind: env if kind == kept else env.mock for kind in KINDS}
    vta.build(scheduled(parts), args, name="part").save(temp.relpath(kept))
    remote.upload(temp.relpath(kept))
    remote.load_module(kept)(*arrays, out)
    assert np.array_equal(out.numpy(), wanted) or kept == "store"
sys.stdout.write("habits: equal\n")
