"""What the tests and operators of TVM's back end do: ALU operations, padding, tiles, threads by
count, caches, inlining, fusing."""

import sys

import numpy as np
import tvm
from tvm import te, topi
from tvm.contrib import utils

import vta
import vta.testing
from vta.testing import simulator

rng = np.random.default_rng(1)


def call(env, remote, s, args, *values):
    """The last argument's value after a call with the values of the others."""
    module = vta.build(s, args, tvm.target.Target("ext_dev", host=env.target_host))
    temp = utils.tempdir()
    module.save(temp.relpath("f.o"))
    remote.upload(temp.relpath("f.o"))
    f = remote.load_module("f.o")
    dev = remote.ext_dev(0)
    out = tvm.nd.empty(args[-1].shape, device=dev, dtype=args[-1].dtype)
    simulator.clear_stats()
    f(*(tvm.nd.array(value, dev) for value in values), out)
    assert simulator.stats()["out_store_nbytes"] == out.numpy().size
    return out.numpy()


def check_alu(env, remote, operation, reference, immediate=None):
    shape = (3, 5, env.BATCH, env.BLOCK_OUT)
    a = te.placeholder(shape, name="a", dtype=env.acc_dtype)
    b = te.placeholder(shape, name="b", dtype=env.acc_dtype)
    a_buf = te.compute(shape, lambda *i: a(*i), "a_buf")
    b_buf = te.compute(shape, lambda *i: b(*i), "b_buf")
    alone = immediate is not None
    y_buf = te.compute(
        shape, lambda *i: operation(a_buf(*i), immediate if alone else b_buf(*i)), "y_buf"
    )
    y = te.compute(shape, lambda *i: y_buf(*i).astype(env.inp_dtype), "y")
    s = te.create_schedule(y.op)
    for tensor in (a_buf,) if alone else (a_buf, b_buf):
        s[tensor].set_scope(env.acc_scope)
        s[tensor].pragma(tensor.op.axis[0], env.dma_copy)
    s[y_buf].set_scope(env.acc_scope)
    s[y_buf].pragma(y_buf.op.axis[0], env.alu)
    s[y].pragma(y.op.axis[0], env.dma_copy)
    left = rng.integers(-16, 16, size=shape).astype(a.dtype)
    right = rng.integers(-16, 16, size=shape).astype(b.dtype)
    with vta.build_config():
        got = (
            call(env, remote, s, [a, y], left)
            if alone
            else call(env, remote, s, [a, b, y], left, right)
        )
    wanted = reference(left, immediate if alone else right)
    np.testing.assert_equal(got, wanted.astype(y.dtype))


def check_padding(env, remote, before, after):
    x = te.placeholder((3, 5, env.BATCH, env.BLOCK_OUT), name="x", dtype=env.acc_dtype)
    x_buf = topi.nn.pad(x, before, after, name="x_buf")
    y_buf = te.compute(x_buf.shape, lambda *i: x_buf(*i) >> 0, "y_buf")
    y = te.compute(x_buf.shape, lambda *i: y_buf(*i).astype(env.inp_dtype), "y")
    s = te.create_schedule(y.op)
    for tensor, key in ((x_buf, env.dma_copy), (y_buf, env.alu)):
        s[tensor].set_scope(env.acc_scope)
        s[tensor].pragma(tensor.op.axis[0], key)
    s[y].pragma(y.op.axis[0], env.dma_copy)
    value = rng.integers(0, 10, size=x.shape).astype(x.dtype)
    got = call(env, remote, s, [x, y], value)
    np.testing.assert_equal(got, np.pad(value, list(zip(before, after, strict=True))))


