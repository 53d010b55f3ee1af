"""`AnswerCheck`: what memory answers, held against AXI's rules. For simulation alone."""

from __future__ import annotations

from amaranth import *
from amaranth.hdl import Assert
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In

from vta.config import Config
from vta.hw.bus.read_dma import bus_signature

__all__ = ["AnswerCheck"]


class AnswerCheck(wiring.Component):
    """Watches a memory port, and asserts that each answer belongs to a request.

    The machine itself counts beats and does not look at RLAST, BID, or identifiers that it never
    used: where memory gets them wrong, a run would end with wrong data, or not at all.

    Parameters
    ----------
    config : Config
    readers : int
        Reads have the identifiers 0 to `readers - 1`, writes have 0.
    bursts : int
        How many bursts of a reader may be under way.

    Members
    -------
    bus : In(AxiSignature)
        All of it is only watched.
    """

    def __init__(self, config: Config, readers: int, *, bursts: int = 1024) -> None:
        self._readers, self._bursts = readers, bursts
        signature = bus_signature(config)
        members = {name: In(member.shape) for name, member in signature.members.items()}
        super().__init__({"bus": In(wiring.Signature(members))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bus = self.bus
        asked, beat = bus.arvalid & bus.arready, bus.rvalid & bus.rready
        m.d.sync += Assert(
            ~beat | (bus.rid < self._readers), "RID must be the identifier of a read"
        )
        for reader in range(self._readers):
            self._check_reader(m, reader, asked & (bus.arid == reader), beat & (bus.rid == reader))

        # A burst is answered after its address and all its data, whichever come first.
        addresses, ends, responses = Signal(16), Signal(16), Signal(16)
        answered = bus.bvalid & bus.bready
        m.d.sync += [
            addresses.eq(addresses + (bus.awvalid & bus.awready)),
            ends.eq(ends + (bus.wvalid & bus.wready & bus.wlast)),
            responses.eq(responses + answered),
            Assert(~answered | (bus.bid == 0), "BID must be 0, as all AWIDs are"),
            Assert(
                ~answered | ((addresses != responses) & (ends != responses)),
                "a write was answered before its address and all of its data were taken",
            ),
        ]
        return m

    def _check_reader(self, m: Module, reader: int, asked: Value, beat: Value) -> None:
        """Asserts that a reader's bursts come in order, each with its length."""
        bus = self.bus
        fifo = SyncFIFO(width=len(bus.arlen), depth=self._bursts)
        m.submodules[f"bursts_{reader}"] = fifo
        before = Signal.like(bus.arlen, name=f"before_{reader}")
        ends = before == fifo.r_data
        m.d.comb += [fifo.w_en.eq(asked), fifo.w_data.eq(bus.arlen), fifo.r_en.eq(beat & ends)]
        with m.If(beat):
            m.d.sync += before.eq(Mux(ends, 0, before + 1))
        m.d.sync += [
            Assert(~asked | fifo.w_rdy, "more bursts are under way than are followed"),
            Assert(~beat | fifo.r_rdy, "a beat came for no burst"),
            Assert(
                ~(beat & fifo.r_rdy) | (bus.rlast == ends),
                "RLAST must be set on the last beat of a burst, and there alone",
            ),
        ]
