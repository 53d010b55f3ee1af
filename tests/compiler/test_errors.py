"""Whatever VTA or the schedule cannot do has one clear message."""

from __future__ import annotations

import re

import numpy as np
import pytest

from vta import te
from vta.compiler.pipeline import build, lower, lower_vta
from vta.config import PRESETS
from vta.errors import CompileError, ScheduleError, VtaError

CONFIG = PRESETS["default"]
SHAPE = (4, 1, 16)
ACC = "local.acc_buffer"


def element(dtype="int32"):
    return te.placeholder(SHAPE, name="A", dtype=dtype)(0, 0, 0)


CAN = r"VTA computes \+ - \* << >> min max and astype on int8 and int32"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda x: x / 2, "neither divide"),
        (lambda x: x // 2, "neither divide"),
        (lambda x: 2 // x, "neither divide"),
        (lambda x: x % 3, "neither divide"),
        (lambda x: x < 3, "can compare only indices, not values"),
        (lambda x: x >= x, "can compare only indices, not values"),
        (lambda x: x & 1, "no bitwise"),
        (lambda x: ~x, "no bitwise"),
        (lambda x: x**2, "no bitwise"),
        (abs, "no bitwise"),
        (lambda x: 1 if x else 2, "not true or false until the program runs"),
        (lambda x: x + 1.5, "whole number, not 1.5"),
        (lambda x: x + True, "whole number, not True"),
        (lambda x: x + "1", "whole number, not '1'"),
        (lambda x: te.const(1.5), "whole number, not 1.5"),
        (lambda x: x.astype("float32"), "must be int8 or int32, not 'float32'"),
        (lambda x: x.astype(np.uint8), "must be int8 or int32"),
        (lambda x: x + np.int16(3), "dtype of a constant must be int8 or int32"),
        (np.sqrt, "no sqrt"),
        (lambda x: np.add(x, 1, where=True), "no add"),
        (np.add.reduce, "no add"),
        (lambda x: np.zeros(2) + x, "whole number, not array"),
        (lambda x: te.min(x), "min takes two values, or one and the axes"),
        (lambda x: te.max(x, x, axis=te.reduce_axis((0, 2))), "max takes two values, or one"),
    ],
)
def test_what_the_alu_has_no_operation_for(rule, message):
    with pytest.raises(CompileError, match=f"{message}.*{CAN}"):
        rule(element())


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda x: x >> -1, "must be by 0 or more, not -1"),
        (lambda x: x << -2, "must be by 0 or more, not -2"),
        (lambda x: x + (1 << 31), "int32 must be -2147483648 to 2147483647, not 2147483648"),
        (lambda x: x.astype("int8") + 200, "int8 must be -128 to 127, not 200; .*widens"),
        (lambda x: te.const(1 << 40), "int32 must be"),
        (lambda x: x + te.placeholder((4,), name="W"), r"W is a whole tensor.*W\(\*i\)"),
    ],
)
def test_numbers_and_operands(rule, message):
    with pytest.raises(CompileError, match=message):
        rule(element())


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float64", "bool", "text", None])
def test_dtypes_of_tensors(dtype):
    with pytest.raises(CompileError, match="dtype of A must be int8, int32 or float32, not"):
        te.placeholder(SHAPE, name="A", dtype=dtype)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: te.placeholder((0, 4)), "shape of placeholder must be whole numbers of 1 or more"),
        (lambda: te.placeholder((2.5,), name="A"), "shape of A must be whole numbers"),
        (lambda: te.placeholder(()), "at least one dimension"),
        (lambda: te.placeholder((4,), name=""), "name must be text"),
        (lambda: te.compute((4,), 5, "C"), "rule of C must be a function"),
        (lambda: te.compute((4, 4), lambda i: 1, "C"), "rule of C takes 1 indices.*2 dimensions"),
        (lambda: te.compute((4,), lambda i, j, *k: 1, "C"), "takes 2 indices"),
        (
            lambda: te.compute((4,), lambda i: None, "C"),
            "the rule of C: a value must be an expression",
        ),
        (lambda: te.compute((4,), max, "C"), "rule of C must be a Python function"),
        (
            lambda: te.compute((4,), lambda i: te.placeholder((4,), name="A")(i) == 1, "C"),
            "VTA cannot compare values for equality, only indices in te.if_then_else",
        ),
        (lambda: te.placeholder((4, 4), name="A")(1), "A has 2 dimensions .*indexed with 1"),
        (lambda: te.placeholder((4, 4), name="A")[1, 2, 3], "A has 2 dimensions .*indexed with 3"),
        (lambda: list(te.placeholder((4,), name="A")), "A cannot be iterated"),
        (
            lambda: te.placeholder((4,), name="A").op.output(1),
            "index of an output of A must be 0, not 1",
        ),
    ],
)
def test_declarations(declare, message):
    with pytest.raises(CompileError, match=message):
        declare()


