"""A serial port: eight bits, no parity, one stop bit."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["UartReceiver", "UartTransmitter"]


class UartReceiver(wiring.Component):
    """Bytes from a line.

    Parameters
    ----------
    divisor : int
        Cycles of a bit, at least 4.

    Members
    -------
    rx : In(1)
        The line; 1 at rest. May change at any time.
    data : Out(8)
    valid : Out(1)
        In one cycle for each byte whose stop bit is 1; others are dropped.
    """

    def __init__(self, divisor: int) -> None:
        self._divisor = divisor
        super().__init__({"rx": In(1, init=1), "data": Out(8), "valid": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.line = FFSynchronizer(self.rx, line, init=1)
        timer = Signal(range(self._divisor))
        left = Signal(range(11))
        bits = Signal(9)
        m.d.comb += self.data.eq(bits[:8])
        m.d.sync += self.valid.eq(0)
        with m.If(left == 0):
            # The middle of the start bit, of eight bits, and of the stop bit.
            with m.If(~line):
                m.d.sync += [left.eq(10), timer.eq(self._divisor // 2 - 1)]
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [left.eq(left - 1), timer.eq(self._divisor - 1)]
            with m.If((left == 10) & line):
                m.d.sync += left.eq(0)  # a glitch, not a start bit
            with m.Elif(left == 1):
                m.d.sync += self.valid.eq(line)
            with m.Else():
                m.d.sync += bits[:8].eq(Cat(bits[1:8], line))
        return m


class UartTransmitter(wiring.Component):
    """Bytes onto a line.

    Parameters
    ----------
    divisor : int
        Cycles of a bit.

    Members
    -------
    i : In(stream of 8 bits)
    tx : Out(1)
    """

    def __init__(self, divisor: int) -> None:
        self._divisor = divisor
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        timer = Signal(range(self._divisor))
        bits = Signal(10, init=-1)
        left = Signal(range(11))
        m.d.comb += [self.tx.eq(bits[0]), self.i.ready.eq(left == 0)]
        with m.If(left == 0):
            with m.If(self.i.valid):
                m.d.sync += [
                    bits.eq(Cat(C(0, 1), self.i.payload, C(1, 1))),
                    left.eq(10),
                    timer.eq(self._divisor - 1),
                ]
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [
                bits.eq(Cat(bits[1:], C(1, 1))),
                left.eq(left - 1),
                timer.eq(self._divisor - 1),
            ]
        return m
