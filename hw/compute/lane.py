"""One number of every ACC tile: its column of the buffer, and the arithmetic on it."""

from amaranth import *
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from vta.hw.bus.block_memory import block_memory
from vta.hw.compute import lane_arithmetic
from vta.hw.compute.lane_arithmetic import Distance
from vta.hw.compute.requantiser import Requantiser
from vta.isa import IMM_BITS

__all__ = ["Forward", "Lane", "LaneControl", "LaneOperation", "OperandSource", "QntControl"]


class LaneOperation(enum.Enum, shape=4):
    """What a step makes of `acc[dst]` and the operand."""

    NONE = 0
    ZERO = 1
    LOAD = 2
    MIN = 3
    MAX = 4
    ADD = 5
    SHR = 6
    MUL_TAKE = 7
    """MUL takes five steps and a 16-bit multiplier: here it keeps `acc[dst]`, ..."""
    MUL_LOW = 8
    """... multiplies the low halves, ..."""
    MUL_CROSS_A = 9
    """... the upper half of `acc[dst]` by the operand's low half, ..."""
    MUL_CROSS_B = 10
    """... the low half by the operand's upper half, ..."""
    MUL_PUT = 11
    """... and writes the sum's low 32 bits."""
    SOURCE = 12
    """The tile that was read becomes the operand of the steps that follow."""
    MOV = 13
    """The operand itself (encoding 0.0.3)."""
    QNT_PUT = 14
    """The requantiser's result for what it took `Requantiser.LATENCY` cycles before."""
    QNT_PUT_SOURCE = 15
    """The same; the tile that was read becomes the operand, as with SOURCE."""


class OperandSource(enum.Enum, shape=2):
    """Where the operand register gets its next value from."""

    HOLD = 0
    SUM = 1
    """The dot product."""
    IMM = 2


class Forward(enum.Enum, shape=2):
    """Where a step gets its tile from."""

    NOTHING = 0
    """The buffer."""
    FIRST = 1
    """The step before it: what that makes in this cycle."""
    SECOND = 2
    """The step two before it."""
    THIRD = 3
    """The step three before it."""


class _Result(enum.Enum, shape=2):
    """What a step's result is, but for MIN and MAX that leave the tile as it is."""

    PLAIN = 0
    """Nothing that is computed in this cycle from the tile or the operand."""
    OPERAND = 1
    SUM = 2
    SHIFTED = 3


_RESULTS = {
    LaneOperation.MIN: _Result.OPERAND,
    LaneOperation.MAX: _Result.OPERAND,
    LaneOperation.MOV: _Result.OPERAND,
    LaneOperation.ADD: _Result.SUM,
    LaneOperation.SHR: _Result.SHIFTED,
}


class LaneControl(data.Struct):
    """Control for all lanes, registered: of the step whose tile has just come out of the buffer."""

    operand: OperandSource
    imm: signed(IMM_BITS)
    operation: LaneOperation
    forward: Forward


class QntControl(data.Struct):
    """The `imm` of a QNT, beside the step that computes; laid out as in `vta.isa.pack_qnt`."""

    zero_point: signed(8)
    lower: signed(8)


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
        # never one.
        operand, distance = Signal(32, reset_less=True), Signal(Distance, reset_less=True)
        with m.Switch(control.operand):
            with m.Case(OperandSource.SUM):
                m.d.sync += operand.eq(self.sum)
            with m.Case(OperandSource.IMM):
                imm = Signal(32)
                m.d.comb += imm.eq(control.imm)
                m.d.sync += [operand.eq(imm), distance.eq(lane_arithmetic.distance(imm))]

        # The halves of MUL's factors change places, those of `acc[dst]` after each product. They
        # are in registers, because the way to a multiplier is long.
        left, other = Signal(16, reset_less=True), Signal(16, reset_less=True)
        product, partial = Signal(32, reset_less=True), Signal(32, reset_less=True)
        total = Signal(32)
        m.d.comb += total.eq(partial + (product << 16))
        multiply = [product.eq(left * operand[:16]), left.eq(other), other.eq(left)]
        swap = operand.eq(Cat(operand[16:], operand[:16]))
        source = [operand.eq(value), distance.eq(lane_arithmetic.distance(value))]

        operation, plain = Signal(LaneOperation), Signal(32)
        m.d.sync += operation.eq(control.operation)
        self._choose_result(m, value, operand, distance, plain, changed, stays)
        if self._requantises:
            requantised = self._requantise(m, value, operand)
        with m.Switch(operation):
            with m.Case(LaneOperation.SOURCE):
                m.d.sync += source
            with m.Case(LaneOperation.LOAD):
                m.d.comb += plain.eq(self.load)
            with m.Case(LaneOperation.MUL_TAKE):
                m.d.sync += Cat(left, other).eq(value)
            with m.Case(LaneOperation.MUL_LOW):
                m.d.sync += multiply
            with m.Case(LaneOperation.MUL_CROSS_A):
                m.d.sync += [*multiply, swap, partial.eq(product)]
            with m.Case(LaneOperation.MUL_CROSS_B):
                m.d.sync += [*multiply, swap, partial.eq(total)]
            with m.Case(LaneOperation.MUL_PUT):
                m.d.comb += plain.eq(total)
            if self._requantises:
                with m.Case(LaneOperation.QNT_PUT):
                    m.d.comb += plain.eq(requantised)
                with m.Case(LaneOperation.QNT_PUT_SOURCE):
                    m.d.comb += plain.eq(requantised)
                    m.d.sync += source
        return m

    def _choose_result(
        self,
        m: Module,
        value: Signal,
        operand: Signal,
        distance: Distance,
        plain: Signal,
        changed: Signal,
        stays: Signal,
    ) -> None:
        """What the step makes: `value` if it `stays`, else `changed`, which `plain` may be."""
        operation = self.control.operation
        kind, compares, is_max = Signal(_Result), Signal(), Signal()
        m.d.sync += [
            kind.eq(_Result.PLAIN),
            compares.eq((operation == LaneOperation.MIN) | (operation == LaneOperation.MAX)),
            is_max.eq(operation == LaneOperation.MAX),
        ]
        with m.Switch(operation):
            for name, result_kind in _RESULTS.items():
                with m.Case(name):
                    m.d.sync += kind.eq(result_kind)
        m.d.comb += stays.eq(compares & lane_arithmetic.is_extreme(value, operand, is_max))
        # The shifter is slowest, so its result meets the others behind them.
        early = Signal(32)
        shifted = lane_arithmetic.shift(m, value, distance, kind == _Result.SHIFTED)
        m.d.comb += changed.eq(early | shifted)
        with m.Switch(kind):
            with m.Case(_Result.PLAIN):
                m.d.comb += early.eq(plain)
            with m.Case(_Result.OPERAND):
                m.d.comb += early.eq(operand)
            with m.Case(_Result.SUM):
                m.d.comb += early.eq(lane_arithmetic.add(value, operand))

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
