"""Every error of docs/isa.md on both simulators: cause, module, index and text, by hand.

After each the machine is reset and must run a program well. Deadlocks, and which of several
errors is reported, are in `test_rtl_stops.py`.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench import BASE, INSN_ADDR
from tests.pair import Pair
from vta.config import PRESETS
from vta.image import BASES
from vta.isa import AluOp, Isa, MemoryType

UOP, WGT, INP, ACC, OUT, ACC_8BIT = (
    MemoryType[name] for name in ("UOP", "WGT", "INP", "ACC", "OUT", "ACC_8BIT")
)
EVERY_TOKEN = {"pop_prev": 1, "pop_next": 1, "push_prev": 1, "push_next": 1}

# Of the configuration `tiny`: elements in each buffer, and bytes of an element in memory.
DEPTH = {UOP: 64, WGT: 32, INP: 64, ACC: 64, OUT: 64, ACC_8BIT: 64}
NBYTES = {UOP: 4, WGT: 64, INP: 8, ACC: 32, OUT: 8, ACC_8BIT: 8}

LOADS = pytest.mark.parametrize(
    "memory", [UOP, WGT, INP, ACC, ACC_8BIT], ids=lambda memory: memory.name
)


@pytest.fixture
def pair():
    with Pair() as pair:
        yield pair
        pair.reset()
        pair.check()


@pytest.fixture
def old_pair():
    with Pair(PRESETS["tiny"].replace(hw_ver="0.0.2")) as pair:
        yield pair
        pair.reset()
        pair.check()


def module_of(memory):
    return {INP: "load", WGT: "load", OUT: "store"}.get(memory, "compute")


def move(pair, memory, **options):
    return (pair.store if memory == OUT else pair.load)(memory, **options)


def place(fault):
    return fault.cause, fault.module, fault.insn_index


# -- static checks -------------------------------------------------------------------------------


@pytest.mark.parametrize("opcode", [5, 6, 7])
def test_illegal_opcode(pair, opcode):
    fault = pair.fault(pair.nop(), pair.isa.common.pack(opcode=opcode, **EVERY_TOKEN))
    assert place(fault) == ("illegal_opcode", "compute", 1)
    assert fault.insn == f"OPCODE_{opcode} pop:l2g pop:s2g push:g2l push:g2s"


@pytest.mark.parametrize("x", [0, 1])
@pytest.mark.parametrize(
    ("token", "text"), [("pop_prev", "pop:prev?"), ("push_prev", "push:prev?")]
)
@pytest.mark.parametrize("memory", [INP, WGT])
def test_load_has_no_previous_module(pair, memory, token, text, x):
    fault = pair.fault(pair.nop("store"), pair.load(memory, x=x, **{token: 1}))
    assert place(fault) == ("illegal_token", "load", 1)
    assert fault.insn == f"LOAD {memory.name} sram=0 dram=0x0 size=1x{x} stride={x} {text}"


@pytest.mark.parametrize("x", [0, 1])
@pytest.mark.parametrize(
    ("token", "text"), [("pop_next", "pop:next?"), ("push_next", "push:next?")]
)
def test_store_has_no_next_module(pair, token, text, x):
    fault = pair.fault(pair.store(x=x, **{token: 1}))
    assert place(fault) == ("illegal_token", "store", 0)
    assert fault.insn == f"STORE OUT sram=0 dram=0x0 size=1x{x} stride={x} {text}"


@pytest.mark.parametrize(("memory", "name"), [(4, "OUT"), (6, "TYPE_6"), (7, "TYPE_7")])
def test_memory_that_cannot_be_loaded(pair, memory, name):
    pair.ok(pair.load(memory, x=0))
    fault = pair.fault(pair.nop("load"), pair.load(memory, y=0))
    assert place(fault) == ("illegal_memory_type", "compute", 1)
    assert fault.insn == f"LOAD {name} sram=0 dram=0x0 size=0x1 stride=1"


@pytest.mark.parametrize(
    ("memory", "name"),
    [(0, "UOP"), (1, "WGT"), (2, "INP"), (3, "ACC"), (5, "ACC_8BIT"), (6, "TYPE_6"), (7, "TYPE_7")],
)
def test_memory_that_cannot_be_stored(pair, memory, name):
    pair.ok(pair.store(memory, x=0), pair.store(memory, y=0))
    fault = pair.fault(pair.store(memory, sram=3))
    assert place(fault) == ("illegal_memory_type", "store", 0)
    assert fault.insn == f"STORE {name} sram=3 dram=0x0 size=1x1 stride=1"


@pytest.mark.parametrize("uops", [(0, 1), (0, 0)])
def test_illegal_alu_opcode_even_with_empty_loops(pair, uops):
    fault = pair.fault(pair.alu(7, uops=uops))
    assert place(fault) == ("illegal_alu_opcode", "compute", 0)
    assert fault.insn == f"ALU OPCODE_7 uop=0:{uops[1]} iter=1x1 dst=0,0 src=0,0"


@pytest.mark.parametrize("uops", [(0, 1), (0, 0)])
@pytest.mark.parametrize("op", [AluOp.QNT, AluOp.MOV])
def test_an_old_machine_has_neither_qnt_nor_mov(old_pair, op, uops):
    fault = old_pair.fault(old_pair.alu(op, uops=uops))
    assert place(fault) == ("illegal_alu_opcode", "compute", 0)
    # They are named all the same.
    more = " zero_point=0 lower=0" if op == AluOp.QNT else ""
    assert fault.insn == f"ALU {op.name} uop=0:{uops[1]} iter=1x1 dst=0,0 src=0,0{more}"


@pytest.mark.parametrize(
    ("pads", "text"),
    [
        ((1, 0, 0, 0), "y1+0,x0+0"),
        ((0, 2, 0, 0), "y0+2,x0+0"),
        ((0, 0, 8, 0), "y0+0,x8+0"),
        ((0, 0, 0, 15), "y0+0,x0+15"),
    ],
)
def test_a_store_with_pads(pair, pads, text):
    pair.ok(pair.store(x=0, pads=pads), pair.store(y=0, pads=pads))
    fault = pair.fault(pair.store(pads=pads))
    assert place(fault) == ("illegal_padding", "store", 0)
    assert fault.insn == f"STORE OUT sram=0 dram=0x0 size=1x1 stride=1 pad={text}"


# -- ranges --------------------------------------------------------------------------------------


@LOADS
@pytest.mark.parametrize(
    ("pads", "count"),
    [
        ((0, 0, 0, 0), 6),
        ((1, 0, 0, 0), 9),
        ((0, 2, 0, 0), 12),
        ((0, 0, 1, 0), 8),
        ((0, 0, 0, 3), 12),
        ((1, 1, 1, 0), 16),
    ],
)
def test_load_past_its_buffer(pair, memory, pads, count):
    end = DEPTH[memory] - count
    pair.ok(pair.load(memory, sram=end, y=2, x=3, pads=pads))
    fault = pair.fault(pair.load(memory, sram=end + 1, y=2, x=3, pads=pads))
    assert place(fault) == ("sram_range", module_of(memory), 0)


@LOADS
def test_load_that_fills_its_buffer(pair, memory):
    depth = DEPTH[memory]
    pair.ok(pair.load(memory, x=depth))
    assert place(pair.fault(pair.load(memory, x=depth + 1))) == ("sram_range", module_of(memory), 0)


def test_sizes_that_overflow_any_counter(pair):
    for load in (
        pair.load(INP, sram=65_535, y=65_535, x=65_535, pads=(15, 15, 15, 15)),
        pair.load(INP, y=65_535, x=65_535),
        pair.load(INP, y=4096, x=65_535),
    ):
        assert place(pair.fault(load)) == ("sram_range", "load", 0)
        pair.reset()
    assert place(pair.fault(pair.store(y=32_768, x=32_768))) == ("sram_range", "store", 0)


def test_rows_of_padding_alone_are_checked_and_no_rows_are_not(pair):
    pair.ok(pair.load(ACC, sram=65_535, y=0), pair.load(INP, sram=65_535, y=0))
    fault = pair.fault(pair.load(INP, sram=63, y=0, pads=(2, 0, 0, 0)))
    assert place(fault) == ("sram_range", "load", 0)


def test_store_past_its_buffer(pair):
    pair.ok(pair.store(sram=58, y=3, x=2))
    assert place(pair.fault(pair.store(sram=59, y=3, x=2))) == ("sram_range", "store", 0)


# For each index the micro-op's field, and the loop's steps, that reach the last element.
REACHES = [
    ("micro-op", lambda depth: (depth - 1, (1, 1), (0, 0))),
    ("inner", lambda depth: (depth - 1 - 3 * 5, (1, 6), (7, 3))),
    ("outer", lambda depth: (depth - 1 - 4 * 2, (3, 1), (4, 9))),
    ("both", lambda depth: (depth - 1 - 2 * 3 - 3 * 2, (3, 4), (3, 2))),
]
REACH = pytest.mark.parametrize(
    "reach", [reach for _, reach in REACHES], ids=[name for name, _ in REACHES]
)


@REACH
@pytest.mark.parametrize(("index", "memory"), [("dst", ACC), ("src", INP), ("wgt", WGT)])
def test_gemm_index(pair, index, memory, reach):
    field, iters, factors = reach(DEPTH[memory])
    for beyond in (0, 1):
        where = {"dst": 0, "src": 0, "wgt": 0} | {index: field + beyond}
        if where[index] == DEPTH[memory]:
            # A field cannot say so much, but a step more can.
            where[index], iters, factors = field, (1, 2), (0, 1)
        load = pair.uops((where["dst"], where["src"], where["wgt"]))
        gemm = pair.gemm(iters=iters, **{index: factors})
        if not beyond:
            pair.ok(load, gemm)
    fault = pair.fault(load, gemm)
    assert place(fault) == ("sram_range", "compute", 1)
    assert fault.insn.startswith(f"GEMM uop=0:1 iter={iters[0]}x{iters[1]} ")


@REACH
@pytest.mark.parametrize("index", ["dst", "src"])
def test_alu_index(pair, index, reach):
    field, iters, factors = reach(64)
    for beyond in (0, 1):
        where = {"dst": 0, "src": 0} | {index: field + beyond}
        if where[index] == 64:
            where[index], iters, factors = field, (1, 2), (0, 1)
        load = pair.uops((where["dst"], where["src"], 0))
        alu = pair.alu(AluOp.MAX, iters=iters, **{index: factors})
        if not beyond:
            pair.ok(load, alu)
    fault = pair.fault(load, alu)
    assert place(fault) == ("sram_range", "compute", 1)
    assert fault.insn.startswith(f"ALU MAX uop=0:1 iter={iters[0]}x{iters[1]} ")


def test_only_the_indices_that_are_used_are_checked(pair):
    load = pair.uops((1, 63, 31))
    beyond = {"src": (63, 63), "iters": (2, 2)}
    report = pair.ok(
        load, pair.gemm(reset=1, wgt=(31, 31), **beyond), pair.alu(AluOp.MUL, imm=3, **beyond)
    )
    assert (report.stats["reset_counter"], report.stats["alu_counter"]) == (4, 4)
    assert place(pair.fault(load, pair.gemm(**beyond))) == ("sram_range", "compute", 1)


@pytest.mark.parametrize("index", ["dst", "src"])
def test_indices_do_not_wrap(pair, index):
    """Steps whose sum is 0 again, modulo any power of two up to the 20th."""
    steps = {index: (32, 32), "iters": (16_383, 16_383)}
    assert place(pair.fault(pair.uops((0, 0, 0)), pair.alu(AluOp.ADD, **steps))) == (
        "sram_range",
        "compute",
        1,
    )


@pytest.mark.full
@pytest.mark.parametrize("memory", [INP, ACC])
def test_a_source_that_only_the_micro_op_can_say(memory):
    """Where INP and ACC differ in depth, src_idx reaches beyond the shallower."""
    change = {"log_acc_buff_size": 10} if memory == ACC else {"log_inp_buff_size": 8}
    with Pair(PRESETS["tiny"].replace(**change)) as pair:

        def insn():
            return pair.alu(AluOp.ADD) if memory == ACC else pair.gemm()

        pair.ok(pair.uops((0, 31, 0)), insn())
        assert place(pair.fault(pair.uops((0, 32, 0)), insn())) == ("sram_range", "compute", 1)
        pair.reset()
        pair.check()


def test_micro_ops_past_the_buffer(pair):
    clear = pair.load(UOP, y=0, x=64, pads=(1, 0, 0, 0))
    report = pair.ok(clear, pair.gemm(uops=(60, 64)))
    assert report.stats["gemm_counter"] == 4
    report = pair.run(clear, pair.gemm(uops=(60, 65), iters=(3, 3)), pair.finish())
    assert place(report.fault) == ("sram_range", "compute", 1)
    assert report.stats["gemm_counter"] == 4


def test_iterations_before_the_faulty_one_count(pair):
    report = pair.run(pair.uops((60, 0, 0)), pair.gemm(iters=(1, 9), dst=(0, 1)), pair.finish())
    assert place(report.fault) == ("sram_range", "compute", 1)
    assert (report.stats["gemm_counter"], report.stats["compute_insns"]) == (4, 1)


# -- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", NBYTES, ids=lambda memory: memory.name)
def test_past_the_end_of_memory(pair, memory):
    base = dict.fromkeys(BASES, 2**31)
    last = 2**31 // NBYTES[memory] - 1
    pair.ok(move(pair, memory, dram=last - 10, y=2, x=3, stride=8), base=base)
    fault = pair.fault(move(pair, memory, dram=last - 9, y=2, x=3, stride=8), base=base)
    assert place(fault) == ("memory_response", module_of(memory), 0)


@pytest.mark.parametrize("memory", NBYTES, ids=lambda memory: memory.name)
def test_addresses_do_not_wrap(pair, memory):
    """Element 2^32 - 1 would be in memory if addresses had 32 bits only."""
    fault = pair.fault(move(pair, memory, dram=2**32 - 1))
    assert place(fault) == ("memory_response", module_of(memory), 0)


def test_no_rows_are_read_from_nowhere(pair):
    pair.ok(pair.load(ACC, dram=2**32 - 1, y=0, pads=(1, 0, 0, 0)))


def test_the_stream_runs_past_the_end_of_memory(pair):
    fault = pair.run(
        pair.nop(), pair.nop("load"), pair.nop("store"), addr=2**32 - 48, count=1000
    ).fault
    assert place(fault) == ("memory_response", "fetch", 3)
    pair.reset()
    pair.run(pair.nop(), pair.finish(), addr=2**32 - 32, count=1000)
    assert pair.run(pair.nop(), pair.finish(), addr=2**32 - 32, count=1000).fault is None


@pytest.fixture
def small_memory():
    """An RTL machine whose bus answers DECERR from 1 MiB on."""
    with Pair(rtl_memory_end=1 << 20) as pair:
        yield pair


@pytest.mark.parametrize("memory", NBYTES, ids=lambda memory: memory.name)
def test_the_bus_answers_with_an_error(small_memory, memory):
    machine, isa = small_memory.rtl, small_memory.isa
    base = dict.fromkeys(BASES, 0)
    # Its second row lies at the first element that is not there.
    bad = move(small_memory, memory, dram=0x10_0000 // NBYTES[memory] - 3, y=2, x=2, stride=3)
    insns = [small_memory.nop(), bad, small_memory.nop(), isa.common.pack(opcode=3)]
    machine.memory.write(0x8000, Isa.words(insns))
    report = machine.run(0x8000, 4, base)
    assert place(report.fault) == ("memory_response", module_of(memory), 1)
    machine.reset()
    machine.memory.write(0x8010, Isa.words([small_memory.nop()]))
    assert machine.run(0x8000, 4, base).fault is None


def test_the_bus_answers_fetch_with_an_error(small_memory):
    machine = small_memory.rtl
    machine.memory.write(0xF_FFE0, Isa.words([small_memory.nop()] * 2))
    fault = machine.run(0xF_FFE0, 5, dict.fromkeys(BASES, 0)).fault
    assert place(fault) == ("memory_response", "fetch", 2)


# -- the stream ----------------------------------------------------------------------------------


def test_an_empty_stream(pair):
    fault = pair.run(count=0).fault
    assert place(fault) == ("no_finish", "fetch", 0)
    assert fault.insn == ""


@pytest.mark.parametrize("count", [1, 3, 700])
def test_no_finish(pair, count):
    pair.put("acc", np.full((1, 8), 77, np.int32))
    load = pair.load(ACC, push_next=1)
    insns = [load, pair.store(pop_prev=1), *[pair.nop()] * 698][:count]
    report = pair.run(*insns)
    assert place(report.fault) == ("no_finish", "fetch", count)
    assert report.fault.insn == ""
    assert report.instructions == count
    assert pair.out(1).tolist() == [[77 if count > 1 else 0] * 8]


def test_nothing_is_executed_after_finish(pair):
    report = pair.run(pair.nop(), pair.finish(), pair.isa.common.pack(opcode=7), pair.store())
    assert report.fault is None
    assert report.instructions == 2


@pytest.mark.parametrize(
    ("name", "multiple"), [("uop", 4), ("inp", 8), ("wgt", 64), ("acc", 32), ("out", 8)]
)
def test_misaligned_base(pair, name, multiple):
    pair.ok(base={**BASE, name: 0x100_0000 + multiple})
    for offset in {1, multiple // 2, multiple - 1}:
        fault = pair.fault(pair.nop(), base={**BASE, name: 0x100_0000 + offset})
        assert place(fault) == ("misaligned_base", "fetch", 0)
        assert fault.insn == ""
        pair.reset()


@pytest.mark.parametrize("offset", [1, 2, 4, 8, 15])
def test_misaligned_stream(pair, offset):
    fault = pair.fault(pair.nop(), addr=INSN_ADDR + offset)
    assert place(fault) == ("misaligned_base", "fetch", 0)


def test_misaligned_comes_before_empty(pair):
    assert place(pair.run(count=0, base={**BASE, "acc": 4}).fault) == (
        "misaligned_base",
        "fetch",
        0,
    )
