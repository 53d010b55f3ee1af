"""From a processor's AXI port to the registers' AXI4-Lite port."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from vta.hw.bus.axi import AxiSignature, Burst, Response
from vta.hw.control.register_file import ADDR_WIDTH, bus_signature

__all__ = ["RegisterBridge"]


class RegisterBridge(wiring.Component):
    """Splits the bursts of an AXI3 or AXI4 master into AXI4-Lite accesses, one at a time.

    Reads and writes are independent of one another. A burst is accepted when the one before it is
    through, so answers come in order. A narrow access touches the bytes that it names: writes by
    their strobes, and reads get the whole word. Identifiers are returned. A write has one answer,
    the worst of its beats. Exclusive accesses are answered like others (OKAY), which says that they
    are not supported.

    Parameters
    ----------
    signature : AxiSignature
        Of the master, AXI3 or AXI4, 32 bits of data.
    base : int
        The address of the registers. Other addresses than the 4 KiB there are answered with DECERR.

    Members
    -------
    bus : In(signature)
    registers : Out(AxiLiteSignature)

    Raises
    ------
    ValueError
        If the data is not 32 bits wide, or the base is not a multiple of 4 KiB.
    """

    def __init__(self, signature: AxiSignature, base: int) -> None:
        if signature.data_width != 32:
            raise ValueError(f"the data must be 32 bits wide, not {signature.data_width}")
        if base % (1 << ADDR_WIDTH):
            raise ValueError(f"the base must be a multiple of {1 << ADDR_WIDTH}, not {base:#x}")
        self._page = base >> ADDR_WIDTH
        super().__init__({"bus": In(signature), "registers": Out(bus_signature())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._read(m)
        self._write(m)
        return m

    def _read(self, m: Module) -> None:
        bus, registers = self.bus, self.registers
        ours, left, step = self._walk(m, "ar")
        m.d.comb += [bus.rlast.eq(left == 0), registers.arprot.eq(bus.arprot)]
        # IDLE takes a burst; REQUEST asks for a beat's word; ANSWER hands it on, to the next beat
        # or to the end.
        with m.FSM(name="read"):
            with m.State("IDLE"):
                m.d.comb += bus.arready.eq(1)
                with m.If(bus.arvalid):
                    m.d.sync += bus.rid.eq(bus.arid)
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += registers.arvalid.eq(ours)
                with m.If(~ours | registers.arready):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += [
                    bus.rvalid.eq(~ours | registers.rvalid),
                    bus.rdata.eq(Mux(ours, registers.rdata, 0)),
                    bus.rresp.eq(Mux(ours, registers.rresp, Response.DECERR)),
                    registers.rready.eq(ours & bus.rready),
                ]
                with m.If(bus.rvalid & bus.rready):
                    m.d.comb += step.eq(1)
                    with m.If(bus.rlast):
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "REQUEST"

    def _write(self, m: Module) -> None:
        bus, registers = self.bus, self.registers
        ours, left, step = self._walk(m, "aw")
        addressed, given = Signal(), Signal()
        worst = Signal(Response)
        resp = Mux(ours, registers.bresp, Response.DECERR)
        worse = resp > worst.as_value()
        m.d.comb += [
            registers.awprot.eq(bus.awprot),
            registers.wdata.eq(bus.wdata),
            registers.wstrb.eq(bus.wstrb),
            bus.bresp.eq(worst),
        ]
        # IDLE takes a burst; DATA hands on the address and the data of a beat, which the registers
        # may take in any order; ACK waits for their answer; RESPOND gives the burst's answer.
        with m.FSM(name="write"):
            with m.State("IDLE"):
                m.d.comb += bus.awready.eq(1)
                with m.If(bus.awvalid):
                    m.d.sync += [bus.bid.eq(bus.awid), worst.eq(Response.OKAY)]
                    m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += [
                    registers.awvalid.eq(ours & bus.wvalid & ~addressed),
                    registers.wvalid.eq(ours & bus.wvalid & ~given),
                ]
                address_done = addressed | registers.awready
                data_done = given | registers.wready
                with m.If(bus.wvalid & (~ours | (address_done & data_done))):
                    m.d.comb += bus.wready.eq(1)
                    m.d.sync += [
                        addressed.eq(0),
                        given.eq(0),
                        Assert(bus.wlast == (left == 0), "WLAST must be set on the last beat"),
                    ]
                    m.next = "ACK"
                with m.Elif(bus.wvalid):
                    m.d.sync += [addressed.eq(address_done), given.eq(data_done)]
            with m.State("ACK"):
                m.d.comb += registers.bready.eq(ours)
                with m.If(~ours | registers.bvalid):
                    m.d.comb += step.eq(1)
                    with m.If(worse):
                        m.d.sync += worst.eq(resp)
                    with m.If(left == 0):
                        m.next = "RESPOND"
                    with m.Else():
                        m.next = "DATA"
            with m.State("RESPOND"):
                m.d.comb += bus.bvalid.eq(1)
                with m.If(bus.bready):
                    m.next = "IDLE"

    def _walk(self, m: Module, channel: str) -> tuple[Signal, Signal, Signal]:
        """The beats of a burst: whether the current one is in the registers, how many come after
        it, and the signal that goes on to the next."""
        port = {
            name: getattr(self.bus, channel + name)
            for name in ("addr", "len", "size", "burst", "valid", "ready")
        }
        addr = Signal.like(port["addr"], name=f"{channel}_at")
        size = Signal.like(port["size"], name=f"{channel}_log_bytes")
        burst = Signal(Burst, name=f"{channel}_kind")
        length = Signal.like(port["len"], name=f"{channel}_after_first")
        left = Signal.like(port["len"], name=f"{channel}_left")
        ours = Signal(name=f"{channel}_ours")
        step = Signal(name=f"{channel}_step")

        # The first address may be inside of a beat's bytes; the others are not. A wrapping burst
        # returns to the multiple of its bytes that it started above.
        beat_bytes = Signal(3, name=f"{channel}_bytes")
        following = Signal.like(addr, name=f"{channel}_following")
        wrap_mask = Signal(len(length) + 3, name=f"{channel}_mask")
        m.d.comb += [
            beat_bytes.eq(1 << size[:2]),
            following.eq((addr & ~(beat_bytes - 1)) + beat_bytes),
            wrap_mask.eq(((length + 1) << size[:2]) - 1),
            ours.eq(addr[ADDR_WIDTH:] == self._page),
        ]
        with m.If(port["valid"] & port["ready"]):
            m.d.sync += [
                addr.eq(port["addr"]),
                size.eq(port["size"]),
                burst.eq(port["burst"]),
                length.eq(port["len"]),
                left.eq(port["len"]),
                Assert(port["size"] <= 2, "a beat must have at most 4 bytes"),
            ]
        with m.Elif(step):
            m.d.sync += left.eq(left - 1)
            with m.Switch(burst):
                with m.Case(Burst.INCR):
                    m.d.sync += addr.eq(following)
                with m.Case(Burst.WRAP):
                    m.d.sync += addr.eq((addr | wrap_mask) ^ wrap_mask | (following & wrap_mask))
        word = addr[:ADDR_WIDTH] & ~3
        m.d.comb += getattr(self.registers, f"{channel}addr").eq(word)
        return ours, left, step
