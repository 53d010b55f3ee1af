"""The compute module: LOAD UOP, ACC and ACC_8BIT, GEMM, ALU and FINISH."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth import *
from amaranth.lib.data import View
from amaranth.lib.wiring import In, Out, connect, flipped

from vta.config import Config
from vta.hw.bus.read_dma import reader_ports
from vta.hw.compute.acc_writer import AccWriter
from vta.hw.compute.execute import Execute
from vta.hw.compute.hazards import AccGuard, Hazards
from vta.hw.compute.index_generator import IndexGenerator
from vta.hw.issue.executor import Executor
from vta.hw.issue.range_check import RangeCheck
from vta.hw.issue.sequencer import Sequencer
from vta.hw.transfer.load_engine import LoadEngine
from vta.hw.transfer.scratchpad import Scratchpad
from vta.isa import UOP_BITS, AluOp, Cause, Isa, MemoryType, ModuleId, Opcode

__all__ = ["KINDS", "ComputeModule"]

KINDS = (MemoryType.UOP, MemoryType.ACC, MemoryType.ACC_8BIT)

EXECUTE, LOAD_ACC, LOAD_UOP, NO_UNIT = range(4)
"""The units that finish instructions, each in its own order."""


@dataclass(frozen=True)
class _Head:
    """The instruction at the head, decoded."""

    mem: View
    gemm: View
    alu: View
    is_alu: Value
    is_uop: Value
    loads: Value
    """It is a LOAD that writes something."""

    loops: Value
    """It is a GEMM or ALU with at least one iteration."""


class ComputeModule(Executor):
    """Executes its queue in order; LOADs, GEMMs and ALUs overlap where they may.

    Its instructions are all that go neither to load nor to store, illegal ones included.

    Parameters
    ----------
    config : Config

    Members
    -------
    port, uop_base, acc_base, waiting
        As in `Executor`.
    burst, beat
        To and from the read DMA, as in `reader_ports`.
    inp_en, inp_addr, inp_data, wgt_en, wgt_addr, wgt_data
        The read ports of INP and WGT; data comes in the cycle after.
    out_en, out_addr, out_data
        The read port of OUT.
    gemm_op, reset_op, alu_op : Out(1)
        A tile was written.
    active : Out(1)
        A step is under way.

    Source: docs/isa.md, "LOAD", "GEMM", "ALU" and "FINISH".
    """

    def __init__(self, config: Config) -> None:
        super().__init__(
            config,
            module=ModuleId.COMPUTE,
            kinds=KINDS,
            units=3,
            members={
                **reader_ports(config),
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
                "active": Out(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        sequencer, check = self._front_end(m)
        m.submodules.loader = loader = LoadEngine(config, KINDS)
        m.submodules.uops = uops = Scratchpad(config, elem_bits=UOP_BITS, depth=config.uop_depth)
        m.submodules.index = index = IndexGenerator(config)
        m.submodules.acc_writer = acc_writer = AccWriter(config, KINDS)
        m.submodules.execute = execute = Execute(config)
        m.submodules.hazards = hazards = Hazards(config)
        m.submodules.guard = guard = AccGuard(config)
        connect(m, index.iteration, guard.i)
        connect(m, guard.o, execute.iteration)
        connect(m, acc_writer.load, execute.load)

        stopped = sequencer.port.status.cause != Cause.NONE
        m.d.comb += [loader.discard.eq(stopped), guard.stop.eq(stopped)]
        self._connect_loader(m, loader, uops, acc_writer)
        self._connect_execute(m, execute, acc_writer)
        m.d.comb += [
            uops.read_en.eq(index.uop_en),
            uops.read_addr.eq(index.uop_addr),
            index.uop_data.eq(uops.read_data),
        ]
        self._complete(m, sequencer, loader, acc_writer, execute)

        head = self._decode(m, sequencer, check)
        issue = sequencer.port.issue
        coming = Isa(config).gemm.layout(sequencer.port.insn.payload.insn)
        m.d.comb += [
            loader.job.payload.eq(check.transfer),
            loader.job.valid.eq(issue & head.loads),
            index.job.valid.eq(issue & head.loops),
            sequencer.hindered.eq(
                hazards.hinders | (head.loads & ~loader.job.ready) | (head.loops & ~index.job.ready)
            ),
        ]
        self._make_loop(m, head, index.job.payload)

        m.d.comb += [
            hazards.load_uop.eq(head.loads & head.is_uop),
            hazards.load_acc.eq(head.loads & ~head.is_uop),
            hazards.loop.eq(head.loops),
            hazards.issue.eq(issue),
            hazards.load_begin.eq(head.mem.sram_base),
            hazards.load_end.eq(check.transfer.sram_end),
            hazards.comes.eq(sequencer.port.insn.ready),
            hazards.coming_begin.eq(coming.uop_bgn),
            hazards.coming_end.eq(coming.uop_end),
            hazards.loops_busy.eq(self._follow_loops(m, index, guard)),
            hazards.reach.eq(index.reach),
            hazards.load_uop_done.eq(sequencer.done[LOAD_UOP]),
            guard.load.eq(issue & head.loads & ~head.is_uop),
            guard.load_begin.eq(head.mem.sram_base),
            guard.load_end.eq(check.transfer.sram_end),
            guard.load_done.eq(execute.load_in),
            guard.kept_addr.eq(execute.kept_addr),
            execute.flags.eq(guard.flags),
        ]
        if config.requantises:
            m.d.comb += guard.delayed.eq(execute.delayed)
        return m

    def _follow_loops(self, m: Module, index: IndexGenerator, guard: AccGuard) -> Signal:
        """Whether any iteration is not in the execution pipeline yet.

        A register, because issue depends on it: the last iteration leaves from `guard`.
        """
        busy = Signal()
        leaves = guard.o.valid & guard.o.ready
        m.d.sync += [
            busy.eq(index.job.valid | index.busy | (guard.busy & ~leaves)),
            Assert(
                busy == (index.busy | guard.busy),
                "loops must count as busy exactly while one of their iterations is outside",
            ),
        ]
        return busy

    def _connect_loader(
        self, m: Module, loader: LoadEngine, uops: Scratchpad, acc_writer: AccWriter
    ) -> None:
        """From the bus to the loader, and on to the UOP buffer and the ACC writer."""
        connect(m, flipped(self.burst), loader.burst)
        connect(m, flipped(self.beat), loader.beat)
        m.d.comb += [
            uops.write_en.eq(loader.write_en & (loader.write.kind == MemoryType.UOP)),
            uops.write_addr.eq(loader.write.addr),
            uops.write_lanes.eq(1),
            uops.write_zero.eq(loader.write.zero),
            uops.write_data.eq(loader.write.data),
            acc_writer.write.eq(loader.write),
            acc_writer.write_en.eq(loader.write_en),
            loader.room.eq(acc_writer.room),
            self.waiting.eq(loader.waiting),
        ]

    def _connect_execute(self, m: Module, execute: Execute, acc_writer: AccWriter) -> None:
        """The execution pipeline's ports to the other buffers."""
        m.d.comb += [acc_writer.take.eq(execute.load_take), execute.load_data.eq(acc_writer.tile)]
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

    def _complete(
        self,
        m: Module,
        sequencer: Sequencer,
        loader: LoadEngine,
        acc_writer: AccWriter,
        execute: Execute,
    ) -> None:
        """When units finish: a LOAD of UOP with the loader, a LOAD of ACC when its mark has gone
        through the execution pipeline."""
        is_uop = loader.write.kind == MemoryType.UOP
        m.d.comb += [
            acc_writer.done.eq(loader.done & ~is_uop),
            acc_writer.error.eq(loader.error),
            sequencer.done[EXECUTE].eq(execute.done),
            sequencer.failed[EXECUTE].eq(Mux(execute.fault, Cause.SRAM_RANGE, Cause.NONE)),
            sequencer.done[LOAD_ACC].eq(execute.load_done),
            sequencer.failed[LOAD_ACC].eq(
                Mux(execute.load_error, Cause.MEMORY_RESPONSE, Cause.NONE)
            ),
            sequencer.done[LOAD_UOP].eq(loader.done & is_uop),
            sequencer.failed[LOAD_UOP].eq(Mux(loader.error, Cause.MEMORY_RESPONSE, Cause.NONE)),
        ]

    def _decode(self, m: Module, sequencer: Sequencer, check: RangeCheck) -> _Head:
        """What the instruction at the head is, its errors, and which unit executes it.

        Decoded as it comes to the head, because issue is late in its cycle.
        """
        isa, arriving = Isa(self._config), sequencer.port.insn
        word = arriving.payload.insn
        mem, gemm, alu = isa.mem.layout(word), isa.gemm.layout(word), isa.alu.layout(word)
        opcode = mem.opcode
        is_load = opcode == Opcode.LOAD
        loops_nothing = (gemm.uop_bgn >= gemm.uop_end) | (gemm.iter_out == 0) | (gemm.iter_in == 0)
        head = _Head(
            mem=isa.mem.layout(sequencer.head.insn),
            gemm=isa.gemm.layout(sequencer.head.insn),
            alu=isa.alu.layout(sequencer.head.insn),
            is_alu=Signal(),
            is_uop=Signal(),
            loads=Signal(),
            loops=Signal(),
        )
        loads = is_load & (mem.x_size != 0)
        is_foreign = loads & ~Cat(mem.memory_type == kind for kind in KINDS).any()
        is_illegal = (opcode == Opcode.ALU) & self._is_illegal(alu)
        wrong, wrong_opcode, wrong_memory = Signal(), Signal(), Signal()
        m.d.comb += sequencer.quick.eq(~is_load)
        with m.If(arriving.ready):
            m.d.sync += [
                head.is_alu.eq(opcode == Opcode.ALU),
                head.is_uop.eq(mem.memory_type == MemoryType.UOP),
                head.loads.eq(loads),
                head.loops.eq(((opcode == Opcode.GEMM) | (opcode == Opcode.ALU)) & ~loops_nothing),
                wrong_opcode.eq(opcode > Opcode.ALU),
                wrong_memory.eq(is_foreign),
                wrong.eq((opcode > Opcode.ALU) | is_foreign | is_illegal),
            ]
        # What is wrong for neither of the other two reasons is an ALU operation.
        static = Mux(wrong, Cause.ILLEGAL_ALU_OPCODE, Cause.NONE)
        static = Mux(wrong_memory, Cause.ILLEGAL_MEMORY_TYPE, static)
        static = Mux(wrong_opcode, Cause.ILLEGAL_OPCODE, static)
        self._decide(
            m,
            sequencer,
            check,
            static=static,
            wrong=wrong,
            transfers=head.loads,
            kind=head.mem.memory_type,
        )
        with m.If(head.loads):
            m.d.comb += sequencer.unit.eq(Mux(head.is_uop, LOAD_UOP, LOAD_ACC))
        with m.Elif(head.loops):
            m.d.comb += sequencer.unit.eq(EXECUTE)
        with m.Else():
            m.d.comb += sequencer.unit.eq(NO_UNIT)
        return head

    def _is_illegal(self, alu: View) -> Value:
        """Whether the encoding has no such operation: `Isa.is_alu_op` in hardware, negated."""
        illegal = alu.alu_opcode > Isa(self._config).alu_ops[-1]
        if self._config.requantises:
            illegal |= (alu.alu_opcode == AluOp.QNT) & alu.use_imm
        return illegal

    def _make_loop(self, m: Module, head: _Head, loop: View) -> None:
        """The loop of a GEMM or ALU, whose second words differ."""
        gemm, alu = head.gemm, head.alu
        m.d.comb += [
            loop.context.is_alu.eq(head.is_alu),
            loop.context.reset.eq(gemm.reset),
            loop.context.alu_opcode.eq(alu.alu_opcode),
            loop.context.use_imm.eq(alu.use_imm),
            loop.context.imm.eq(alu.imm),
        ]
        for name in (
            "uop_bgn",
            "uop_end",
            "iter_out",
            "iter_in",
            "wgt_factor_out",
            "wgt_factor_in",
        ):
            m.d.comb += loop[name].eq(gemm[name])
        for name in ("dst_factor_out", "dst_factor_in", "src_factor_out", "src_factor_in"):
            m.d.comb += loop[name].eq(Mux(head.is_alu, alu[name], gemm[name]))
