"""The engine behind LOAD: beats from memory into a buffer, and the padding around them."""

from __future__ import annotations

from typing import Any

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from vta.config import Config
from vta.hw.bus.burst_splitter import BurstSplitter
from vta.hw.bus.payloads import COUNT_BITS, transfer_layout
from vta.hw.bus.read_dma import reader_ports
from vta.hw.bus.streams import Queue
from vta.isa import MEMORY_TYPE_BITS, SIZE_BITS, SRAM_BITS, MemoryType

__all__ = ["JOBS", "LoadEngine", "write_layout"]

JOBS = 4
"""Transfers that a loader keeps in flight, so that latency is paid once for a row of them."""


def write_layout(config: Config, kinds: tuple[MemoryType, ...]) -> data.StructLayout:
    """One write into a buffer.

    A tile is written in lanes of a bus width (a narrower tile has one lane, at bit 0). `lanes`
    says which of them get `data`; `last` marks a tile's last write. A write with `zero` is a whole
    tile of zeros, one with `least` (encoding 0.0.3) a whole tile of the least number of its memory:
    their `lanes` and `data` mean nothing. So data need not wait until it is known which it is.
    """
    lanes = max(1, *(config.elem_bytes(kind) // config.bus_bytes for kind in kinds))
    return data.StructLayout(
        {
            "kind": MEMORY_TYPE_BITS,
            "addr": SRAM_BITS,
            "zero": 1,
            **({"least": 1} if config.requantises else {}),
            "lanes": lanes,
            "last": 1,
            "data": config.bus_width,
        }
    )


class LoadEngine(wiring.Component):
    """Executes checked LOADs in order, several of them in flight.

    Data and padding are written by two walkers that share the write port. Data goes first; the
    zeros take the cycles in which memory delivers nothing, or in which a tile still grows, so
    that padding is mostly free.

    Parameters
    ----------
    config : Config
    kinds : tuple of MemoryType
        Memory types that it loads.

    Members
    -------
    job : In(stream of transfer_layout)
    burst, beat
        To and from the read DMA, as in `reader_ports`.
    write : Out(write_layout)
    write_en : Out(1)
        `write` happens in this cycle.
    room : In(1)
        Nothing is written in a cycle in which this is low, and the bus waits. It may only be low
        while the receiver of the writes makes progress without the bus.
    done : Out(1)
        Pulses when a job's last write has been taken, in the order of `job`.
    error : Out(1)
        With `done`: a beat of this job had an error response.
    discard : In(1)
        Takes beats but writes nothing, once the module has stopped on an error.
    waiting : Out(1)
        A job is in flight and memory delivers nothing for it.

    Timing: one beat a cycle, or one tile a cycle where a tile is narrower than a beat; one cycle
    between two jobs.
    """

    def __init__(self, config: Config, kinds: tuple[MemoryType, ...]) -> None:
        self._config, self._kinds = config, kinds
        super().__init__(
            {
                "job": In(stream.Signature(transfer_layout(config))),
                **reader_ports(config),
                "write": Out(write_layout(config, kinds)),
                "write_en": Out(1),
                "room": In(1),
                "done": Out(1),
                "error": Out(1),
                "discard": In(1),
                "waiting": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.requests = requests = BurstSplitter(config, self._kinds)
        # What matters about a job's padding is known before it goes into the queue.
        queued = data.StructLayout(
            {"transfer": transfer_layout(config), "has_lead": 1, "has_gaps": 1, "has_tail": 1}
        )
        m.submodules.jobs = jobs = Queue(queued, JOBS)
        wiring.connect(m, requests.burst, wiring.flipped(self.burst))

        # A job goes to both halves at once; one that moves nothing makes no requests.
        moves = self.job.payload.moves
        m.d.sync += Assert(
            ~self.job.valid | (moves == (self.job.payload.runs != 0)),
            "a transfer must move something if, and only if, it has runs",
        )
        m.d.comb += [
            requests.job.payload.eq(self.job.payload),
            jobs.i.payload.transfer.eq(self.job.payload),
            jobs.i.payload.has_lead.eq(self.job.payload.lead != 0),
            jobs.i.payload.has_gaps.eq((self.job.payload.gap != 0) & (self.job.payload.rows > 1)),
            jobs.i.payload.has_tail.eq(self.job.payload.tail != 0),
            requests.job.valid.eq(self.job.valid & moves & jobs.i.ready),
            jobs.i.valid.eq(self.job.valid & (requests.job.ready | ~moves)),
            self.job.ready.eq(jobs.i.ready & (requests.job.ready | ~moves)),
        ]

        new, job = jobs.o.payload.transfer, Signal(transfer_layout(config))
        busy, failed = Signal(), Signal()
        data_left, pads_left = Signal(), Signal()
        start = Signal()
        finish = busy & ~data_left & ~pads_left
        m.d.comb += [
            start.eq(jobs.o.valid & (~busy | finish)),
            jobs.o.ready.eq(~busy | finish),
            self.done.eq(finish),
            self.error.eq(failed),
            self.waiting.eq(busy & data_left & ~self.beat.valid),
        ]
        with m.If(start):
            m.d.sync += [job.eq(new), busy.eq(1), failed.eq(0)]
        with m.Elif(finish):
            m.d.sync += busy.eq(0)

        data_write, pad_write = Signal(), Signal()
        room = self.room | self.discard
        m.d.comb += [
            self.write.kind.eq(job.kind),
            self.write_en.eq((data_write | pad_write) & self.room & ~self.discard),
        ]
        self._walk_data(m, new, job, start, data_left, data_write, failed, room)
        self._walk_padding(m, jobs.o.payload, job, start, pads_left, data_write, pad_write, room)
        return m

    def _walk_data(
        self,
        m: Module,
        new: Any,
        job: Any,
        start: Any,
        data_left: Any,
        data_write: Any,
        failed: Any,
        room: Any,
    ) -> None:
        """Beats to tiles, row by row; sets `data_write` and the data half of `write`."""
        config, write = self._config, self.write
        lanes = len(write.lanes)
        addr = Signal(COUNT_BITS)
        cols_left, rows_left = Signal(SIZE_BITS), Signal(SIZE_BITS)
        # The lane that the next beat goes to, one-hot.
        lane = Signal(lanes, init=1)
        tile_done, beat_done = Signal(), Signal()

        m.d.comb += [
            data_write.eq(data_left & self.beat.valid),
            write.lanes.eq(lane),
            write.data.eq(self.beat.payload.data),
        ]
        with m.If(data_write):
            m.d.comb += [write.addr.eq(addr), write.last.eq(tile_done)]
        taken = data_write & room
        m.d.comb += self.beat.ready.eq(data_left & beat_done & room)

        for kind in self._kinds:
            elem = config.elem_bytes(kind)
            is_kind = Signal(name=f"is_{kind.name.lower()}")
            with m.If(start):
                m.d.sync += is_kind.eq(new.kind == kind)
            if elem >= config.bus_bytes:
                with m.If(is_kind):
                    m.d.comb += [tile_done.eq(lane[elem // config.bus_bytes - 1]), beat_done.eq(1)]
            else:
                place, last = self._place(m, elem, new, job, start, taken & is_kind)
                with m.If(is_kind):
                    m.d.comb += [
                        tile_done.eq(1),
                        beat_done.eq(last),
                        write.data.eq(self.beat.payload.data.word_select(place, elem * 8)),
                    ]

        with m.If(taken):
            m.d.sync += [
                lane.eq(Mux(tile_done, 1, lane << 1)),
                failed.eq(failed | self.beat.payload.error),
            ]
            with m.If(tile_done):
                m.d.sync += [addr.eq(addr + 1), cols_left.eq(cols_left - 1)]
                with m.If(cols_left == 1):
                    m.d.sync += [
                        addr.eq(addr + 1 + job.gap),
                        cols_left.eq(job.cols),
                        rows_left.eq(rows_left - 1),
                        data_left.eq(rows_left != 1),
                    ]
        with m.If(start):
            m.d.sync += [
                addr.eq(new.data_addr),
                cols_left.eq(new.cols),
                rows_left.eq(new.rows),
                data_left.eq(new.moves),
                lane.eq(1),
            ]

    def _place(
        self, m: Module, elem: Any, new: Any, job: Any, start: Any, taken: Any
    ) -> tuple[Value, Value]:
        """For several tiles in a beat: where the next one lies, and whether it is the last.

        A run of elements in DRAM starts in a fresh beat, at whatever place its address says.
        """
        per_beat = self._config.bus_bytes // elem
        log_elem = elem.bit_length() - 1
        log_bus = self._config.bus_bytes.bit_length() - 1
        place = Signal(range(per_beat), name=f"place_{elem}")
        run_place = Signal(range(per_beat), name=f"run_place_{elem}")
        run_left = Signal(COUNT_BITS, name=f"run_left_{elem}")
        # Whether the next element is the run's last one: a register, because much depends on it.
        run_done = Signal(name=f"run_done_{elem}")
        first = new.addr[log_elem:log_bus]
        with m.If(start):
            m.d.sync += [
                place.eq(first),
                run_place.eq(first + new.run_stride),
                run_left.eq(new.run_elems),
                run_done.eq(new.run_elems == 1),
            ]
        with m.Elif(taken):
            m.d.sync += [place.eq(place + 1), run_left.eq(run_left - 1), run_done.eq(run_left == 2)]
            with m.If(run_done):
                m.d.sync += [
                    place.eq(run_place),
                    run_place.eq(run_place + job.run_stride),
                    run_left.eq(job.run_elems),
                    run_done.eq(job.run_elems == 1),
                ]
        return place, run_done | (place == per_beat - 1)

    def _walk_padding(
        self,
        m: Module,
        queued: Any,
        job: Any,
        start: Any,
        pads_left: Any,
        data_write: Any,
        pad_write: Any,
        room: Any,
    ) -> None:
        """Padding, a tile a cycle: before the rows, between them, and after them."""
        write, new = self.write, queued.transfer
        addr, left, gaps_left = Signal(COUNT_BITS), Signal(COUNT_BITS), Signal(SIZE_BITS)
        tail_left, least = Signal(), Signal()

        m.d.comb += pad_write.eq(pads_left & ~data_write)
        with m.If(pad_write):
            m.d.comb += [write.addr.eq(addr), write.zero.eq(1), write.last.eq(1)]
        # Like `pads_left`, but only for padding with the least number.
        if self._config.requantises:
            with m.If(least & ~data_write):
                m.d.comb += [write.zero.eq(0), write.least.eq(1)]

        with m.If(start):
            m.d.sync += [
                gaps_left.eq(Mux(queued.has_gaps, new.rows - 1, 0)),
                tail_left.eq(queued.has_tail),
                pads_left.eq(1),
            ]
            has_pads = queued.has_lead | queued.has_gaps | queued.has_tail
            if self._config.requantises:
                m.d.sync += least.eq(has_pads & new.pad_min & (new.kind != MemoryType.UOP))
            with m.If(queued.has_lead):
                m.d.sync += [addr.eq(new.sram_base), left.eq(new.lead)]
            with m.Elif(queued.has_gaps):
                m.d.sync += [
                    addr.eq(new.data_addr + new.cols),
                    left.eq(new.gap),
                    gaps_left.eq(new.rows - 2),
                ]
            with m.Else():
                m.d.sync += [
                    addr.eq(new.tail_addr),
                    left.eq(new.tail),
                    tail_left.eq(0),
                    pads_left.eq(queued.has_tail),
                ]
        with m.Elif(pad_write & room):
            m.d.sync += [addr.eq(addr + 1), left.eq(left - 1)]
            with m.If(left == 1):
                # After `lead` the first gap starts where the first row ends, as after every gap.
                with m.If(gaps_left != 0):
                    m.d.sync += [
                        addr.eq(addr + 1 + job.cols),
                        left.eq(job.gap),
                        gaps_left.eq(gaps_left - 1),
                    ]
                with m.Elif(tail_left):
                    m.d.sync += [addr.eq(job.tail_addr), left.eq(job.tail), tail_left.eq(0)]
                with m.Else():
                    m.d.sync += [pads_left.eq(0), least.eq(0)]
