"""One word at a time: the bus behind the serial bridge, and the way to AXI4-Lite."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, Signature

from vta.hw.bus.axi import Response
from vta.hw.control.register_file import bus_signature

__all__ = ["LiteMaster", "WordBusSignature"]


class WordBusSignature(Signature):
    """A master's port for one 32-bit word at a time.

    ``valid`` and what is asked for stand until ``ready``, which comes with the word that was read.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "addr": Out(32),
                "write": Out(1),
                "data": Out(32),
                "valid": Out(1),
                "ready": In(1),
                "read_data": In(32),
                "error": In(1),
            }
        )


class LiteMaster(wiring.Component):
    """Accesses the machine's registers.

    Members
    -------
    words : In(WordBusSignature)
    registers : Out(AxiLiteSignature)
    """

    def __init__(self) -> None:
        super().__init__({"words": In(WordBusSignature()), "registers": Out(bus_signature())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words, registers = self.words, self.registers
        asked, given = Signal(), Signal()
        m.d.comb += [
            registers.araddr.eq(words.addr),
            registers.awaddr.eq(words.addr),
            registers.wdata.eq(words.data),
            registers.wstrb.eq(0b1111),
            registers.arvalid.eq(words.valid & ~words.write & ~asked),
            registers.awvalid.eq(words.valid & words.write & ~asked),
            registers.wvalid.eq(words.valid & words.write & ~given),
            # An answer ends the access, and comes after all of it was taken.
            registers.rready.eq(1),
            registers.bready.eq(1),
            words.ready.eq(Mux(words.write, registers.bvalid, registers.rvalid)),
            words.read_data.eq(registers.rdata),
            words.error.eq(
                Mux(words.write, registers.bresp, registers.rresp) != Response.OKAY.value
            ),
        ]
        with m.If(words.ready):
            m.d.sync += [asked.eq(0), given.eq(0)]
        with m.Else():
            with m.If(
                (registers.arvalid & registers.arready) | (registers.awvalid & registers.awready)
            ):
                m.d.sync += asked.eq(1)
            with m.If(registers.wvalid & registers.wready):
                m.d.sync += given.eq(1)
        return m
