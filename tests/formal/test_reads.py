"""Each client of the read DMA gets its own beats, all of them and in order.

Memory answers different identifiers in any order, interleaved as it likes.
"""

from __future__ import annotations

import pytest
from amaranth import *

from tests.formal.prover import Proof, fails, planted, prove
from vta.config import PRESETS
from vta.hw.bus.read_dma import ReadDma

CLIENTS = 3
MOST = 3
"""Beats and addresses inside at the same time: two in a slice, one on its way."""


class SharesTheBus(Proof):
    """Seen by any one client."""

    def properties(self, m: Module) -> None:
        dut, bus = self.dut, self.dut.bus
        me = self.constant(m, "me", range(CLIENTS))
        self.assume(m, me < CLIENTS)
        # Memory answers only what was asked for: never more beats than requested.
        owed = [Signal(8, name=f"owed_{client}") for client in range(CLIENTS)]
        read, asked = bus.rvalid & bus.rready, bus.arvalid & bus.arready
        for client, count in enumerate(owed):
            m.d.sync += count.eq(
                count
                + Mux(asked & (bus.arid == client), bus.arlen + 1, 0)
                - (read & (bus.rid == client))
            )
            self.assume(m, ~bus.rvalid | (bus.rid != client) | (count != 0))
        self.assume(m, ~bus.rvalid | (bus.rid < CLIENTS))
        # A client asks for a beat at least, and keeps asking.
        bursts = [getattr(dut, f"burst_{client}") for client in range(CLIENTS)]
        for burst in bursts:
            self.assume(m, ~burst.valid | (burst.payload.beats != 0))
            self.assume(m, ~burst.valid | (burst.payload.beats <= 16))
            self.assume(m, self.held(m, burst.valid, burst.ready, burst.payload))

        burst = Array(burst.payload.as_value() for burst in bursts)[me]
        self.in_order(
            m,
            Array(burst.valid & burst.ready for burst in bursts)[me],
            burst,
            asked & (bus.arid == me),
            Cat(bus.araddr, (bus.arlen + 1)[: len(burst) - len(bus.araddr)]),
            most=MOST,
            what="bursts",
        )
        beats = [getattr(dut, f"beat_{client}") for client in range(CLIENTS)]
        self.in_order(
            m,
            read & (bus.rid == me),
            Cat(bus.rdata[0], bus.rresp.as_value() != 0),
            Array(beat.valid & beat.ready for beat in beats)[me],
            Array(Cat(beat.payload.data[0], beat.payload.error) for beat in beats)[me],
            most=MOST,
            what="beats",
        )
        address = Cat(bus.arid, bus.araddr, bus.arlen)
        self.always(m, self.held(m, bus.arvalid, bus.arready, address), "an address stays")


def dma(kind=ReadDma):
    return kind(PRESETS["tiny"], CLIENTS)


def test_each_client_gets_its_own(tmp_path):
    prove(SharesTheBus(dma()), tmp_path, depth=9)


@pytest.mark.full
@pytest.mark.parametrize(
    ("old", "new", "property"),
    [
        ("address.i.payload.id.eq(chosen)", "address.i.payload.id.eq(last_served)", "bursts"),
        (
            "address.i.payload.burst.eq(granted)",
            "address.i.payload.burst.eq(bursts[0].payload)",
            "bursts",
        ),
        ("response.o.payload.client[client]", "response.o.payload.client[0]", "beats"),
        ("bus.rresp != Response.OKAY", "0", "beats"),
        ("address.i.ready & ~waits", "~waits", "bursts"),
    ],
)
def test_each_client_with_a_fault(tmp_path, old, new, property):
    assert property in fails(SharesTheBus(dma(planted(ReadDma, {old: new}))), tmp_path, depth=9)
