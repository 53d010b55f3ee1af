"""What STORE says on the write channels is legal AXI, and a STORE is done when all is answered.

By induction: any transfers that fit the buffer, and a memory that takes and answers when it likes,
but answers only bursts that it has had.
"""

from __future__ import annotations

import abc

import pytest
from amaranth import *

from tests.formal.prover import Proof, fails, planted, prove
from vta.config import PRESETS
from vta.hw.bus.axi import PAGE_BYTES
from vta.hw.bus.payloads import burst_beats
from vta.hw.issue.sequencer import IN_FLIGHT
from vta.hw.transfer.store_engine import BURSTS_IN_FLIGHT, BURSTS_UNSENT, StoreEngine
from vta.isa import MemoryType

CONFIGS = {
    "axi3": PRESETS["tiny"].replace(max_burst=16),
    "tiny": PRESETS["tiny"],
    # A beat has several tiles.
    "small": PRESETS["small"],
}


class Writes(Proof):
    """The store engine, with any transfers that fit the buffer."""

    def __init__(self, dut, config, *, hints: bool = True) -> None:
        super().__init__(dut)
        self.config, self.hints = config, hints
        self.most = burst_beats(config)

    def properties(self, m: Module) -> None:
        bus, job = self.dut.bus, self.dut.job.payload
        self.assume(m, (job.runs != 0) & (job.run_elems != 0))
        self.assume(m, job.run_elems <= self.config.out_depth)
        self.assume(m, job.kind == MemoryType.OUT)
        self.sent, self.answered = bus.wvalid & bus.wready, bus.bvalid & bus.bready
        self.asks, self.ends = bus.awvalid & bus.awready, self.sent & bus.wlast
        # A burst is asked for inside.
        requests = self.inside(self.block, "requests")
        self.noted, self.burst = self.inside(self.block, "asked"), requests.burst.payload
        self.noted_last = requests.last
        self.unanswered = Signal(range(BURSTS_IN_FLIGHT + 2))
        m.d.sync += self.unanswered.eq(self.unanswered + self.noted - self.answered)
        self.always(
            m, self.unanswered <= BURSTS_IN_FLIGHT, "no more bursts wait for a response than may"
        )
        self.running = Signal(range(IN_FLIGHT + 2))
        m.d.sync += self.running.eq(
            self.running + (self.dut.job.valid & self.dut.job.ready) - self.dut.done
        )
        self.assume(m, ~self.dut.job.valid | (self.running < IN_FLIGHT))
        self.level = self.inside(self.block, "_acknowledge.ends").level
        if self.hints:
            in_flight = self.inside(self.block, "in_flight")
            self.always(m, in_flight == self.unanswered, "inside: in flight")
            self._bound_transfers(m)
        self.rules(m)

    def _bound_transfers(self, m: Module) -> None:
        """Transfers wait for their bursts to be asked for, or for responses."""
        requests = self.block.find_subfragment("requests")
        runs_left, has_beats, last_run = (
            self.inside(requests, name) for name in ("runs_left", "has_beats", "last_run")
        )
        splitting = (runs_left != 0) + (has_beats & last_run)
        self.always(m, self.running == self.level + splitting, "inside: transfers in flight")
        self.always(m, self.running <= IN_FLIGHT, "inside: transfers in flight, at most")
        self.always(m, (runs_left != 0) | ~has_beats | last_run, "inside: the last run")
        elem = self.config.out_elem_bytes
        last_byte = self.inside(requests, "last_byte")
        self.always(
            m,
            (runs_left == 0) | (last_byte < self.config.out_depth * elem),
            "inside: a run's length",
        )

    @abc.abstractmethod
    def rules(self, m: Module) -> None:
        """What is to be proved."""