def test_te_names_what_it_has():
    with pytest.raises(AttributeError, match="no 'scan'; it has all, compute, const, create_"):
        te.scan  # noqa: B018


# -- schedules -----------------------------------------------------------------------------------


class Case:
    """A copy of A, an ALU stage C_buf, an output C; the schedule is complete unless told."""

    def __init__(self, rule=lambda x: x + 1, shape=SHAPE, dtype="int32", without=(), out="int8"):
        self.a = te.placeholder(shape, name="A", dtype=dtype)
        self.a_buf = te.compute(shape, lambda *i: self.a(*i), "A_buf")
        self.c_buf = te.compute(shape, lambda *i: rule(self.a_buf(*i)), "C_buf")
        self.c = te.compute(shape, lambda *i: self.c_buf(*i).astype(out), "C")
        self.s = te.create_schedule(self.c.op)
        for tensor in (self.a_buf, self.c_buf):
            if f"scope {tensor.name}" not in " ".join(without):
                self.s[tensor].set_scope(ACC)
        for tensor, key in ((self.a_buf, "dma_copy"), (self.c_buf, "alu"), (self.c, "dma_copy")):
            if not re.search(rf"pragma {tensor.name}\b", " ".join(without)):
                self.s[tensor].pragma(tensor.op.axis[0], key)

    def build(self, config=CONFIG):
        return build(self.s, [self.a, self.c], config)


def test_the_case_is_sound():
    assert Case().build().name == "main"


@pytest.mark.parametrize(
    ("without", "message"),
    [
        (
            "pragma A_buf",
            r"stage A_buf loads from main memory, but no axis has the pragma 'dma_copy'; "
            r"add s\[A_buf\].pragma\(s\[A_buf\].op.axis\[0\], 'dma_copy'\)",
        ),
        (
            "pragma C_buf",
            "stage C_buf computes in the accumulator buffer, but no axis has the pragma 'alu'; add",
        ),
        (
            "pragma A_buf scope A_buf",
            "stage A_buf stores to main memory, but no axis has the pragma "
            "'dma_copy'.*or, if it is meant to be on the chip, give it a "
            "scope by set_scope",
        ),
        ("pragma C", "stage C stores to main memory, but no axis has the pragma 'dma_copy'"),
        (
            "scope A_buf",
            "stage A_buf copies A from main memory to main memory; put a stage with "
            r"set_scope\('local.acc_buffer'\)",
        ),
        (
            "scope C_buf",
            "stage C_buf is in main memory, where a stage can only copy; compute it in a "
            "stage with set_scope",
        ),
    ],
)
def test_an_incomplete_schedule(without, message):
    case = Case(without=[without])
    with pytest.raises(ScheduleError, match=message):
        case.build()
    with pytest.raises(ScheduleError, match=message):
        lower_vta(case.s, [case.a, case.c], CONFIG, simple_mode=True)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            lambda k: k.s[k.a_buf].set_scope("local.acc_bufer"),
            "stage A_buf: unknown scope 'local.acc_bufer'; did you mean 'local.acc_buffer'.*global",
        ),
        (lambda k: k.s[k.a_buf].set_scope([ACC]), "stage A_buf: unknown scope"),
        (lambda k: k.s[k.a_buf].pragma(k.a_buf.op.axis[0], []), r"unknown pragma \[\]"),
        (lambda k: k.s[k.a].set_scope(ACC), "stage A is a placeholder.*copy it first"),
        (
            lambda k: k.s[k.a_buf].pragma(k.a_buf.op.axis[0], "dma"),
            "stage A_buf: unknown pragma 'dma'.*allowed: dma_copy, alu",
        ),
        (
            lambda k: k.s[k.a_buf].pragma(k.c.op.axis[0], "dma_copy"),
            r"stage A_buf has no axis 'i0' of its own; its axes are i0, i1, i2, as "
            r"s\[A_buf\].op.axis",
        ),
        (lambda k: k.s[k.a].pragma(k.c.op.axis[0], "dma_copy"), "a placeholder has none"),
        (lambda k: k.s[k.a_buf].pragma("i0", "dma_copy"), "has no axis 'i0'"),
        (
            lambda k: k.s[te.placeholder((4,), name="Z")],
            "the schedule has no stage 'Z'; it has A, A_buf, C_buf, C",
        ),
        (lambda k: te.create_schedule(k.a.op), "output of a schedule must be a te.compute.*'A'"),
        (lambda k: te.create_schedule([]), "at least one output"),
        (lambda k: te.create_schedule(5), "must be a te.compute's operation, not 5"),
    ],
)
def test_a_step_that_cannot_be_taken(step, message):
    with pytest.raises(ScheduleError, match=message):
        step(Case())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (lambda k: [k.c], "arguments must include A, an input of the schedule"),
        (lambda k: [k.a], "arguments must include C, an output of the schedule"),
        (
            lambda k: [k.a, k.c_buf, k.c],
            "argument C_buf is an intermediate tensor in the accumulator",
        ),
        (lambda k: [k.a, k.a, k.c], "argument A is given twice"),
        (lambda k: [k.a, k.c, te.placeholder((4,), name="Z")], "the schedule has no stage 'Z'"),
        (lambda k: [k.a, "C"], "an argument must be a tensor, not 'C'"),
        (lambda k: k.a, "arguments must be a list"),
    ],
)
def test_arguments(args, message):
    case = Case()
    with pytest.raises(ScheduleError, match=message):
        build(case.s, args(case), CONFIG)
    with pytest.raises(ScheduleError, match=message):
        lower(case.s, args(case))


