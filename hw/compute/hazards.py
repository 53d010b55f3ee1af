"""Hazards of the compute module: which instruction or iteration must wait for an earlier one."""

from __future__ import annotations

from typing import Any

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from vta.config import Config
from vta.hw.bus.payloads import COUNT_BITS
from vta.hw.compute.delay_line import delayed_layout
from vta.hw.compute.index_generator import iteration_layout, reach_layout
from vta.hw.compute.requantiser import Requantiser
from vta.hw.issue.sequencer import IN_FLIGHT
from vta.isa import AluOp

__all__ = ["AccGuard", "Hazards", "iteration_flags"]


def iteration_flags() -> data.StructLayout:
    """What the execution pipeline decides by, known a cycle before the iteration reaches it.

    Whether its source was `kept_addr`, whether it is an ALU operation with a source tile, whether
    it is MUL, and whether it is QNT, without a fault.
    """
    return data.StructLayout({"is_kept": 1, "by_register": 1, "is_mul": 1, "is_qnt": 1})


class Hazards(wiring.Component):
    """Keeps the strictly sequential meaning of docs/isa.md while LOADs and loops overlap.

    UOP is compared by range: a LOAD of UOP waits for loops that still read micro-ops where it
    writes, a loop for LOADs that still write where it reads. A LOAD of ACC waits until every
    iteration before it is in the execution pipeline, or until it is known that those that are not
    touch other tiles. A loop does not wait for LOADs of ACC: its iterations do, in `AccGuard`. The
    pipeline itself keeps order.

    A LOAD beside a loop with a fault may have written when the module stops; what is in ACC then
    is undefined.

    Members
    -------
    load_uop, load_acc, loop : In(1)
        What the instruction at the head is.
    issue : In(1)
        It is issued in this cycle.
    load_begin, load_end : In
        The range of SRAM elements that it loads.
    comes : In(1)
        The head takes the next instruction in this cycle, if there is one.
    coming_begin, coming_end : In
        With `comes`: the range of micro-ops that the next instruction reads, if it is a loop.
    loops_busy : In(1)
        A loop before it still has iterations that are not in the execution pipeline.
    reach : In(reach_layout)
        What those iterations touch, as in `IndexGenerator`.
    load_uop_done : In(1)
        A LOAD of UOP has finished.
    hinders : Out(1)
        The head must wait.

    Timing: `load_begin` and `load_end` must be right from the cycle before `issue` on. A LOAD must
    be at the head for at least three cycles, so that `reach` is that of the loops before it.
    """

    def __init__(self, config: Config) -> None:
        bits = config.log_uop_depth + 1
        super().__init__(
            {
                "load_uop": In(1),
                "load_acc": In(1),
                "loop": In(1),
                "issue": In(1),
                "load_begin": In(COUNT_BITS),
                "load_end": In(COUNT_BITS),
                "comes": In(1),
                "coming_begin": In(bits),
                "coming_end": In(bits),
                "loops_busy": In(1),
                "reach": In(reach_layout(config)),
                "load_uop_done": In(1),
                "hinders": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        uop_loads = Signal(range(IN_FLIGHT + 1))
        m.d.sync += uop_loads.eq(uop_loads + (self.issue & self.load_uop) - self.load_uop_done)
        writing = Signal()
        with m.If(self.issue & self.load_uop):
            m.d.sync += writing.eq(1)
        with m.Elif(self.load_uop_done):
            m.d.sync += writing.eq(uop_loads != 1)

        # The range of the loop at the head, or of the last one that was there.
        loop_begin, loop_end = Signal.like(self.coming_begin), Signal.like(self.coming_end)
        with m.If(self.comes):
            m.d.sync += [loop_begin.eq(self.coming_begin), loop_end.eq(self.coming_end)]

        # One range covers all that are under way, and starts again when none is left. A loop that
        # was issued a moment ago may not show as busy yet.
        issued_loop = Signal(2)
        m.d.sync += issued_loop.eq(Cat(self.issue & self.loop, issued_loop))
        loops_busy = self.loops_busy | issued_loop.any()
        read = _Range(m, "read", loops_busy, loop_begin, loop_end)
        written = _Range(m, "written", writing, self.load_begin, self.load_end)
        read.extend_if(self.issue & self.loop)
        written.extend_if(self.issue & self.load_uop)

        # All comparisons are registered, because issue is late in its cycle. That of a loop is made
        # as it comes, with what the instruction before it may add in that cycle. A LOAD is at the
        # head for longer.
        load_meets, loop_meets = Signal(), Signal()
        m.d.sync += load_meets.eq(read.meets(self.load_begin, self.load_end))
        coming = self.coming_begin, self.coming_end
        with m.If(self.comes):
            m.d.sync += loop_meets.eq(
                Mux(
                    self.issue & self.load_uop,
                    written.extended_meets(*coming),
                    written.meets(*coming),
                )
            )
        load_waits = loops_busy & load_meets
        loop_waits = writing & loop_meets
        # A cycle old is good enough: no loop is issued while a LOAD is at the head, so iterations
        # that cannot touch its tiles now cannot do so later.
        reach, apart = self.reach, Signal()
        m.d.sync += apart.eq(
            reach.known & self._apart(reach.dst) & (~reach.has_src | self._apart(reach.src))
        )
        m.d.comb += self.hinders.eq(
            (self.load_uop & load_waits)
            | (self.load_acc & loops_busy & ~apart)
            | (self.loop & loop_waits)
        )
        return m

    def _apart(self, tiles: Any) -> Value:
        return (self.load_end <= tiles.first) | (self.load_begin > tiles.last)


class _Range:
    """A range that covers those of several instructions.

    Parameters
    ----------
    keeps : Value
        Some of them are still under way. If none is, `extend_if` starts the range again.
    begin, end : Value
        What to extend it by.
    """

    def __init__(self, m: Module, name: str, keeps: Value, begin: Value, end: Value) -> None:
        self._m = m
        self._begin = Signal(len(begin), name=f"{name}_begin")
        self._end = Signal(len(end), name=f"{name}_end")
        self._extended_begin = Mux(keeps & (self._begin < begin), self._begin, begin)
        self._extended_end = Mux(keeps & (self._end > end), self._end, end)

    def extend_if(self, condition: Value) -> None:
        """Extends the range in the cycles in which `condition` holds."""
        with self._m.If(condition):
            self._m.d.sync += [
                self._begin.eq(self._extended_begin),
                self._end.eq(self._extended_end),
            ]

    def meets(self, begin: Value, end: Value) -> Value:
        """Whether another range overlaps it."""
        return (begin < self._end) & (self._begin < end)

    def extended_meets(self, begin: Value, end: Value) -> Value:
        """Whether another range would overlap it after `extend_if`."""
        return (begin < self._extended_end) & (self._extended_begin < end)


class AccGuard(wiring.Component):
    """Holds an iteration back while a LOAD of ACC before it still writes what it touches.

    A stage between the index generator and the execution pipeline, which remembers the ranges of
    the LOADs that are not all in the pipeline. An iteration is compared when it enters and may go
    once the LOADs that it overlapped then are in. A LOAD that is issued later does not overlap it,
    because `Hazards` would have held that LOAD back. So no iteration waits for a later LOAD.

    With encoding 0.0.3 an iteration that touches a tile that is being requantised waits until that
    is written. Those tiles move on by a stage each cycle, so a comparison when it enters is enough
    for that, too.

    Parameters
    ----------
    config : Config

    Members
    -------
    i : In(stream of iteration_layout)
    o : Out(stream of iteration_layout)
    load : In(1)
        A LOAD of ACC or ACC_8BIT is issued.
    load_begin, load_end : In
        With `load`: the range of tiles that it writes.
    load_done : In(1)
        The oldest such LOAD is all in the execution pipeline.
    delayed : In(delayed_layout)
        The tiles that are being requantised, if the configuration `requantises`.
    kept_addr : In(log_acc_depth)
        As in `Execute`.
    flags : Out(iteration_flags)
        Of `o`; `is_kept` as it was when the iteration came from `i`.
    stop : In(1)
        No further iteration may go: the module has stopped on an error.
    busy : Out(1)
        Holds an iteration.

    Timing: one iteration a cycle, one cycle from `i` to `o`. An iteration goes two cycles after
    the `load_done` that it waits for.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "i": In(stream.Signature(iteration_layout(config))),
                "o": Out(stream.Signature(iteration_layout(config))),
                "load": In(1),
                "load_begin": In(COUNT_BITS),
                "load_end": In(COUNT_BITS),
                "load_done": In(1),
                "kept_addr": In(config.log_acc_depth),
                "flags": Out(iteration_flags()),
                "stop": In(1),
                "busy": Out(1),
                **(
                    {"delayed": In(delayed_layout(config, Requantiser.LATENCY))}
                    if config.requantises
                    else {}
                ),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self._config.log_acc_depth + 1
        iteration = self.i.payload
        context = iteration.context
        has_src = context.is_alu & ~context.use_imm
        src = iteration.src[: bits - 1]
        is_qnt: Value = Const(0)
        if self._config.requantises:
            is_qnt = context.is_alu & (context.alu_opcode == AluOp.QNT) & ~iteration.fault

        # The LOADs in flight, in turn.
        newest, oldest = Signal(range(IN_FLIGHT)), Signal(range(IN_FLIGHT))
        running, hits = Signal(IN_FLIGHT), Signal(IN_FLIGHT)
        for number in range(IN_FLIGHT):
            begin = Signal(bits, name=f"begin_{number}")
            end = Signal(bits, name=f"end_{number}")
            with m.If(self.load & (newest == number)):
                m.d.sync += [
                    begin.eq(self.load_begin),
                    end.eq(self.load_end),
                    running[number].eq(1),
                ]
            with m.If(self.load_done & (oldest == number)):
                m.d.sync += running[number].eq(0)
            m.d.comb += hits[number].eq(
                ((iteration.dst >= begin) & (iteration.dst < end))
                | (has_src & (src >= begin) & (src < end))
            )
        m.d.sync += [
            newest.eq(newest + self.load),
            oldest.eq(oldest + self.load_done),
            Assert(~self.load | ~running.bit_select(newest, 1), "more LOADs than can be in flight"),
        ]

        full, held, met = Signal(), Signal(), Signal(IN_FLIGHT)
        moves = Signal()
        meets_new: Value = Const(0)
        meets_held: Value = Const(0)
        if self._config.requantises:
            meets_new, meets_held = self._meet_delayed(m, full, moves)
        m.d.comb += [
            self.o.valid.eq(full & ~held),
            moves.eq(~full | (~held & self.o.ready)),
            self.i.ready.eq(moves),
            self.busy.eq(full),
        ]
        with m.If(moves):
            m.d.sync += [
                full.eq(self.i.valid),
                self.o.payload.eq(iteration),
                self.flags.is_kept.eq(src == self.kept_addr),
                self.flags.by_register.eq(has_src),
                self.flags.is_mul.eq(context.is_alu & (context.alu_opcode == AluOp.MUL)),
                self.flags.is_qnt.eq(is_qnt),
                met.eq(hits & running),
                held.eq((hits & running).any() | self.stop | meets_new),
            ]
        with m.Else():
            # A LOAD that has left stays out: its place may go to a later LOAD.
            m.d.sync += [
                met.eq(met & running),
                held.eq(held & ((met & running).any() | self.stop | meets_held)),
            ]
        return m

    def _meet_delayed(self, m: Module, full: Value, moves: Value) -> tuple[Value, Value]:
        """Whether an iteration that enters, or the one that is held, meets a delayed tile.

        Both answers are for the next cycle. By then every tile has moved on by one stage, and the
        tile of the iteration that leaves the guard now is in the first stage.
        """
        new, old = self.i.payload, self.o.payload

        # A GEMM's source is an INP index, so this can be a false hit. It costs nothing: GEMM waits
        # for the whole line anyway.
        def meets(addr: Value) -> Value:
            return (addr == new.dst) | (addr == new.src[: len(new.dst)])

        tiles = [
            (full & self.flags.is_qnt, old.dst),
            *((tile.qnt, tile.addr) for tile in self.delayed),
        ]
        # The tile in the last stage is written in this cycle, before the iteration's first step.
        hits = Cat(valid & meets(addr) for valid, addr in tiles[:-1])
        met = Signal(len(hits))
        later = (met << 1)[: len(met)]
        m.d.sync += met.eq(Mux(moves, hits, later))
        return hits.any(), later.any()
