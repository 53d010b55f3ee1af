"""What a step asks of the lanes, and how that is decoded for them."""

from amaranth import *
from amaranth.lib import data, enum
from amaranth.lib.data import View

from vta.isa import IMM_BITS

__all__ = [
    "Forward",
    "LaneControl",
    "LaneOperation",
    "Operand",
    "OperandSource",
    "Plain",
    "QntControl",
    "Result",
    "decode",
]


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
    MUL_CROSS_A = 8
    """... multiplies its upper half by the operand's low half, ..."""
    MUL_CROSS_B = 9
    """... the low half by the operand's upper half, ..."""
    MUL_LOW = 10
    """... the low halves, ..."""
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
    """What a step brings as its operand."""

    HOLD = 0
    """Nothing: the operand stays as it is."""
    SUM = 1
    """The dot product."""
    IMM = 2


class Operand(enum.Enum, shape=2):
    """What the operand register takes next, if anything."""

    SUM = 0
    """The dot product."""
    SWAPPED = 1
    """Its own halves, each in the other's place."""
    IMM = 2
    TILE = 3
    """The tile that was read."""


class Result(enum.Enum, shape=2):
    """What a step makes, but for MIN and MAX that leave the tile as it is."""

    PLAIN = 0
    """What `Plain` says."""
    OPERAND = 1
    SUM = 2
    """The tile and the operand, added up."""
    SHIFTED = 3
    """The tile, shifted by the operand."""


class Plain(enum.Enum, shape=2):
    """The results that need neither the tile nor the operand in the same cycle."""

    ZERO = 0
    LOAD = 1
    PRODUCT = 2
    """The end of MUL."""
    REQUANTISED = 3


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


class LaneControl(data.Struct):
    """Control for all lanes, all of it from registers.

    `forward` and `imm` belong to the step whose tile has just come out of the buffer; all from
    `result` on belongs to the step before it, which computes. If `takes_operand`, the operand
    register takes what the one brings (SUM, IMM), or what the other leaves (TILE, SWAPPED).
    """

    forward: Forward
    takes_operand: 1
    operand: Operand
    imm: signed(IMM_BITS)
    result: Result
    plain: Plain
    compares: 1
    """MIN or MAX."""
    is_max: 1
    takes_factor: 1
    """MUL: `acc[dst]`, for the steps that follow."""
    multiplies: 1
    """MUL: the halves that are in turn."""
    adds_up: 1
    """MUL: takes the last product into the upper half, ..."""
    is_first: 1
    """... which begins with it."""


class QntControl(data.Struct):
    """The `imm` of a QNT, beside the step that computes; laid out as in `vta.isa.pack_qnt`."""

    zero_point: signed(8)
    lower: signed(8)


_RESULTS = {
    LaneOperation.MIN: Result.OPERAND,
    LaneOperation.MAX: Result.OPERAND,
    LaneOperation.MOV: Result.OPERAND,
    LaneOperation.ADD: Result.SUM,
    LaneOperation.SHR: Result.SHIFTED,
}

_PLAIN = {
    LaneOperation.LOAD: Plain.LOAD,
    LaneOperation.MUL_PUT: Plain.PRODUCT,
    LaneOperation.QNT_PUT: Plain.REQUANTISED,
    LaneOperation.QNT_PUT_SOURCE: Plain.REQUANTISED,
}

_OPERANDS = {
    LaneOperation.SOURCE: Operand.TILE,
    LaneOperation.QNT_PUT_SOURCE: Operand.TILE,
    LaneOperation.MUL_CROSS_A: Operand.SWAPPED,
    LaneOperation.MUL_CROSS_B: Operand.SWAPPED,
}


def decode(m: Module, control: View, operation: Value, source: Value) -> None:
    """Drives `control`, but for `forward` and `imm`, with registers.

    `operation` is that of the step whose tile comes out of the buffer in this cycle, and `source`
    the `OperandSource` of the next step. In the next cycle the one computes, and the other's
    operand is taken.
    """
    LaneOp = LaneOperation

    def is_any(*operations: LaneOperation) -> Value:
        return Cat(operation == each for each in operations).any()

    m.d.sync += [
        control.takes_operand.eq((source != OperandSource.HOLD) | is_any(*_OPERANDS)),
        control.operand.eq(Mux(source == OperandSource.SUM, Operand.SUM, Operand.IMM)),
        control.result.eq(Result.PLAIN),
        control.plain.eq(Plain.ZERO),
        control.compares.eq(is_any(LaneOp.MIN, LaneOp.MAX)),
        control.is_max.eq(operation == LaneOp.MAX),
        control.takes_factor.eq(operation == LaneOp.MUL_TAKE),
        control.multiplies.eq(is_any(LaneOp.MUL_CROSS_A, LaneOp.MUL_CROSS_B, LaneOp.MUL_LOW)),
        control.adds_up.eq(is_any(LaneOp.MUL_CROSS_B, LaneOp.MUL_LOW)),
        control.is_first.eq(operation == LaneOp.MUL_CROSS_B),
    ]
    for field, choices in (
        (control.operand, _OPERANDS),
        (control.result, _RESULTS),
        (control.plain, _PLAIN),
    ):
        with m.Switch(operation):
            for name, choice in choices.items():
                with m.Case(name):
                    m.d.sync += field.eq(choice)
