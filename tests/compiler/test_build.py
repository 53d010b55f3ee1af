"""Compiled programs do what numpy does, on the functional simulator."""

from __future__ import annotations

import numpy as np
import pytest

from vta import te
from vta.compiler.pipeline import build
from vta.config import PRESETS
from vta.isa import Isa, Opcode


class Numpy:
    """Stands for `te` in a rule, so that numpy computes the same on arrays."""

    max, min = staticmethod(np.maximum), staticmethod(np.minimum)

    @staticmethod
    def const(value, dtype="int32"):
        return np.array(value, dtype)


def values(rng, shape, dtype, low=None, high=None):
    limits = np.iinfo(dtype)
    return rng.integers(
        limits.min if low is None else low,
        limits.max if high is None else high,
        shape,
        dtype,
        endpoint=True,
    )


@pytest.mark.parametrize("m", [1, 3, 64, 257, 1500])
def test_vector_add(kit, tutorial, config, m):
    schedule, args = tutorial(config, 2, m)
    rng = np.random.default_rng(m)
    a, b = (values(rng, args[0].shape, "int32") for _ in range(2))
    kit.check(schedule, args, config, [a, b], [(a + b).astype(np.int8)], seed=m)


RULES = {
    "min": (lambda t, x, y: t.min(x, y), "int32", "int32"),
    "max": (lambda t, x, y: t.max(x, y), "int32", "int32"),
    "mul": (lambda t, x, y: x * y, "int32", "int32"),
    "sub": (lambda t, x, y: x - y, "int32", "int32"),
    "same twice": (lambda t, x: x + x, "int32"),
    "same thrice": (lambda t, x: (x * x) - x, "int32"),
    "kept operands": (lambda t, x, y: (x - y) * (y - x) + (x >> 3) - t.min(x, y), "int32", "int32"),
    "immediates": (lambda t, x: t.min(t.max((x + 5) * -3 >> 2, -100), 77) << 1, "int32"),
    "minus number": (lambda t, x: x - 7, "int32"),
    "number minus": (lambda t, x: 7 - x, "int32"),
    "negated": (lambda t, x: -x, "int32"),
    "wide add": (lambda t, x: (x + 70000) >> 4, "int32"),
    "wide sub": (lambda t, x: (x - 2147483647) >> 24, "int32"),
    "least": (lambda t, x: (x + -2147483648) >> 24, "int32"),
    "edge of an immediate": (lambda t, x: t.max(x + 32767, x + 32768) >> 9, "int32"),
    "subtract -32768": (lambda t, x: (x - -32768) >> 9, "int32"),
    "wide mul": (lambda t, x: (x * 0x12345678) >> 20, "int32"),
    "wide clip": (lambda t, x: t.max(t.min(x, 1 << 20), -(1 << 20)) >> 13, "int32"),
    "two wide": (lambda t, x: ((x * 99999) + 99999) * -99999 >> 24, "int32"),
    "shift all": (lambda t, x: (x >> 31) + (x << 31 >> 25), "int32"),
    "shift far": (lambda t, x: (x >> 40) + (x << 40), "int32"),
    "const >> x": (lambda t, x: t.const(-123456) >> (x * 0 + 5), "int32"),
    "int8": (lambda t, x, y: x.astype("int32") + y.astype("int32") >> 1, "int8", "int8"),
    "int8 wraps": (lambda t, x, y: t.max(x + y, x * y), "int8", "int8"),
    "int8 widened late": (lambda t, x, y: (x + y).astype("int32") >> 1, "int8", "int8"),
    "int8 and back": (lambda t, x: (x.astype("int8") >> 1).astype("int32") * 3, "int32"),
    "int8 shift": (lambda t, x: (x << 3) >> 2, "int8"),
    "int8 shift far": (lambda t, x: (x << 9) + (x >> 9), "int8"),
    "int8 minus": (lambda t, x, y: t.min(x - y, -x), "int8", "int8"),
    "mixed": (lambda t, x, y: (x + y) >> 5, "int8", "int32"),
    "nothing": (lambda t, x: x, "int32"),
    "only a cast": (lambda t, x: x.astype("int8"), "int32"),
}


@pytest.mark.parametrize("name", RULES)
def test_rules(kit, config, name):
    rule, *dtypes = RULES[name]
    shape = (23, config.batch, config.block)
    schedule, args = kit.one(shape, rule, *dtypes)
    rng = np.random.default_rng(1)
    arrays = [values(rng, shape, dtype) for dtype in dtypes]
    expected = np.broadcast_to(rule(Numpy, *arrays), shape).astype(np.int8)
    kit.check(schedule, args, config, arrays, [expected])


