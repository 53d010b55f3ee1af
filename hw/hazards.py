"""Which instruction of the compute module must wait for which that is under way."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from vta.config import Config
from vta.hw.sequencer import IN_FLIGHT

__all__ = ["Hazards"]


class Hazards(wiring.Component):
    """Keeps the strictly sequential meaning of ISA.md while LOADs and loops overlap.

    UOP is compared by range: a LOAD of UOP waits for loops that still read micro-ops where it
    writes, a loop for LOADs that still write where it reads. ACC is not: where a loop will write
    depends on its micro-ops, so a LOAD of ACC waits until every iteration before it is in the
    execution pipeline, and a loop until every tile of the LOADs before it is. The pipeline itself
    keeps order.

    Members
    -------
    load_uop, load_acc, loop : In(1)
        What the instruction at the head is.
    issue : In(1)
        It is issued in this cycle.
    load_begin, load_end : In
        The range of SRAM elements that it loads.
    loop_begin, loop_end : In
        The range of micro-ops that it reads.
    loops_busy : In(1)
        A loop before it still has iterations that are not in the execution pipeline.
    load_uop_done, load_acc_done : In(1)
        A LOAD is through, or all in the execution pipeline.
    hinders : Out(1)
        The head must wait.
    """

    def __init__(self, config: Config) -> None:
        bits = config.log_uop_depth + 1
        super().__init__({
            "load_uop": In(1),
            "load_acc": In(1),
            "loop": In(1),
            "issue": In(1),
            "load_begin": In(17),
            "load_end": In(17),
            "loop_begin": In(bits),
            "loop_end": In(bits),
            "loops_busy": In(1),
            "load_uop_done": In(1),
            "load_acc_done": In(1),
            "hinders": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        uop_loads, acc_loads = Signal(range(IN_FLIGHT + 1)), Signal(range(IN_FLIGHT + 1))
        m.d.sync += [
            uop_loads.eq(uop_loads + (self.issue & self.load_uop) - self.load_uop_done),
            acc_loads.eq(acc_loads + (self.issue & self.load_acc) - self.load_acc_done),
        ]

        # The ranges under way, as one that covers them all: it starts anew when none is left. A
        # loop that was issued a moment ago may not show as busy yet.
        issued_loop = Signal(2)
        m.d.sync += issued_loop.eq(Cat(self.issue & self.loop, issued_loop))
        loops_busy = self.loops_busy | issued_loop.any()
        read_begin, read_end = Signal.like(self.loop_begin), Signal.like(self.loop_end)
        with m.If(self.issue & self.loop):
            m.d.sync += [
                read_begin.eq(Mux(loops_busy & (read_begin < self.loop_begin),
                                  read_begin, self.loop_begin)),
                read_end.eq(Mux(loops_busy & (read_end > self.loop_end),
                                read_end, self.loop_end)),
            ]
        written_begin, written_end = Signal.like(self.load_begin), Signal.like(self.load_end)
        with m.If(self.issue & self.load_uop):
            m.d.sync += [
                written_begin.eq(Mux((uop_loads != 0) & (written_begin < self.load_begin),
                                     written_begin, self.load_begin)),
                written_end.eq(Mux((uop_loads != 0) & (written_end > self.load_end),
                                   written_end, self.load_end)),
            ]

        load_waits = loops_busy & (self.load_begin < read_end) & (read_begin < self.load_end)
        loop_waits = ((uop_loads != 0) & (self.loop_begin < written_end)
                      & (written_begin < self.loop_end))
        m.d.comb += self.hinders.eq(
            (self.load_uop & load_waits)
            | (self.load_acc & loops_busy)
            | (self.loop & (loop_waits | (acc_loads != 0))))
        return m
