"""Encoding 0.0.3 in the compiler: `te.requantize`, copies by MOV, sums with a first value."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from vta import te
from vta.compiler.check.proof import VerifyError, verify_program
from vta.compiler.pipeline import build, lower, lower_vta
from vta.compiler.te.gemm_intrinsic import gemm
from vta.config import PRESETS
from vta.errors import CompileError, ScheduleError
from vta.isa import AluOp, Isa, Opcode

OLD = PRESETS["tiny"].replace(hw_ver="0.0.2")
NEW = OLD.replace(hw_ver="0.0.3")
ACC, INP, WGT = (f"local.{name}_buffer" for name in ("acc", "inp", "wgt"))


def requantised(acc, scale, zero_point=0, lower=-128):
    """docs/isa.md, QNT, in numpy: two roundings to float32, then ties to even."""
    with np.errstate(over="ignore"):
        product = acc.astype(np.float32) * np.asarray(scale, np.float32)
    rounded = np.rint(np.clip(product, -1000, 1000)).astype(np.int64)
    return np.clip(rounded + zero_point, lower, 127).astype(np.int8)


def operations(program):
    """The ALU's operations and resets of a program, in stream order."""
    found = Isa(program.config).decode_stream(program.insns)
    return [i.operation for i in found if i.opcode in (Opcode.ALU, Opcode.GEMM)]


def channels(config, scale, rule, shape=(2, 6)):
    """`rule` of int32 tiles A (parts, pixels) and S (parts), whose dtype is `scale`."""
    batch, block = config.batch, config.block
    a = te.placeholder((*shape, batch, block), name="A", dtype="int32")
    s = te.placeholder((shape[0], batch, block), name="S", dtype=scale)
    a_buf = te.compute(a.shape, lambda *i: a(*i), "A_buf")
    s_buf = te.compute(s.shape, lambda *i: s(*i), "S_buf")
    c = te.compute(a.shape, lambda p, x, b, k: rule(a_buf(p, x, b, k), s_buf(p, b, k)), "C")
    out = te.compute(a.shape, lambda *i: c(*i).astype("int8"), "out")
    schedule = te.create_schedule(out.op)
    used = {stage.op for stage in schedule.stages}
    for tensor in (a_buf, s_buf, c):
        if tensor.op in used:
            key = "alu" if tensor is c else "dma_copy"
            schedule[tensor].set_scope(ACC).pragma(schedule[tensor].op.axis[0], key)
    schedule[out].pragma(schedule[out].op.axis[0], "dma_copy")
    return schedule, [tensor for tensor in (a, s, out) if tensor.op in used]


def numbers(shape, seed):
    rng = np.random.default_rng(seed)
    acc = rng.integers(-(2**31), 2**31, shape).astype(np.int32) >> rng.integers(0, 31, shape)
    return acc.astype(np.int32)


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize(("zero_point", "lower"), [(0, -128), (-100, -7), (127, 3)])
def test_requantize_is_one_operation_per_channel_scales(kit, name, zero_point, lower):
    config = PRESETS[name].replace(hw_ver="0.0.3")
    schedule, args = channels(
        config, "float32", lambda x, s: te.requantize(x, s, zero_point, lower)
    )
    acc = numbers(args[0].shape, 1)
    scale = 2.0 ** np.random.default_rng(2).uniform(-31, 2, args[1].shape)
    scale = scale.astype(np.float32)
    expected = requantised(acc, scale[:, None], zero_point, lower)
    program = kit.check(schedule, args, config, [acc, scale], [expected])
    assert operations(program) == ["ALU QNT"]


def test_the_scale_is_held_while_destinations_run(kit):
    """One cycle a tile needs a source that stays the same in the innermost loop."""
    schedule, args = channels(NEW, "float32", te.requantize)
    program = build(schedule, args, NEW)
    (qnt,) = (
        insn
        for insn in Isa(NEW).decode_stream(program.insns)
        if insn.opcode == Opcode.ALU and insn.alu_opcode == AluOp.QNT
    )
    assert (qnt.uop_end - qnt.uop_bgn, qnt.iter_out, qnt.iter_in) == (1, 2, 6)
    assert (qnt.src_factor_out, qnt.src_factor_in) == (1, 0)


@pytest.mark.parametrize("scale", [0.5, 0.0123, 3, np.float32(1e-20), 1e30])
def test_a_number_is_a_constant_tile(kit, scale):
    schedule, args = kit.one(
        (3, NEW.batch, NEW.block), lambda te, x: te.requantize(x, scale, 5, -9), "int32"
    )
    acc = numbers(args[0].shape, 3)
    program = kit.check(schedule, args, NEW, [acc], [requantised(acc, scale, 5, -9)])
    assert operations(program) == ["ALU MOV", "ALU SHR", "ALU ADD", "ALU QNT"]


