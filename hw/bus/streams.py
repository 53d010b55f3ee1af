"""Queues between blocks: a FIFO with stream ports, and a slice that cuts long paths."""

from __future__ import annotations

from typing import Any

from amaranth import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from vta.hw.bus.block_memory import block_memory

__all__ = ["Queue", "SkidBuffer", "level_flags"]

DISTRIBUTED = 16
"""The deepest queue that is made of distributed memory."""


def level_flags(
    m: Module, level: Signal, depth: int, goes_in: Value, goes_out: Value
) -> tuple[Signal, Signal]:
    """Whether `level` is not 0, and not `depth`: registers, because much depends on them.

    `level` grows by one in a cycle with `goes_in`, and shrinks by one in a cycle with `goes_out`.
    """
    holds, has_room = Signal(), Signal(init=1)
    with m.If(goes_in & ~goes_out):
        m.d.sync += [holds.eq(1), has_room.eq(level != depth - 1)]
    with m.Elif(goes_out & ~goes_in):
        m.d.sync += [holds.eq(level != 1), has_room.eq(1)]
    # One assertion for all: there are many levels, and each assertion takes time in simulation.
    in_range = level <= depth if depth < (1 << len(level)) - 1 else Const(1)
    m.d.sync += Assert(
        Cat(in_range, holds, has_room) == Cat(1, level != 0, level < depth),
        "a level must be at most the depth, and its flags must say if it is above 0 and below that",
    )
    return holds, has_room


class Queue(wiring.Component):
    """A FIFO.

    Parameters
    ----------
    shape : Any
        Of an item.
    depth : int
        Items it holds. Up to 16 it is made of distributed memory and an item comes out the cycle
        after it went in; deeper ones are block RAM and take two cycles.

    Members
    -------
    i : In(stream of shape)
    o : Out(stream of shape)
    level : Out(range(depth + 1))
        Items inside.
    """

    def __init__(self, shape: Any, depth: int) -> None:
        self._shape, self._depth = shape, depth
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "level": Out(range(depth + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self._depth <= DISTRIBUTED:
            self._use_distributed_memory(m)
        else:
            self._use_block_memory(m)
        return m

    def _use_distributed_memory(self, m: Module) -> None:
        """Amaranth's FIFO, whose item is read in the cycle in which it is taken."""
        m.submodules.fifo = inner = fifo.SyncFIFO(
            width=Shape.cast(self._shape).width, depth=self._depth
        )
        m.d.comb += [
            inner.w_data.eq(Value.cast(self.i.payload)),
            inner.w_en.eq(self.i.valid),
            Value.cast(self.o.payload).eq(inner.r_data),
            inner.r_en.eq(self.o.ready),
            self.level.eq(inner.level),
        ]
        goes_in, goes_out = self.i.valid & self.i.ready, self.o.ready & self.o.valid
        holds, has_room = level_flags(m, self.level, self._depth, goes_in, goes_out)
        m.d.comb += [self.o.valid.eq(holds), self.i.ready.eq(has_room)]

    def _use_block_memory(self, m: Module) -> None:
        """A register behind the memory holds the next item, so that memory has a cycle to answer.

        `o.ready` may be late in its cycle: what depends on it are enables.
        """
        depth = self._depth - 1
        shape = Shape.cast(self._shape).width
        m.submodules.storage = storage = block_memory(shape=shape, depth=depth)
        write, read = storage.write_port(), storage.read_port()
        stored, out_valid = Signal(range(depth + 1)), Signal()
        goes_in, fetches = self.i.valid & self.i.ready, Signal()
        holds, has_room = level_flags(m, stored, depth, goes_in, fetches)
        m.d.comb += [
            fetches.eq(holds & (~out_valid | self.o.ready)),
            self.i.ready.eq(has_room),
            self.o.valid.eq(out_valid),
            self.level.eq(stored + out_valid),
            write.en.eq(goes_in),
            write.data.eq(Value.cast(self.i.payload)),
            read.en.eq(fetches),
            Value.cast(self.o.payload).eq(read.data),
        ]
        with m.If(goes_in != fetches):
            m.d.sync += stored.eq(Mux(goes_in, stored + 1, stored - 1))
        with m.If(~out_valid | self.o.ready):
            m.d.sync += out_valid.eq(holds)
        for port, moves in ((write, goes_in), (read, fetches)):
            with m.If(moves):
                m.d.sync += port.addr.eq(Mux(port.addr == depth - 1, 0, port.addr + 1))


class SkidBuffer(wiring.Component):
    """A slice that registers payload, valid and ready, at full rate and one cycle of latency.

    Neither side sees a combinational path through it: what arrives in the cycle in which the
    output stalls is kept in a second register.

    Members
    -------
    i : In(stream of shape)
    o : Out(stream of shape)
    empty : Out(1)
        Holds nothing.
    """

    def __init__(self, shape: Any) -> None:
        self._shape = shape
        super().__init__(
            {"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)), "empty": Out(1)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = Shape.cast(self._shape).width
        spare = Signal(width, reset_less=True)
        spare_full = Signal()
        out = Signal(width, reset_less=True)
        out_full = Signal()

        m.d.comb += [
            self.i.ready.eq(~spare_full),
            Value.cast(self.o.payload).eq(out),
            self.o.valid.eq(out_full),
            self.empty.eq(~spare_full & ~out_full),
        ]
        with m.If(self.o.ready | ~out_full):
            m.d.sync += [
                out.eq(Mux(spare_full, spare, Value.cast(self.i.payload))),
                out_full.eq(spare_full | self.i.valid),
                spare_full.eq(0),
            ]
        with m.Elif(self.i.valid & self.i.ready):
            m.d.sync += [spare.eq(Value.cast(self.i.payload)), spare_full.eq(1)]
        return m
