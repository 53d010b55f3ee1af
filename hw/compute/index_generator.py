"""The index generator that GEMM and ALU share: three nested loops over micro-ops."""

from __future__ import annotations

from typing import Any

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.data import View
from amaranth.lib.wiring import In, Out

from vta.config import Config
from vta.hw.bus.streams import Queue
from vta.isa import ALU_OPCODE_BITS, IMM_BITS, LOOP_BITS, UOP_BITS, Isa

__all__ = ["IndexGenerator", "context_layout", "iteration_layout", "loop_layout", "reach_layout"]


def context_layout() -> data.StructLayout:
    """What an instruction does in each of its iterations."""
    return data.StructLayout(
        {"is_alu": 1, "reset": 1, "alu_opcode": ALU_OPCODE_BITS, "use_imm": 1, "imm": IMM_BITS}
    )


def loop_layout(config: Config) -> data.StructLayout:
    """A GEMM or ALU instruction that has iterations."""
    acc, wgt = config.log_acc_depth, config.log_wgt_depth
    src = max(acc, config.log_inp_depth)
    return data.StructLayout(
        {
            "context": context_layout(),
            "uop_bgn": config.log_uop_depth,
            "uop_end": config.log_uop_depth + 1,
            "iter_out": LOOP_BITS,
            "iter_in": LOOP_BITS,
            "dst_factor_out": acc,
            "dst_factor_in": acc,
            "src_factor_out": src,
            "src_factor_in": src,
            "wgt_factor_out": wgt,
            "wgt_factor_in": wgt,
        }
    )


def iteration_layout(config: Config) -> data.StructLayout:
    """One iteration: its indices, or, with `fault`, that one of them is out of range.

    `src` is an INP index for GEMM and an ACC index for the ALU. `first` and `last` mark the ends of
    an instruction; with `seen`, each of its micro-ops has had an iteration.
    """
    return data.StructLayout(
        {
            "context": context_layout(),
            "dst": config.log_acc_depth,
            "src": max(config.log_acc_depth, config.log_inp_depth),
            "wgt": config.log_wgt_depth,
            "fault": 1,
            "first": 1,
            "seen": 1,
            "last": 1,
        }
    )


def reach_layout(config: Config) -> data.StructLayout:
    """The reach of a loop (GEMM or ALU): the range of ACC tiles that its iterations can touch.

    `dst` is the range of the tiles that it writes, `src`, valid with `has_src`, of those that it
    only reads. `first` and `last` are inclusive. The reach is valid once `known`, and only for an
    instruction without a fault.
    """
    tiles = data.StructLayout({"first": config.log_acc_depth, "last": config.log_acc_depth + 1})
    return data.StructLayout({"known": 1, "has_src": 1, "dst": tiles, "src": tiles})


class _Offset:
    """`i_out * factor_out + i_in * factor_in`, kept by addition.

    One bit wider than an index: the top bit says that the sum has passed the buffer's depth and
    stays set, because within a loop a sum never shrinks.
    """

    def __init__(self, m: Module, name: str, bits: int) -> None:
        self._m, self._bits = m, bits
        self.outer = Signal(bits + 1, name=f"{name}_outer")
        self.total = Signal(bits + 1, name=f"{name}_offset")

    def _plus(self, value: Value, factor: Value) -> Value:
        total = value[: self._bits] + factor
        return Cat(total[: self._bits], total[self._bits] | value[self._bits])

    def clear(self) -> None:
        """Starts at 0."""
        self._m.d.sync += [self.outer.eq(0), self.total.eq(0)]

    def step_inner(self, factor: Value) -> None:
        """One more round of the inner loop."""
        self._m.d.sync += self.total.eq(self._plus(self.total, factor))

    def step_outer(self, factor: Value) -> None:
        """One more round of the outer loop: the inner one starts again."""
        after = self._plus(self.outer, factor)
        self._m.d.sync += [self.outer.eq(after), self.total.eq(after)]