def test_int8_is_widened_and_the_result_computed_on(kit):
    schedule, args = kit.one(
        (3, NEW.batch, NEW.block),
        lambda te, x: te.max(te.requantize(x * 77, 0.01).astype("int32") + 3, -50),
        "int8",
    )
    data = np.random.default_rng(4).integers(-128, 128, args[0].shape).astype(np.int8)
    product = (data.astype(np.int32) * 77).astype(np.int8)  # int8 times a number is an int8
    expected = np.maximum(requantised(product.astype(np.int32), 0.01).astype(int) + 3, -50)
    kit.check(schedule, args, NEW, [data], [expected.astype(np.int8)])


def test_what_is_read_again_is_copied_by_mov(kit):
    """The operand is needed after QNT, which overwrites its first operand."""
    shape = (3, NEW.batch, NEW.block)
    rules = [
        ("C", ["A"], lambda te, x: te.requantize(x, 0.25)),
        ("D", ["A"], lambda te, x: te.max(x, 7)),
    ]
    schedule, args = kit.stages(shape, rules, {"A": "int32"}, ["C", "D"])
    acc = numbers(shape, 5)
    expected = [requantised(acc, 0.25), np.maximum(acc, 7).astype(np.int8)]
    program = kit.check(schedule, args, NEW, [acc], expected)
    assert operations(program).count("ALU MOV") == 2  # the constant's first half, and the copy
    assert "GEMM RESET" not in operations(program)


@pytest.mark.parametrize(
    ("config", "expected"), [(OLD, ["GEMM RESET", "ALU ADD"]), (NEW, ["ALU MOV"])]
)
def test_a_broadcast_copy_is_a_mov(kit, config, expected):
    schedule, args = channels(config, "int32", lambda x, b: b)
    b, out = args
    bias = numbers(b.shape, 6)
    right = np.broadcast_to(bias[:, None], out.shape).astype(np.int8)
    program = kit.check(schedule, args, config, [bias], [right])
    assert operations(program) == expected


def product(config, init, scale=None):
    """A tensorized sum of products that starts from `init`, requantised with `scale`."""
    batch, block = config.batch, config.block
    a = te.placeholder((5, 2, batch, block), name="A", dtype="int8")
    b = te.placeholder((3, 2, block, block), name="B", dtype="int8")
    bias = te.placeholder((3, batch, block), name="bias", dtype="int32")
    copies = [te.compute(t.shape, lambda *i, t=t: t(*i), f"{t.name}_buf") for t in (a, b, bias)]
    a_buf, b_buf, bias_buf = copies
    ko, ki = te.reduce_axis((0, 2), "ko"), te.reduce_axis((0, block), "ki")
    c = te.compute(
        (3, 5, batch, block),
        lambda o, i, r, k: te.sum(
            a_buf(i, ko, r, ki).astype("int32") * b_buf(o, ko, k, ki).astype("int32"),
            axis=[ko, ki],
            init=init(*(bias_buf(o, r, k), o)[: init.__code__.co_argcount]),
        ),
        "C",
    )
    last = te.compute(c.shape, lambda *i: te.requantize(c(*i), scale), "Q") if scale else c
    out = te.compute(c.shape, lambda *i: last(*i).astype("int8"), "out")
    s = te.create_schedule(out.op)
    used = {stage.op for stage in s.stages}
    inputs = [t for t in (a, b, bias) if t.op in used]
    for tensor, scope in zip(copies, (INP, WGT, ACC), strict=True):
        if tensor.op in used:
            s[tensor].set_scope(scope).pragma(s[tensor].op.axis[0], "dma_copy")
    s[c].set_scope(ACC).reorder(ko, *c.op.axis, ki)
    s[c].tensorize(c.op.axis[2], gemm)
    if scale:
        s[last].set_scope(ACC).pragma(s[last].op.axis[0], "alu")
    s[out].pragma(s[out].op.axis[0], "dma_copy")
    return s, [*inputs, out]