class WritesLegally(Writes):
    def rules(self, m: Module) -> None:
        self._count(m)
        self._addresses(m)
        self._beats(m)

    def _count(self, m: Module) -> None:
        """Bursts that memory has not had, and has not had the data of; it answers those of which
        it has had both."""
        self.unasked, self.unsent = (
            Signal(range(BURSTS_IN_FLIGHT + 2), name=name) for name in ("unasked", "unsent")
        )
        m.d.sync += [
            self.unasked.eq(self.unasked + self.noted - self.asks),
            self.unsent.eq(self.unsent + self.noted - self.ends),
        ]
        bus = self.dut.bus
        self.assume(
            m, ~bus.bvalid | ((self.unanswered > self.unasked) & (self.unanswered > self.unsent))
        )
        self.always(m, bus.bready, "a response is always taken")
        self.always(
            m,
            (self.unasked <= self.unanswered) & (self.unsent <= self.unanswered),
            "no response without a request",
        )
        self.always(
            m, ~self.dut.quiet | (self.unanswered == 0), "it is quiet only when all is answered"
        )

    def _addresses(self, m: Module) -> None:
        bus, nbytes = self.dut.bus, self.config.bus_bytes
        self.always(m, ~bus.awvalid | (bus.awlen < self.config.max_burst), "no burst is too long")
        self.always(
            m,
            ~bus.awvalid | (bus.awaddr % PAGE_BYTES + (bus.awlen + 1) * nbytes <= PAGE_BYTES),
            "no burst crosses 4 KiB",
        )
        self.always(m, ~bus.awvalid | (bus.awaddr % nbytes == 0), "a burst starts with a beat")
        address = Cat(bus.awid, bus.awaddr, bus.awlen, bus.awsize, bus.awburst)
        self.always(m, self.held(m, bus.awvalid, bus.awready, address), "an address stays")
        if not self.hints:
            return
        out_full, spare_full = (
            self.inside(self.block, "address", name) for name in ("out_full", "spare_full")
        )
        self.always(m, self.unasked == out_full + spare_full, "inside: addresses")
        self.always(m, out_full | ~spare_full, "inside: first things first")
        for name, full in (("out", out_full), ("spare", spare_full)):
            register = self.inside(self.block, "address", name)
            addr, beats = (register[: len(self.burst.addr)], register[len(self.burst.addr) :])
            self.always(
                m,
                ~full
                | (
                    (beats != 0)
                    & (beats <= self.most)
                    & (addr % nbytes == 0)
                    & (addr % PAGE_BYTES + beats * nbytes <= PAGE_BYTES)
                ),
                "inside: a legal burst waits",
            )

    def _beats(self, m: Module) -> None:
        """One burst, any, is followed: its address and the number of its beats."""
        bus, block = self.dut.bus, self.block
        shown = Cat(bus.wdata, bus.wstrb, bus.wlast)
        self.always(m, self.held(m, bus.wvalid, bus.wready, shown), "a beat stays")
        beats = Signal(range(self.most + 2))
        with m.If(self.sent):
            m.d.sync += beats.eq(Mux(bus.wlast, 0, beats + 1))
        follows = self.noted & self.free("follow")
        followed, kept = Signal(), Signal.like(self.burst)
        addresses, bursts = Signal(range(4)), Signal(range(BURSTS_UNSENT + 2))
        asked, sent = Signal(), Signal()
        with m.If(follows & ~followed):
            m.d.sync += [
                followed.eq(1),
                kept.eq(self.burst),
                addresses.eq(self.unasked - self.asks),
                bursts.eq(self.unsent - self.ends),
            ]
        with m.If(followed & self.asks & ~asked):
            m.d.sync += [addresses.eq(addresses - 1), asked.eq(addresses == 0)]
        with m.If(followed & self.ends & ~sent):
            m.d.sync += [bursts.eq(bursts - 1), sent.eq(bursts == 0)]
        self.always(
            m,
            ~(followed & self.asks & ~asked & (addresses == 0))
            | ((bus.awaddr == kept.addr) & (bus.awlen + 1 == kept.beats)),
            "bursts are asked for once, in order",
        )
        self.always(
            m,
            ~(followed & self.sent & ~sent & (bursts == 0))
            | (bus.wlast == (beats + 1 == kept.beats)),
            "WLAST comes with a burst's last beat, and only there",
        )
        self.always(m, ~bus.wvalid | (self.unsent != 0), "no beat without a burst")
        if not self.hints:
            return
        level, fifo = self.inside(block, "lengths").level, ("lengths", "fifo")
        produce, consume = (self.inside(block, *fifo, name) for name in ("produce", "consume"))
        self.always(m, self.unsent == level, "inside: bursts to send")
        self.always(m, level <= BURSTS_UNSENT, "inside: bursts to send, at most")
        self.always(m, produce == (consume + level)[: len(produce)], "inside: a queue's ends")
        self.always(m, beats == self.inside(block, "sent"), "inside: beats sent")
        self.always(m, (level != 0) | (beats == 0), "inside: no burst, no beats")
        place = (consume + bursts)[: len(consume)]
        self.always(
            m,
            ~(followed & ~sent)
            | (
                (bursts < level)
                & (self.stored(m, block, *fifo, "storage", addr=place) == kept.beats)
                & (kept.beats != 0)
                & ((bursts != 0) | (beats < kept.beats))
            ),
            "inside: the burst has its place among those to send",
        )
        out, spare = (self.inside(block, "address", name) for name in ("out", "spare"))
        self.always(
            m,
            ~(followed & ~asked)
            | ((addresses < self.unasked) & (Mux(addresses == 0, out, spare) == kept.as_value())),
            "inside: the burst has its place among the addresses",
        )
        self.always(m, followed | ~(asked | sent), "inside: followed first")