def check_product(env, remote, tiled):
    rows, columns, depth = 4, 4, 2
    x = te.placeholder((rows, depth, env.BATCH, env.BLOCK_IN), name="x", dtype=env.inp_dtype)
    w = te.placeholder((columns, depth, env.BLOCK_OUT, env.BLOCK_IN), name="w", dtype=env.wgt_dtype)
    x_buf = te.compute(x.shape, lambda *i: x(*i), "x_buf")
    w_buf = te.compute(w.shape, lambda *i: w(*i), "w_buf")
    ko = te.reduce_axis((0, depth), name="ko")
    ki = te.reduce_axis((0, env.BLOCK_IN), name="ki")
    product = te.compute(
        (rows, columns, env.BATCH, env.BLOCK_OUT),
        lambda bo, co, bi, ci: te.sum(
            x_buf[bo, ko, bi, ki].astype(env.acc_dtype)
            * w_buf[co, ko, ci, ki].astype(env.acc_dtype),
            axis=[ko, ki],
        ),
        name="product",
    )
    shifted = te.compute(product.shape, lambda *i: product(*i) >> 8, name="shifted")
    y = te.compute(product.shape, lambda *i: shifted(*i).astype(env.inp_dtype), name="y")
    s = te.create_schedule(y.op)
    s[x_buf].set_scope(env.inp_scope)
    s[w_buf].set_scope(env.wgt_scope)
    s[product].set_scope(env.acc_scope)
    s[shifted].set_scope(env.acc_scope)
    bo, co, _, _ = s[y].op.axis
    if tiled:
        _, inside, store, _ = s[y].tile(bo, co, 2, 2)
    else:
        inside, store = s[y].split(bo, nparts=2)
        s[y].bind(inside, te.thread_axis("cthread"))
    s[product].compute_at(s[y], inside)
    s[shifted].compute_at(s[y], inside)
    axis = s[product].op.axis
    s[product].reorder(ko, *axis, ki)
    s[product].tensorize(axis[2], env.gemm)
    s[shifted].pragma(s[shifted].op.axis[0], env.alu)
    for tensor in (x_buf, w_buf):
        s[tensor].compute_at(s[product], ko)
        s[tensor].pragma(s[tensor].op.axis[0], env.dma_copy)
    s[y].pragma(store, env.dma_copy)
    left = rng.integers(-128, 128, size=x.shape).astype(x.dtype)
    right = rng.integers(-128, 128, size=w.shape).astype(w.dtype)
    got = call(env, remote, s, [x, w, y], left, right)
    wanted = np.einsum("okbi,mkci->ombc", left.astype(np.int64), right.astype(np.int64)) >> 8
    np.testing.assert_equal(got, wanted.astype(y.dtype))


def check_caches(env, remote):
    """The copies are not written down, but made by the schedule."""
    shape = (4, 6, env.BATCH, env.BLOCK_OUT)
    a = te.placeholder(shape, name="a", dtype=env.acc_dtype)
    b = te.placeholder(shape, name="b", dtype=env.acc_dtype)
    doubled = te.compute(shape, lambda *i: a(*i) * 2, "doubled")
    total = te.compute(shape, lambda *i: doubled(*i) + b(*i), "total")
    y = te.compute(shape, lambda *i: total(*i).astype(env.inp_dtype), "y")
    s = te.create_schedule(y.op)
    caches = [s.cache_read(a, env.acc_scope, [doubled]), s.cache_read(b, env.acc_scope, [total])]
    s[doubled].compute_inline()
    s[total].set_scope(env.acc_scope)
    outer, inner = s[y].split(s[y].op.axis[0], factor=2)
    s[y].reorder(outer, inner)
    s[total].compute_at(s[y], outer)
    s[total].pragma(s[total].op.axis[0], env.alu)
    for cache in caches:
        s[cache].compute_at(s[y], outer)
        s[cache].pragma(s[cache].op.axis[0], env.dma_copy)
    s[y].unroll(outer)
    s[y].pragma(s[y].fuse(inner, s[y].op.axis[1]), env.dma_copy)
    left, right = (rng.integers(-30, 30, size=shape).astype(env.acc_dtype) for _ in range(2))
    got = call(env, remote, s, [a, b, y], left, right)
    np.testing.assert_equal(got, (2 * left + right).astype(y.dtype))


def check_all(env, remote):
    check_alu(env, remote, lambda x, y: x + y, np.add)
    check_alu(env, remote, lambda x, y: x + y, np.add, 3)
    check_alu(env, remote, lambda x, y: x << y, np.left_shift, 2)
    check_alu(env, remote, lambda x, y: x >> y, np.right_shift, 2)
    check_alu(env, remote, tvm.te.max, np.maximum)
    check_alu(env, remote, tvm.te.max, np.maximum, 1)
    check_alu(env, remote, te.min, np.minimum)
    for before, after in (
        ([2, 0, 0, 0], [0, 0, 0, 0]),
        ([0, 2, 0, 0], [0, 0, 0, 0]),
        ([0, 0, 0, 0], [2, 0, 0, 0]),
        ([0, 0, 0, 0], [0, 2, 0, 0]),
        ([1, 1, 0, 0], [1, 1, 0, 0]),
    ):
        check_padding(env, remote, before, after)
    for tiled in (True, False):
        check_product(env, remote, tiled)
    check_caches(env, remote)


vta.testing.run(check_all)
sys.stdout.write("operators: equal\n")