class _Loops:
    """An instruction's three loops: its next iteration, and how far that is from their ends.

    Whether the iteration is a loop's last is known one iteration ahead.
    """

    def __init__(self, m: Module, config: Config) -> None:
        self._m = m
        self.loop = Signal(loop_layout(config))
        self.uop = Signal(config.log_uop_depth + 1)
        self._out_left, self._in_left = (
            Signal(LOOP_BITS, name=name) for name in ("out_left", "in_left")
        )
        self.uop_last, self._in_last, self._out_last = (
            Signal(name=name) for name in ("uop_last", "in_last", "out_last")
        )
        # The loop has one round.
        self._only_uop, self._only_in = (Signal(name=name) for name in ("only_uop", "only_in"))
        self.last = self.uop_last & self._in_last & self._out_last
        self.first, self.passes = Signal(), Signal()
        acc, wgt = config.log_acc_depth, config.log_wgt_depth
        self.offsets = {
            "dst": _Offset(m, "dst", acc),
            "src": _Offset(m, "src", max(acc, config.log_inp_depth)),
            "wgt": _Offset(m, "wgt", wgt),
        }

    def start(self, new: View) -> None:
        """Begins an instruction."""
        only_uop, only_in = new.uop_bgn + 1 == new.uop_end, new.iter_in == 1
        self._m.d.sync += [
            self.loop.eq(new),
            self.uop.eq(new.uop_bgn),
            self._in_left.eq(new.iter_in),
            self._out_left.eq(new.iter_out),
            *(flag.eq(only_uop) for flag in (self.uop_last, self._only_uop)),
            *(flag.eq(only_in) for flag in (self._in_last, self._only_in)),
            self._out_last.eq(new.iter_out == 1),
            self.first.eq(1),
            self.passes.eq(0),
        ]
        for offset in self.offsets.values():
            offset.clear()

    def step(self) -> None:
        """The next iteration, if this is not the instruction's last."""
        m, loop = self._m, self.loop
        m.d.sync += [
            self.uop.eq(self.uop + 1),
            self.uop_last.eq(self.uop + 2 == loop.uop_end),
            self.first.eq(0),
        ]
        with m.If(self.uop_last):
            m.d.sync += self.passes.eq(1)
        with m.If(self.uop_last & ~self.last):
            m.d.sync += [self.uop.eq(loop.uop_bgn), self.uop_last.eq(self._only_uop)]
            # The next round of the inner loop, or of the outer one.
            with m.If(self._in_last):
                m.d.sync += [
                    self._in_left.eq(loop.iter_in),
                    self._in_last.eq(self._only_in),
                    self._out_left.eq(self._out_left - 1),
                    self._out_last.eq(self._out_left == 2),
                ]
                for name, offset in self.offsets.items():
                    offset.step_outer(loop[f"{name}_factor_out"])
            with m.Else():
                m.d.sync += [
                    self._in_left.eq(self._in_left - 1),
                    self._in_last.eq(self._in_left == 2),
                ]
                for name, offset in self.offsets.items():
                    offset.step_inner(loop[f"{name}_factor_in"])


class _Span:
    """The largest of an `_Offset`'s values, a bit of the counts at a time.

    Past the depth it may be anything: then there is a fault.
    """

    def __init__(self, m: Module, name: str, bits: int) -> None:
        self._m = m
        self.total = Signal(bits + 1, name=f"{name}_span")

    def clear(self) -> None:
        """Starts at 0."""
        self._m.d.sync += self.total.eq(0)

    def step(self, outer: Value, factor_out: Value, inner: Value, factor_in: Value) -> None:
        """Takes the next bit of both counts."""
        self._m.d.sync += self.total.eq(
            (self.total << 1) + Mux(outer, factor_out, 0) + Mux(inner, factor_in, 0)
        )


