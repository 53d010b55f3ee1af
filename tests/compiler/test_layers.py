"""Two layers in one program: what the first stores, the second loads again."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.compiler.known import ACC, INP, WGT, numbers
from vta import te
from vta.compiler.te.gemm_intrinsic import gemm
from vta.config import PRESETS

TINY = PRESETS["tiny"]


def product(x_buf, w_buf, name):
    """The stages of a product of tiles, shifted and clipped: the sum, and what is stored."""
    ko, ki = te.reduce_axis((0, x_buf.shape[1]), "ko"), te.reduce_axis((0, TINY.block), "ki")
    shape = (x_buf.shape[0], w_buf.shape[0], TINY.batch, TINY.block)
    total = te.compute(
        shape,
        lambda bo, co, bi, ci: te.sum(
            x_buf(bo, ko, bi, ki).astype("int32") * w_buf(co, ko, ci, ki).astype("int32"),
            axis=[ko, ki],
        ),
        f"{name}_sum",
    )
    small = te.compute(shape, lambda *i: te.min(te.max(total(*i) >> 6, 0), 127), f"{name}_small")
    return total, small, te.compute(shape, lambda *i: small(*i).astype("int8"), name)


def layers(o=2, n=3, m=4, p=2, threads=1, inside=False, split=1):
    """Two products; the second one's rows by threads, or the first inside the second's rows."""
    a = te.placeholder((o, n, TINY.batch, TINY.block), name="A", dtype="int8")
    w1 = te.placeholder((m, n, TINY.block, TINY.block), name="W1", dtype="int8")
    w2 = te.placeholder((p, m, TINY.block, TINY.block), name="W2", dtype="int8")
    copies = [te.compute(t.shape, lambda *i, t=t: t(*i), f"{t.name}_buf") for t in (a, w1, w2)]
    sum1, small1, first = product(copies[0], copies[1], "T")
    again = te.compute(first.shape, lambda *i: first(*i), "T_buf")
    sum2, small2, second = product(again, copies[2], "out")
    s = te.create_schedule(second.op)
    for tensor, scope in zip((*copies, again), (INP, WGT, WGT, INP), strict=True):
        s[tensor].set_scope(scope).pragma(tensor.op.axis[0], "dma_copy")
    for tensor in (small1, small2):
        s[tensor].set_scope(ACC).pragma(tensor.op.axis[0], "alu")
    for tensor in (sum1, sum2):
        stage = s[tensor].set_scope(ACC)
        bo, co, bi, ci = tensor.op.axis
        ko, ki = tensor.op.reduce_axis
        stage.reorder(ko, bo, co, bi, ci, ki)
        stage.tensorize(bi, gemm)
    rows, cols = second.op.axis[:2]
    outer, _ = s[second].split(rows, split)
    if threads > 1:
        s[second].bind(cols, te.thread_axis("cthread"))
        s[second].reorder(outer, cols)
        outer = cols
    for tensor in (small2, sum2):
        s[tensor].compute_at(s[second], outer)
    if inside:
        for tensor in (first, small1, sum1, again):
            s[tensor].compute_at(s[second], outer)
    s[first].pragma(first.op.axis[0], "dma_copy")
    s[second].pragma(s[second].leaf_iter_vars[-2], "dma_copy")
    return s, [a, w1, w2, second]


def layer(x, w):
    total = np.einsum("onbk,mnck->ombc", x.astype(np.int32), w.astype(np.int32))
    return np.clip(total >> 6, 0, 127).astype(np.int8)


@pytest.mark.parametrize(
    ("threads", "inside", "split"), [*itertools.product((1, 2), (False, True), (1, 2))]
)
def test_two_layers(kit, threads, inside, split):
    schedule, args = layers(threads=threads, inside=inside, split=split)
    a, w1, w2 = numbers(args)
    for seed in range(4):
        kit.check(schedule, args, TINY, [a, w1, w2], [layer(layer(a, w1), w2)], seed)
