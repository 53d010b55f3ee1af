"""Whole programs from schedules: right on the simulators, and what they are made of."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.known import (
    ACC,
    INP,
    WGT,
    conv2d,
    conv2d_numpy,
    matmul,
    matmul_numpy,
    numbers,
    products,
    threaded_matmul,
)
from tests.compiler.runs import Rtl
from vta import te
from vta.compiler.pipeline import build, lower, trace
from vta.compiler.te.gemm_intrinsic import gemm
from vta.config import PRESETS
from vta.isa import Isa, MemoryType, Opcode

TINY, DEFAULT = PRESETS["tiny"], PRESETS["default"]


def check(kit, schedule, args, config, expected):
    arrays = numbers(args)
    return kit.check(schedule, args, config, arrays, [expected(*arrays)])


def decoded(program):
    return Isa(program.config).decode_stream(program.insns)


def count(program, opcode, **values):
    return sum(
        insn.opcode == opcode and all(insn.values[key] == value for key, value in values.items())
        for insn in decoded(program)
    )


# -- the well-known schedules --------------------------------------------------------------------


def test_matmul(kit, config):
    check(kit, *matmul(config, o=2, n=5, m=6), config, matmul_numpy)


def test_matmul_of_the_script(kit):
    program = check(kit, *matmul(DEFAULT), DEFAULT, matmul_numpy)
    gemms = [insn for insn in decoded(program) if insn.opcode == Opcode.GEMM]
    # One instruction clears C, one for each of the 16 tiles that the sum goes through; a micro-op
    # each, since the hardware's loops do the rest.
    assert [insn.reset for insn in gemms] == [1] + [0] * 16
    assert all(insn.uop_end - insn.uop_bgn == 1 for insn in gemms)
    assert count(program, Opcode.LOAD, memory_type=MemoryType.WGT) == 16
    assert count(program, Opcode.STORE) == 1


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("name", "size", "channels", "rows", "outputs"),
    [
        ("default", 8, (2, 4), 4, 2),
        ("ecp5", 6, (2, 4), 2, 1),
        ("batch4", 6, (3, 4), 3, 2),
        ("wide", 5, (2, 4), 5, 1),
    ],
)
def test_conv2d(kit, name, size, channels, rows, outputs, threads):
    schedule, args = conv2d(
        PRESETS[name], size=size, channels=channels, rows=rows, outputs=outputs, threads=threads
    )
    check(kit, schedule, args, PRESETS[name], conv2d_numpy)


@pytest.mark.parametrize(
    ("kernel", "padding", "stride"),
    [(1, 0, 1), (1, 0, 2), (3, 0, 1), (3, 1, 2), (5, 2, 1), (5, 1, 3)],
)
def test_conv2d_of_other_kernels(kit, kernel, padding, stride):
    schedule, args = conv2d(
        DEFAULT,
        size=9,
        channels=(2, 4),
        kernel=kernel,
        padding=padding,
        stride=stride,
        rows=4,
        outputs=2,
    )
    check(
        kit,
        schedule,
        args,
        DEFAULT,
        lambda data, weights: conv2d_numpy(data, weights, padding, stride),
    )


# -- virtual threads -----------------------------------------------------------------------------


def test_the_threaded_matmul_is_right(kit):
    check(kit, *threaded_matmul(TINY), TINY, matmul_numpy)


SMALL = {"size": 8, "channels": (4, 8), "rows": 8, "outputs": 2}


@pytest.fixture(scope="module")
def rtl():
    with Rtl(DEFAULT) as found:
        yield found


def cycles(rtl, kit, threads, **shape):
    """Checks a convolution on both simulators; gives its cycles on the RTL."""
    schedule, args = conv2d(DEFAULT, threads=threads, **shape)
    arrays = numbers(args)
    expected = conv2d_numpy(*arrays)
    program = build(schedule, args, DEFAULT)
    np.testing.assert_array_equal(kit.run(program, arrays)[0][0], expected)
    (found,), report = rtl.run(program, arrays)
    np.testing.assert_array_equal(found, expected)
    return report.cycles


def test_threads_hide_loads(rtl, kit):
    one, two = (cycles(rtl, kit, threads, **SMALL) for threads in (1, 2))
    assert two < 0.9 * one


@pytest.mark.full
def test_the_convolution_of_the_script(rtl, kit):
    """14 x 14, 256 -> 256 channels, 3 x 3: 451,584 cycles of GEMM alone."""
    one, two = (cycles(rtl, kit, threads) for threads in (1, 2))
    assert two <= 476_000
    assert one >= 1.2 * two


def test_each_thread_has_its_own_places():
    programs = {
        threads: build(*conv2d(DEFAULT, threads=threads, **SMALL), DEFAULT) for threads in (1, 2)
    }
    for kind in (MemoryType.INP, MemoryType.WGT):
        places = {
            threads: {
                insn.sram_base
                for insn in decoded(program)
                if insn.opcode == Opcode.LOAD and insn.memory_type == kind
            }
            for threads, program in programs.items()
        }
        assert len(places[2]) == 2 * len(places[1])


# -- what a schedule may do ----------------------------------------------------------------------


def test_caches_in_place_of_stages(kit):
    """`cache_read` and `cache_write` make the stages that a schedule else declares."""
    rows, cols = TINY.batch, TINY.block
    a = te.placeholder((2, 3, rows, cols), name="A", dtype="int8")
    b = te.placeholder((4, 3, cols, cols), name="B", dtype="int8")
    ko, ki = te.reduce_axis((0, 3), "ko"), te.reduce_axis((0, cols), "ki")
    acc = te.compute(
        (2, 4, rows, cols),
        lambda bo, co, bi, ci: te.sum(
            a(bo, ko, bi, ki).astype("int32") * b(co, ko, ci, ki).astype("int32"), axis=[ko, ki]
        ),
        "acc",
    )
    c = te.compute(acc.shape, lambda *i: acc(*i).astype("int8"), "C")
    s = te.create_schedule(c.op)
    copies = [s.cache_read(a, INP, [acc]), s.cache_read(b, WGT, [acc])]
    made = s.cache_write(c, ACC)
    s[acc].set_scope(ACC)
    for tensor in (*copies, c):
        s[tensor].pragma(s[tensor].op.axis[0], "dma_copy")
    s[made].pragma(s[made].op.axis[0], "alu")
    _, _, bi, ci = s[acc].op.axis
    s[acc].reorder(ko, *s[acc].op.axis[:2], bi, ci, ki)
    s[acc].tensorize(bi, gemm)
    check(kit, s, [a, b, c], TINY, matmul_numpy)


def test_unrolled_loops_are_micro_ops(kit):
    micro_ops = {}
    for unrolled in (False, True):
        made = products(TINY, 1, 3, 4)
        made.copies()
        stage = made.s[made.c_buf]
        made.product(made.ko, *stage.op.axis[:2])
        if unrolled:
            stage.unroll(stage.op.axis[1])
        program = check(kit, made.s, made.args, TINY, matmul_numpy)
        micro_ops[unrolled] = max(
            insn.uop_end - insn.uop_bgn
            for insn in decoded(program)
            if insn.opcode == Opcode.GEMM and not insn.reset
        )
    assert micro_ops == {False: 1, True: 4}


def test_a_split_that_does_not_divide(kit):
    """The last rounds are shorter, in what is loaded, computed and stored."""
    made = products(TINY, 1, 5, 7)
    stage = made.s[made.c]
    outer, inner = stage.split(stage.op.axis[1], 3)
    stage.reorder(outer, stage.op.axis[0], inner)
    made.s[made.c_buf].compute_at(stage, outer)
    ko, k = made.s[made.c_buf].split(made.ko, 2)
    for tensor in (made.a_buf, made.b_buf):
        made.s[tensor].compute_at(made.s[made.c_buf], ko)
        made.s[tensor].pragma(tensor.op.axis[0], "dma_copy")
    made.product(ko, *made.c_buf.op.axis[:2], k)
    stage.pragma(stage.op.axis[0], "dma_copy")
    program = check(kit, made.s, made.args, TINY, matmul_numpy)
    stored = [insn.x_size * insn.y_size for insn in decoded(program) if insn.opcode == Opcode.STORE]
    assert stored == [3, 3, 1]


def test_two_outputs(kit):
    shape = (6, TINY.batch, TINY.block)
    a = te.placeholder(shape, name="A")
    a_buf = te.compute(shape, lambda *i: a(*i), "A_buf")
    b = te.compute(shape, lambda *i: a_buf(*i) >> 4, "B")
    c = te.compute(shape, lambda *i: te.max(b(*i), 0), "C")
    outs = [
        te.compute(shape, lambda *i, t=t: t(*i).astype("int8"), f"{t.name}_out") for t in (b, c)
    ]
    s = te.create_schedule([t.op for t in outs])
    for tensor in (a_buf, b, c):
        s[tensor].set_scope(ACC).pragma(tensor.op.axis[0], "dma_copy" if tensor is a_buf else "alu")
    outer, inner = s[outs[1]].split(outs[1].op.axis[0], 2)
    s[c].compute_at(s[outs[1]], outer)
    s[outs[0]].pragma(outs[0].op.axis[0], "dma_copy")
    s[outs[1]].pragma(inner, "dma_copy")
    array = np.random.default_rng(1).integers(-5000, 5000, shape, np.int32)
    kit.check(
        s,
        [a, *outs],
        TINY,
        [array],
        [(array >> 4).astype(np.int8), np.maximum(array >> 4, 0).astype(np.int8)],
    )


def test_what_fits_no_instruction_is_several(kit):
    """A load of four loops, none of which follows another in main memory."""
    rows, cols = TINY.batch, TINY.block
    a = te.placeholder((3, 4, 4, 5, rows, cols), name="A", dtype="int8")
    b = te.compute((2, 2, 2, 2, rows, cols), lambda i, j, k, m, *t: a(i, 2 * j, k + 1, m, *t), "B")
    c = te.compute(b.shape, lambda *i: b(*i) + 1, "C")
    out = te.compute(b.shape, lambda *i: c(*i).astype("int8"), "out")
    s = te.create_schedule(out.op)
    for tensor, key in ((b, "dma_copy"), (c, "alu")):
        s[tensor].set_scope(ACC).pragma(tensor.op.axis[0], key)
    s[out].pragma(out.op.axis[0], "dma_copy")
    program = check(
        kit, s, [a, out], TINY, lambda x: (x[:2, ::2, 1:3, :2].astype(np.int32) + 1).astype(np.int8)
    )
    assert count(program, Opcode.LOAD, memory_type=MemoryType.ACC_8BIT) == 4


def test_zeros_come_with_the_load(kit):
    program = check(
        kit,
        *conv2d(DEFAULT, size=6, channels=(1, 1), rows=6, outputs=1, threads=1),
        DEFAULT,
        conv2d_numpy,
    )
    (load,) = (
        insn
        for insn in decoded(program)
        if insn.opcode == Opcode.LOAD and insn.memory_type == MemoryType.INP
    )
    assert (load.y_pad_0, load.y_pad_1, load.x_pad_0, load.x_pad_1) == (1, 1, 1, 1)
    assert (load.x_size, load.y_size) == (6, 6)


# -- what it looks like --------------------------------------------------------------------------


def test_matmul_lowered(golden):
    golden("matmul_lowered", str(lower(*matmul(TINY, n=3, m=4), simple_mode=True)))


def test_conv2d_lowered(golden):
    golden(
        "conv2d_lowered",
        str(lower(*conv2d(TINY, size=4, channels=(2, 4), rows=2, outputs=1), simple_mode=True)),
    )


@pytest.mark.parametrize("title", ["loops", "tokens"])
def test_threaded_matmul_after_passes(golden, title):
    golden(f"threads_tiny_{title}", str(trace(*threaded_matmul(TINY), TINY)[title]))
