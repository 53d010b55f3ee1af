"""The arithmetic of one ACC number, combinational."""

from amaranth import *
from amaranth.lib import data

__all__ = ["Distance", "add", "distance", "is_extreme", "shift"]


class Distance(data.Struct):
    """How far `shift` shifts: by `amount` to the `right`, or to the `left`, or all out if neither.

    What is shifted to the right by the width or more is all sign, as after 31.
    """

    right: 1
    left: 1
    amount: 5


def is_extreme(x: Value, y: Value, is_max: Value) -> Value:
    """Whether `x` is the smaller of two signed numbers, or the larger one where `is_max`.

    For two equal numbers, the answer may be either.
    """
    return (x.as_signed() < y.as_signed()) ^ is_max


def add(x: Value, y: Value) -> Value:
    """The sum, wrapping."""
    return (x + y)[: len(x)]


def distance(y: Value) -> Value:
    """How far to shift for an operand of 32 bits: a `Distance`, as a plain value."""
    negative, low, high = y[-1], y[:5], y[5:]
    # -y for 0 < -y < 32 is the two's complement of the low bits; further away one of the upper
    # bits differs from the sign, or (-32 itself) the low ones are all zero.
    near = high.all() & low.any()
    amount = Mux(negative, -low, low | high.any().replicate(5))[:5]
    return Cat(~negative, negative & near, amount)


def shift(m: Module, x: Signal, by: Distance, enable: Value) -> Value:
    """`x` of 32 bits, shifted right arithmetically, or left; 0 if neither, or without `enable`.

    One shifter does both: to shift left, the bits go in and come out reversed. Shifts by the width
    or more leave the sign (right) or nothing (left). Source: docs/isa.md, "ALU".
    """
    width = len(x)
    fill, straight, shifted = Signal(), Signal(width), Signal(width)
    m.d.comb += [
        fill.eq(by.right & x[-1]),
        straight.eq(Mux(by.right, x, x[::-1])),
        shifted.eq(Cat(straight, fill).as_signed() >> by.amount),
    ]
    right, left = by.right & enable, by.left & enable
    return (shifted & right.replicate(width)) | (shifted[::-1] & left.replicate(width))
