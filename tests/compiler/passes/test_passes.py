"""What single passes promise: few copies, few places, few parts, kernels loaded once."""

from __future__ import annotations

import pytest

from vta.compiler.encode.uop_buffer import plan_uops
from vta.compiler.ir.insn_ir import Kernel, MicroOp, Transfer, UopLoop
from vta.compiler.ir.tile_ir import Alu, Reset
from vta.compiler.pipeline import build, trace
from vta.config import PRESETS
from vta.errors import CompileError, ConfigError
from vta.isa import AluOp, Isa, Opcode

CONFIG = PRESETS["default"]


def after(kit, title, rule, *dtypes, tiles=8, config=CONFIG):
    schedule, args = kit.one((tiles, config.batch, config.block), rule, *dtypes)
    return trace(schedule, args, config)[title]


@pytest.mark.parametrize(
    ("rule", "inputs", "copies"),
    [
        (lambda t, x, y: x + y, 2, 0),
        (lambda t, x, y: (x + y) * x, 2, 0),  # the sum overwrites y
        (lambda t, x, y: (x >> 1) + x, 1, 1),  # a shift cannot overwrite its amount
        (lambda t, x, y: (x + 1) * (x + 2), 1, 1),
        (lambda t, x, y: x - y, 2, 0),
        (lambda t, x, y: x + x, 1, 0),
        (lambda t, x, y: t.max(x, y) - t.min(x, y), 2, 1),
    ],
)
@pytest.mark.parametrize("hw_ver", ["0.0.2", "0.0.3"])
def test_copies_only_where_an_operand_lives_on(kit, rule, inputs, copies, hw_ver):
    config = CONFIG.replace(hw_ver=hw_ver)
    if inputs == 1:
        program = after(kit, "inplace", lambda t, x: rule(t, x, x), "int32", config=config)
    else:
        program = after(kit, "inplace", rule, "int32", "int32", config=config)
    resets = sum(isinstance(op, Reset) for op in program.body)
    moves = sum(isinstance(op, Alu) and op.op == AluOp.MOV for op in program.body)
    assert (resets, moves) == ((0, copies) if config.requantises else (copies, 0))


@pytest.mark.parametrize(
    ("rule", "dtype", "shifts"),
    [
        (lambda t, x: x + 1, "int8", 0),  # the store drops the upper bits
        (lambda t, x: x * 3 - 7, "int8", 0),
        (lambda t, x: t.max(x, 3), "int8", 0),  # loaded with its sign
        (lambda t, x: t.max(x + 1, 3), "int8", 2),
        (lambda t, x: t.max(x + 1, 3) + t.min(x + 1, 4), "int8", 4),
        (lambda t, x: (x + 1).astype("int32") * 5, "int8", 2),
        (lambda t, x: x.astype("int8").astype("int32") + 0, "int32", 2),
    ],
)
def test_int8_is_narrowed_only_where_it_shows(kit, rule, dtype, shifts):
    program = after(kit, "match", rule, dtype)
    ops = [op for op in program.body if isinstance(op, Alu) and op.op.name == "SHR"]
    assert len(ops) == shifts or (shifts == 4 and len(ops) == 2)  # x + 1 is narrowed once


def test_constants_are_shared(kit):
    program = after(kit, "match", lambda t, x: t.min(x + 70000, 70000) * 80000, "int32")
    assert [value.constant for value in program.values.values() if value.constant is not None] == [
        70000,
        80000,
    ]


def test_places_are_used_again(kit):
    """A chain of sums needs no more than two values at once, however long it is."""
    names = [f"I{n}" for n in range(6)]
    rules = [("S0", names[:2], lambda t, x, y: x + y)] + [
        (f"S{n}", [f"S{n - 1}", names[n + 1]], lambda t, x, y: x + y) for n in range(1, 5)
    ]
    config = PRESETS["tiny"]
    schedule, args = kit.stages((16, 16), rules, dict.fromkeys(names, "int32"), ["S4"])
    program = trace(schedule, args, config)["tokens"]
    starts = {op.sram_base for op in program.ops if isinstance(op, Transfer)}
    assert starts == {0, 32}  # of 64