@pytest.mark.parametrize("config", [OLD, NEW], ids=["0.0.2", "0.0.3"])
@pytest.mark.parametrize(
    ("init", "of_numpy"),
    [
        (lambda b: b, lambda b: b),
        (lambda b: b * 3 - 70000, lambda b: b * 3 - 70000),
        (lambda b: -7, lambda b: np.full_like(b, -7)),
        (
            lambda b, o: te.if_then_else(o < 2, b + 3, 5),
            lambda b: np.where(np.arange(3)[:, None, None] < 2, b + 3, 5),
        ),
    ],
    ids=["tile", "expression", "number", "cases"],
)
def test_a_sum_starts_from_a_first_value(kit, config, init, of_numpy):
    schedule, args = product(config, init)
    rng = np.random.default_rng(7)
    a, b = (rng.integers(-128, 128, t.shape).astype(np.int8) for t in args[:2])
    bias = rng.integers(-(10**6), 10**6, (3, config.batch, config.block)).astype(np.int32)
    sums = np.einsum("inrk,onqk->oirq", a.astype(np.int64), b.astype(np.int64))
    expected = (sums + of_numpy(bias.astype(np.int64))[:, None]).astype(np.int8)
    kit.check(schedule, args, config, [a, b, bias][: len(args) - 1], [expected])


def test_bias_and_requantisation_of_a_product_are_two_operations(kit):
    schedule, args = product(NEW, lambda b: b, 0.003)
    rng = np.random.default_rng(8)
    a, b = (rng.integers(-128, 128, t.shape).astype(np.int8) for t in args[:2])
    bias = rng.integers(-9000, 9000, args[2].shape).astype(np.int32)
    sums = np.einsum("inrk,onqk->oirq", a.astype(np.int64), b.astype(np.int64)) + bias[:, None]
    program = kit.check(schedule, args, NEW, [a, b, bias], [requantised(sums, 0.003)])
    # The scale, a constant tile, takes the first three.
    three = ["ALU MOV", "ALU SHR", "ALU ADD"]
    assert operations(program) == [*three, "ALU MOV", "GEMM", "ALU QNT"]


@pytest.mark.parametrize("dtype", ["int8", "int32"])
@pytest.mark.parametrize("sides", [(1, 2, 3, 0), (16, 0, 0, 1)])
def test_padding_with_the_least_number(kit, dtype, sides):
    """A LOAD pads with the least number of its memory; wide padding takes several LOADs."""
    top, bottom, left, right = sides
    tile = (NEW.batch, NEW.block)
    a = te.placeholder((3, 2, *tile), name="A", dtype=dtype)
    shape = (3 + top + bottom, 2 + left + right, *tile)
    least = -128 if dtype == "int8" else -(2**31)

    def rule(y, x, *i):
        inside = te.all(y >= top, y < 3 + top, x >= left, x < 2 + left)
        return te.if_then_else(inside, a(y - top, x - left, *i), te.min_value(dtype))

    buf = te.compute(shape, rule, "buf")
    c = te.compute(shape, lambda *i: te.max(buf(*i).astype("int32"), -99), "C")
    out = te.compute(shape, lambda *i: c(*i).astype("int8"), "out")
    s = te.create_schedule(out.op)
    for tensor, key in ((buf, "dma_copy"), (c, "alu")):
        s[tensor].set_scope(ACC).pragma(s[tensor].op.axis[0], key)
    s[out].pragma(s[out].op.axis[0], "dma_copy")
    data = np.random.default_rng(9).integers(-128, 128, a.shape).astype(dtype)
    around = ((top, bottom), (left, right), (0, 0), (0, 0))
    padded = np.pad(data.astype(np.int64), around, constant_values=least)
    kit.check(s, [a, out], NEW, [data], [np.maximum(padded, -99).astype(np.int8)])
    with pytest.raises(
        CompileError, match=r"needs HW_VER 0\.0\.3 in the configuration, not 0\.0\.2"
    ):
        build(s, [a, out], OLD)


def test_texts_show_it():
    schedule, args = channels(NEW, "float32", lambda x, s: te.requantize(x, s, 3, -4))
    text = str(lower(schedule, args))
    assert "S: float32[2, " in text
    assert "requantize(A_buf[" in text
    assert ", 3, -4)" in text
    # The scales lie first; -4 is the high byte of the immediate, 3 the low one.
    assert f"uop_push(1, 0, 2, 0, 0, 5, 0, {-4 * 256 + 3})" in str(lower_vta(schedule, args, NEW))
    schedule, args = channels(NEW, "float32", lambda x, s: te.requantize(x, 0.25))
    assert "0.25, 0, -128)" in str(lower(schedule, args))