def test_what_is_no_schedule():
    with pytest.raises(ScheduleError, match="must come from te.create_schedule, not 7"):
        build(7, [], CONFIG)


def wrong_key(case):
    case.s[case.c_buf].pragmas.clear()
    case.s[case.c_buf].pragma(case.c_buf.op.axis[0], "dma_copy")


def two_pragmas(case):
    case.s[case.a_buf].pragma(case.a_buf.op.axis[1], "alu")


def inp_scope(case):
    case.s[case.a_buf].set_scope("local.inp_buffer")


@pytest.mark.parametrize(
    ("spoil", "shape", "message"),
    [
        (
            wrong_key,
            SHAPE,
            "stage C_buf computes in the accumulator buffer: axis i0 must have the "
            "pragma 'alu', not 'dma_copy'",
        ),
        (two_pragmas, SHAPE, "stage A_buf has two pragmas, dma_copy at i0 and alu at i1; keep one"),
        (
            inp_scope,
            SHAPE,
            "stage A_buf is int32, read from A of int32; the input buffer holds int8",
        ),
    ],
)
def test_a_schedule_that_does_not_fit(spoil, shape, message):
    case = Case(shape=shape)
    spoil(case)
    with pytest.raises(ScheduleError, match=message):
        case.build()


def test_the_alu_works_in_the_accumulator_buffer():
    case = Case(shape=(2, 16, 16), dtype="int8")
    case.s[case.a_buf].set_scope("local.wgt_buffer")
    with pytest.raises(
        ScheduleError,
        match="stage C_buf computes on A_buf, which is in the weight "
        "buffer; the ALU works in local.acc_buffer",
    ):
        case.build()


# -- computations --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (1 << 40, 16)}, r"A int32\[1099511627776, 16\] is larger than the memory"),
        ({"out": "int32"}, r"stage C would store int32; VTA stores int8 only.*astype\('int8'\)"),
    ],
)
def test_computations(options, message):
    with pytest.raises(CompileError, match=message):
        Case(**options).build()


def one_stage(shape, rule, sources):
    """Stages that copy `sources` into ACC, C_buf by `rule`, and the output."""
    buffers = [te.compute(t.shape, lambda *i, t=t: t(*i), f"{t.name}_buf") for t in sources]
    c_buf = te.compute(shape, lambda *i: rule(*buffers)(*i), "C_buf")
    c = te.compute(shape, lambda *i: c_buf(*i).astype("int8"), "C")
    s = te.create_schedule(c.op)
    for tensor in (*buffers, c_buf):
        s[tensor].set_scope(ACC)
    for tensor in (*buffers, c):
        s[tensor].pragma(tensor.op.axis[0], "dma_copy")
    s[c_buf].pragma(c_buf.op.axis[0], "alu")
    return build(s, [*sources, c], CONFIG)


@pytest.mark.parametrize(
    ("shape", "rule", "message"),
    [
        (
            (16, 16),
            lambda x: lambda i, j: x(j, i),
            "C_buf: what it reads of A_buf goes through a tile's 16 numbers in a different "
            "order.*transposed",
        ),
        (
            (16, 16),
            lambda x: lambda i, j: x(i * 0 + (i >> 1), j),
            "stage C_buf: an index must be a sum of loop indices",
        ),
        ((16, 16), lambda x: lambda i, j: x(i, j) + i, "C_buf uses the index i0 as a value"),
        (
            (16, 16),
            lambda x: lambda i, j: x(x(i, j), j),
            "C_buf: an index must be a sum of loop indices",
        ),
        (
            (16, 16),
            lambda x: lambda i, j: x(i + 1, j),
            "C_buf reads A_buf .*out of its bounds: index 0 runs from 1 to 16, but must be 0 to 15",
        ),
        ((16, 16), lambda x: lambda i, j: x(i - 1, j), "index 0 runs from -1 to 14"),
    ],
)
def test_access_patterns(shape, rule, message):
    with pytest.raises((CompileError, ScheduleError), match=message):
        one_stage(shape, rule, [te.placeholder((16, 16), name="A")])


