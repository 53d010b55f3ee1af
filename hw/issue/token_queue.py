"""The token queues between modules."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from vta.isa import MAX_TOKENS

__all__ = ["TokenQueue"]


class TokenQueue(wiring.Component):
    """Counts tokens from one module to another; none is ever lost.

    Members
    -------
    push : In(1)
        One more; only while not `full`.
    pop : In(1)
        One less; only while `available`.
    available : Out(1)
        At least one is there. Registered: a push shows in the next cycle.
    full : Out(1)
        `MAX_TOKENS` are there.
    count : Out(16)

    Source: docs/isa.md, "Tokens".
    """

    push: In(1)
    pop: In(1)
    available: Out(1)
    full: Out(1)
    count: Out(range(MAX_TOKENS + 1))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # `available` and `full` are registers, because a push or a pop arrives late in its cycle.
        with m.If(self.push & ~self.pop):
            m.d.sync += [
                self.count.eq(self.count + 1),
                self.available.eq(1),
                self.full.eq(self.count == MAX_TOKENS - 1),
            ]
        with m.Elif(self.pop & ~self.push):
            m.d.sync += [
                self.count.eq(self.count - 1),
                self.available.eq(self.count > 1),
                self.full.eq(0),
            ]
        m.d.sync += [
            Assert(~self.push | ~self.full, "a token is pushed to a full queue"),
            Assert(~self.pop | self.available, "a token is popped from an empty queue"),
        ]
        return m
