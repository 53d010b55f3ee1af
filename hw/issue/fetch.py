"""Fetch: reads the instruction stream and sends each instruction to its module's queue."""

from __future__ import annotations

from typing import Any

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from vta.config import Config
from vta.hw.bus.payloads import INDEX_BITS, QueuedInsn
from vta.hw.bus.read_dma import reader_ports
from vta.hw.bus.streams import Queue
from vta.isa import INSN_BYTES, Cause, Isa, MemoryType, Opcode

__all__ = ["Fetch"]

LOG_INSN_BYTES = INSN_BYTES.bit_length() - 1

BURST_INSNS = 8
"""Instructions in a burst: short, so that a burst of data waits little for it."""

AHEAD = 32
"""Instructions that are asked for ahead of dispatch."""

MODULES = ("load", "compute", "store")


class Fetch(wiring.Component):
    """Streams instructions from memory to the three queues, in order, until FINISH.

    Parameters
    ----------
    config : Config

    Members
    -------
    start : In(1)
        Begins a run; only while `over`.
    pointer : In(addr_width)
        Byte address of the first instruction, a multiple of 16. Constant during a run.
    count : In(32)
        Instructions in the stream, not 0. Constant during a run.
    burst, beat
        To and from the read DMA, as in `reader_ports`.
    load, compute, store : Out(stream of QueuedInsn)
    over : Out(1)
        Nothing more will be dispatched: FINISH or the end was reached, or an error stopped it.
    blocked : Out(1)
        The next instruction's queue is full.
    finished : Out(1)
        FINISH was dispatched.
    cause : Out(4)
        `MEMORY_RESPONSE` where instruction `dispatched` could not be read, else `NONE`.
    dispatched : Out(32)
        Instructions sent so far in this run.
    waiting : Out(1)
        For memory.
    quiet : Out(1)
        No burst is about to be requested, and what came after the end has been discarded.

    Timing: one instruction a cycle, or what the bus brings.

    Source: docs/isa.md, "Dispatch".
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "pointer": In(config.addr_width),
                "count": In(INDEX_BITS),
                **reader_ports(config),
                **{module: Out(stream.Signature(QueuedInsn)) for module in MODULES},
                "over": Out(1, init=1),
                "blocked": Out(1),
                "finished": Out(1),
                "cause": Out(4),
                "dispatched": Out(INDEX_BITS),
                "waiting": Out(1),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        item = data.StructLayout(
            {"insn": 8 * INSN_BYTES, "error": 1, "target": len(MODULES), "is_finish": 1}
        )
        m.submodules.ahead = ahead = Queue(item, AHEAD)
        active, reserved = Signal(), Signal(range(AHEAD + 1))
        asked, past_end = Signal(range(BURST_INSNS + 1)), Signal()
        self._request(m, active, reserved, asked, past_end)
        m.d.comb += [
            self.quiet.eq(~self.burst.valid & ~active & (ahead.level == 0)),
            self.waiting.eq(active & (ahead.level == 0)),
        ]
        self._receive(m, ahead.i)
        self._decode(m, ahead.i.payload)
        m.d.sync += Assert(
            ~ahead.i.valid | ahead.i.ready, "an instruction arrived while the queue was full"
        )

        # Dispatch.
        head, head_valid = ahead.o.payload, active & ahead.o.valid
        queues = [getattr(self, module) for module in MODULES]
        sends = Signal()
        has_room = (Cat(queue.ready for queue in queues) & head.target).any()
        m.d.comb += [
            sends.eq(head_valid & ~head.error & has_room),
            self.blocked.eq(head_valid & ~head.error & ~has_room),
            # What comes after the end of a run is discarded.
            ahead.o.ready.eq(sends | ~active),
        ]
        for number, queue in enumerate(queues):
            m.d.comb += [
                queue.valid.eq(head_valid & ~head.error & head.target[number]),
                queue.payload.insn.eq(head.insn),
                queue.payload.index.eq(self.dispatched),
            ]
        m.d.sync += reserved.eq(reserved + asked - sends)

        with m.If(sends):
            m.d.sync += self.dispatched.eq(self.dispatched + 1)
            with m.If(head.is_finish):
                m.d.sync += [self.finished.eq(1), self.over.eq(1), active.eq(0)]
            with m.Elif(self.dispatched == self.count - 1):
                m.d.sync += [self.over.eq(1), active.eq(0)]
        with m.Elif((head_valid & head.error) | (active & past_end & (reserved == 0))):
            m.d.sync += [self.cause.eq(Cause.MEMORY_RESPONSE), self.over.eq(1), active.eq(0)]
        with m.If(self.start):
            m.d.sync += [
                active.eq(1),
                self.over.eq(0),
                self.finished.eq(0),
                self.dispatched.eq(0),
                reserved.eq(0),
            ]
        return m

    def _request(self, m: Module, active: Any, reserved: Any, asked: Any, past_end: Any) -> None:
        """Bursts of up to `BURST_INSNS`, as long as the buffer has room for what they bring."""
        config = self._config
        slot_bits = config.addr_width - LOG_INSN_BYTES
        slot = Signal(slot_bits + 1)
        left = Signal(INDEX_BITS)
        to_chunk_end = Signal(range(BURST_INSNS + 1))
        insns = Signal(range(BURST_INSNS + 1))
        burst = self.burst
        m.d.comb += [
            past_end.eq(slot[-1] & (left != 0)),
            to_chunk_end.eq(BURST_INSNS - slot[: BURST_INSNS.bit_length() - 1]),
            insns.eq(Mux(left < to_chunk_end, left, to_chunk_end)),
            burst.payload.addr.eq(slot[:slot_bits] << LOG_INSN_BYTES),
        ]
        if config.bus_bytes <= INSN_BYTES:
            m.d.comb += burst.payload.beats.eq(insns * (INSN_BYTES // config.bus_bytes))
        else:
            per_beat = config.bus_bytes // INSN_BYTES
            log = per_beat.bit_length() - 1
            m.d.comb += [
                burst.payload.beats.eq((slot[:log] + insns + (per_beat - 1)) >> log),
                burst.payload.addr[: LOG_INSN_BYTES + log].eq(0),
            ]

        # Once high, `valid` must stay high until `ready`, whatever dispatch does meanwhile.
        pending = Signal()
        m.d.comb += [burst.valid.eq(pending), asked.eq(Mux(burst.valid & burst.ready, insns, 0))]
        room = reserved + BURST_INSNS <= AHEAD
        with m.If(burst.valid & burst.ready):
            m.d.sync += [slot.eq(slot + insns), left.eq(left - insns), pending.eq(0)]
        with m.Elif(~pending):
            m.d.sync += pending.eq(active & room & (left != 0) & ~slot[-1])
        with m.If(self.start):
            m.d.sync += [
                slot.eq(self.pointer >> LOG_INSN_BYTES),
                left.eq(self.count),
                pending.eq(0),
            ]

    def _decode(self, m: Module, item: Any) -> None:
        """Where an instruction goes. Worked out as it comes: sending is late in its cycle."""
        insn = Isa(self._config).mem.layout(item.insn)
        to_store = insn.opcode == Opcode.STORE
        to_load = (insn.opcode == Opcode.LOAD) & (
            (insn.memory_type == MemoryType.INP) | (insn.memory_type == MemoryType.WGT)
        )
        m.d.comb += [
            item.target.eq(Cat(to_load, ~to_load & ~to_store, to_store)),
            item.is_finish.eq(insn.opcode == Opcode.FINISH),
        ]

    def _receive(self, m: Module, out: Any) -> None:
        """Beats to instructions, one way or the other; there is always room (`reserved`)."""
        config, beat = self._config, self.beat
        if config.bus_bytes <= INSN_BYTES:
            parts = INSN_BYTES // config.bus_bytes
            part = Signal(range(max(parts, 2)))
            earlier = Signal((parts - 1) * config.bus_width)
            earlier_error = Signal()
            last = part == parts - 1
            m.d.comb += [
                beat.ready.eq(1),
                out.valid.eq(beat.valid & last),
                out.payload.insn.eq(Cat(earlier, beat.payload.data)),
                out.payload.error.eq(earlier_error | beat.payload.error),
            ]
            with m.If(beat.valid):
                m.d.sync += [
                    part.eq(Mux(last, 0, part + 1)),
                    earlier.eq(Cat(earlier, beat.payload.data)[config.bus_width :]),
                    earlier_error.eq(~last & (earlier_error | beat.payload.error)),
                ]
            with m.If(self.start):
                m.d.sync += [part.eq(0), earlier_error.eq(0)]
        else:
            per_beat = config.bus_bytes // INSN_BYTES
            place = Signal(range(per_beat))
            left = Signal(INDEX_BITS)
            m.d.comb += [
                beat.ready.eq((place == per_beat - 1) | (left == 1)),
                out.valid.eq(beat.valid),
                out.payload.insn.eq(beat.payload.data.word_select(place, 8 * INSN_BYTES)),
                out.payload.error.eq(beat.payload.error),
            ]
            with m.If(beat.valid):
                m.d.sync += [place.eq(place + 1), left.eq(left - 1)]
            with m.If(self.start):
                m.d.sync += [place.eq(self.pointer[LOG_INSN_BYTES:]), left.eq(self.count)]
