"""The read side of the bus: bursts of several clients, arbitrated one by one."""

from __future__ import annotations

from typing import Any

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from vta.config import Config
from vta.hw.bus.axi import AxiSignature, Burst, Response
from vta.hw.bus.payloads import beat_layout, burst_beats, burst_layout
from vta.hw.bus.streams import SkidBuffer

__all__ = ["ID_WIDTH", "ReadDma", "bus_signature", "reader_ports"]

ID_WIDTH = 3

LATENCY_BITS = 8
"""Latencies beyond 2**8 cycles are not hidden entirely."""

MARGIN = 12
"""Beats that are requested beyond the latency, so that the next burst is never late."""


def bus_signature(config: Config) -> AxiSignature:
    """The accelerator's AXI4 master port."""
    return AxiSignature(
        addr_width=config.addr_width, data_width=config.bus_width, id_width=ID_WIDTH
    )


def reader_ports(config: Config) -> dict[str, wiring.Member]:
    """The ports of a block that reads memory through the DMA.

    ``burst`` : Out(stream of burst_layout)
        The bursts that it asks for.
    ``beat`` : In(stream of beat_layout)
        What memory returned, in the order of ``burst``.
    """
    return {
        "burst": Out(stream.Signature(burst_layout(config))),
        "beat": In(stream.Signature(beat_layout(config))),
    }


class ReadDma(wiring.Component):
    """Shares AXI4's read channels among clients, burst by burst, in turn.

    A client's number is its AXI identifier, so memory may answer different clients in any order;
    each client gets its own beats in the order of its bursts. Clients take beats in bounded time
    whatever the others do, so none can block another for good.

    The DMA requests as many beats ahead as hide memory's latency, and no more, because a small load
    waits for everything that a large one has already requested. It measures the latency of each
    burst that starts when nothing is outstanding.

    Parameters
    ----------
    config : Config
    clients : int

    Members
    -------
    burst_N : In(stream of burst_layout)
    beat_N : Out(stream of beat_layout)
    bus : Out(AxiSignature)
        The read channels are driven.
    stop : In(1)
        No new bursts (a reset is under way).
    quiet : Out(1)
        Nothing is outstanding and nothing is about to be asked for.
    moved : Out(1)
        A handshake took place on a read channel.
    """

    def __init__(self, config: Config, clients: int) -> None:
        self._config, self._clients = config, clients
        members: dict[str, wiring.Member] = {
            "bus": Out(bus_signature(config)),
            "stop": In(1),
            "quiet": Out(1),
            "moved": Out(1),
        }
        for client in range(clients):
            for name, port in reader_ports(config).items():
                members[f"{name}_{client}"] = port.flip()
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, bus = self._config, self.bus
        # The sign of a difference must not reach the bits of ARLEN that no burst needs.
        log_chunk = (burst_beats(config) - 1).bit_length()
        bursts = [getattr(self, f"burst_{client}") for client in range(self._clients)]
        beats = [getattr(self, f"beat_{client}") for client in range(self._clients)]

        # Requests: in turn, starting after the client that was served last.
        request = data.StructLayout({"id": ID_WIDTH, "burst": burst_layout(config)})
        m.submodules.address = address = SkidBuffer(request)
        latency = Signal(LATENCY_BITS, init=~0)
        outstanding = Signal(range((1 << LATENCY_BITS) + MARGIN + 3 * burst_beats(config)))
        may_ask = Signal()
        m.d.sync += may_ask.eq((outstanding < latency + MARGIN) & ~self.stop)
        last_served = Signal(range(self._clients))
        chosen = Signal(range(self._clients))
        with m.Switch(last_served):
            for last in range(self._clients):
                with m.Case(last):
                    for step in reversed(range(1, self._clients + 1)):
                        client = (last + step) % self._clients
                        with m.If(bursts[client].valid):
                            m.d.comb += chosen.eq(client)
        asked = Signal()
        granted = Array(burst.payload for burst in bursts)[chosen]
        valid = Cat(burst.valid for burst in bursts)
        m.d.comb += [
            asked.eq(valid.any() & may_ask & ~self.stop & address.i.ready),
            address.i.valid.eq(asked),
            address.i.payload.id.eq(chosen),
            address.i.payload.burst.eq(granted),
        ]
        # Clients need not know who is chosen, only that nobody is in front of them.
        for client, burst in enumerate(bursts):
            waits = Signal(name=f"waits_{client}")
            with m.Switch(last_served):
                for last in range(self._clients):
                    in_front = range(1, (client - last - 1) % self._clients + 1)
                    with m.Case(last):
                        m.d.comb += waits.eq(
                            Cat(valid[(last + step) % self._clients] for step in in_front).any()
                        )
            m.d.comb += burst.ready.eq(may_ask & ~self.stop & address.i.ready & ~waits)
        with m.If(asked):
            m.d.sync += last_served.eq(chosen)

        out = address.o.payload
        m.d.comb += [
            bus.arid.eq(out.id),
            bus.araddr.eq(out.burst.addr),
            bus.arlen.eq((out.burst.beats - 1)[:log_chunk]),
            bus.arsize.eq(config.bus_bytes.bit_length() - 1),
            bus.arburst.eq(Burst.INCR),
            bus.arcache.eq(0b0011),
            bus.arvalid.eq(address.o.valid),
            address.o.ready.eq(bus.arready),
        ]

        received = self._answer(m, beats)
        timing, timer = Signal(), Signal(LATENCY_BITS)
        with m.If(asked & (outstanding == 0)):
            m.d.sync += [timing.eq(1), timer.eq(0)]
        with m.Elif(timing & received):
            m.d.sync += [timing.eq(0), latency.eq(timer)]
        with m.Elif(timer != (1 << LATENCY_BITS) - 1):
            m.d.sync += timer.eq(timer + 1)
        m.d.sync += [
            outstanding.eq(outstanding + Mux(asked, granted.beats, 0) - received),
            Assert(~received | (outstanding != 0), "a beat came for no request"),
        ]
        m.d.comb += [
            self.quiet.eq((outstanding == 0) & address.empty & ~asked),
            self.moved.eq((bus.arvalid & bus.arready) | (bus.rvalid & bus.rready)),
        ]
        return m

    def _answer(self, m: Module, beats: list[Any]) -> Value:
        """Hands each beat from the bus to its client; whether one is handed over in this cycle."""
        bus = self.bus
        # Responses: through a slice, so that no client's `ready` reaches the bus in the same
        # cycle, and on to the client that the identifier names, which is found before the slice.
        answer = data.StructLayout({"client": len(beats), "beat": beat_layout(self._config)})
        m.submodules.response = response = SkidBuffer(answer)
        m.d.comb += [
            response.i.valid.eq(bus.rvalid),
            bus.rready.eq(response.i.ready),
            response.i.payload.client.eq(Cat(bus.rid == number for number in range(len(beats)))),
            response.i.payload.beat.data.eq(bus.rdata),
            response.i.payload.beat.error.eq(bus.rresp != Response.OKAY),
        ]
        for client, beat in enumerate(beats):
            is_mine = response.o.payload.client[client]
            m.d.comb += [
                beat.payload.eq(response.o.payload.beat),
                beat.valid.eq(response.o.valid & is_mine),
            ]
            with m.If(is_mine):
                m.d.comb += response.o.ready.eq(beat.ready)

        return response.o.valid & response.o.ready
