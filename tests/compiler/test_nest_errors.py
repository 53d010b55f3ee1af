"""Schedules that VTA cannot follow: each message says which stage, what it needs, what there is."""

from __future__ import annotations

import pytest

from tests.compiler.known import ACC, INP, WGT, conv2d, matmul, matmul_numpy, numbers, products
from vta import te
from vta.compiler.pipeline import build
from vta.compiler.te.gemm_intrinsic import gemm
from vta.compiler.te.padding import pad
from vta.config import PRESETS
from vta.errors import CompileError, ScheduleError

TINY, DEFAULT = PRESETS["tiny"], PRESETS["default"]


def made_wrong(change):
    """A matrix multiply's schedule with one thing changed by `change`, and its arguments."""
    made = products(TINY, 2, 3, 4)
    made.copies()
    made.product(made.ko, *made.c_buf.op.axis[:2])
    change(made, made.s)
    return made.s, made.args


REFUSALS = [
    (
        lambda m, s: s[m.c_buf].set_scope(INP),
        "stage C_buf is in the input buffer; env.gemm adds into the accumulator buffer",
    ),
    (
        lambda m, s: s[m.a_buf].set_scope(WGT),
        "stage A_buf reads A .*, which is not in whole tiles of weights",
    ),
    (
        lambda m, s: s[m.b_buf].set_scope(INP),
        "stage C_buf: env.gemm multiplies a tensor in "
        "local.inp_buffer by one in local.wgt_buffer; A_buf "
        "is in local.inp_buffer and B_buf is in local.inp_",
    ),
    (lambda m, s: s[m.c].set_scope(ACC), "argument C is an intermediate tensor in the accum"),
    (lambda m, s: s[m.c].compute_at(s[m.c_buf], m.ko), "stage C is an output that nothing reads"),
    (
        lambda m, s: s[m.c_buf].reorder(m.ki, m.c_buf.op.axis[1]),
        "stage C_buf: tensorize at i?bi must have exactly the tile's loops",
    ),
    (lambda m, s: s[m.c_buf].reorder(m.c_buf.op.axis[3], m.c_buf.op.axis[2]), "must have exactly"),
    (lambda m, s: s[m.c_buf].split(m.ki, 4), "no loop of 8 runs through the sums"),
    (
        lambda m, s: s[m.c_buf].split(m.c_buf.op.axis[3], 3),
        "stage C_buf: the loops inside bi do not cover whole tiles of 8 numbers: its loops go "
        "through 3 in a row",
    ),
    (
        lambda m, s: s[m.c_buf].split(m.c_buf.op.axis[2], 1),
        "tensorized axis bi has been split or fused since; call tensorize last",
    ),
    (lambda m, s: s[m.c_buf].tensorize(m.ki, gemm), "must have exactly the tile's loops .* inside"),
    (
        lambda m, s: s[m.a_buf].compute_at(s[m.c_buf], m.ki),
        "A_buf is computed inside ki, which is part of one tensorized operation; .* further out",
    ),
    (
        lambda m, s: s[m.c].tensorize(m.c.op.axis[2], gemm),
        "stage C is tensorized with env.gemm, which sums products; its rule is not a te.sum",
    ),
    (
        lambda m, s: s[m.c_buf].compute_at(s[m.c], m.c.op.axis[1]),
        "stage C: the pragma 'dma_copy' at i0 covers C_buf, which is computed inside it; put the "
        "pragma on a loop inside i1",
    ),
    (
        lambda m, s: s[m.c_buf].bind(m.c_buf.op.axis[2], te.thread_axis("cthread")),
        "stage C_buf: virtual threads over bi are inside bi, which is one tensorized "
        "operation; bind "
        "an axis outside it",
    ),
    (
        lambda m, s: s[m.a_buf].pragma(m.a_buf.op.axis[0], "alu"),
        "stage A_buf loads from main memory: axis i0 must have the pragma 'dma_copy', not 'alu'",
    ),
    (
        lambda m, s: s[m.c].pragma(m.c.op.axis[0], "alu"),
        "stage C stores to main memory: axis i0 must have the pragma 'dma_copy', not 'alu'",
    ),
    (
        lambda m, s: s[m.c].pragma(m.c.op.axis[1], "alu"),
        "stage C has two pragmas, dma_copy at i0 and alu at i1; keep one",
    ),
    (
        lambda m, s: s[m.c].bind(m.c.op.axis[3], te.thread_axis("cthread")),
        "stage C: the loops inside i0 do not cover whole tiles of 8 numbers: its loops go through "
        "1 in a row; the innermost dimensions must be a tile's",
    ),
    (
        lambda m, s: s[m.b_buf].split(m.b_buf.op.axis[3], 3),
        "stage B_buf: .*cuts through a tile of 64 numbers|do not cover whole",
    ),
]