def x_of(dtype="int32"):
    return te.placeholder((4, 4), name="X", dtype=dtype)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda x, s: te.requantize(x[0, 0], float("nan")), "scale must be positive, finite"),
        (lambda x, s: te.requantize(x[0, 0], float("inf")), "scale must be positive, finite"),
        (lambda x, s: te.requantize(x[0, 0], 0.0), "scale must be positive, finite"),
        (lambda x, s: te.requantize(x[0, 0], -0.5), "scale must be positive, finite"),
        (lambda x, s: te.requantize(x[0, 0], 1e-40), "scale must be positive, finite"),
        (lambda x, s: te.requantize(x[0, 0], 1e39), "scale must be positive, finite"),
        (lambda x, s: te.requantize(x[0, 0], "1"), "scale must be a number or an element"),
        (lambda x, s: te.requantize(x[0, 0], x[1, 1]), "element of a float32 tensor"),
        (lambda x, s: te.requantize(x[0, 0], s), "S is a whole tensor where one element"),
        (lambda x, s: te.requantize(x[0, 0], s[0]), "S has 2 dimensions"),
        (lambda x, s: te.requantize(x[0, 0], s[0, 0], 128), "zero_point must be .* -128 to 127"),
        (lambda x, s: te.requantize(x[0, 0], s[0, 0], 0.5), "zero_point must be a whole number"),
        (lambda x, s: te.requantize(x[0, 0], s[0, 0], 0, -129), "lower must be .* -128 to 127"),
        (lambda x, s: te.requantize(s[0, 0], s[0, 0]), "can only be the scale of te.requantize"),
        (lambda x, s: x[0, 0] * s[0, 0], "can only be the scale of te.requantize"),
        (lambda x, s: 2 * s[0, 0], "can only be the scale of te.requantize"),
        (lambda x, s: s[0, 0].astype("int32"), "can only be the scale of te.requantize"),
        (lambda x, s: x[0, 0].astype("float32"), "must be int8 or int32"),
        (
            lambda x, s: te.sum(s[0, 0], axis=te.reduce_axis((0, 4))),
            "can only be the scale of te.requantize",
        ),
    ],
)
def test_mistakes_are_named_where_they_are_written(rule, message):
    with pytest.raises(CompileError, match=message):
        rule(x_of(), te.placeholder((4, 4), name="S", dtype="float32"))


def test_a_sum_does_not_start_from_what_it_reduces():
    x, k = x_of(), te.reduce_axis((0, 4), "k")
    with pytest.raises(CompileError, match="init of sum must not use an axis that is reduced"):
        te.sum(x[0, k], axis=k, init=x[k, 0])
    with pytest.raises(CompileError, match="init of sum must not reduce"):
        te.sum(x[0, k], axis=k, init=te.sum(x[k, 0], axis=te.reduce_axis((0, 4))))


def test_what_a_sum_starts_from_is_computed_before_it():
    schedule, args = product(NEW, lambda b: b)
    stages = {stage.name: stage for stage in schedule.stages}
    total = stages["C"]
    stages["bias_buf"].compute_at(total, total.leaf_iter_vars[0])
    message = "stage bias_buf is computed at ko of C, inside a loop that is reduced, but the"
    with pytest.raises(ScheduleError, match=message):
        build(schedule, args, NEW)


def test_an_older_machine_says_which_key_to_change():
    schedule, args = channels(OLD, "float32", te.requantize)
    with pytest.raises(
        CompileError,
        match=r"te.requantize in stage C needs HW_VER 0\.0\.3 in the configuration, not 0\.0\.2",
    ):
        build(schedule, args, OLD)


def test_a_scale_in_another_order_than_the_tile_is_refused():
    schedule, args = channels(NEW, "float32", lambda x, s: te.requantize(x, s))
    a, s, out = args
    a_buf = te.compute(a.shape, lambda *i: a(*i), "A_buf")
    s_buf = te.compute(s.shape, lambda *i: s(*i), "S_buf")
    c = te.compute(a.shape, lambda p, x, b, k: te.requantize(a_buf(p, x, b, k), s_buf(p, 0, 0)))
    out = te.compute(a.shape, lambda *i: c(*i), "out")
    schedule = te.create_schedule(out.op)
    for tensor, key in ((a_buf, "dma_copy"), (s_buf, "dma_copy"), (c, "alu")):
        schedule[tensor].set_scope(ACC).pragma(schedule[tensor].op.axis[0], key)
    schedule[out].pragma(schedule[out].op.axis[0], "dma_copy")
    with pytest.raises(ScheduleError, match="transposed, strided or broadcast"):
        build(schedule, [a, s, out], NEW)


def test_the_proof_takes_no_qnt_on_an_older_machine():
    """Were the compiler to forget to ask, the proof would find it."""
    schedule, args = channels(NEW, "float32", te.requantize)
    program = build(schedule, args, NEW)
    with pytest.raises(VerifyError, match="no such ALU operation"):
        verify_program(dataclasses.replace(program, config=OLD))
