"""The ACC buffer with its arithmetic, and its narrow copy OUT."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.data import View
from amaranth.lib.wiring import In, Out

from vta.config import Config
from vta.hw.bus.block_memory import block_memory
from vta.hw.compute import lane_control
from vta.hw.compute.lane import Lane
from vta.hw.compute.lane_control import Forward, LaneControl, LaneOperation, OperandSource
from vta.isa import IMM_BITS

__all__ = ["Accumulator", "acc_step_layout", "written_tile"]


def acc_step_layout(config: Config) -> data.StructLayout:
    """A step on its way to the lanes.

    It reads tile `addr` where `reads`, makes something of it where `operation` says so, and
    writes tile `addr` where `writes`. With encoding 0.0.3 it writes tile `write_addr`: one
    step can write a requantised tile and read another tile.
    """
    return data.StructLayout(
        {
            "operation": LaneOperation,
            "operand": OperandSource,
            "imm": signed(IMM_BITS),
            "addr": config.log_acc_depth,
            **({"write_addr": config.log_acc_depth} if config.requantises else {}),
            "reads": 1,
            "writes": 1,
        }
    )


def written_tile(config: Config, step: View) -> Value:
    """The tile that a step writes, if any."""
    return step.write_addr if config.requantises else step.addr


class Accumulator(wiring.Component):
    """All lanes, and the control that they share.

    Every write goes to OUT as well (its low OUT_WIDTH bits), so that STORE reads a buffer of its
    own and takes no cycle from GEMM or ALU.

    Parameters
    ----------
    config : Config
    sum_bits : int
        Bits of a dot product.

    Members
    -------
    step : In(acc_step_layout)
        Cycle t; an idle cycle is a step that neither reads nor writes, with HOLD and NONE.
    sums : In
        Cycle t + 1: (BATCH, BLOCK_OUT) dot products, for an `operand` SUM.
    load : In(8 * acc_elem_bytes)
        Cycle t + 1: the tile of a LOAD step.
    load_take : Out(1)
        `load` is used in this cycle.
    out_en, out_addr, out_data
        The read port of OUT; data comes in the cycle after and holds.

    Timing: a step's result can be read by the next step, and by STORE from cycle t + 5 on.
    """

    SUM_DELAY = 1
    """Cycles from `step` until its dot product is needed."""

    LATENCY = 4
    """Cycles from `step` until the result is in the buffers."""

    def __init__(self, config: Config, *, sum_bits: int) -> None:
        self._config, self._sum_bits = config, sum_bits
        super().__init__(
            {
                "step": In(acc_step_layout(config)),
                "sums": In(signed(sum_bits)).array(config.batch, config.block),
                "load": In(8 * config.acc_elem_bytes),
                "load_take": Out(1),
                "out_en": In(1),
                "out_addr": In(range(config.out_depth)),
                "out_data": Out(8 * config.out_elem_bytes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, step = self._config, self.step

        # t: read. t + 1: take what was read. t + 2: compute. t + 3: write. t + 4: the value is
        # still in a register, and the buffer has it from now on.
        taken = Signal(acc_step_layout(config))
        compute = Signal(acc_step_layout(config))
        write_en, write_addr = Signal(), Signal(config.log_acc_depth)
        taken_addr, compute_addr = written_tile(config, taken), written_tile(config, compute)
        m.d.sync += [
            taken.eq(step),
            compute.eq(taken),
            write_en.eq(compute.writes),
            write_addr.eq(compute_addr),
        ]
        control = Signal(LaneControl)
        lane_control.decode(m, control, taken.operation, step.operand)
        m.d.sync += control.imm.eq(step.imm)
        m.d.comb += self.load_take.eq(taken.operation == LaneOperation.LOAD)
        # The newest write counts.
        with m.If(taken.writes & (taken_addr == step.addr)):
            m.d.sync += control.forward.eq(Forward.FIRST)
        with m.Elif(compute.writes & (compute_addr == step.addr)):
            m.d.sync += control.forward.eq(Forward.SECOND)
        with m.Elif(write_en & (write_addr == step.addr)):
            m.d.sync += control.forward.eq(Forward.THIRD)
        with m.Else():
            m.d.sync += control.forward.eq(Forward.NOTHING)
        # The way from the queue of loaded tiles to the lanes is long, so it has a cycle of its own.
        loaded = Signal.like(self.load)
        m.d.sync += loaded.eq(self.load)

        results = []
        for row in range(config.batch):
            for column in range(config.block):
                number = row * config.block + column
                lane = Lane(
                    depth=config.acc_depth, sum_bits=self._sum_bits, requantises=config.requantises
                )
                m.submodules[f"lane_{row}_{column}"] = lane
                m.d.comb += [
                    lane.control.eq(control),
                    lane.read_en.eq(step.reads),
                    lane.read_addr.eq(step.addr),
                    lane.sum.eq(self.sums[row][column]),
                    lane.load.eq(loaded.word_select(number, config.acc_width)),
                    lane.write_en.eq(write_en),
                    lane.write_addr.eq(write_addr),
                ]
                if config.requantises:
                    m.d.comb += Value.cast(lane.qnt).eq(compute.imm)
                results.append(lane.result[: config.out_width])

        m.submodules.out = out = block_memory(
            shape=8 * config.out_elem_bytes, depth=config.out_depth
        )
        read, write = out.read_port(), out.write_port()
        m.d.comb += [
            write.en.eq(write_en),
            write.addr.eq(write_addr),
            write.data.eq(Cat(results)),
            read.en.eq(self.out_en),
            read.addr.eq(self.out_addr),
            self.out_data.eq(read.data),
        ]
        return m