@pytest.mark.parametrize(
    "rule",
    [
        lambda t, x, y: x >> y,
        lambda t, x, y: x << y,
        lambda t, x, y: (x << y) + (x >> y) - y,
        lambda t, x, y: (t.const(100001) >> y) + (t.const(3) << y) + (x * 0),
    ],
)
def test_shifts_by_tensors(kit, config, rule):
    shape = (4, 8, config.batch, config.block)
    schedule, args = kit.one(shape, rule, "int32", "int32")
    rng = np.random.default_rng(2)
    x, y = values(rng, shape, "int32"), values(rng, shape, "int32", 0, 31)
    kit.check(schedule, args, config, [x, y], [rule(Numpy, x, y).astype(np.int8)])


@pytest.mark.parametrize("number", [0, 9, -100000])
def test_a_stage_of_a_number_alone(kit, config, number):
    shape = (9, config.batch, config.block)
    schedule, args = kit.one(shape, lambda t: t.const(number))
    kit.check(schedule, args, config, [], [np.full(shape, number).astype(np.int8)])


def check_several_stages(kit, config):
    """Stages that share operands, of which several are alive at once."""
    shape = (31, config.batch, config.block)
    schedule, args = kit.stages(
        shape,
        [
            ("S", "AB", lambda t, x, y: x + y),
            ("D", "AB", lambda t, x, y: x - y),
            ("P", "SD", lambda t, x, y: x * y),
            ("Q", "PA", lambda t, x, y: t.max(x >> 2, y)),
            ("R", "QSB", lambda t, x, y, z: t.min(x + y, z * 100000)),
        ],
        {"A": "int32", "B": "int32"},
        ["R", "P", "S"],
    )
    rng = np.random.default_rng(3)
    a, b = (values(rng, shape, "int32", -30000, 30000) for _ in range(2))
    s, d = a + b, a - b
    p = s * d
    r = np.minimum(np.maximum(p >> 2, a) + s, b * 100000)
    kit.check(schedule, args, config, [a, b], [item.astype(np.int8) for item in (r, p, s)])


def test_several_stages_that_share_operands(kit, config):
    check_several_stages(kit, config)


@pytest.mark.parametrize("log_acc_buff_size", [8, 9])
def test_parts_that_fill_more_than_half_of_the_accumulator(kit, log_acc_buff_size):
    """With 8 tiles there is no room for two parts at a time; with 16 there is."""
    check_several_stages(kit, PRESETS["tiny"].replace(log_acc_buff_size=log_acc_buff_size))


def test_many_inputs(kit, config):
    shape = (11, config.batch, config.block)
    names = [f"I{index}" for index in range(7)]
    schedule, args = kit.stages(
        shape,
        [("C", names, lambda t, *x: sum(v * (i + 1) for i, v in enumerate(x)) >> 2)],
        dict.fromkeys(names, "int8") | {"I3": "int32"},
        ["C"],
    )
    rng = np.random.default_rng(4)
    arrays = [values(rng, shape, "int32" if name == "I3" else "int8") for name in names]
    with np.errstate(over="ignore"):
        mixed = sum((v * np.array(i + 1, v.dtype) for i, v in enumerate(arrays)), np.int8(0))
    kit.check(schedule, args, config, arrays, [(mixed >> 2).astype(np.int8)])


@pytest.mark.parametrize("dims", [(1024,), (4, 256), (2, 3, 5, 64), (64, 1, 1, 16)])
def test_any_shape(kit, dims):
    config = PRESETS["default"]
    schedule, args = kit.one(dims, lambda t, x: t.max(x, 0), "int32")
    x = values(np.random.default_rng(5), dims, "int32", -128, 127)
    kit.check(schedule, args, config, [x], [np.maximum(x, 0).astype(np.int8)])


@pytest.mark.parametrize("name", ["default", "tiny", "small"])
@pytest.mark.parametrize("dims", [(1,), (5,), (1000,), (3, 7, 11), (4099, 3)])
def test_a_last_tile_that_is_not_full(kit, dims, name):
    """Any number of elements: beyond the tensor's end nothing that matters is touched."""
    config = PRESETS[name]
    rng = np.random.default_rng(len(dims))
    schedule, args = kit.one(dims, lambda t, x, y: (x - y) >> 1, "int32", "int8")
    x, y = values(rng, dims, "int32"), values(rng, dims, "int8")
    with np.errstate(over="ignore"):
        kit.check(schedule, args, config, [x, y], [((x - y) >> 1).astype(np.int8)])


def test_a_large_tensor_in_parts(kit):
    config = PRESETS["tiny"]
    schedule, args = kit.one((5000, 8), lambda t, x, y: x * 3 + y, "int32", "int8")
    rng = np.random.default_rng(6)
    x, y = values(rng, (5000, 8), "int32"), values(rng, (5000, 8), "int8")
    program = kit.check(schedule, args, config, [x, y], [(x * 3 + y).astype(np.int8)], seed=9)
    assert len(program.insns) > 5000 // config.acc_depth


