"""The compute module: LOAD UOP, ACC and ACC_8BIT, GEMM, ALU and FINISH."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from vta.config import Config
from vta.hw.bus.payloads import beat_layout, burst_layout
from vta.hw.compute.acc_writer import AccWriter
from vta.hw.compute.execute import Execute
from vta.hw.compute.hazards import AccGuard, Hazards
from vta.hw.compute.index_generator import IndexGenerator
from vta.hw.issue.range_check import RangeCheck
from vta.hw.issue.sequencer import ModuleSignature, Sequencer
from vta.hw.transfer.load_engine import LoadEngine
from vta.hw.transfer.scratchpad import Scratchpad
from vta.isa import AluOp, Cause, Isa, MemoryType, Opcode

__all__ = ["KINDS", "ComputeModule"]

KINDS = (MemoryType.UOP, MemoryType.ACC, MemoryType.ACC_8BIT)

EXECUTE, LOAD_ACC, LOAD_UOP, NOBODY = range(4)
"""The units that finish instructions, each in its own order."""


class ComputeModule(wiring.Component):
    """Executes its queue in order; LOADs, GEMMs and ALUs overlap where they may.

    Parameters
    ----------
    config : Config

    Members
    -------
    port : Out(ModuleSignature)
        Its instructions are all that concern neither load nor store, illegal ones included.
    uop_base, acc_base : In(addr_width)
        Constant during a run.
    burst, beat
        To and from the read DMA.
    inp_en ... wgt_data
        The read ports of INP and WGT; data comes in the cycle after.
    out_en, out_addr, out_data
        The read port of OUT.
    gemm_op, reset_op, alu_op : Out(1)
        A tile was written.
    waiting : Out(1)
        For memory.
    active : Out(1)
        A step is under way.

    Source: docs/isa.md, "LOAD", "GEMM", "ALU" and "FINISH".
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "port": Out(ModuleSignature()),
                "uop_base": In(config.addr_width),
                "acc_base": In(config.addr_width),
                "burst": Out(stream.Signature(burst_layout(config))),
                "beat": In(stream.Signature(beat_layout(config))),
                "inp_en": Out(1),
                "inp_addr": Out(range(config.inp_depth)),
                "inp_data": In(8 * config.inp_elem_bytes),
                "wgt_en": Out(1),
                "wgt_addr": Out(range(config.wgt_depth)),
                "wgt_data": In(8 * config.wgt_elem_bytes),
                "out_en": In(1),
                "out_addr": In(range(config.out_depth)),
                "out_data": Out(8 * config.out_elem_bytes),
                "gemm_op": Out(1),
                "reset_op": Out(1),
                "alu_op": Out(1),
                "waiting": Out(1),
                "active": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, isa = self._config, Isa(self._config)
        m.submodules.sequencer = sequencer = Sequencer(units=3, check_latency=RangeCheck.LATENCY)
        m.submodules.check = check = RangeCheck(config, KINDS)
        m.submodules.loader = loader = LoadEngine(config, KINDS)
        m.submodules.uops = uops = Scratchpad(config, elem_bits=32, depth=config.uop_depth)
        m.submodules.index = index = IndexGenerator(config)
        m.submodules.acc_writer = acc_writer = AccWriter(config, KINDS)
        m.submodules.execute = execute = Execute(config)
        m.submodules.hazards = hazards = Hazards(config)
        m.submodules.guard = guard = AccGuard(config)
        connect(m, flipped(self.port), sequencer.port)
        connect(m, flipped(self.burst), loader.burst)
        connect(m, flipped(self.beat), loader.beat)
        connect(m, index.iteration, guard.i)
        connect(m, guard.o, execute.iteration)
        connect(m, acc_writer.load, execute.load)
        for name in (
            "inp_en",
            "inp_addr",
            "wgt_en",
            "wgt_addr",
            "out_data",
            "gemm_op",
            "reset_op",
            "alu_op",
            "active",
        ):
            m.d.comb += getattr(self, name).eq(getattr(execute, name))
        for name in ("inp_data", "wgt_data", "out_en", "out_addr"):
            m.d.comb += getattr(execute, name).eq(getattr(self, name))

        # Buffers.
        m.d.comb += [
            uops.write_en.eq(loader.write_en & (loader.write.kind == MemoryType.UOP)),
            uops.write_addr.eq(loader.write.addr),
            uops.write_lanes.eq(1),
            uops.write_zero.eq(loader.write.zero),
            uops.write_data.eq(loader.write.data),
            uops.read_en.eq(index.uop_en),
            uops.read_addr.eq(index.uop_addr),
            index.uop_data.eq(uops.read_data),
            acc_writer.write.eq(loader.write),
            acc_writer.write_en.eq(loader.write_en),
            acc_writer.take.eq(execute.load_take),
            execute.load_data.eq(acc_writer.tile),
            loader.room.eq(acc_writer.room),
            loader.discard.eq(sequencer.port.status.cause != Cause.NONE),
            self.waiting.eq(loader.waiting),
        ]

        # Completion. A LOAD of UOP is done when the loader is; of ACC when its mark is through.
        is_uop_done = loader.done & (loader.write.kind == MemoryType.UOP)
        m.d.comb += [
            acc_writer.done.eq(loader.done & (loader.write.kind != MemoryType.UOP)),
            acc_writer.error.eq(loader.error),
            sequencer.done[EXECUTE].eq(execute.done),
            sequencer.failed[EXECUTE].eq(Mux(execute.fault, Cause.SRAM_RANGE, Cause.NONE)),
            sequencer.done[LOAD_ACC].eq(execute.load_done),
            sequencer.failed[LOAD_ACC].eq(
                Mux(execute.load_error, Cause.MEMORY_RESPONSE, Cause.NONE)
            ),
            sequencer.done[LOAD_UOP].eq(is_uop_done),
            sequencer.failed[LOAD_UOP].eq(Mux(loader.error, Cause.MEMORY_RESPONSE, Cause.NONE)),
        ]

        # Decoding.
        word = sequencer.head.insn
        common, mem = isa.common.layout(word), isa.mem.layout(word)
        gemm, alu = isa.gemm.layout(word), isa.alu.layout(word)
        is_load = common.opcode == Opcode.LOAD
        is_alu = common.opcode == Opcode.ALU
        is_loop = (common.opcode == Opcode.GEMM) | is_alu
        # A LOAD's own checks take five cycles; these two are registered to keep issue short.
        loads_nothing, is_kind = Signal(), Signal()
        m.d.sync += [
            loads_nothing.eq(mem.x_size == 0),
            is_kind.eq(Cat(mem.memory_type == kind for kind in KINDS).any()),
        ]
        loops_nothing = (gemm.uop_bgn >= gemm.uop_end) | (gemm.iter_out == 0) | (gemm.iter_in == 0)
        does_load = is_load & ~loads_nothing
        does_loop = is_loop & ~loops_nothing
        with m.If(common.opcode > Opcode.ALU):
            m.d.comb += sequencer.cause.eq(Cause.ILLEGAL_OPCODE)
        with m.Elif(does_load & ~is_kind):
            m.d.comb += sequencer.cause.eq(Cause.ILLEGAL_MEMORY_TYPE)
        with m.Elif(does_load):
            m.d.comb += sequencer.cause.eq(check.cause)
        with m.Elif(is_alu & (alu.alu_opcode > AluOp.MUL)):
            m.d.comb += sequencer.cause.eq(Cause.ILLEGAL_ALU_OPCODE)
        m.d.comb += [
            check.insn.eq(word),
            check.base.eq(Mux(mem.memory_type == MemoryType.UOP, self.uop_base, self.acc_base)),
            sequencer.quick.eq(~is_load),
            sequencer.tokens.pop_prev.eq(common.pop_prev),
            sequencer.tokens.pop_next.eq(common.pop_next),
            sequencer.tokens.push_prev.eq(common.push_prev),
            sequencer.tokens.push_next.eq(common.push_next),
            sequencer.moved.kind.eq(mem.memory_type),
            sequencer.moved.moved.eq(Mux(does_load, check.transfer.moved, 0)),
        ]
        is_uop = mem.memory_type == MemoryType.UOP
        with m.If(does_load):
            m.d.comb += sequencer.unit.eq(Mux(is_uop, LOAD_UOP, LOAD_ACC))
        with m.Elif(does_loop):
            m.d.comb += sequencer.unit.eq(EXECUTE)
        with m.Else():
            m.d.comb += sequencer.unit.eq(NOBODY)

        # Issue.
        issue = sequencer.port.issue
        m.d.comb += [
            loader.job.payload.eq(check.transfer),
            loader.job.valid.eq(issue & does_load),
            index.job.valid.eq(issue & does_loop),
            index.job.payload.context.is_alu.eq(is_alu),
            index.job.payload.context.reset.eq(gemm.reset),
            index.job.payload.context.alu_opcode.eq(alu.alu_opcode),
            index.job.payload.context.use_imm.eq(alu.use_imm),
            index.job.payload.context.imm.eq(alu.imm),
        ]
        for name in ("uop_bgn", "uop_end", "iter_out", "iter_in"):
            m.d.comb += index.job.payload[name].eq(gemm[name])
        for name in ("dst_factor_out", "dst_factor_in", "src_factor_out", "src_factor_in"):
            m.d.comb += index.job.payload[name].eq(Mux(is_alu, alu[name], gemm[name]))
        for name in ("wgt_factor_out", "wgt_factor_in"):
            m.d.comb += index.job.payload[name].eq(gemm[name])

        # Hazards.
        m.d.comb += [
            hazards.load_uop.eq(does_load & is_uop),
            hazards.load_acc.eq(does_load & ~is_uop),
            hazards.loop.eq(does_loop),
            hazards.issue.eq(issue),
            hazards.load_begin.eq(mem.sram_base),
            hazards.load_end.eq(check.transfer.sram_end),
            hazards.loop_begin.eq(gemm.uop_bgn),
            hazards.loop_end.eq(gemm.uop_end),
            hazards.loops_busy.eq(index.busy | guard.busy),
            hazards.reach.eq(index.reach),
            hazards.load_uop_done.eq(is_uop_done),
            guard.load.eq(issue & does_load & ~is_uop),
            guard.load_begin.eq(mem.sram_base),
            guard.load_end.eq(check.transfer.sram_end),
            guard.load_done.eq(execute.load.valid & execute.load.payload.mark),
            guard.stop.eq(sequencer.port.status.cause != Cause.NONE),
            sequencer.hindered.eq(
                hazards.hinders | (does_load & ~loader.job.ready) | (does_loop & ~index.job.ready)
            ),
        ]
        return m
