"""The arithmetic of one ACC number, combinational."""

from amaranth import *
from amaranth.lib import data

__all__ = ["Distance", "add", "distance", "extreme", "shift"]


class Distance(data.Struct):
    """How far `shift` shifts: by `amount` to the right, or to the `left`, or `far` out."""

    left: 1
    far: 1
    amount: 5


def extreme(x: Value, y: Value, is_max: Value) -> Value:
    """The smaller of two signed numbers, or the larger one where `is_max`."""
    takes_x = (x.as_signed() < y.as_signed()) ^ is_max
    return Mux(takes_x, x, y)


def add(x: Value, y: Value) -> Value:
    """The sum, wrapping."""
    return (x + y)[: len(x)]


def distance(y: Value) -> Value:
    """How far to shift for an operand of 32 bits: a `Distance`, as a plain value."""
    left, low, high = y[-1], y[:5], y[5:]
    # -y for 0 < -y < 32 is the two's complement of the low bits; further away one of the upper
    # bits differs from the sign, or (-32 itself) the low ones are all zero.
    far = Mux(left, ~high.all() | ~low.any(), high.any())
    return Cat(left, far, Mux(left, -low, low)[:5])


def shift(m: Module, x: Signal, by: Distance) -> Value:
    """`x` of 32 bits, shifted right arithmetically, or left.

    One shifter does both: to shift left, the bits go in and come out reversed. Shifts by the width
    or more leave the sign (right) or nothing (left). Source: docs/isa.md, "ALU".
    """
    width = len(x)
    fill, straight, shifted = Signal(), Signal(width), Signal(width)
    m.d.comb += [
        fill.eq(~by.left & x[-1]),
        straight.eq(Mux(by.left, x[::-1], x)),
        shifted.eq(Cat(straight, fill).as_signed() >> by.amount),
    ]
    return Mux(by.far, fill.replicate(width), Mux(by.left, shifted[::-1], shifted))
