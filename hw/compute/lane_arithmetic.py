"""The arithmetic of one ACC number: values of `m`'s combinational domain."""

from __future__ import annotations

from amaranth import *

__all__ = ["add", "maximum", "minimum", "shift"]


def minimum(x: Value, y: Value) -> Value:
    """The smaller of two signed numbers."""
    return Mux(x.as_signed() < y.as_signed(), x, y)


def maximum(x: Value, y: Value) -> Value:
    """The larger of two signed numbers."""
    return Mux(x.as_signed() < y.as_signed(), y, x)


def add(x: Value, y: Value) -> Value:
    """The sum, wrapping."""
    return (x + y)[: len(x)]


def shift(m: Module, x: Signal, y: Signal) -> Value:
    """`x` shifted right arithmetically by `y`, or left by `-y` where `y` is negative.

    One shifter does both: to shift left, the bits go in and come out reversed. Shifts by the width
    or more leave the sign (right) or nothing (left). Source: docs/isa.md, "ALU".
    """
    width = len(x)
    log = width.bit_length() - 1
    left, far, fill = Signal(), Signal(), Signal()
    amount = Signal(log)
    straight, shifted = Signal(width), Signal(width)
    m.d.comb += [
        left.eq(y[-1]),
        # -y for 0 < -y < width is the two's complement of the low bits; further away one of the
        # upper bits differs from the sign, or (-width itself) the low ones are all zero.
        amount.eq(Mux(left, -y[:log], y[:log])),
        far.eq(Mux(left, ~y[log:].all() | ~y[:log].any(), y[log:].any())),
        fill.eq(~left & x[-1]),
        straight.eq(Mux(left, x[::-1], x)),
        shifted.eq(Cat(straight, fill).as_signed() >> amount),
    ]
    return Mux(far, fill.replicate(width), Mux(left, shifted[::-1], shifted))
