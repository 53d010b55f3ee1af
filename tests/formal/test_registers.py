"""The AXI4-Lite port of the registers answers every access once, whenever the host comes."""

from __future__ import annotations

import pytest
from amaranth import *

from tests.formal.prover import Proof, fails, planted, prove
from vta.config import PRESETS
from vta.hw.control.register_file import RegisterFile
from vta.registers import BY_NAME


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
    """`irq_enable`, which can be written at any time: a read returns what the last write left."""

    def properties(self, m: Module) -> None:
        bus, place = self.dut.bus, BY_NAME["irq_enable"].offset // 4
        addr, word, written = Signal(12), Signal(32), Signal()
        has_addr, has_data = Signal(), Signal()
        expected = Signal(2)
        acts = Signal()
        m.d.comb += acts.eq(has_addr & has_data & ~bus.bvalid)
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [addr.eq(bus.awaddr), has_addr.eq(1)]
        with m.Elif(acts):
            m.d.sync += has_addr.eq(0)
        with m.If(bus.wvalid & bus.wready):
            # The register has two bits, in the first byte.
            m.d.sync += [word.eq(bus.wdata), written.eq(bus.wstrb[0]), has_data.eq(1)]
        with m.Elif(acts):
            m.d.sync += has_data.eq(0)
        with m.If(acts & written & (addr // 4 == place)):
            m.d.sync += expected.eq(word)
        reads, owed = Signal(), Signal(2)
        m.d.sync += [
            reads.eq(bus.arvalid & bus.arready & (bus.araddr // 4 == place)),
            owed.eq(expected),
        ]
        self.always(m, ~reads | (bus.rdata == owed), "a read returns what the last write left")


def registers(file=RegisterFile):
    return file(PRESETS["tiny"])


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
    prove(ReadsReturn(registers()), tmp_path, depth=9)


@pytest.mark.full
def test_writes_with_a_fault(tmp_path):
    faulty = planted(RegisterFile, {"Cat(strobe.replicate(8) for strobe in bus.wstrb)": "~0"})
    assert "last write" in fails(ReadsReturn(registers(faulty)), tmp_path, depth=9)
