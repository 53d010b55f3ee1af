"""One number of every ACC tile: its column of the buffer, and the arithmetic on it."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from vta.hw.bus.block_memory import block_memory
from vta.hw.compute import lane_arithmetic
from vta.hw.compute.lane_arithmetic import Distance
from vta.hw.compute.lane_control import Forward, LaneControl, Operand, Plain, QntControl, Result
from vta.hw.compute.requantiser import Requantiser

__all__ = ["Lane"]


class Lane(wiring.Component):
    """ACC_WIDTH bits of every tile.

    Reads, takes what was read, computes and writes in consecutive cycles, one step in each. A step
    that reads what one of the three steps before it writes gets it forwarded: the buffer itself
    would return the value from before, or anything at all for a tile that is written in the same
    cycle. Block RAM is slow to answer, so its output meets no more than a multiplexer before a
    register.

    With encoding 0.0.3 a requantiser takes the tile that is read and the operand in every cycle.
    Only the steps QNT_PUT and QNT_PUT_SOURCE use its result.

    Parameters
    ----------
    depth : int
        Tiles.
    sum_bits : int
        Bits of the dot product.
    requantises : bool
        Whether it has the operations of encoding 0.0.3.

    Members
    -------
    control : In(LaneControl)
    read_en, read_addr : In
        Cycle t: which tile to read.
    sum : In(signed(sum_bits))
        Cycle t + 1: the operand of a GEMM step.
    load : In(32)
        Cycle t + 2: the value of a LOAD step.
    qnt : In(QntControl)
        Cycle t + 2, for a tile that is requantised; if `requantises`.
    write_en, write_addr : In
        Cycle t + 3: put `result` into the buffer.
    result : Out(32)
        Cycle t + 3.

    Source: docs/isa.md, "GEMM" and "ALU" (strictly sequential meaning), and "Encoding
    0.0.3".
    """

    def __init__(self, *, depth: int, sum_bits: int, requantises: bool = False) -> None:
        self._depth, self._requantises = depth, requantises
        super().__init__(
            {
                "control": In(LaneControl),
                "read_en": In(1),
                "read_addr": In(range(depth)),
                "sum": In(signed(sum_bits)),
                "load": In(32),
                "write_en": In(1),
                "write_addr": In(range(depth)),
                "result": Out(32),
                **({"qnt": In(QntControl)} if requantises else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        control, result = self.control, self.result
        m.submodules.column = column = block_memory(shape=32, depth=self._depth)
        read, write = column.read_port(), column.write_port()
        m.d.comb += [
            read.en.eq(self.read_en),
            read.addr.eq(self.read_addr),
            write.en.eq(self.write_en),
            write.addr.eq(self.write_addr),
            write.data.eq(result),
        ]

        # What the buffer will hold once every earlier step has been written. MIN and MAX know last
        # which number they take, so that is no more than whether `value` stays.
        older, value = Signal(32, reset_less=True), Signal(32, reset_less=True)
        changed, stays = Signal(32), Signal()
        m.d.sync += [result.eq(Mux(stays, value, changed)), older.eq(result)]
        with m.If(~(stays & (control.forward == Forward.FIRST))), m.Switch(control.forward):
            for origin, tile in (
                (Forward.NOTHING, read.data),
                (Forward.FIRST, changed),
                (Forward.SECOND, result),
                (Forward.THIRD, older),
            ):
                with m.Case(origin):
                    m.d.sync += value.eq(tile)

        # A shift's distance is worked out on the operand's way into its register. A dot product is
        # never one, nor is MUL's factor.
        operand, distance = Signal(32, reset_less=True), Signal(Distance, reset_less=True)
        imm, swapped = Signal(32), Cat(operand[16:], operand[:16])
        m.d.comb += imm.eq(control.imm)
        with m.If(control.takes_operand), m.Switch(control.operand):
            with m.Case(Operand.SUM):
                m.d.sync += operand.eq(self.sum)
            with m.Case(Operand.SWAPPED):
                m.d.sync += operand.eq(swapped)
            for case, number in ((Operand.IMM, imm), (Operand.TILE, value)):
                with m.Case(case):
                    m.d.sync += [operand.eq(number), distance.eq(lane_arithmetic.distance(number))]

        plain, product = Signal(32), self._multiply(m, value, operand)
        if self._requantises:
            requantised = self._requantise(m, value, operand)
        with m.Switch(control.plain):
            with m.Case(Plain.LOAD):
                m.d.comb += plain.eq(self.load)
            with m.Case(Plain.PRODUCT):
                m.d.comb += plain.eq(product)
            if self._requantises:
                with m.Case(Plain.REQUANTISED):
                    m.d.comb += plain.eq(requantised)

        # The shifter is slow, so its result meets the others behind them.
        early = Signal(32)
        with m.Switch(control.result):
            with m.Case(Result.PLAIN):
                m.d.comb += early.eq(plain)
            with m.Case(Result.OPERAND):
                m.d.comb += early.eq(operand)
            with m.Case(Result.SUM):
                m.d.comb += early.eq(lane_arithmetic.add(value, operand))
        is_shift = control.result == Result.SHIFTED
        is_extreme = lane_arithmetic.is_extreme(value, operand, control.is_max)
        m.d.comb += [
            changed.eq(early | lane_arithmetic.shift(m, value, distance, is_shift)),
            stays.eq(control.compares & is_extreme),
        ]
        return m

    def _multiply(self, m: Module, value: Signal, operand: Signal) -> Value:
        """The low 32 bits of MUL's product, once all its parts have been multiplied.

        The factors are in registers, because the way to a multiplier is long.
        """
        control = self.control
        left, low = Signal(16, reset_less=True), Signal(16, reset_less=True)
        product, upper = Signal(32, reset_less=True), Signal(16, reset_less=True)
        with m.If(control.takes_factor):
            m.d.sync += Cat(low, left).eq(value)
        with m.If(control.multiplies):
            m.d.sync += [product.eq(left * operand[:16]), left.eq(low)]
        with m.If(control.adds_up):
            m.d.sync += upper.eq(Mux(control.is_first, 0, upper) + product[:16])
        return Cat(product[:16], (product[16:] + upper)[:16])

    def _requantise(self, m: Module, value: Signal, operand: Signal) -> Value:
        """The requantiser's result for what it took `Requantiser.LATENCY` cycles before."""
        m.submodules.requantiser = requantiser = Requantiser()
        m.d.comb += [
            requantiser.acc.eq(value),
            requantiser.scale.eq(operand),
            requantiser.zero_point.eq(self.qnt.zero_point),
            requantiser.lower.eq(self.qnt.lower),
        ]
        return requantiser.result
