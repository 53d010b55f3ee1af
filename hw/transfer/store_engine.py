"""The engine behind STORE: tiles of the OUT buffer, packed into beats, written to memory."""

from __future__ import annotations

from typing import Any

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from vta.config import Config
from vta.hw.bus.axi import Burst, Response
from vta.hw.bus.burst_splitter import BurstSplitter
from vta.hw.bus.payloads import COUNT_BITS, burst_beats, burst_layout, transfer_layout
from vta.hw.bus.read_dma import bus_signature
from vta.hw.bus.streams import Queue, SkidBuffer
from vta.hw.issue.sequencer import IN_FLIGHT
from vta.hw.transfer.load_engine import JOBS
from vta.isa import MemoryType

__all__ = ["StoreEngine"]

BURSTS_UNSENT = 16
"""Bursts whose data is outstanding."""

BURSTS_IN_FLIGHT = 64
"""Bursts whose response is outstanding."""


class StoreEngine(wiring.Component):
    """Executes checked STOREs in order, several of them in flight.

    Parameters
    ----------
    config : Config

    Members
    -------
    job : In(stream of transfer_layout)
        A transfer that moves something.
    bus : Out(AxiSignature)
        The write channels are driven.
    read_en, read_addr, read_data
        The port of the OUT buffer; data comes in the cycle after the address and holds.
    stop : In(1)
        No new bursts.
    done : Out(1)
        Pulses when all of a job's bursts have been acknowledged, in the order of `job`.
    error : Out(1)
        With `done`: one of them was not OKAY.
    quiet : Out(1)
        No burst is outstanding or about to be asked for.
    moved : Out(1)
        A handshake took place on a write channel.
    waiting : Out(1)
        For memory to take data or to acknowledge it.

    Timing: one beat a cycle, or one tile a cycle where a tile is narrower than a beat.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._tile_bits = 8 * config.out_elem_bytes
        super().__init__(
            {
                "job": In(stream.Signature(transfer_layout(config))),
                "bus": Out(bus_signature(config)),
                "read_en": Out(1),
                "read_addr": Out(range(config.out_depth)),
                "read_data": In(self._tile_bits),
                "stop": In(1),
                "done": Out(1),
                "error": Out(1),
                "quiet": Out(1),
                "moved": Out(1),
                "waiting": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, bus = self._config, self.bus
        log_chunk = (burst_beats(config) - 1).bit_length()
        m.submodules.requests = requests = BurstSplitter(config, (MemoryType.OUT,))
        m.submodules.jobs = jobs = Queue(transfer_layout(config), JOBS)
        m.submodules.tiles = tiles = Queue(self._tile_bits, 4)
        beat = data.StructLayout({"data": config.bus_width, "strb": config.bus_bytes})
        m.submodules.beats = beats = SkidBuffer(beat)
        m.submodules.address = address = SkidBuffer(burst_layout(config))
        m.submodules.lengths = lengths = Queue(range(burst_beats(config) + 1), BURSTS_UNSENT)

        m.d.comb += [
            requests.job.payload.eq(self.job.payload),
            jobs.i.payload.eq(self.job.payload),
            requests.job.valid.eq(self.job.valid & jobs.i.ready),
            jobs.i.valid.eq(self.job.valid & requests.job.ready),
            self.job.ready.eq(jobs.i.ready & requests.job.ready),
        ]

        # Addresses: each burst is noted once for its data and once for its job's count.
        asked = requests.burst.valid & requests.burst.ready
        in_flight = Signal(range(BURSTS_IN_FLIGHT + 1))
        m.d.comb += [
            requests.burst.ready.eq(
                address.i.ready & lengths.i.ready & ~self.stop & (in_flight != BURSTS_IN_FLIGHT)
            ),
            address.i.valid.eq(asked),
            address.i.payload.eq(requests.burst.payload),
            lengths.i.valid.eq(asked),
            lengths.i.payload.eq(requests.burst.payload.beats),
            bus.awaddr.eq(address.o.payload.addr),
            bus.awlen.eq((address.o.payload.beats - 1)[:log_chunk]),
            bus.awsize.eq(config.bus_bytes.bit_length() - 1),
            bus.awburst.eq(Burst.INCR),
            bus.awcache.eq(0b0011),
            bus.awvalid.eq(address.o.valid),
            address.o.ready.eq(bus.awready),
        ]

        # Data: a burst's beats, the last of them marked.
        sent = Signal(range(burst_beats(config) + 1))
        last = sent + 1 == lengths.o.payload
        m.d.comb += [
            bus.wdata.eq(beats.o.payload.data),
            bus.wstrb.eq(beats.o.payload.strb),
            bus.wlast.eq(last),
            bus.wvalid.eq(beats.o.valid & lengths.o.valid),
            beats.o.ready.eq(bus.wready & lengths.o.valid),
            lengths.o.ready.eq(bus.wvalid & bus.wready & last),
        ]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += sent.eq(Mux(last, 0, sent + 1))

        self._acknowledge(m, asked, requests.last, in_flight, address)
        self._read(m, jobs.o, tiles)
        if config.out_elem_bytes >= config.bus_bytes:
            self._split(m, tiles, beats)
        else:
            self._pack(m, jobs.o, tiles, beats)
        return m

    def _acknowledge(self, m: Module, asked: Any, last: Any, in_flight: Any, address: Any) -> None:
        """Counts each job's bursts, and reports it when as many were acknowledged."""
        bus = self.bus
        m.submodules.ends = ends = Queue(16, IN_FLIGHT)
        # Numbers of bursts since reset, modulo 2**16: a job ends at the number after its last.
        asked_count, acknowledged, failed = Signal(16), Signal(16), Signal()
        finished = ends.o.valid & (ends.o.payload == acknowledged)
        m.d.sync += asked_count.eq(asked_count + asked)
        # A job's number is known when its last burst is asked for.
        m.d.comb += [
            ends.i.valid.eq(asked & last),
            ends.i.payload.eq(asked_count + 1),
            ends.o.ready.eq(finished),
            self.done.eq(finished),
            self.error.eq(failed),
            bus.bready.eq(1),
            self.waiting.eq((in_flight != 0) & (~bus.wvalid | ~bus.wready)),
            self.quiet.eq((in_flight == 0) & address.empty & ~asked),
            self.moved.eq(
                (bus.awvalid & bus.awready) | (bus.wvalid & bus.wready) | (bus.bvalid & bus.bready)
            ),
        ]
        answered = bus.bvalid & bus.bready
        m.d.sync += [
            acknowledged.eq(acknowledged + answered),
            in_flight.eq(in_flight + asked - answered),
            Assert(~answered | (in_flight != 0), "a response came for no burst"),
            Assert(~ends.i.valid | ends.i.ready, "more jobs are in flight than may be"),
        ]
        # The next job's responses may follow at once: an error is kept until its job is reported.
        with m.If(answered & (bus.bresp != Response.OKAY)):
            m.d.sync += failed.eq(1)
        with m.Elif(finished):
            m.d.sync += failed.eq(0)

    def _read(self, m: Module, jobs: Any, tiles: Any) -> None:
        """Reads a job's tiles one after the other into `tiles`, as far as there is room."""
        active = Signal()
        addr, left = Signal(COUNT_BITS), Signal(COUNT_BITS)
        arrives = Signal()
        # The tile that is being read needs room when it arrives.
        room = tiles.level + arrives < 4
        m.d.comb += [
            jobs.ready.eq(~active | (room & (left == 1))),
            self.read_en.eq(active & room),
            self.read_addr.eq(addr),
            tiles.i.valid.eq(arrives),
            tiles.i.payload.eq(self.read_data),
        ]
        m.d.sync += arrives.eq(self.read_en)
        with m.If(self.read_en):
            m.d.sync += [addr.eq(addr + 1), left.eq(left - 1), active.eq(left != 1)]
        with m.If(jobs.valid & jobs.ready):
            m.d.sync += [active.eq(1), addr.eq(jobs.payload.sram_base), left.eq(jobs.payload.moved)]

    def _split(self, m: Module, tiles: Any, beats: Any) -> None:
        """A tile is one or several beats."""
        config = self._config
        parts = config.out_elem_bytes // config.bus_bytes
        part = Signal(range(max(parts, 2)))
        m.d.comb += [
            beats.i.valid.eq(tiles.o.valid),
            beats.i.payload.data.eq(tiles.o.payload.word_select(part, config.bus_width)),
            beats.i.payload.strb.eq(~0),
            tiles.o.ready.eq(beats.i.ready & (part == parts - 1)),
        ]
        with m.If(beats.i.valid & beats.i.ready):
            m.d.sync += part.eq(Mux(part == parts - 1, 0, part + 1))

    def _pack(self, m: Module, jobs: Any, tiles: Any, beats: Any) -> None:
        """A beat is several tiles; it is sent when it is full or its run ends."""
        config = self._config
        elem = config.out_elem_bytes
        per_beat = config.bus_bytes // elem
        log_elem, log_bus = elem.bit_length() - 1, config.bus_bytes.bit_length() - 1
        job = Signal(transfer_layout(config))
        packing = Signal()
        place, run_place = Signal(range(per_beat)), Signal(range(per_beat))
        run_left, left = Signal(COUNT_BITS), Signal(COUNT_BITS)
        earlier = Signal.like(beats.i.payload)
        merged = Signal.like(beats.i.payload)
        run_done = run_left == 1
        sends = run_done | (place == per_beat - 1)

        # One job at a time: the next starts when the last tile of this one has been packed.
        m.d.comb += jobs.ready.eq(~packing)
        m.d.comb += merged.eq(earlier)
        with m.Switch(place):
            for number in range(per_beat):
                with m.Case(number):
                    m.d.comb += [
                        merged.data[number * elem * 8 : (number + 1) * elem * 8].eq(
                            tiles.o.payload
                        ),
                        merged.strb[number * elem : (number + 1) * elem].eq(~0),
                    ]
        m.d.comb += [
            beats.i.valid.eq(packing & tiles.o.valid & sends),
            beats.i.payload.eq(merged),
            tiles.o.ready.eq(packing & (~sends | beats.i.ready)),
        ]
        with m.If(tiles.o.valid & tiles.o.ready):
            m.d.sync += [
                place.eq(place + 1),
                run_left.eq(run_left - 1),
                left.eq(left - 1),
                packing.eq(left != 1),
                earlier.eq(merged),
            ]
            with m.If(sends):
                m.d.sync += earlier.strb.eq(0)
            with m.If(run_done):
                m.d.sync += [
                    place.eq(run_place),
                    run_place.eq(run_place + job.run_stride),
                    run_left.eq(job.run_elems),
                ]
        new = jobs.payload
        first = new.addr[log_elem:log_bus]
        with m.If(jobs.valid & jobs.ready):
            m.d.sync += [
                job.eq(new),
                packing.eq(1),
                place.eq(first),
                run_place.eq(first + new.run_stride),
                run_left.eq(new.run_elems),
                left.eq(new.moved),
                earlier.strb.eq(0),
            ]