@pytest.mark.parametrize(
    ("change", "message"), REFUSALS, ids=[str(number) for number in range(len(REFUSALS))]
)
def test_what_is_refused(change, message):
    with pytest.raises(ScheduleError, match=message):
        build(*made_wrong(change), TINY)


def test_nothing_wrong_is_not_refused(kit):
    schedule, args = made_wrong(lambda made, s: None)
    arrays = numbers(args)
    kit.check(schedule, args, TINY, arrays, [matmul_numpy(*arrays)])


def test_a_reduction_without_tensorize():
    made = products(TINY)
    made.copies()
    with pytest.raises(
        ScheduleError,
        match="stage C_buf sums products of A_buf; add "
        r"s\[C_buf\].tensorize\(axis, env.gemm\)",
    ):
        build(made.s, made.args, TINY)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (65, 1, 1),
            "stage A_buf: the input buffer holds 64 tiles of 8 bytes .512 bytes., but the "
            "schedule needs 65 .520 bytes.: A_buf 65 tiles; compute less at a time",
        ),
        (
            (1, 1, 33),
            "stage B_buf: the weight buffer holds 32 tiles of 64 bytes .2048 bytes., but the "
            "schedule needs 33 .2112 bytes.: B_buf 33 tiles",
        ),
        (
            (9, 1, 8),
            "stage C_buf: the accumulator buffer holds 64 tiles of 32 bytes .2048 bytes., but "
            "the schedule needs 72 .2304 bytes.: C_buf 72 tiles",
        ),
    ],
)
def test_more_than_a_buffer_holds(shape, message):
    made = products(TINY, *shape)
    made.copies()
    made.product(made.ko, *made.c_buf.op.axis[:2])
    with pytest.raises(ScheduleError, match=message):
        build(made.s, made.args, TINY)


def test_more_than_a_buffer_holds_for_all_threads():
    schedule, args = conv2d(TINY, size=8, channels=(2, 4), rows=8, outputs=2)
    with pytest.raises(ScheduleError, match="100 tiles x 2 threads"):
        build(schedule, args, TINY)


def test_a_tile_of_another_configuration():
    """Two rows of 8 are as many numbers as one of 16, but no tile of its."""
    with pytest.raises(
        ScheduleError,
        match=r"tiles of inputs \(1, 16\), weights \(16 outputs, 16 "
        r"inputs\) and outputs \(1, 16\), their innermost "
        r"dimensions; no loop of 16 runs through the outputs",
    ):
        build(*matmul(PRESETS["small"], n=1, m=4), DEFAULT)


