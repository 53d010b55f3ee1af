"""How both simulators stop: deadlocks, the first of several errors, limits of time, and reset.

After each the machine is reset and must run a program well.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench import BASE, INSN_ADDR
from tests.pair import Pair
from vta.errors import DeviceError
from vta.isa import Isa, MemoryType
from vta.sim.rtl.memory_model import MemoryModel

UOP, WGT, INP, ACC, OUT, ACC_8BIT = (
    MemoryType[name] for name in ("UOP", "WGT", "INP", "ACC", "OUT", "ACC_8BIT")
)


@pytest.fixture
def pair():
    with Pair() as pair:
        yield pair
        pair.reset()
        pair.check()


def place(fault):
    return fault.cause, fault.module, fault.insn_index


# -- deadlocks -----------------------------------------------------------------------------------

WAITS = [
    ("load", {"pop_next": 1}, "g2l", "LOAD INP sram=0 dram=0x0 size=0x0 stride=0 pop:g2l"),
    ("compute", {"pop_prev": 1}, "l2g", "LOAD UOP sram=0 dram=0x0 size=0x0 stride=0 pop:l2g"),
    ("compute", {"pop_next": 1}, "s2g", "LOAD UOP sram=0 dram=0x0 size=0x0 stride=0 pop:s2g"),
    (
        "compute",
        {"pop_prev": 1, "pop_next": 1},
        "l2g and s2g",
        "LOAD UOP sram=0 dram=0x0 size=0x0 stride=0 pop:l2g pop:s2g",
    ),
    ("store", {"pop_prev": 1}, "g2s", "STORE OUT sram=0 dram=0x0 size=0x0 stride=0 pop:g2s"),
]


@pytest.mark.parametrize(("module", "bits", "token", "text"), WAITS)
def test_a_token_that_nobody_pushes(pair, module, bits, token, text):
    fault = pair.fault(pair.nop(), pair.nop(module, **bits))
    assert place(fault) == ("deadlock", module, 1)
    assert fault.insn == text
    assert fault.waiting == ({"module": module, "insn_index": 1, "insn": text, "token": token},)


def test_a_token_of_the_wrong_side_does_not_help(pair):
    fault = pair.fault(pair.nop("load", push_next=1), pair.nop(pop_prev=1, pop_next=1))
    assert place(fault) == ("deadlock", "compute", 1)
    assert [entry["token"] for entry in fault.waiting] == ["s2g"]


def test_all_wait_for_each_other(pair):
    fault = pair.fault(
        pair.nop("store", pop_prev=1, push_prev=1),
        pair.nop(pop_prev=1, pop_next=1, push_prev=1, push_next=1),
        pair.nop("load", pop_next=1, push_next=1),
    )
    assert place(fault) == ("deadlock", "store", 0)
    assert [(entry["module"], entry["insn_index"], entry["token"]) for entry in fault.waiting] == [
        ("store", 0, "g2s"),
        ("compute", 1, "l2g and s2g"),
        ("load", 2, "g2l"),
    ]


def test_waiting_after_finish_is_a_deadlock(pair):
    fault = pair.fault(pair.nop("store", pop_prev=1))
    assert place(fault) == ("deadlock", "store", 0)


def test_finish_obeys_its_tokens(pair):
    fault = pair.run(pair.nop(), pair.finish(pop_next=1)).fault
    assert place(fault) == ("deadlock", "compute", 1)
    assert fault.insn == "FINISH pop:s2g"


FULL = [
    ("load", "push_next", "l2g"),
    ("compute", "push_prev", "g2l"),
    ("compute", "push_next", "g2s"),
    ("store", "push_prev", "s2g"),
]


@pytest.mark.parametrize(("module", "push", "queue"), FULL)
def test_a_full_token_queue_stalls_its_producer(pair, module, push, queue):
    """65,535 tokens fit; one more waits, and is not lost."""
    nop = pair.nop(module, **{push: 1})
    report = pair.run(*[nop] * 65_535, pair.finish())
    assert report.fault is None
    fault = pair.run(pair.nop("load"), nop, pair.finish()).fault
    assert place(fault) == ("deadlock", module, 1)
    assert [(entry["module"], entry["token"]) for entry in fault.waiting] == [
        (module, f"{queue} full")
    ]


def test_an_instruction_queue_holds_512(pair):
    """Loads that wait for tokens which only later instructions push: 512 may, no more."""

    def stream(count):
        return [pair.nop("load", pop_next=1)] * count + [pair.nop(push_prev=1)] * count

    assert pair.ok(*stream(512)).instructions == 1025
    report = pair.run(*stream(513), pair.finish())
    assert place(report.fault) == ("deadlock", "load", 0)
    assert report.instructions == 0


# -- which error is reported ---------------------------------------------------------------------


def test_causes_of_one_load_in_order(pair):
    beyond_all = {"sram": 64, "dram": 2**32 - 1}
    assert pair.fault(pair.load(INP, pop_prev=1, **beyond_all)).cause == "illegal_token"
    pair.reset()
    assert pair.fault(pair.load(INP, **beyond_all)).cause == "sram_range"
    pair.reset()
    assert pair.fault(pair.load(6, **beyond_all)).cause == "illegal_memory_type"
    pair.reset()
    assert pair.fault(pair.load(INP, dram=2**32 - 1)).cause == "memory_response"


def test_causes_of_one_store_in_order(pair):
    wrong = {"sram": 64, "dram": 2**32 - 1}
    for causes, memory, pads, more in (
        ("illegal_token", INP, (1, 0, 0, 0), {"push_next": 1, **wrong}),
        ("illegal_memory_type", INP, (1, 0, 0, 0), wrong),
        ("illegal_padding", OUT, (0, 0, 0, 1), wrong),
        ("sram_range", OUT, (0, 0, 0, 0), wrong),
        ("memory_response", OUT, (0, 0, 0, 0), {**wrong, "sram": 63}),
    ):
        assert pair.fault(pair.store(memory, pads=pads, **more)).cause == causes
        pair.reset()


def test_an_error_is_found_before_its_tokens_come(pair):
    """The static checks do not wait; the indices of a loop do."""
    assert place(pair.fault(pair.alu(7, pop_prev=1))) == ("illegal_alu_opcode", "compute", 0)
    pair.reset()
    assert place(pair.fault(pair.load(WGT, sram=32, pop_next=1))) == ("sram_range", "load", 0)
    pair.reset()
    fault = pair.fault(pair.gemm(uops=(63, 65), pop_prev=1))
    assert place(fault) == ("deadlock", "compute", 0)


@pytest.mark.parametrize("order", ["lcs", "csl", "slc", "scl"])
def test_the_lowest_of_several_errors(pair, order):
    wrong = {
        "l": pair.load(INP, sram=64),
        "c": pair.isa.common.pack(opcode=6),
        "s": pair.store(UOP),
    }
    cause = {
        "l": ("sram_range", "load"),
        "c": ("illegal_opcode", "compute"),
        "s": ("illegal_memory_type", "store"),
    }
    fault = pair.fault(pair.nop(), *[wrong[module] for module in order])
    assert place(fault) == (*cause[order[0]], 1)


def test_an_error_comes_before_those_who_wait_for_it(pair):
    fault = pair.fault(
        pair.nop("store", pop_prev=1),
        pair.nop("load", pop_next=1),
        pair.isa.common.pack(opcode=5, push_prev=1, push_next=1),
    )
    assert place(fault) == ("illegal_opcode", "compute", 2)


def test_the_others_go_on(pair):
    """Store and load do all that does not depend on the module that stopped."""
    values = np.arange(16 * 8, dtype=np.int32).reshape(16, 8)
    pair.put("acc", values)
    report = pair.run(
        pair.load(ACC, x=16, push_next=1),
        pair.isa.common.pack(opcode=7, push_prev=1),
        *[pair.load(INP, sram=tile) for tile in range(20)],
        *[pair.store(sram=tile, dram=tile, pop_prev=tile == 0) for tile in range(16)],
        pair.load(INP, pop_next=1),
        pair.finish(),
    )
    assert place(report.fault) == ("illegal_opcode", "compute", 1)
    assert (
        report.stats["load_insns"],
        report.stats["compute_insns"],
        report.stats["store_insns"],
    ) == (20, 1, 16)
    np.testing.assert_array_equal(pair.out(16), values.astype(np.int8))


def test_transfers_are_checked_before_anything_moves(pair):
    """Only the last row is beyond; the first are not written either."""
    base = {**BASE, "out": 2**32 - 0x1000, "acc": 2**32 - 0x1000}
    last = 0x1000 // 8 - 1
    pair.run(pair.load(ACC, y=0, x=64, pads=(1, 0, 0, 0)), pair.finish())
    for memory in (pair.memory, pair.rtl_memory):
        memory.write(2**32 - 0x1000, np.full(0x1000, 0xAA, np.uint8))
    fault = pair.fault(pair.store(y=3, x=2, stride=4, dram=last - 8), base=base)
    assert place(fault) == ("memory_response", "store", 0)
    for memory in (pair.memory, pair.rtl_memory):
        assert (memory.read(2**32 - 0x1000, 0x1000) == 0xAA).all()
    pair.reset()
    fault = pair.fault(pair.load(ACC_8BIT, y=3, x=2, stride=4, dram=last - 8), base=base)
    assert place(fault) == ("memory_response", "compute", 0)
    pair.reset()
    pair.put("out", np.full((6, 8), 1, np.int8))
    pair.ok(pair.store(x=6))
    assert not pair.out(6).any()


# -- halted, and time ----------------------------------------------------------------------------


def test_a_halted_machine_must_be_reset(pair):
    pair.fault(pair.isa.common.pack(opcode=5))
    for machine in (pair.machine, pair.rtl):
        with pytest.raises(DeviceError, match="halted by illegal_opcode in compute.* reset it"):
            machine.run(INSN_ADDR, 1, BASE)


def test_reset_takes_tokens_and_queues_away(pair):
    pair.fault(
        pair.nop("load", push_next=1),
        pair.nop("store", push_prev=1),
        *[pair.nop("load", pop_next=1)] * 100,
    )
    pair.reset()
    fault = pair.fault(pair.nop(pop_prev=1, pop_next=1))
    assert place(fault) == ("deadlock", "compute", 0)
    assert fault.waiting[0]["token"] == "l2g and s2g"


@pytest.mark.parametrize(
    "model",
    [MemoryModel(), MemoryModel(latency=300, write_response=200), MemoryModel(stall_seed=4)],
)
def test_max_cycles_ends_both(model):
    with Pair(model=model) as pair:
        insns = [pair.load(ACC, x=64), *[pair.store(x=64)] * 50, pair.finish()]
        for machine, memory in ((pair.machine, pair.memory), (pair.rtl, pair.rtl_memory)):
            memory.write(INSN_ADDR, Isa.words(insns))
            fault = machine.run(INSN_ADDR, len(insns), BASE, max_cycles=700).fault
            assert fault.cause == "timeout"
        pair.reset()
        pair.check()


@pytest.mark.parametrize("patience", [3000, 1 << 20])
@pytest.mark.parametrize(
    ("model", "module", "index"),
    [(MemoryModel(latency=10**9), "fetch", 0), (MemoryModel(write_response=10**9), "store", 2)],
)
def test_a_memory_that_never_answers(model, module, index, patience):
    """The watchdog, set to less, and as it is after power-on."""
    with Pair(model=model) as pair:
        insns = [
            pair.nop(),
            pair.nop("load"),
            pair.store(),
            pair.nop("load", push_next=1),
            pair.finish(pop_prev=1),
        ]
        pair.rtl_memory.write(INSN_ADDR, Isa.words(insns))
        if patience == 3000:
            pair.rtl._write("watchdog", patience)
        report = pair.rtl.run(INSN_ADDR, len(insns), BASE)
        assert place(report.fault) == ("timeout", module, index)
        assert patience < report.cycles < patience + 300


def test_the_watchdog_counts_single_cycles():
    """A run ends so many cycles later as the watchdog is set higher."""
    cycles = []
    for patience in (500, 501, 502, 600):
        with Pair(model=MemoryModel(latency=10**9)) as pair:
            pair.rtl_memory.write(INSN_ADDR, Isa.words([pair.finish()]))
            pair.rtl._write("watchdog", patience)
            report = pair.rtl.run(INSN_ADDR, 1, BASE)
            assert report.fault.cause == "timeout"
            cycles.append(report.cycles - patience)
    assert len(set(cycles)) == 1


def test_the_watchdog_leaves_a_slow_memory_alone():
    with Pair(model=MemoryModel(latency=2500, write_response=2500)) as pair:
        pair.rtl._write("watchdog", 3000)
        pair.check()
