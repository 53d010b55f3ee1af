"""`RtlMachine` against a device of which only the registers work (`register_probe.v`).

So every answer that hardware can give is tried, also those that take a broken or a very patient
machine. The test writes the answers into the registers before the run.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.sim.rtl.probe import register_probe
from vta import readout
from vta.config import PRESETS
from vta.errors import DeviceError, DeviceTimeout, Fault
from vta.image import BASES
from vta.isa import Isa
from vta.registers import BY_NAME, config_words
from vta.sim.memory import Memory
from vta.sim.rtl import rtl_machine
from vta.sim.rtl.memory_model import MemoryModel
from vta.sim.rtl.rtl_machine import RtlMachine

CONFIG = PRESETS["default"]
BASE = {"uop": 0x1000, "inp": 0x2000, "wgt": 0x3000, "acc": 0x4000, "out": 0x5000}
INSN_ADDR = 0x80
RESET_TIME = 0xFFC
RUN_TIME = 40
"""The probe runs for as many cycles as there are instructions."""

# The layouts of `error` and of the status registers, as registers.py describes them.
CAUSES = {
    "sram_range": 6,
    "memory_response": 7,
    "no_finish": 8,
    "misaligned_base": 9,
    "deadlock": 10,
    "timeout": 11,
}
MODULES = {"fetch": 0, "load": 1, "compute": 2, "store": 3}
BUSY, POP_PREV, POP_NEXT, PUSH_PREV, PUSH_NEXT = 1, 2, 4, 8, 16


VERILOG = register_probe(CONFIG)


@pytest.fixture
def memory():
    with Memory() as memory:
        isa = Isa(CONFIG)
        insns = [
            isa.alu.pack(opcode=4, uop_end=index + 1, iter_out=1, iter_in=1, alu_opcode=2)
            for index in range(RUN_TIME - 1)
        ] + [isa.common.pack(opcode=3)]
        memory.write(INSN_ADDR, Isa.words(insns))
        yield memory


@pytest.fixture
def machine(memory):
    machine = RtlMachine(CONFIG, VERILOG, memory)
    yield machine
    machine.close()


def _set(machine: RtlMachine, **values: int) -> None:
    for name, value in values.items():
        machine._simulation.write(BY_NAME[name].offset, value)


def _get(machine: RtlMachine, name: str) -> int:
    return machine._simulation.read(BY_NAME[name].offset)


def _text(index: int) -> str:
    return f"ALU ADD uop=0:{index + 1} iter=1x1 dst=0,0 src=0,0"


def _run(machine: RtlMachine, **options: object):
    return machine.run(INSN_ADDR, RUN_TIME, BASE, **options)


def test_a_run_sets_every_pointer_and_launches(machine):
    _set(machine, cycle_count=1234)
    report = _run(machine)
    assert report.fault is None
    assert report.cycles == 1234
    assert report.target == "tsim"
    assert _get(machine, "insn_ptr") == INSN_ADDR
    assert _get(machine, "insn_count") == RUN_TIME
    assert [_get(machine, f"{name}_ptr") for name in BASES] == list(BASE.values())
    assert [_get(machine, f"{name}_ptr_hi") for name in ("insn", *BASES)] == [0] * 6
    assert _get(machine, "irq_enable") == 3


def test_pointers_of_40_bits(monkeypatch):
    config = CONFIG.replace(addr_width=40)
    words = config_words(CONFIG)
    monkeypatch.setattr(readout, "config_words", lambda config: words)  # as the probe was made
    with Memory(40) as memory:
        machine = RtlMachine(config, VERILOG, memory)
        machine.run(0x98_7654_3210, 1, {**BASE, "out": 0xFF_FFFF_FFF0})
        assert (_get(machine, "insn_ptr_hi"), _get(machine, "insn_ptr")) == (0x98, 0x7654_3210)
        assert (_get(machine, "out_ptr_hi"), _get(machine, "out_ptr")) == (0xFF, 0xFFFF_FFF0)
        machine.close()


def test_statistics_come_from_the_counters(machine):
    counters = {
        "load_insns": 11,
        "compute_insns": 22,
        "store_insns": 33,
        "uop_bytes": 4,
        "inp_bytes": 5,
        "wgt_bytes": 6,
        "acc_bytes": 700,
        "acc_8bit_bytes": 70,
        "out_bytes": 8,
        "gemm_ops": 9,
        "reset_ops": 10,
        "alu_ops": 12,
    }
    _set(
        machine,
        **counters,
        tile_count=31,
        load_busy=101,
        store_wait_token=102,
        compute_wait_memory=103,
    )
    report = _run(machine)
    assert report.stats == {
        "load_insns": 11,
        "compute_insns": 22,
        "store_insns": 33,
        "uop_load_nbytes": 4,
        "inp_load_nbytes": 5,
        "wgt_load_nbytes": 6,
        "acc_load_nbytes": 770,
        "out_store_nbytes": 8,
        "gemm_counter": 9,
        "reset_counter": 10,
        "alu_counter": 12,
    }
    assert report.instructions == 66
    assert (
        report.counters.items()
        >= {
            **counters,
            "tile_count": 31,
            "load_busy": 101,
            "store_wait_token": 102,
            "compute_wait_memory": 103,
            "fetch_busy": 0,
        }.items()
    )


@pytest.mark.parametrize(
    ("cause", "module", "index", "insn"),
    [
        ("sram_range", "compute", 7, _text(7)),
        ("memory_response", "fetch", 3, _text(3)),
        ("no_finish", "fetch", RUN_TIME, ""),
        ("misaligned_base", "fetch", 0, ""),
        ("timeout", "store", RUN_TIME - 1, "FINISH"),
    ],
)
def test_faults(machine, cause, module, index, insn):
    _set(machine, error=CAUSES[cause] | MODULES[module] << 4, error_index=index)
    report = _run(machine)
    assert report.fault == Fault(cause=cause, module=module, insn_index=index, insn=insn)
    with pytest.raises(DeviceError, match=f"halted by {cause} in {module} .*reset it first"):
        _run(machine)


@pytest.mark.parametrize(
    ("module", "flags", "token"),
    [
        ("load", POP_NEXT, "g2l"),
        ("load", PUSH_NEXT, "l2g full"),
        ("compute", POP_PREV, "l2g"),
        ("compute", POP_NEXT, "s2g"),
        ("compute", POP_PREV | POP_NEXT, "l2g and s2g"),
        ("compute", PUSH_PREV, "g2l full"),
        ("compute", PUSH_NEXT, "g2s full"),
        ("store", POP_PREV, "g2s"),
        ("store", PUSH_PREV, "s2g full"),
    ],
)
def test_deadlock_names_the_token(machine, module, flags, token):
    _set(machine, error=CAUSES["deadlock"] | MODULES[module] << 4, error_index=5)
    _set(machine, **{f"{module}_status": flags, f"{module}_index": 5})
    fault = _run(machine).fault
    assert fault.waiting == ({"module": module, "insn_index": 5, "insn": _text(5), "token": token},)
    assert str(fault).endswith(f"{module} waits for {token} at instruction 5")


def test_deadlock_names_all_who_wait_the_lowest_first(machine):
    _set(
        machine,
        error=CAUSES["deadlock"] | MODULES["store"] << 4,
        error_index=2,
        load_status=POP_NEXT,
        load_index=9,
        compute_status=BUSY,
        compute_index=1,
        store_status=POP_PREV,
        store_index=2,
    )
    fault = _run(machine).fault
    assert (fault.module, fault.insn_index, fault.insn) == ("store", 2, _text(2))
    assert [(entry["module"], entry["token"]) for entry in fault.waiting] == [
        ("store", "g2s"),
        ("load", "g2l"),
    ]


@pytest.mark.parametrize(
    ("limit", "ended"), [(RUN_TIME - 1, False), (RUN_TIME, True), (10 * RUN_TIME, True)]
)
def test_max_cycles_bounds_the_hardware_s_own_count(machine, limit, ended):
    _set(
        machine,
        cycle_count=RUN_TIME,
        load_status=POP_NEXT,
        load_index=9,
        compute_status=BUSY,
        compute_index=4,
    )
    fault = _run(machine, max_cycles=limit).fault
    assert fault == (
        None
        if ended
        else Fault(
            cause="timeout",
            module="compute",
            insn_index=4,
            insn=_text(4),
            detail=f"the run takes more than {limit} cycles",
        )
    )


def test_max_cycles_ends_a_run_that_goes_on(machine):
    _set(machine, fetch_index=3)
    start = machine._simulation.cycle
    fault = machine.run(INSN_ADDR, 1_000_000_000, BASE, max_cycles=200_000).fault
    assert (fault.cause, fault.module, fault.insn_index) == ("timeout", "fetch", 3)
    assert 200_000 <= machine._simulation.cycle - start <= 201_000
    with pytest.raises(DeviceError, match="halted by timeout"):
        _run(machine)
    machine.reset()
    assert _run(machine).fault is None


def test_progress(machine):
    seen: list[int] = []
    machine.run(INSN_ADDR, 300_000, BASE, progress=seen.append)
    assert len(seen) >= 3
    assert seen == sorted(seen)
    assert seen[0] > 0
    assert seen[-1] <= 300_010


def test_reset_waits_until_the_hardware_is_through(machine):
    machine._simulation.write(RESET_TIME, 5000)
    start = machine._simulation.cycle
    machine.reset()
    assert 5000 <= machine._simulation.cycle - start <= 5100


def test_a_reset_that_never_ends(machine, monkeypatch):
    monkeypatch.setattr(rtl_machine, "RESET_PATIENCE", 10_000)
    machine._simulation.write(RESET_TIME, 1 << 31)
    with pytest.raises(DeviceTimeout, match="the reset did not end within 10000 cycles"):
        machine.reset()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ID", "id register must read 0x12345678, not 0x2d415456"),
        ("version_word", "version register must read 0x12345678, not 0x00000300"),
    ],
)
def test_hardware_that_is_another_device(memory, monkeypatch, name, message):
    monkeypatch.setattr(readout, name, 0x12345678 if name == "ID" else lambda config: 0x12345678)
    with pytest.raises(DeviceError, match=message):
        RtlMachine(CONFIG, VERILOG, memory)


def test_hardware_of_another_configuration(memory):
    config = CONFIG.replace(log_block=5, log_inp_buff_size=14)
    with pytest.raises(
        DeviceError,
        match="LOG_BLOCK is 4 in hardware and 5 here, "
        "LOG_INP_BUFF_SIZE is 15 in hardware and 14 here$",
    ):
        RtlMachine(config, VERILOG, memory)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"insn_count": -1}, "insn_count must be 0 to 4294967295, not -1"),
        ({"insn_count": 1 << 32}, "insn_count must be"),
        ({"insn_addr": 1 << 32}, "insn_addr must be 0 to 0xffffffff, not 0x100000000"),
        ({"base": {**BASE, "wgt": -16}}, "wgt must be 0 to 0xffffffff"),
        ({"base": {"uop": 0}}, "base must have the keys uop, inp, wgt, acc, out, not uop"),
        ({"max_cycles": -1}, "max_cycles must be 0 or more, not -1"),
    ],
)
def test_calls_that_are_refused(machine, changes, message):
    call = {"insn_addr": INSN_ADDR, "insn_count": 1, "base": BASE} | changes
    with pytest.raises(DeviceError, match=message):
        machine.run(**call)
    assert _run(machine).fault is None


def test_memory_of_another_size():
    with Memory(20) as memory, pytest.raises(DeviceError, match=r"memory must have 2\^32 bytes"):
        RtlMachine(CONFIG, VERILOG, memory)


def test_a_closed_machine(memory):
    machine = RtlMachine(CONFIG, VERILOG, memory, model=MemoryModel(latency=1))
    machine.close()
    machine.close()
    with pytest.raises(DeviceError, match="closed"):
        _run(machine)
    assert np.count_nonzero(memory.array[:INSN_ADDR]) == 0
