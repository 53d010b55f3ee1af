"""Queues between blocks: a FIFO with stream ports, and a slice that cuts long paths."""

from __future__ import annotations

from typing import Any

from amaranth import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Queue", "SkidBuffer"]


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
        width = Shape.cast(self._shape).width
        kind = fifo.SyncFIFO if self._depth <= 16 else fifo.SyncFIFOBuffered
        m.submodules.fifo = inner = kind(width=width, depth=self._depth)
        m.d.comb += [
            inner.w_data.eq(Value.cast(self.i.payload)),
            inner.w_en.eq(self.i.valid),
            Value.cast(self.o.payload).eq(inner.r_data),
            inner.r_en.eq(self.o.ready),
            self.level.eq(inner.level),
        ]
        if kind is fifo.SyncFIFO:
            self._keep_flags(m)
        else:
            m.d.comb += [self.o.valid.eq(inner.r_rdy), self.i.ready.eq(inner.w_rdy)]
        return m

    def _keep_flags(self, m: Module) -> None:
        """`o.valid` and `i.ready` are registers, because much depends on them."""
        holds, has_room = Signal(), Signal(init=1)
        goes_in, goes_out = self.i.valid & has_room, self.o.ready & holds
        with m.If(goes_in & ~goes_out):
            m.d.sync += [holds.eq(1), has_room.eq(self.level != self._depth - 1)]
        with m.Elif(goes_out & ~goes_in):
            m.d.sync += [holds.eq(self.level != 1), has_room.eq(1)]
        m.d.comb += [self.o.valid.eq(holds), self.i.ready.eq(has_room)]
        m.d.sync += [
            Assert(holds == (self.level != 0), "a queue does not know that it is empty"),
            Assert(
                has_room == (self.level != self._depth), "a queue does not know that it is full"
            ),
        ]


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
