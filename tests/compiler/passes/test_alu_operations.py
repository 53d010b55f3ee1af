"""Numbers of the ALU's operations: when the upper bits of an int8 count, and shifts either way."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.shifts import shift_left, shift_right
from vta import te
from vta.compiler.pipeline import build
from vta.config import PRESETS
from vta.isa import AluOp, Isa, Opcode

TINY = PRESETS["tiny"]
TILE = (TINY.batch, TINY.block)
SHAPE = (4, *TILE)
ACC = "local.acc_buffer"
LEAST = -(1 << 31)


def numbers(dtype, shape=SHAPE, seed=0):
    """Numbers of any size, the least and the greatest among them."""
    limits = np.iinfo(dtype)
    array = np.random.default_rng(seed).integers(
        limits.min, limits.max, shape, dtype, endpoint=True
    )
    array.flat[:2] = limits.min, limits.max
    return array


def scheduled(out, loads, stages):
    s = te.create_schedule(out.op)
    for tensor in (*loads, *stages):
        key = "dma_copy" if tensor in loads else "alu"
        s[tensor].set_scope(ACC).pragma(tensor.op.axis[0], key)
    s[out].pragma(out.op.axis[0], "dma_copy")
    return s


READERS = {
    "shifted": (lambda t, s, x: s >> 2, lambda s, x: s >> 2),
    "shifted by a value": (
        lambda t, s, x: s >> t.min(t.max(x, 0), 3).astype("int8"),
        lambda s, x: s >> np.clip(x, 0, 3).astype("int8"),
    ),
    "compared": (lambda t, s, x: t.max(s, -5), lambda s, x: np.maximum(s, -5)),
    "widened": (
        lambda t, s, x: (s.astype("int32") + x) >> 3,
        lambda s, x: (s.astype("int32") + x) >> 3,
    ),
    "read together with what it is a cast of": (
        lambda t, s, x: t.max(s, 0) + (x >> 3),
        lambda s, x: np.maximum(s, 0).astype("int32") + (x >> 3),
    ),
    "multiplied by what it is a cast of": (
        lambda t, s, x: (s.astype("int32") * x) >> 5,
        lambda s, x: (s.astype("int32") * x) >> 5,
    ),
}


@pytest.mark.parametrize("order", ["cast first", "cast last"])
@pytest.mark.parametrize("reader", READERS)
def test_a_cast_that_is_a_stage_of_its_own(kit, reader, order):
    ours, theirs = READERS[reader]

    def rule(t, *values):
        return ours(t, *(values if order == "cast first" else values[::-1]))

    names = ["S", "A"] if order == "cast first" else ["A", "S"]
    cast = ("S", ["A"], lambda t, x: x.astype("int8"))
    x = numbers("int32")
    with np.errstate(over="ignore"):
        expected = theirs(x.astype(np.int8), x).astype(np.int8)
    schedule, args = kit.stages(SHAPE, [cast, ("L", names, rule)], {"A": "int32"}, ["L"])
    kit.check(schedule, args, TINY, [x], [expected])


@pytest.mark.parametrize("swapped", [False, True])
def test_a_tensor_and_its_cast_at_another_place(kit, swapped):
    """Both are one value at one place, of which one reader needs the low bits alone."""
    a = te.placeholder(SHAPE, name="A", dtype="int32")
    load = te.compute(SHAPE, lambda *i: a(*i), "L")
    cast = te.compute(SHAPE, lambda *i: load(*i).astype("int8"), "S")

    def rule(i, *t):
        parts = [te.max(cast(i + 1, *t), 0).astype("int32"), load(i + 1, *t) >> 3]
        return parts[1] + parts[0] if swapped else parts[0] + parts[1]

    m = te.compute((3, *TILE), rule, "M")
    out = te.compute(m.shape, lambda *i: m(*i).astype("int8"), "O")
    x = numbers("int32")
    expected = np.maximum(x.astype(np.int8), 0).astype(np.int32) + (x >> 3)
    s = scheduled(out, [load], [cast, m])
    kit.check(s, [a, out], TINY, [x], [expected[1:].astype(np.int8)])


def test_a_reduction_of_a_tensor_and_its_cast(kit):
    a = te.placeholder(SHAPE, name="A", dtype="int32")
    load = te.compute(SHAPE, lambda *i: a(*i), "L")
    cast = te.compute(SHAPE, lambda *i: load(*i).astype("int8"), "S")
    r = te.reduce_axis((0, 4), "r")
    total = te.compute(
        (1, *TILE),
        lambda i, *t: te.sum((load(r, *t) >> 4) * cast(r, *t).astype("int32"), axis=r),
        "R",
    )
    last = te.compute(total.shape, lambda *i: total(*i) >> 7, "M")
    out = te.compute(total.shape, lambda *i: last(*i).astype("int8"), "O")
    x = numbers("int32")
    products = (x >> 4).astype(np.int64) * x.astype(np.int8)
    expected = products.sum(0, keepdims=True).astype(np.int32) >> 7
    s = scheduled(out, [load], [cast, total, last])
    kit.check(s, [a, out], TINY, [x], [expected.astype(np.int8)])


@pytest.mark.parametrize("reader", ["shifted", "compared", "widened"])
@pytest.mark.parametrize("first", ["exact", "inexact"])
def test_a_choice_between_values_of_which_one_may_wrap(kit, first, reader):
    """The case that comes later does not make the upper bits of the other one right."""
    ours, theirs = READERS[reader]
    a = te.placeholder(SHAPE, name="A", dtype="int8")
    load = te.compute(SHAPE, lambda *i: a(*i), "L")

    def rule(i, *t):
        both = load(i, *t), load(i, *t) * 3
        return te.if_then_else(i < 2, *(both if first == "exact" else both[::-1]))

    chosen = te.compute(SHAPE, rule, "B")
    stage = te.compute(SHAPE, lambda *i: ours(te, chosen(*i), load(*i).astype("int32")), "M")
    out = te.compute(SHAPE, lambda *i: stage(*i).astype("int8"), "O")
    x = numbers("int8")
    both = x, x * np.int8(3)
    upper, lower = both if first == "exact" else both[::-1]
    value = np.concatenate([upper[:2], lower[2:]])
    expected = theirs(value, x.astype(np.int32)).astype(np.int8)
    s = scheduled(out, [load], [chosen, stage])
    kit.check(s, [a, out], TINY, [x], [expected])


def alu_work(program):
    insns = Isa(program.config).decode_stream(program.insns)
    return [insn for insn in insns if insn.opcode == Opcode.ALU]


def test_a_value_that_needs_no_narrowing_gets_none():
    """Of an int8 that is loaded as such, and of one that a constant shifted to the right."""
    for rule in (lambda x: x.astype("int32") + 1, lambda x: (x >> 2) >> 1):
        a = te.placeholder(SHAPE, name="A", dtype="int8")
        load = te.compute(SHAPE, lambda *i, a=a: a(*i), "L")
        stage = te.compute(SHAPE, lambda *i, load=load, rule=rule: rule(load(*i)), "M")
        out = te.compute(SHAPE, lambda *i, stage=stage: stage(*i).astype("int8"), "O")
        program = build(scheduled(out, [load], [stage]), [a, out], TINY)
        assert -24 not in [insn.imm for insn in alu_work(program)]


@pytest.mark.parametrize(
    ("dtype", "amount", "limited"),
    [("int8", "int8", 0), ("int32", "int8", 0), ("int32", "int32", 1)],
)
def test_only_an_amount_without_an_opposite_is_limited(kit, dtype, amount, limited):
    """An int8 can be negated in 32 bits; of an int32, the least number cannot."""
    schedule, args = kit.one(SHAPE, lambda t, x, y: x << y.astype(dtype), dtype, amount)
    work = alu_work(build(schedule, args, TINY))
    assert sum(insn.alu_opcode == AluOp.MAX for insn in work) == limited


SHIFTS = {"right": (lambda x, y: x >> y, shift_right), "left": (lambda x, y: x << y, shift_left)}
AFTER = {
    "stored": (lambda te, x: x, lambda x: x),
    "widened": (lambda te, x: x.astype("int32") >> 4, lambda x: x.astype(np.int32) >> 4),
    "shifted": (lambda te, x: x >> 3, lambda x: x >> 3),
    "compared": (lambda te, x: te.max(x, 7), lambda x: np.maximum(x, 7)),
}


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("before", ["itself", "twice"])
@pytest.mark.parametrize("dtype", ["int8", "int32"])
@pytest.mark.parametrize("way", SHIFTS)
def test_shifts_by_a_value_of_any_size(kit, way, dtype, before, after):
    """A negative amount shifts the other way, of an int8 that may have wrapped around too."""
    ours, theirs = SHIFTS[way]
    go_on, they_go_on = AFTER[after]

    def rule(t, x, y):
        return go_on(t, ours(x + x if before == "twice" else x, y))

    x, y = numbers(dtype), numbers(dtype, seed=1)
    y.flat[2:18] = np.arange(-8, 8)
    first = x.astype(np.int64) * 2 if before == "twice" else x
    expected = they_go_on(theirs(first.astype(dtype), y)).astype(np.int8)
    schedule, args = kit.one(SHAPE, rule, dtype, dtype)
    kit.check(schedule, args, TINY, [x, y], [expected])


@pytest.mark.parametrize("amount", [LEAST, LEAST + 1, -33, -32, -31, 31, 32, (1 << 31) - 1])
@pytest.mark.parametrize("way", SHIFTS)
def test_shifts_by_the_ends_of_int32(kit, way, amount):
    """The least number has no opposite; -5 shifted to the right by all bits is -1."""
    ours, theirs = SHIFTS[way]
    x, y = np.full(SHAPE, -5, np.int32), np.full(SHAPE, amount, np.int32)
    expected = theirs(x, y).astype(np.int8)
    schedule, args = kit.one(SHAPE, lambda t, a, b: ours(a, b), "int32", "int32")
    kit.check(schedule, args, TINY, [x, y], [expected])


@pytest.mark.parametrize("inlined", [False, True])
@pytest.mark.parametrize("amount", [-128, -9, -3, 0, 5, 127])
@pytest.mark.parametrize("way", SHIFTS)
def test_shifts_by_a_stage_of_one_number(kit, way, amount, inlined):
    """Inlined, the number takes the stage's place, and means the same."""
    ours, theirs = SHIFTS[way]
    a = te.placeholder(SHAPE, name="A", dtype="int8")
    load = te.compute(SHAPE, lambda *i: a(*i), "L")
    number = te.compute(SHAPE, lambda *i: te.const(amount, "int8"), "N")
    stage = te.compute(SHAPE, lambda *i: te.max(ours(load(*i), number(*i)), -9), "S")
    out = te.compute(SHAPE, lambda *i: stage(*i), "O")
    s = scheduled(out, [load], [number, stage])
    if inlined:
        s[number].compute_inline()
    x = numbers("int8")
    expected = np.maximum(theirs(x, np.full(SHAPE, amount, np.int8)), -9)
    kit.check(s, [a, out], TINY, [x], [expected])
