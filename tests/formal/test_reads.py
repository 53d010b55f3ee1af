"""Each client of the read DMA gets its own beats, all of them and in order. By induction.

Memory answers different identifiers in any order, interleaved as it likes.
"""

from __future__ import annotations

from typing import Any

import pytest
from amaranth import *
from amaranth.lib import data

from tests.formal.prover import Followed, Proof, fails, planted, prove
from vta.config import PRESETS
from vta.hw.bus.payloads import burst_beats
from vta.hw.bus.read_dma import LATENCY_BITS, MARGIN, ReadDma

CONFIG = PRESETS["tiny"]
MAX_BEATS = burst_beats(CONFIG)
MOST = 2
"""Addresses or beats of a client inside at the same time: what a slice holds."""


class SharesTheBus(Proof):
    """Seen by any one client.

    `hints` are what a proof by induction needs; without them a fault breaks the property itself.
    """

    def __init__(self, dut: ReadDma, clients: int, *, hints: bool = True) -> None:
        super().__init__(dut)
        self.clients, self.hints = clients, hints

    def properties(self, m: Module) -> None:
        dut, bus = self.dut, self.dut.bus
        me = self.constant(m, "me", range(self.clients))
        self.assume(m, me < self.clients)
        read, asked = bus.rvalid & bus.rready, bus.arvalid & bus.arready
        # A client asks for a beat at least.
        bursts = [getattr(dut, f"burst_{client}") for client in range(self.clients)]
        for burst in bursts:
            self.assume(m, ~burst.valid | (burst.payload.beats != 0))
            self.assume(m, ~burst.valid | (burst.payload.beats <= MAX_BEATS))
        owed = self._memory(m, asked, read)

        burst = Array(burst.payload.as_value() for burst in bursts)[me]
        address = self.in_order(
            m,
            Array(burst.valid & burst.ready for burst in bursts)[me],
            burst,
            asked & (bus.arid == me),
            Cat(bus.araddr, (bus.arlen + 1)[: len(burst) - len(bus.araddr)]),
            most=MOST,
            what="bursts",
        )
        beats = [getattr(dut, f"beat_{client}") for client in range(self.clients)]
        beat = self.in_order(
            m,
            read & (bus.rid == me),
            Cat(bus.rdata, bus.rresp.as_value() != 0),
            Array(beat.valid & beat.ready for beat in beats)[me],
            Array(Cat(beat.payload.data, beat.payload.error) for beat in beats)[me],
            most=MOST,
            what="beats",
        )
        self.always(m, (address.count == 0) | bus.arvalid, "an address is offered while one waits")
        offered = Cat(beat.valid for beat in beats).any()
        self.always(m, (beat.count == 0) | offered, "a beat is offered while one waits")
        shown = Cat(bus.arid, bus.araddr, bus.arlen)
        self.always(m, self.held(m, bus.arvalid, bus.arready, shown), "an address stays")
        if self.hints:
            self._say_what_is_inside(m, me, owed, address, beat)

    def _memory(self, m: Module, asked: Value, read: Value) -> list[Signal]:
        """It answers only what was asked for: the beats that it owes, by client."""
        bus = self.dut.bus
        owed = [Signal(10, name=f"owed_{client}") for client in range(self.clients)]
        for client, count in enumerate(owed):
            m.d.sync += count.eq(
                count
                + Mux(asked & (bus.arid == client), bus.arlen + 1, 0)
                - (read & (bus.rid == client))
            )
            self.assume(m, ~bus.rvalid | (bus.rid != client) | (count != 0))
        self.assume(m, ~bus.rvalid | (bus.rid < self.clients))
        return owed

    def _say_what_is_inside(
        self, m: Module, me: Signal, owed: list[Signal], address: Followed, beat: Followed
    ) -> None:
        """Both slices hold what is on its way, and `outstanding` counts it all."""
        requests = self._registers("address", self.inside(self.block, "request"))
        answers = self._registers("response", self.inside(self.block, "_answer.answer"))
        self._place(m, address, requests, lambda request: request.id == me, "burst")
        self._place(m, beat, answers, lambda answer: answer.client.bit_select(me, 1), "beat")
        for full, request in requests:
            beats = request.burst.beats
            legal = (request.id < self.clients) & (beats != 0) & (beats <= MAX_BEATS)
            self.always(m, ~full | legal, "inside: a legal address waits")
        for full, answer in answers:
            one = Cat(answer.client == 1 << client for client in range(self.clients)).any()
            self.always(m, ~full | one, "inside: an answer is for one client")
        outstanding, may_ask = (
            self.inside(self.block, name) for name in ("outstanding", "may_ask")
        )
        last_served = self.inside(self.block, "last_served")
        self.always(m, last_served < self.clients, "inside: a client was served last")
        on_their_way = [
            *owed,
            *(Mux(full, request.burst.beats, 0) for full, request in requests),
            *(full for full, _ in answers),
        ]
        self.always(m, outstanding == sum(on_their_way), "inside: beats that are outstanding")
        least = (1 << LATENCY_BITS) + MARGIN
        self.always(
            m,
            (outstanding < least + 2 * MAX_BEATS) & (~may_ask | (outstanding < least + MAX_BEATS)),
            "inside: beats that are outstanding, at most",
        )

    def _registers(self, name: str, layout: data.StructLayout) -> list[tuple[Signal, data.View]]:
        """A slice's two registers, each with whether it is in use."""
        return [
            (
                self.inside(self.block, name, f"{register}_full"),
                data.View(layout, self.inside(self.block, name, register)),
            )
            for register in ("out", "spare")
        ]

    def _place(self, m: Module, item: Followed, registers: Any, is_mine: Any, field: str) -> None:
        """The item that is followed is in the register where its turn says."""
        (out_full, out), (spare_full, spare) = registers
        first, second = out_full & is_mine(out), spare_full & is_mine(spare)
        self.always(m, out_full | ~spare_full, "inside: first things first")
        self.always(m, item.count == first + second, f"inside: {field}s of the client")
        holds = Mux(first & (item.ahead == 0), out[field].as_value(), spare[field].as_value())
        self.always(
            m,
            ~item.active | ((item.ahead < item.count) & (holds == item.kept)),
            f"inside: the {field} has its place",
        )


@pytest.mark.parametrize("clients", [2, pytest.param(3, marks=pytest.mark.full)])
def test_each_client_gets_its_own(tmp_path, clients):
    prove(SharesTheBus(ReadDma(CONFIG, clients), clients), tmp_path, depth=2, induction=True)


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
        ("response.o.payload.client[client]", "response.o.payload.client[0]", "a beat is offered"),
        ("bus.rresp != Response.OKAY", "0", "beats"),
        ("address.i.ready & ~waits", "~waits", "bursts"),
    ],
)
def test_each_client_with_a_fault(tmp_path, old, new, property):
    proof = SharesTheBus(planted(ReadDma, {old: new})(CONFIG, 3), 3, hints=False)
    assert property in fails(proof, tmp_path, depth=9)