class Answers(Writes):
    """One transfer, any, is followed: the responses that it waits for."""

    def rules(self, m: Module) -> None:
        dut, block = self.dut, self.block
        self.assume(m, ~dut.bus.bvalid | (self.unanswered != 0))
        level = self.level
        ends = self.noted & self.noted_last
        follows = ends & self.free("follow_transfer")
        followed, owed, ahead = Signal(), Signal.like(self.unanswered), Signal.like(self.running)
        reported = Signal()
        with m.If(follows & ~followed):
            m.d.sync += [
                followed.eq(1),
                owed.eq(self.unanswered + 1 - self.answered),
                ahead.eq(level - dut.done),
            ]
        with m.Elif(followed & ~reported):
            m.d.sync += owed.eq(owed - (self.answered & (owed != 0)))
            with m.If(dut.done):
                m.d.sync += [ahead.eq(ahead - 1), reported.eq(ahead == 0)]
        waits = followed & ~reported & (ahead == 0)
        self.always(m, ~(waits & dut.done) | (owed == 0), "done only when all is answered")
        self.always(m, ~(waits & (owed == 0)) | dut.done, "done as soon as all is answered")
        if not self.hints:
            return
        fifo = ("ends", "fifo")
        produce, consume = (self.inside(block, *fifo, name) for name in ("produce", "consume"))
        asked_count, acknowledged = (
            self.inside(block, f"_acknowledge.{name}") for name in ("asked_count", "acknowledged")
        )
        self.always(m, produce == (consume + level)[: len(produce)], "inside: the other's ends")
        self.always(
            m, (asked_count - acknowledged)[:4] == self.unanswered, "inside: bursts by number"
        )
        # By place in the queue: the responses that the transfer there waits for.
        owes = []
        for place in range(IN_FLIGHT):
            number = self.stored(m, block, *fifo, "storage", addr=C(place))
            owe = Signal(4, name=f"owe_{place}")
            m.d.comb += owe.eq(number - acknowledged)
            owes.append(owe)
        for place, owe in enumerate(owes):
            turn = (C(place, len(consume)) - consume)[: len(consume)]
            later = owes[(place + 1) % IN_FLIGHT]
            self.always(m, (turn >= level) | (owe <= self.unanswered), "inside: owed, at most")
            self.always(m, (turn + 1 >= level) | (owe < later), "inside: owed, in order")
        place = Signal.like(produce)
        with m.If(follows & ~followed):
            m.d.sync += place.eq(produce)
        self.always(
            m,
            ~(followed & ~reported)
            | (
                (ahead < level)
                & (place == (consume + ahead)[: len(consume)])
                & (Array(owes)[place] == owed)
            ),
            "inside: the transfer has its place",
        )
        self.always(m, followed | ~reported, "inside: followed before it is reported")