class IndexGenerator(wiring.Component):
    """Runs instructions' loops, reads their micro-ops, and adds up the indices.

    Parameters
    ----------
    config : Config

    Members
    -------
    job : In(stream of loop_layout)
        Instructions with at least one iteration.
    uop_en, uop_addr, uop_data
        The read port of the UOP buffer; data comes in the cycle after and holds.
    iteration : Out(stream of iteration_layout)
        In order. After one with `fault` the rest of its instruction means nothing.
    busy : Out(1)
        An iteration has not been taken yet, of this job or of one that waits.
    reach : Out(reach_layout)
        Of the newest job, from the second cycle after it came on. Known only once iterations of
        other jobs have all been taken, and the newest job's up to one with `seen` are worked out.

    Timing: one iteration a cycle, without a gap between instructions; three cycles from `job`, the
    one in which it is taken included. `reach` is known 16 cycles after `job` at the earliest.

    Source: docs/isa.md, "GEMM", "ALU" and "Errors".
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "job": In(stream.Signature(loop_layout(config))),
                "uop_en": Out(1),
                "uop_addr": Out(config.log_uop_depth),
                "uop_data": In(UOP_BITS),
                "iteration": Out(stream.Signature(iteration_layout(config))),
                "busy": Out(1),
                "reach": Out(reach_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.jobs = jobs = Queue(loop_layout(config), 2)
        # All three stages move together. What the last of them holds goes out, or into `spare` if
        # it is not taken. So `moves` can be a register, however late `iteration.ready` is.
        summed, summed_valid = Signal(iteration_layout(config)), Signal()
        spare, spare_full = Signal(iteration_layout(config)), Signal()
        read_valid, summed_next, stalls = Signal(), Signal(), Signal()
        moves = Signal(init=1)
        m.d.comb += [
            self.iteration.valid.eq(spare_full | summed_valid),
            self.iteration.payload.eq(Mux(spare_full, spare, summed)),
            stalls.eq(self.iteration.valid & ~self.iteration.ready),
            summed_next.eq(Mux(moves, read_valid, summed_valid)),
        ]
        m.d.sync += [
            spare_full.eq(stalls),
            summed_valid.eq(summed_next),
            moves.eq(~(stalls & summed_next)),
            Assert(moves == ~(spare_full & summed_valid), "stages move unless both ends are full"),
        ]
        with m.If(~spare_full):
            m.d.sync += spare.eq(summed)

        loops = _Loops(m, config)
        loop, offsets, uop, first = loops.loop, loops.offsets, loops.uop, loops.first
        active = Signal()
        # A job that can start at once does not go through the queue.
        begins = ~active | (moves & loops.last)
        direct = begins & ~jobs.o.valid
        m.d.comb += [
            jobs.i.payload.eq(self.job.payload),
            jobs.i.valid.eq(self.job.valid & ~direct),
            self.job.ready.eq(jobs.i.ready),
            jobs.o.ready.eq(begins),
            self.busy.eq(active | jobs.o.valid | read_valid | self.iteration.valid),
        ]
        with m.If(active & moves):
            with m.If(loops.last):
                m.d.sync += active.eq(0)
            loops.step()
        new = Signal(loop_layout(config))
        m.d.comb += new.eq(Mux(jobs.o.valid, jobs.o.payload, self.job.payload))
        # `job` is issued late in a cycle: nothing but `active` depends on that.
        with m.If(begins):
            m.d.sync += active.eq(jobs.o.valid | self.job.valid)
            loops.start(new)

        # The micro-op comes a cycle later; the offsets wait for it.
        m.d.comb += [self.uop_en.eq(active & moves), self.uop_addr.eq(uop)]
        read = Signal(self._sum_layout(1))
        with m.If(moves):
            m.d.sync += [
                read_valid.eq(active),
                read.context.eq(loop.context),
                *(read[name].eq(offset.total) for name, offset in offsets.items()),
                read.past_uops.eq(uop[-1]),
                read.first.eq(first),
                read.seen.eq(loops.passes | loops.uop_last),
                read.last.eq(loops.last),
            ]

        self._add_up(m, read, summed, moves)

        alone = (
            active
            & ~first
            & ~jobs.o.valid
            & ~(read_valid & read.first)
            & ~(summed_valid & summed.first)
            & ~(spare_full & spare.first)
        )
        leaves = summed_valid & ~spare_full
        self._follow_reach(m, loop, new, begins, summed, leaves, alone)
        return m

    def _sum_layout(self, bits: int) -> data.StructLayout:
        """An iteration on its way; indices have `bits` more, one of which says that it is past."""
        config = self._config
        return data.StructLayout(
            {
                "context": context_layout(),
                "dst": config.log_acc_depth + bits,
                "src": max(config.log_acc_depth, config.log_inp_depth) + bits,
                "wgt": config.log_wgt_depth + bits,
                "past_uops": 1,
                "first": 1,
                "seen": 1,
                "last": 1,
            }
        )

    def _add_up(self, m: Module, read: View, result: View, moves: Signal) -> None:
        """Micro-op and offsets to indices. Only those that the instruction uses can be faulty.

        Block RAM gives the micro-op late in its cycle, so the sums are compared in the next one.
        """
        config = self._config
        fields = Isa(config).uop.layout(self.uop_data)
        sums = Signal(self._sum_layout(2))
        same = "context", "past_uops", "first", "seen", "last"
        with m.If(moves):
            m.d.sync += [
                sums.dst.eq(read.dst + fields.dst_idx),
                sums.src.eq(read.src + fields.src_idx),
                sums.wgt.eq(read.wgt + fields.wgt_idx),
                *(sums[name].eq(read[name]) for name in same),
            ]
        context = sums.context
        is_gemm = ~context.is_alu & ~context.reset
        uses_src = is_gemm | (context.is_alu & ~context.use_imm)
        src_end = Mux(context.is_alu, config.acc_depth, config.inp_depth)
        m.d.comb += [
            *(
                result[name].eq(sums[name])
                for name in ("context", "dst", "src", "wgt", "first", "seen", "last")
            ),
            result.fault.eq(
                sums.past_uops
                | (sums.dst >= config.acc_depth)
                | (uses_src & (sums.src >= src_end))
                | (is_gemm & (sums.wgt >= config.wgt_depth))
            ),
        ]

    def _follow_reach(
        self, m: Module, loop: Any, new: Any, begins: Any, iteration: Any, leaves: Any, alone: Any
    ) -> None:
        """Works out `reach` of the active loop: the extremes of its first pass, and its spans.

        `begins` while `new` is put into `loop`; `leaves` while `iteration` leaves the last stage;
        `alone` if a loop is active and its first iteration has been taken.
        """
        bits = self._config.log_acc_depth
        # The counts minus one, from the highest bit down.
        outer, inner = Signal(LOOP_BITS), Signal(LOOP_BITS)
        bits_left = Signal(range(LOOP_BITS + 1))
        spans = {name: _Span(m, name, bits) for name in ("dst", "src")}
        with m.If(begins):
            m.d.sync += [
                outer.eq(new.iter_out - 1),
                inner.eq(new.iter_in - 1),
                bits_left.eq(LOOP_BITS),
            ]
            for span in spans.values():
                span.clear()
        with m.Elif(bits_left != 0):
            m.d.sync += [outer.eq(outer << 1), inner.eq(inner << 1), bits_left.eq(bits_left - 1)]
            for name, span in spans.items():
                span.step(
                    outer[-1],
                    loop[f"{name}_factor_out"][:bits],
                    inner[-1],
                    loop[f"{name}_factor_in"][:bits],
                )

        # The last stage has all of an iteration; the iteration counts when it leaves that stage.
        seen = Signal()
        with m.If(leaves):
            m.d.sync += seen.eq(iteration.seen)
        for name, span in spans.items():
            index = iteration[name][:bits]
            lowest, highest = Signal(bits, name=f"{name}_min"), Signal(bits, name=f"{name}_max")
            with m.If(leaves & (iteration.first | (~seen & (index < lowest)))):
                m.d.sync += lowest.eq(index)
            with m.If(leaves & (iteration.first | (~seen & (index > highest)))):
                m.d.sync += highest.eq(index)
            m.d.comb += self.reach[name].first.eq(lowest)
            m.d.sync += self.reach[name].last.eq(highest + span.total)
        m.d.sync += [
            self.reach.has_src.eq(loop.context.is_alu & ~loop.context.use_imm),
            self.reach.known.eq(alone & seen & (bits_left == 0)),
        ]