@pytest.mark.parametrize("tiled", [True, False])
def test_weights_that_are_not_transposed(tiled):
    """A plain product of matrices, A @ B, and one of tiles that hold B as it is."""
    block = TINY.block
    shape = (2, 2, block, block) if tiled else (2 * block, 2 * block)
    a = te.placeholder((2, TINY.batch, block), "int8", "A")
    b = te.placeholder(shape, "int8", "B")
    a_buf = te.compute(a.shape, lambda *i: a(*i), "A_buf")
    b_buf = te.compute(b.shape, lambda *i: b(*i), "B_buf")
    ko, ki = te.reduce_axis((0, 2), "ko"), te.reduce_axis((0, block), "ki")

    def weight(co, ci):
        return b_buf(ko, co, ki, ci) if tiled else b_buf(ko * block + ki, co * block + ci)

    c_buf = te.compute(
        (2, TINY.batch, block),
        lambda co, bi, ci: te.sum(
            a_buf(ko, bi, ki).astype("int32") * weight(co, ci).astype("int32"), axis=[ko, ki]
        ),
        "C_buf",
    )
    c = te.compute(c_buf.shape, lambda *i: c_buf(*i).astype("int8"), "C")
    s = te.create_schedule(c.op)
    co, bi, ci = c_buf.op.axis
    s[a_buf].set_scope(INP).pragma(a_buf.op.axis[0], "dma_copy")
    s[b_buf].set_scope(WGT).pragma(b_buf.op.axis[0], "dma_copy")
    s[c_buf].set_scope(ACC).reorder(ko, co, bi, ci, ki).tensorize(bi, gemm)
    s[c].pragma(c.op.axis[0], "dma_copy")
    with pytest.raises(
        ScheduleError,
        match="B_buf is not transposed: ki, which is summed, must be its innermost "
        "dimension, not ci",
    ):
        build(s, [a, b, c], TINY)


def test_padding_with_something_else():
    shape = (4, TINY.batch, TINY.block)
    a = te.placeholder((2, *shape[1:]), name="A")
    b = pad(a, [1, 0, 0], pad_value=7, name="B")
    c = te.compute(shape, lambda *i: b(*i).astype("int8"), "C")
    s = te.create_schedule(c.op)
    s[b].set_scope(ACC).pragma(b.op.axis[0], "dma_copy")
    s[c].pragma(c.op.axis[0], "dma_copy")
    with pytest.raises(CompileError, match="stage B pads with a value other than 0"):
        build(s, [a, c], TINY)


def test_a_choice_that_is_no_neutral_value():
    shape = (4, TINY.batch, TINY.block)
    a = te.placeholder(shape, name="A")
    b = te.compute(shape, lambda *i: a(*i), "B")
    r = te.reduce_axis((0, 3), "r")
    c = te.compute(
        (2, *shape[1:]),
        lambda i, *t: te.max(te.if_then_else(i + r < 3, b(i + r, *t), 0), axis=r),
        "C",
    )
    d = te.compute(c.shape, lambda *i: c(*i).astype("int8"), "D")
    s = te.create_schedule(d.op)
    for tensor, key in ((b, "dma_copy"), (c, "alu")):
        s[tensor].set_scope(ACC).pragma(tensor.op.axis[0], key)
    s[d].pragma(d.op.axis[0], "dma_copy")
    with pytest.raises(CompileError, match="the other value must be -2147483648"):
        build(s, [a, d], TINY)


def straight_from_memory(key, padded):
    """A sum over a tensor in main memory."""
    tile = (TINY.batch, TINY.block)
    a = te.placeholder((6, *tile), name="A")
    source = pad(a, [1, 0, 0], pad_value=3, name="B") if padded else a
    r = te.reduce_axis((0, 3), "r")
    c = te.compute((4, *tile), lambda i, *t: te.sum(source(i + r, *t), axis=r), "C")
    out = te.compute(c.shape, lambda *i: c(*i).astype("int8"), "out")
    s = te.create_schedule(out.op)
    if padded:
        s[source].compute_inline()
    s[c].set_scope(ACC).pragma(c.op.axis[0], key)
    s[out].pragma(out.op.axis[0], "dma_copy")
    return s, [a, out]


@pytest.mark.parametrize("padded", [False, True])
def test_a_reduction_straight_from_memory(padded):
    with pytest.raises(
        ScheduleError,
        match=r"stage C computes on A, which is in main memory; "
        r"copy it into local.acc_buffer first: a stage "
        r"`lambda \*i: A\(\*i\)`",
    ):
        build(*straight_from_memory("alu", padded), TINY)
    with pytest.raises(
        ScheduleError,
        match="stage C computes in the accumulator buffer: axis i "
        "must have the pragma 'alu', not 'dma_copy'",
    ):
        build(*straight_from_memory("dma_copy", padded), TINY)