def test_another_view_of_the_same_elements(kit):
    config = PRESETS["default"]
    a = te.placeholder((8, 32), name="A")
    a_buf = te.compute((8, 2, 16), lambda i, j, k: a(i, 16 * j + k), "A_buf")
    c_buf = te.compute((256,), lambda n: te.const(1) + 1, "C_buf")
    d_buf = te.compute(
        (8, 2, 16), lambda i, j, k: a_buf(i, j, k) + c_buf((i * 2 + j) * 16 + k), "D_buf"
    )
    d = te.compute((8, 2, 16), lambda *i: d_buf(*i).astype("int8"), "D")
    s = te.create_schedule(d.op)
    for tensor in (a_buf, c_buf, d_buf):
        s[tensor].set_scope("local.acc_buffer")
    for tensor, key in ((a_buf, "dma_copy"), (c_buf, "alu"), (d_buf, "alu"), (d, "dma_copy")):
        s[tensor].pragma(tensor.op.axis[0], key)
    x = values(np.random.default_rng(7), (8, 32), "int32")
    kit.check(s, [a, d], config, [x], [(x + 2).astype(np.int8).reshape(8, 2, 16)])


def test_a_part_of_an_input(kit):
    a = te.placeholder((10, 16), name="A")
    a_buf = te.compute((4, 16), lambda i, j: a(i + 3, j), "A_buf")
    c = te.compute((4, 16), lambda *i: a_buf(*i).astype("int8"), "C")
    s = te.create_schedule(c.op)
    s[a_buf].set_scope("local.acc_buffer").pragma(a_buf.op.axis[0], "dma_copy")
    s[c].pragma(c.op.axis[0], "dma_copy")
    x = values(np.random.default_rng(8), (10, 16), "int32")
    kit.check(s, [a, c], PRESETS["default"], [x], [x[3:7].astype(np.int8)])


def test_casts_on_the_way_in_and_out(kit, config):
    """A load may narrow: what it loads counts as int8 from there on."""
    shape = (6, config.batch, config.block)
    a = te.placeholder(shape, name="A")
    a_buf = te.compute(shape, lambda *i: a(*i).astype("int8"), "A_buf")
    c_buf = te.compute(shape, lambda *i: te.max(a_buf(*i), -100) >> 1, "C_buf")
    c = te.compute(shape, lambda *i: c_buf(*i).astype("int32").astype("int8"), "C")
    s = te.create_schedule(c.op)
    for tensor, key in ((a_buf, "dma_copy"), (c_buf, "alu"), (c, "dma_copy")):
        s[tensor].pragma(tensor.op.axis[0], key)
    for tensor in (a_buf, c_buf):
        s[tensor].set_scope("local.acc_buffer")
    x = values(np.random.default_rng(14), shape, "int32")
    right = np.maximum(x.astype(np.int8), -100) >> 1
    kit.check(s, [a, c], config, [x], [right.astype(np.int8)])


def spill(shape):
    """A value that goes to main memory and comes back as int8."""
    a = te.placeholder(shape, name="A")
    a_buf = te.compute(shape, lambda *i: a(*i), "A_buf")
    t = te.compute(shape, lambda *i: a_buf(*i).astype("int8"), "T")
    t_buf = te.compute(shape, lambda *i: t(*i).astype("int32"), "T_buf")
    c_buf = te.compute(shape, lambda *i: t_buf(*i) * 5 - a_buf(*i), "C_buf")
    c = te.compute(shape, lambda *i: c_buf(*i).astype("int8"), "C")
    s = te.create_schedule(c.op)
    for tensor in (a_buf, t_buf, c_buf):
        s[tensor].set_scope("local.acc_buffer")
    for tensor in (a_buf, t, t_buf, c):
        s[tensor].pragma(tensor.op.axis[0], "dma_copy")
    s[c_buf].pragma(c_buf.op.axis[0], "alu")
    return s, a, t, c


@pytest.mark.parametrize("returned", [False, True])
def test_through_main_memory_and_back(kit, config, returned):
    shape = (50, config.batch, config.block)
    s, a, t, c = spill(shape)
    x = values(np.random.default_rng(9), shape, "int32")
    low = x.astype(np.int8)
    right = (low.astype(np.int32) * 5 - x).astype(np.int8)
    if returned:
        program = kit.check(s, [a, t, c], config, [x], [low, right])
    else:
        program = kit.check(s, [a, c], config, [x], [right])
    roles = {buffer.name: buffer.role for buffer in program.buffers}
    assert roles["T"] == ("output" if returned else "temp")