@pytest.mark.parametrize(
    "name",
    # `tiny` takes more than a minute, and differs from `axi3` in the longest burst alone.
    [pytest.param(name, marks=pytest.mark.full) if name == "tiny" else name for name in CONFIGS],
)
def test_writes_are_legal(tmp_path, name):
    config = CONFIGS[name]
    prove(WritesLegally(StoreEngine(config), config), tmp_path, depth=2, induction=True)


NARROW = {
    "Queue(16, IN_FLIGHT)": "Queue(4, IN_FLIGHT)",
    "failed = Signal(16), Signal(16), Signal()": "failed = Signal(4), Signal(4), Signal()",
}
"""Bursts are numbered modulo 16 instead of 2**16."""


@pytest.fixture
def few(monkeypatch):
    """Two transfers and 4 bursts in flight, instead of 8 and 64."""
    for module in ("vta.hw.transfer.store_engine", __name__):
        monkeypatch.setattr(f"{module}.IN_FLIGHT", 2)
        monkeypatch.setattr(f"{module}.BURSTS_IN_FLIGHT", 4)


def answers(faults=None, **options):
    config = CONFIGS["axi3"]
    return Answers(planted(StoreEngine, {**NARROW, **(faults or {})})(config), config, **options)


def test_transfers_are_done_when_answered(tmp_path, few):
    prove(answers(), tmp_path, depth=2, induction=True)


@pytest.mark.full
@pytest.mark.parametrize(
    ("old", "new", "property"),
    [
        ("last = sent + 1 == lengths.o.payload", "last = sent == lengths.o.payload", "WLAST"),
        (
            "eq(beats.o.valid & lengths.o.valid)",
            "eq(beats.o.valid & ~self.stop)",
            "no beat without a burst",
        ),
        (
            "lengths.o.valid),\n            beats",
            "lengths.o.valid & ~self.stop),\n            beats",
            "a beat stays",
        ),
        ("(in_flight == 0) & address.empty", "address.empty", "it is quiet only when"),
        ("(in_flight != BURSTS_IN_FLIGHT)", "1", "than may"),
        ("address.i.ready & lengths.i.ready", "lengths.i.ready", "asked for once, in order"),
        ("(address.o.payload.beats - 1)", "address.o.payload.beats", "asked for once, in order"),
        ("address.o.valid),", "address.o.valid & ~self.stop),", "an address stays"),
        ("lengths.i.valid.eq(asked)", "lengths.i.valid.eq(1)", "WLAST"),
    ],
)
def test_writes_with_a_fault(tmp_path, few, old, new, property):
    config = CONFIGS["axi3"]
    proof = WritesLegally(planted(StoreEngine, {old: new})(config), config, hints=False)
    assert property in fails(proof, tmp_path, depth=11)


@pytest.mark.full
@pytest.mark.parametrize(
    ("old", "new", "property"),
    [
        ("(ends.o.payload == acknowledged)", "1", "done only when"),
        ("ends.i.payload.eq(asked_count + 1)", "ends.i.payload.eq(asked_count)", "done only when"),
        ("asked_count.eq(asked_count + asked)", "asked_count.eq(asked_count + last)", "done"),
        ("self.done.eq(finished)", "self.done.eq(finished & ~asked)", "done as soon as"),
    ],
)
def test_answers_with_a_fault(tmp_path, few, old, new, property):
    assert property in fails(answers({old: new}, hints=False), tmp_path, depth=9)
