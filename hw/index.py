"""The index generator that GEMM and ALU share: three nested loops over micro-ops."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from vta.config import Config
from vta.hw.queue import Queue
from vta.isa import Isa

__all__ = ["IndexGenerator", "context_layout", "iteration_layout", "loop_layout"]


def context_layout() -> data.StructLayout:
    """What an instruction does in each of its iterations."""
    return data.StructLayout({
        "is_alu": 1,
        "reset": 1,
        "alu_opcode": 3,
        "use_imm": 1,
        "imm": 16,
    })


def loop_layout(config: Config) -> data.StructLayout:
    """A GEMM or ALU instruction that has iterations."""
    acc, wgt = config.log_acc_depth, config.log_wgt_depth
    src = max(acc, config.log_inp_depth)
    return data.StructLayout({
        "context": context_layout(),
        "uop_bgn": config.log_uop_depth,
        "uop_end": config.log_uop_depth + 1,
        "iter_out": 14,
        "iter_in": 14,
        "dst_factor_out": acc,
        "dst_factor_in": acc,
        "src_factor_out": src,
        "src_factor_in": src,
        "wgt_factor_out": wgt,
        "wgt_factor_in": wgt,
    })


def iteration_layout(config: Config) -> data.StructLayout:
    """One iteration: its indices, or the news that one of them is out of range.

    `src` is an INP index for GEMM and an ACC index for the ALU.
    """
    return data.StructLayout({
        "context": context_layout(),
        "dst": config.log_acc_depth,
        "src": max(config.log_acc_depth, config.log_inp_depth),
        "wgt": config.log_wgt_depth,
        "fault": 1,
        "last": 1,
    })


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
        total = value[:self._bits] + factor
        return Cat(total[:self._bits], total[self._bits] | value[self._bits])

    def clear(self) -> None:
        self._m.d.sync += [self.outer.eq(0), self.total.eq(0)]

    def step_inner(self, factor: Value) -> None:
        self._m.d.sync += self.total.eq(self._plus(self.total, factor))

    def step_outer(self, factor: Value) -> None:
        after = self._plus(self.outer, factor)
        self._m.d.sync += [self.outer.eq(after), self.total.eq(after)]


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

    Timing: one iteration a cycle, without a gap between instructions; three cycles from `job`.

    Source: ISA.md, "GEMM", "ALU" and "Errors".
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__({
            "job": In(stream.Signature(loop_layout(config))),
            "uop_en": Out(1),
            "uop_addr": Out(config.log_uop_depth),
            "uop_data": In(32),
            "iteration": Out(stream.Signature(iteration_layout(config))),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.jobs = jobs = Queue(loop_layout(config), 2)
        wiring.connect(m, wiring.flipped(self.job), jobs.i)
        acc, wgt = config.log_acc_depth, config.log_wgt_depth
        offsets = {"dst": _Offset(m, "dst", acc),
                   "src": _Offset(m, "src", max(acc, config.log_inp_depth)),
                   "wgt": _Offset(m, "wgt", wgt)}

        # All three stages move together, when the last of them is taken or empty.
        moves = Signal()
        m.d.comb += moves.eq(self.iteration.ready | ~self.iteration.valid)

        # Loops.
        loop = Signal(loop_layout(config))
        active, read_valid = Signal(), Signal()
        uop = Signal(config.log_uop_depth + 1)
        out_left, in_left = Signal(14), Signal(14)
        uop_last = uop + 1 == loop.uop_end
        last = uop_last & (in_left == 1) & (out_left == 1)
        takes = jobs.o.valid & (~active | (moves & last))
        m.d.comb += [
            jobs.o.ready.eq(~active | (moves & last)),
            self.busy.eq(active | jobs.o.valid | read_valid | self.iteration.valid),
        ]
        with m.If(active & moves):
            m.d.sync += uop.eq(uop + 1)
            with m.If(last):
                m.d.sync += active.eq(0)
            with m.Elif(uop_last):
                m.d.sync += uop.eq(loop.uop_bgn)
                with m.If(in_left == 1):
                    m.d.sync += [in_left.eq(loop.iter_in), out_left.eq(out_left - 1)]
                    for name, offset in offsets.items():
                        offset.step_outer(loop[f"{name}_factor_out"])
                with m.Else():
                    m.d.sync += in_left.eq(in_left - 1)
                    for name, offset in offsets.items():
                        offset.step_inner(loop[f"{name}_factor_in"])
        new = jobs.o.payload
        with m.If(takes):
            m.d.sync += [
                loop.eq(new),
                active.eq(1),
                uop.eq(new.uop_bgn),
                in_left.eq(new.iter_in),
                out_left.eq(new.iter_out),
            ]
            for offset in offsets.values():
                offset.clear()

        # The micro-op comes a cycle later; the offsets wait for it.
        m.d.comb += [self.uop_en.eq(active & moves), self.uop_addr.eq(uop)]
        read = Signal(data.StructLayout({
            "context": context_layout(),
            "dst": acc + 1,
            "src": len(offsets["src"].total),
            "wgt": wgt + 1,
            "past_uops": 1,
            "last": 1,
        }))
        with m.If(moves):
            m.d.sync += [
                read_valid.eq(active),
                read.context.eq(loop.context),
                *(read[name].eq(offset.total) for name, offset in offsets.items()),
                read.past_uops.eq(uop[-1]),
                read.last.eq(last),
            ]

        # Sums. Only the indices that the instruction uses can be out of range.
        fields = Isa(config).uop.layout(self.uop_data)
        context = read.context
        dst, src, weight = Signal(acc + 2), Signal(len(read.src) + 1), Signal(wgt + 2)
        src_end = Mux(context.is_alu, config.acc_depth, config.inp_depth)
        m.d.comb += [
            dst.eq(read.dst + fields.dst_idx),
            src.eq(read.src + fields.src_idx),
            weight.eq(read.wgt + fields.wgt_idx),
        ]
        is_gemm = ~context.is_alu & ~context.reset
        uses_src = is_gemm | (context.is_alu & ~context.use_imm)
        result = self.iteration.payload
        with m.If(moves):
            m.d.sync += [
                self.iteration.valid.eq(read_valid),
                result.context.eq(context),
                result.dst.eq(dst),
                result.src.eq(src),
                result.wgt.eq(weight),
                result.fault.eq(read.past_uops
                                | (dst >= config.acc_depth)
                                | (uses_src & (src >= src_end))
                                | (is_gemm & (weight >= config.wgt_depth))),
                result.last.eq(read.last),
            ]
        return m
