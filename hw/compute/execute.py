"""From iterations to steps: one pipeline that GEMM, ALU and ACC loads go through in order."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.data import View
from amaranth.lib.wiring import In, Out

from vta.config import Config
from vta.hw.compute.accumulator import Accumulator, acc_step_layout, written_tile
from vta.hw.compute.delay_line import DelayLine, acc_load_layout, delayed_layout
from vta.hw.compute.dot_products import DotProducts
from vta.hw.compute.hazards import iteration_flags
from vta.hw.compute.index_generator import iteration_layout
from vta.hw.compute.lane_control import LaneOperation, OperandSource
from vta.hw.compute.requantiser import Requantiser
from vta.isa import AluOp, Isa

__all__ = ["Execute"]

_ALU_OPERATIONS = {
    AluOp.MIN: LaneOperation.MIN,
    AluOp.MAX: LaneOperation.MAX,
    AluOp.ADD: LaneOperation.ADD,
    AluOp.SHR: LaneOperation.SHR,
    AluOp.MOV: LaneOperation.MOV,
}

_MUL_STEPS = (
    LaneOperation.MUL_TAKE,
    LaneOperation.MUL_CROSS_A,
    LaneOperation.MUL_CROSS_B,
    LaneOperation.MUL_LOW,
    LaneOperation.MUL_PUT,
)


class Execute(wiring.Component):
    """Everything that touches ACC, one step a cycle, strictly in order.

    An iteration is one step; an ALU iteration with a new register source is two (read the source,
    then read, compute and write the destination); MUL is five, or six. A tile that a LOAD brings
    takes a step of its own as soon as it arrives, even between two steps of an iteration. So ACC
    has one writer and needs no arbiter, and a step that has begun never stalls.

    The requantisers take longer than a step. So QNT has two halves: a step reads the destination,
    and `DelayLine` brings its address back when the result is there, for the second half of another
    step to write it. That step may be idle, or read for QNT. All other iterations wait until no
    tile is being requantised. While the line holds anything, what a LOAD brings goes through it
    too, so that writes keep their order.

    Parameters
    ----------
    config : Config

    Members
    -------
    iteration : In(stream of iteration_layout)
    flags : In(iteration_flags)
        Of `iteration`.
    kept_addr : Out(log_acc_depth)
        The tile that the operand register keeps, or the last one that it kept.
    load : In(stream of acc_load_layout)
        Always taken in the cycle in which it is offered.
    load_in : Out(1)
        A LOAD's mark becomes a step: all its tiles are in the pipeline.
    load_data : In(8 * acc_elem_bytes)
    load_take : Out(1)
        The tile at `load_data` has been used: one for each `load` without `zero` and `mark`, in
        order, a fixed time after it (or after it has left the line).
    inp_en, inp_addr, inp_data, wgt_en, wgt_addr, wgt_data
        The read ports of INP and WGT; data comes in the cycle after.
    out_en, out_addr, out_data
        The read port of OUT.
    done, fault : Out(1)
        `done` pulses when an instruction's last result is in ACC; with `fault` when one of its
        indices was out of range. After a fault no iteration is taken until reset.
    load_done, load_error : Out(1)
        The same for LOADs, at their marks.
    gemm_op, reset_op, alu_op : Out(1)
        A tile was written.
    active : Out(1)
        A step is under way.
    delayed : Out(delayed_layout)
        The tiles that are being requantised, if the configuration `requantises`. No iteration may
        be offered that reads one of them; the one that leaves the line in the same cycle included.

    Source: docs/isa.md, "GEMM", "ALU", "LOAD" and "Encoding 0.0.3".
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "iteration": In(stream.Signature(iteration_layout(config))),
                "flags": In(iteration_flags()),
                "kept_addr": Out(config.log_acc_depth),
                "load": In(stream.Signature(acc_load_layout(config))),
                "load_data": In(8 * config.acc_elem_bytes),
                "load_take": Out(1),
                "inp_en": Out(1),
                "inp_addr": Out(range(config.inp_depth)),
                "inp_data": In(8 * config.inp_elem_bytes),
                "wgt_en": Out(1),
                "wgt_addr": Out(range(config.wgt_depth)),
                "wgt_data": In(8 * config.wgt_elem_bytes),
                "out_en": In(1),
                "out_addr": In(range(config.out_depth)),
                "out_data": Out(8 * config.out_elem_bytes),
                "done": Out(1),
                "fault": Out(1),
                "load_in": Out(1),
                "load_done": Out(1),
                "load_error": Out(1),
                "gemm_op": Out(1),
                "reset_op": Out(1),
                "alu_op": Out(1),
                "active": Out(1),
                **(
                    {"delayed": Out(delayed_layout(config, Requantiser.LATENCY))}
                    if config.requantises
                    else {}
                ),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.products = products = DotProducts(config)
        m.submodules.accumulator = accumulator = Accumulator(config, sum_bits=products.sum_bits)

        # What a step does, and what to report when it completes.
        step_layout = data.StructLayout(
            {
                "acc": acc_step_layout(config),
                "multiply": 1,
                "is_alu": 1,
                "counts": 1,
                "last": 1,
                "fault": 1,
                "mark": 1,
                "error": 1,
            }
        )
        step = Signal(step_layout)
        inp_addr, wgt_addr = Signal.like(self.inp_addr), Signal.like(self.wgt_addr)
        first = Signal(step_layout)
        m.d.sync += [
            first.eq(step),
            inp_addr.eq(self.iteration.payload.src),
            wgt_addr.eq(self.iteration.payload.wgt),
        ]
        line_busy = self._choose(m, step)

        # INP and WGT are read at once; the rest of the step follows the products.
        m.d.comb += [
            self.inp_en.eq(first.multiply),
            self.wgt_en.eq(first.multiply),
            self.inp_addr.eq(inp_addr),
            self.wgt_addr.eq(wgt_addr),
            products.inp.eq(self.inp_data),
            products.wgt.eq(self.wgt_data),
        ]
        stages = [first]
        # The step reads ACC early enough for the tile to be there when its dot product is.
        reads_acc = 1 + products.latency - Accumulator.SUM_DELAY
        for number in range(reads_acc + Accumulator.LATENCY):
            stage = Signal(step_layout, name=f"stage_{number}")
            m.d.sync += stage.eq(stages[-1])
            stages.append(stage)
        m.d.comb += [
            products.valid.eq(stages[1].multiply),
            accumulator.step.eq(stages[reads_acc].acc),
            accumulator.load.eq(self.load_data),
            self.load_take.eq(accumulator.load_take),
            accumulator.out_en.eq(self.out_en),
            accumulator.out_addr.eq(self.out_addr),
            self.out_data.eq(accumulator.out_data),
        ]
        for row in range(config.batch):
            for column in range(config.block):
                m.d.comb += accumulator.sums[row][column].eq(products.sums[row][column])

        through = stages[-1]
        m.d.comb += [
            self.done.eq(through.last),
            self.fault.eq(through.fault),
            self.load_done.eq(through.mark),
            self.load_error.eq(through.error),
            self.gemm_op.eq(through.counts & through.multiply),
            self.alu_op.eq(through.counts & through.is_alu),
            self.reset_op.eq(through.counts & ~through.multiply & ~through.is_alu),
            self.active.eq(
                Cat(
                    line_busy,
                    *(
                        stage.acc.writes | stage.acc.reads | stage.last | stage.mark
                        for stage in stages
                    ),
                ).any()
            ),
        ]
        return m

    def _choose(self, m: Module, step: View) -> Value:
        """The next step: a loaded tile if there is one, else the iteration's next.

        Returns whether something is in the delay line.
        """
        config, flags = self._config, self.flags
        iteration, context = self.iteration.payload, self.iteration.payload.context
        is_gemm = ~context.is_alu & ~context.reset
        src = iteration.src[: config.log_acc_depth]

        # The operand register keeps a source tile until that tile changes in ACC or the register is
        # used for something else. `fetched`: the iteration has had its source step.
        kept, kept_addr, fetched = Signal(), self.kept_addr, Signal()
        has_source = kept & (flags.is_kept | fetched)
        needs_source = flags.by_register & ~has_source
        mul_step = Signal(range(len(_MUL_STEPS)))
        halted, waits, final = Signal(), Signal(), Signal()
        loaded_valid, loaded = Signal(), Signal(acc_load_layout(config))
        takes = self.iteration.valid & ~halted & ~waits
        m.d.comb += self.iteration.ready.eq(~halted & ~waits & final)
        with m.If(self.iteration.ready):
            m.d.sync += fetched.eq(0)

        # A step that writes the kept tile makes the copy stale.
        with m.If(step.acc.writes & (written_tile(config, step.acc) == kept_addr)):
            m.d.sync += kept.eq(0)

        line_busy: Value = Const(0)
        with m.If(loaded_valid):
            self._write_loaded(m, step, loaded)
        with m.Elif(takes & iteration.fault):
            m.d.comb += [step.fault.eq(1), step.last.eq(1)]
            m.d.sync += halted.eq(1)
        with m.Elif(takes & needs_source):
            m.d.comb += [
                step.acc.operation.eq(LaneOperation.SOURCE),
                step.acc.reads.eq(1),
                step.acc.addr.eq(src),
            ]
            m.d.sync += [kept.eq(1), kept_addr.eq(src), fetched.eq(1)]
        with m.Elif(takes & ~flags.is_qnt):
            m.d.comb += [
                final.eq(~flags.is_mul | (mul_step == len(_MUL_STEPS) - 1)),
                step.acc.reads.eq(is_gemm | context.is_alu),
            ]
            self._execute(m, step, final, is_gemm, is_first=mul_step == 0)
            with m.If(is_gemm | (context.is_alu & context.use_imm)):
                m.d.sync += kept.eq(0)
            with m.If(flags.is_mul):
                m.d.sync += mul_step.eq(Mux(final, 0, mul_step + 1))
            self._choose_operation(m, step, is_gemm, flags.is_mul, mul_step)

        # What a LOAD brings never waits, because the bus may wait behind it.
        m.d.comb += [self.load.ready.eq(1), self.load_in.eq(loaded_valid & loaded.mark)]
        if config.requantises:
            m.submodules.line = line = DelayLine(config, Requantiser.LATENCY)
            self._delay_loads(m, line, loaded_valid, loaded)
            # QNT only needs the line's input, so it waits only for a LOAD that wants that, and
            # shares its step with what leaves the line. Everything else needs a step of its own,
            # and that no tile is being requantised.
            m.d.comb += [
                waits.eq(Mux(flags.is_qnt, self.load.valid, loaded_valid | line.holds_qnt)),
                self.delayed.eq(line.delayed),
            ]
            self._requantise(
                m, step, line, takes & flags.is_qnt & ~needs_source, takes & needs_source, final
            )
            line_busy = line.holds_any
        else:
            m.d.comb += [
                loaded_valid.eq(self.load.valid),
                loaded.eq(self.load.payload),
                waits.eq(self.load.valid),
            ]
        return line_busy

    def _write_loaded(self, m: Module, step: View, loaded: View) -> None:
        """The step of a tile that a LOAD brings, or of its mark."""
        m.d.comb += [
            step.mark.eq(loaded.mark),
            step.error.eq(loaded.error),
            step.acc.writes.eq(~loaded.mark),
            written_tile(self._config, step.acc).eq(loaded.addr),
        ]
        with m.If(~loaded.mark):
            m.d.comb += step.acc.operation.eq(
                Mux(loaded.zero, LaneOperation.ZERO, LaneOperation.LOAD)
            )

    def _execute(
        self, m: Module, step: View, final: Value, is_gemm: Value, *, is_first: Value
    ) -> None:
        """A step of an iteration, the last one of it if `final`; all but its operation."""
        iteration = self.iteration.payload
        context = iteration.context
        m.d.comb += [
            step.acc.imm.eq(context.imm),
            step.acc.addr.eq(iteration.dst),
            written_tile(self._config, step.acc).eq(iteration.dst),
            step.acc.writes.eq(final),
            step.multiply.eq(is_gemm),
            step.is_alu.eq(context.is_alu),
            step.counts.eq(final),
            step.last.eq(final & iteration.last),
        ]
        with m.If(is_gemm):
            m.d.comb += step.acc.operand.eq(OperandSource.SUM)
        # Later steps of MUL find the operand's halves in another order.
        with m.Elif(context.is_alu & context.use_imm & is_first):
            m.d.comb += step.acc.operand.eq(OperandSource.IMM)

    def _delay_loads(self, m: Module, line: DelayLine, loaded_valid: Signal, loaded: View) -> None:
        """While the line holds anything, what a LOAD brings goes through it."""
        with m.If(line.holds_any):
            m.d.comb += [
                line.i.load.eq(self.load.valid),
                line.i.tile.eq(self.load.payload),
                loaded_valid.eq(line.o.load),
                loaded.eq(line.o.tile),
            ]
        with m.Else():
            m.d.comb += [loaded_valid.eq(self.load.valid), loaded.eq(self.load.payload)]

    def _requantise(
        self,
        m: Module,
        step: View,
        line: DelayLine,
        enters: Value,
        reads_source: Value,
        final: Signal,
    ) -> None:
        """The two halves of QNT's steps: take a tile, and put another one that is ready."""
        iteration = self.iteration.payload
        is_second = Signal()
        m.d.sync += [
            is_second.eq(enters),
            Assert(
                ~is_second | (step.acc.operand == OperandSource.HOLD),
                "the requantiser takes a scale in a tile's second cycle, so it must stay till then",
            ),
        ]
        with m.If(enters):
            m.d.comb += [
                step.acc.reads.eq(1),
                step.acc.addr.eq(iteration.dst),
                step.acc.imm.eq(iteration.context.imm),
                line.i.qnt.eq(1),
                line.i.last.eq(iteration.last),
                line.i.tile.addr.eq(iteration.dst),
                final.eq(1),
            ]
        with m.If(line.o.qnt):
            m.d.comb += [
                step.acc.writes.eq(1),
                step.acc.write_addr.eq(line.o.tile.addr),
                step.acc.operation.eq(
                    Mux(reads_source, LaneOperation.QNT_PUT_SOURCE, LaneOperation.QNT_PUT)
                ),
                step.is_alu.eq(1),
                step.counts.eq(1),
                step.last.eq(line.o.last),
            ]

    def _choose_operation(
        self, m: Module, step: View, is_gemm: Value, is_mul: Value, mul_step: Signal
    ) -> None:
        """What the lanes do in a step of an iteration."""
        context = self.iteration.payload.context
        with m.If(is_gemm):
            m.d.comb += step.acc.operation.eq(LaneOperation.ADD)
        with m.Elif(~context.is_alu):
            m.d.comb += step.acc.operation.eq(LaneOperation.ZERO)
        with m.Elif(is_mul):
            with m.Switch(mul_step):
                for number, operation in enumerate(_MUL_STEPS):
                    with m.Case(number):
                        m.d.comb += step.acc.operation.eq(operation)
        with m.Else():
            with m.Switch(context.alu_opcode):
                for opcode, operation in _ALU_OPERATIONS.items():
                    if opcode in Isa(self._config).alu_ops:
                        with m.Case(opcode):
                            m.d.comb += step.acc.operation.eq(operation)
