"""The AXI4-Lite port of the registers answers every access once, whenever the host comes.

What the host reads is what it wrote last.
"""

from __future__ import annotations

import pytest
from amaranth import *

from tests.formal.prover import Proof, fails, planted, prove
from vta.config import PRESETS
from vta.hw.control.register_file import RegisterFile
from vta.registers import REGISTERS, HostAccess

CONFIG = PRESETS["tiny"]


class AnswersOnce(Proof):
    """By induction: the number of answers that are owed is known in every cycle."""

    def properties(self, m: Module) -> None:
        bus = self.dut.bus
        writes, data, reads = (Signal(2, name=name) for name in ("writes", "data", "reads"))
        answered = bus.bvalid & bus.bready
        m.d.sync += [
            writes.eq(writes + (bus.awvalid & bus.awready) - answered),
            data.eq(data + (bus.wvalid & bus.wready) - answered),
            reads.eq(reads + (bus.arvalid & bus.arready) - (bus.rvalid & bus.rready)),
        ]
        # What has been taken and not answered: at most the write that waits for its response to
        # be taken, and the next one.
        self.always(m, writes == ~bus.awready + bus.bvalid, "an answer to each address")
        self.always(m, data == ~bus.wready + bus.bvalid, "an answer to each piece of data")
        self.always(m, reads == bus.rvalid, "an answer to each read")
        waits = Signal()
        m.d.sync += waits.eq(~bus.awready & ~bus.wready & ~bus.bvalid)
        self.always(m, ~waits | bus.bvalid, "a write is answered in the cycle after it is there")
        self.always(m, self.held(m, bus.bvalid, bus.bready, bus.bresp), "holds the response")
        self.always(
            m, self.held(m, bus.rvalid, bus.rready, Cat(bus.rdata, bus.rresp)), "holds what is read"
        )


class ReadsReturn(Proof):
    """A read of an ``rw`` register returns what the last write left. By induction.

    `hints` are what that needs; without them a fault breaks the property itself.
    """

    def __init__(self, dut: RegisterFile, *, hints: bool = True) -> None:
        super().__init__(dut)
        self.hints = hints

    def properties(self, m: Module) -> None:
        dut, bus = self.dut, self.dut.bus
        addr, word, mask = Signal(12), Signal(32), Signal(32)
        has_addr, has_data, acts = Signal(), Signal(), Signal()
        m.d.comb += acts.eq(has_addr & has_data & ~bus.bvalid)
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [addr.eq(bus.awaddr), has_addr.eq(1)]
        with m.Elif(acts):
            m.d.sync += has_addr.eq(0)
        with m.If(bus.wvalid & bus.wready):
            strobes = Cat(strobe.replicate(8) for strobe in bus.wstrb)
            m.d.sync += [word.eq(bus.wdata), mask.eq(strobes), has_data.eq(1)]
        with m.Elif(acts):
            m.d.sync += has_data.eq(0)

        reads, place = Signal(), Signal.like(bus.araddr[2:])
        m.d.sync += [reads.eq(bus.arvalid & bus.arready), place.eq(bus.araddr[2:])]
        rests = ~(dut.launch | dut.running | dut.stop)
        for register in REGISTERS:
            if register.access != HostAccess.RW:
                continue
            # The host writes these between runs, and some at any time.
            expected = Signal(register.bits(CONFIG), name=register.name, init=register.reset)
            written = acts & (addr[2:] == register.offset // 4) & (register.always | rests)
            # A read that is taken while the write acts would have to return what the write leaves.
            owed = Signal(32, name=f"{register.name}_owed")
            following = Mux(written, (expected & ~mask) | (word & mask), expected)
            m.d.sync += [expected.eq(following), owed.eq(following[: len(expected)])]
            self.always(
                m,
                ~(reads & (place == register.offset // 4)) | (bus.rdata == owed),
                f"a read of {register.name} returns what the last write left",
            )
            if self.hints:
                stored = self.inside(self.block, f"host_{register.name}")
                self.always(m, stored == expected, f"inside: {register.name}")
        if self.hints:
            run = self.inside(self.block, "_run_state.fsm")
            self.always(m, run.state < len(run.encoding), "inside: one of the states of a run")
            write = self.inside(self.block, "write")
            has = [
                self.inside(self.block, f"_write_channels.{name}")
                for name in ("has_addr", "has_data")
            ]
            self.always(m, Cat(has) == Cat(has_addr, has_data), "inside: what is there of a write")
            self.always(m, ~has_addr | (write.addr == addr), "inside: its address")
            self.always(
                m, ~has_data | (Cat(write.data, write.mask) == Cat(word, mask)), "inside: its data"
            )


def registers(file=RegisterFile):
    return file(CONFIG)


def test_every_access_is_answered_once(tmp_path):
    prove(AnswersOnce(registers()), tmp_path, depth=2, induction=True)


@pytest.mark.full
@pytest.mark.parametrize(
    ("old", "new", "property"),
    [
        ("has_addr & has_data & ~bus.bvalid", "has_addr & has_data", "an answer to each"),
        ("bus.arready.eq(~bus.rvalid & ~write.en)", "bus.arready.eq(1)", "read"),
        ("with m.Elif(bus.bready):", "with m.Else():", "holds the response"),
        ("with m.Elif(bus.rready):", "with m.Else():", "read"),
    ],
)
def test_accesses_with_a_fault(tmp_path, old, new, property):
    faulty = planted(RegisterFile, {old: new})
    assert property in fails(AnswersOnce(registers(faulty)), tmp_path, depth=3, induction=True)


def test_reads_return_what_was_written(tmp_path):
    prove(ReadsReturn(registers()), tmp_path, depth=2, induction=True)


@pytest.mark.full
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Cat(strobe.replicate(8) for strobe in bus.wstrb)", "~0"),
        ("write.to(register.name) & allowed", "write.to(register.name)"),
        ("if register.always else rests", "if not register.always else rests"),
        ("& ~write.en)", ")"),
    ],
)
def test_writes_with_a_fault(tmp_path, old, new):
    proof = ReadsReturn(registers(planted(RegisterFile, {old: new})), hints=False)
    assert "returns what the last write left" in fails(proof, tmp_path, depth=9)