@pytest.mark.parametrize(
    ("shape", "rule", "index"),
    [
        ((16, 16), lambda x: lambda i, j: x(0, j), np.zeros(16, int)),
        ((8, 16), lambda x: lambda i, j: x(i * 2, j), np.arange(0, 16, 2)),
        ((16, 16), lambda x: lambda i, j: x(15 - i, j), np.arange(16)[::-1]),
        ((8, 16), lambda x: lambda i, j: x(i + 2, j), np.arange(2, 10)),
        ((8, 16), lambda x: lambda i, j: x(i, j), np.arange(8)),
    ],
)
def test_tiles_may_be_read_in_any_order(kit, shape, rule, index):
    program = one_stage(shape, rule, [te.placeholder((16, 16), name="A")])
    values = np.random.default_rng(3).integers(-1000, 1000, (16, 16)).astype(np.int32)
    (found,), _ = kit.run(program, [values])
    np.testing.assert_array_equal(found, values[index].astype(np.int8))


def test_a_load_starts_at_a_whole_tile():
    a = te.placeholder((64,), name="A")
    a_buf = te.compute((32,), lambda i: a(i + 8), "A_buf")
    c = te.compute((32,), lambda *i: a_buf(*i).astype("int8"), "C")
    s = te.create_schedule(c.op)
    s[a_buf].set_scope(ACC).pragma(a_buf.op.axis[0], "dma_copy")
    s[c].pragma(c.op.axis[0], "dma_copy")
    with pytest.raises(
        ScheduleError,
        match="A_buf: what it reads of A is not in whole tiles of 16 numbers: it begins at 8",
    ):
        build(s, [a, c], CONFIG)


def test_computing_on_main_memory():
    a = te.placeholder(SHAPE, name="A")
    c_buf = te.compute(SHAPE, lambda *i: a(*i) + 1, "C_buf")
    c = te.compute(SHAPE, lambda *i: c_buf(*i).astype("int8"), "C")
    s = te.create_schedule(c.op)
    s[c_buf].set_scope(ACC).pragma(c_buf.op.axis[0], "alu")
    s[c].pragma(c.op.axis[0], "dma_copy")
    with pytest.raises(
        ScheduleError,
        match="C_buf computes on A, which is in main memory; copy it into local.acc_buffer first",
    ):
        build(s, [a, c], CONFIG)


def test_more_values_than_the_accumulator_holds():
    config = PRESETS["tiny"].replace(log_acc_buff_size=8)
    assert config.acc_depth == 8
    sources = [te.placeholder((2, 8), name=f"I{n}") for n in range(9)]
    buffers = [te.compute(t.shape, lambda *i, t=t: t(*i), f"{t.name}_buf") for t in sources]

    def product(*i):
        total = 1
        for t in buffers:
            total = t(*i) * total
        # All are needed again, from the last to the first, so that none can go early.
        for t in buffers:
            total = total - t(*i)
        return total

    c_buf = te.compute((2, 8), product, "C_buf")
    c = te.compute((2, 8), lambda *i: c_buf(*i).astype("int8"), "C")
    s = te.create_schedule(c.op)
    for tensor in (*buffers, c_buf):
        s[tensor].set_scope(ACC)
    for tensor in (*buffers, c):
        s[tensor].pragma(tensor.op.axis[0], "dma_copy")
    s[c_buf].pragma(c_buf.op.axis[0], "alu")
    with pytest.raises(CompileError, match="has 8 tiles, but 1[01] values are alive at once"):
        build(s, [*sources, c], config)


def test_an_expression_nested_too_deeply():
    def rule(x):
        for _ in range(20_000):
            x = x + x
        return x

    case = Case(rule=rule)
    with pytest.raises(CompileError, match="nested too deeply; split it into stages"):
        case.build()
    with pytest.raises(CompileError, match="nested too deeply; split it into stages"):
        lower(case.s, [case.a, case.c])


def test_every_error_is_of_the_family():
    assert issubclass(CompileError, VtaError)
    assert issubclass(ScheduleError, VtaError)
