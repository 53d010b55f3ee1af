"""Memory that ends before the address space does: error responses, on both simulators."""

from __future__ import annotations

import numpy as np
import pytest

from vta.config import PRESETS
from vta.driver.verilog_cache import simulated_verilog
from vta.image import BASES
from vta.isa import Isa, MemoryType, Opcode
from vta.sim.functional.functional_machine import FunctionalMachine
from vta.sim.memory import Memory
from vta.sim.rtl.rtl_machine import RtlMachine

CONFIG = PRESETS["tiny"]
ISA = Isa(CONFIG)
END = 0x20000
INSNS = 0x1000


def functional(memory):
    return FunctionalMachine(CONFIG, memory)


def rtl(memory):
    return RtlMachine(CONFIG, simulated_verilog(CONFIG), memory)


def load(memory, dram, **more):
    return ISA.mem.pack(
        opcode=Opcode.LOAD,
        memory_type=memory,
        dram_base=dram,
        y_size=1,
        x_size=2,
        x_stride=2,
        **more,
    )


def store(dram, **more):
    return ISA.mem.pack(
        opcode=Opcode.STORE,
        memory_type=MemoryType.OUT,
        dram_base=dram,
        y_size=1,
        x_size=2,
        x_stride=2,
        **more,
    )


FINISH = ISA.common.pack(opcode=Opcode.FINISH)
LAST = {kind: END // CONFIG.elem_bytes(kind) for kind in MemoryType}
"""Elements that memory holds."""


def run(make, words, addr=INSNS):
    with Memory(CONFIG.addr_width) as memory:
        memory.end = END
        memory.write(END - 64, np.full(128, 7, np.uint8))
        memory.write(addr, Isa.words(words))
        machine = make(memory)
        report = machine.run(addr, len(words), dict.fromkeys(BASES, 0))
        machine.close()
        return report, memory.read(END - 64, 128)


@pytest.mark.parametrize("make", [functional, rtl])
def test_the_last_elements_can_be_used(make):
    words = [
        load(MemoryType.INP, LAST[MemoryType.INP] - 2),
        load(MemoryType.ACC, LAST[MemoryType.ACC] - 2, push_next=1),
        store(LAST[MemoryType.OUT] - 2, pop_prev=1),
        FINISH,
    ]
    report, after = run(make, words)
    assert report.fault is None
    # Every byte of ACC is 7 too.
    assert (after == 7).all()


@pytest.mark.parametrize("make", [functional, rtl])
@pytest.mark.parametrize(
    ("module", "word"),
    [
        ("load", load(MemoryType.INP, LAST[MemoryType.INP] - 1)),
        ("load", load(MemoryType.WGT, LAST[MemoryType.WGT] + 5)),
        ("compute", load(MemoryType.ACC, LAST[MemoryType.ACC] - 1)),
        ("compute", load(MemoryType.UOP, LAST[MemoryType.UOP] - 1)),
        ("store", store(LAST[MemoryType.OUT] - 1)),
    ],
)
def test_a_transfer_beyond_it_is_an_error(make, module, word):
    report, after = run(make, [load(MemoryType.ACC, 0), word, FINISH])
    assert report.fault is not None
    assert (report.fault.cause, report.fault.module) == ("memory_response", module)
    assert report.fault.insn_index == 1
    # Nothing was written beyond it.
    assert (after[64:] == 7).all()


@pytest.mark.parametrize("make", [functional, rtl])
def test_the_response_comes_after_the_tokens(make):
    """Unlike an address past the address width, which is noticed at once."""
    word = load(MemoryType.INP, LAST[MemoryType.INP], pop_next=1)
    report, _ = run(make, [word, FINISH])
    assert report.fault is not None
    assert (report.fault.cause, report.fault.module) == ("deadlock", "load")


@pytest.mark.parametrize("make", [functional, rtl])
def test_instructions_beyond_it_are_an_error_of_fetch(make):
    words = [load(MemoryType.INP, 0)] * 5 + [FINISH]
    report, _ = run(make, words, addr=END - 48)
    assert report.fault is not None
    assert (report.fault.cause, report.fault.module) == ("memory_response", "fetch")
    assert report.fault.insn_index == 3
    assert report.fault.insn == ""
    assert run(make, words[3:], addr=END - 48)[0].fault is None