@pytest.mark.parametrize("tiles", [1, 32, 33, 64, 65, 100, 1000])
def test_parts_are_few_and_even(kit, tiles):
    config = PRESETS["tiny"]
    program = after(kit, "tokens", lambda t, x: x + 1, "int32", tiles=tiles, config=config)
    loads = [op for op in program.ops if isinstance(op, Transfer) and op.opcode == Opcode.LOAD]
    sizes = [op.x_size for op in loads]
    assert sum(sizes) == tiles
    assert len(sizes) == (1 if tiles <= 64 else -(-tiles // 32))
    assert sizes == [-(-tiles // len(sizes))] * (len(sizes) - 1) + sizes[-1:]
    assert [op.dram_base for op in loads] == [sum(sizes[:n]) for n in range(len(sizes))]
    assert len({op.sram_base for op in loads}) == min(2, len(loads))


def test_parts_fit_every_field():
    """The deepest legal accumulator, used whole, stays within all counts of an instruction."""
    from vta import te

    config = CONFIG.replace(
        log_block=3, log_acc_buff_size=16, log_inp_buff_size=14, log_wgt_buff_size=14
    )
    assert config.log_acc_depth == 11
    with pytest.raises(ConfigError, match="ALU word 1"):
        config.replace(log_acc_buff_size=17)
    a = te.placeholder((2048, 8), name="A")
    a_buf = te.compute(a.shape, lambda *i: a(*i), "A_buf")
    c = te.compute(a.shape, lambda *i: a_buf(*i).astype("int8"), "C")
    s = te.create_schedule(c.op)
    s[a_buf].set_scope("local.acc_buffer").pragma(a_buf.op.axis[0], "dma_copy")
    s[c].pragma(c.op.axis[0], "dma_copy")
    program = build(s, [a, c], config)
    assert [insn.x_size for insn in Isa(config).decode_stream(program.insns)[:-1]] == [2048] * 2
    assert [buffer.name for buffer in program.buffers] == ["A", "C"]  # no micro-ops


def kernel(*starts):
    return Kernel(Opcode.ALU, (UopLoop(4, 1, 1),), tuple(MicroOp(n, n) for n in starts))


def replayed(plan, kernels):
    """What each kernel finds in the buffer, with only the plan's loads filling it."""
    buffer = {}
    found = []
    for index, item in enumerate(kernels):
        if index in plan.loads:
            load = plan.loads[index]
            for offset in range(load.count):
                buffer[load.base + offset] = plan.uops[load.start + offset]
        place = plan.places[index]
        found.append(tuple(buffer[place + offset] for offset in range(len(item.uops))))
    return found


def test_every_kernel_finds_its_micro_ops():
    config = PRESETS["tiny"].replace(log_uop_buff_size=5)  # 8 micro-ops
    kernels = [
        kernel(0),
        kernel(1, 2),
        kernel(0),
        *(kernel(n) for n in range(3, 8)),
        kernel(0, 1, 2, 3),
        kernel(0),
        kernel(1, 2),
        kernel(7),
        kernel(0, 1, 2, 3),
    ]
    plan = plan_uops(list(enumerate(kernels)), config)
    assert replayed(plan, kernels) == [item.uops for item in kernels]
    assert all(load.base + load.count <= 8 for load in plan.loads.values())


def test_a_kernel_is_loaded_once_where_all_fit():
    kernels = [kernel(n % 5) for n in range(20)] + [kernel(*range(200))] * 2
    plan = plan_uops(list(enumerate(kernels)), PRESETS["default"])
    assert [load.count for load in plan.loads.values()] == [5, 200]
    assert replayed(plan, kernels) == [item.uops for item in kernels]


def test_a_kernel_must_fit_the_buffer():
    config = PRESETS["tiny"].replace(log_uop_buff_size=5)
    with pytest.raises(
        CompileError, match="kernel of 9 micro-ops does not fit the micro-op buffer's 8"
    ):
        plan_uops([(0, kernel(*range(9)))], config)