def test_two_computations_of_different_size(kit, config):
    sizes = (5, 70)
    schedules = []
    for name, size in zip("AB", sizes, strict=True):
        x = te.placeholder((size, config.batch, config.block), name=name)
        x_buf = te.compute(x.shape, lambda *i, x=x: x(*i), f"{name}_buf")
        y_buf = te.compute(x.shape, lambda *i, x=x_buf: x(*i) * 77777, f"{name}2")
        y = te.compute(x.shape, lambda *i, y=y_buf: y(*i).astype("int8"), f"{name}_out")
        schedules.append((x, x_buf, y_buf, y))
    s = te.create_schedule([y.op for *_, y in schedules])
    for _, x_buf, y_buf, y in schedules:
        s[x_buf].set_scope("local.acc_buffer").pragma(x_buf.op.axis[0], "dma_copy")
        s[y_buf].set_scope("local.acc_buffer").pragma(y_buf.op.axis[0], "alu")
        s[y].pragma(y.op.axis[0], "dma_copy")
    rng = np.random.default_rng(10)
    arrays = [values(rng, x.shape, "int32") for x, *_ in schedules]
    args = [x for x, *_ in schedules] + [y for *_, y in schedules]
    kit.check(s, args, config, arrays, [(x * 77777).astype(np.int8) for x in arrays])


def test_a_pragma_on_an_inner_axis_is_as_good_as_one_outside(kit):
    config = PRESETS["default"]
    shape = (6, 4, 16)
    a = te.placeholder(shape, name="A")
    a_buf = te.compute(shape, lambda *i: a(*i), "A_buf")
    c_buf = te.compute(shape, lambda *i: a_buf(*i) + 1, "C_buf")
    c = te.compute(shape, lambda *i: c_buf(*i).astype("int8"), "C")
    s = te.create_schedule(c.op)
    s[a_buf].set_scope("local.acc_buffer").pragma(a_buf.op.axis[1], "dma_copy")
    s[c_buf].set_scope("local.acc_buffer").pragma(c_buf.op.axis[0], "alu")
    s[c].pragma(c.op.axis[2], "dma_copy")
    x = values(np.random.default_rng(11), shape, "int32")
    program = kit.check(s, [a, c], config, [x], [(x + 1).astype(np.int8)])
    insns = Isa(config).decode_stream(program.insns)
    assert [i.x_size for i in insns if i.opcode == Opcode.LOAD and i.memory_type == 3] == [24]
    assert [i.x_size for i in insns if i.opcode == Opcode.STORE] == [24]


def test_more_micro_ops_than_fit(kit):
    config = PRESETS["tiny"].replace(log_uop_buff_size=5)
    assert config.uop_depth == 8
    shape = (40, 8)
    rules = [
        (f"S{n}", ["A", "B"] if n == 0 else [f"S{n - 1}", "AB"[n % 2]], lambda t, x, y: (x - y) * 3)
        for n in range(6)
    ]
    schedule, args = kit.stages(shape, rules, {"A": "int32", "B": "int32"}, ["S5"])
    rng = np.random.default_rng(12)
    a, b = (values(rng, shape, "int32") for _ in range(2))
    value = (a - b) * 3
    for n in range(1, 6):
        value = (value - (a, b)[n % 2]) * 3
    program = kit.check(schedule, args, config, [a, b], [value.astype(np.int8)])
    insns = Isa(config).decode_stream(program.insns)
    assert sum(i.opcode == Opcode.LOAD and i.memory_type == 0 for i in insns) > 1


def test_in_place_needs_no_copy(kit, tutorial):
    """The vector add's result overwrites A's tiles: two loads, one ALU, one store."""
    schedule, args = tutorial(PRESETS["default"])
    program = build(schedule, args, PRESETS["default"], "my_vadd")
    insns = Isa(program.config).decode_stream(program.insns)
    assert [str(i).split(" sram")[0].split(" uop")[0] for i in insns] == [
        "LOAD UOP",
        "LOAD ACC",
        "LOAD ACC",
        "ALU ADD",
        "STORE OUT",
        "FINISH",
    ]
    assert program.name == "my_vadd"
    assert [(b.name, b.role) for b in program.buffers] == [
        ("A", "input"),
        ("B", "input"),
        ("C", "output"),
        ("uops", "const"),
    ]


def test_a_tensor_may_be_named_like_the_micro_ops(kit):
    config = PRESETS["default"]
    schedule, args = kit.stages(
        (4, 16), [("C", ["uops"], lambda t, x: x + 1)], {"uops": "int32"}, ["C"]
    )
    x = values(np.random.default_rng(13), (4, 16), "int32")
    kit.check(schedule, args, config, [x], [(x + 1).astype(np.int8)])


def test_the_same_program_comes_out_every_time(tutorial, config):
    first, second = (build(*tutorial(config, 3, 100), config) for _ in range(2))
    assert first.digest == second.digest
