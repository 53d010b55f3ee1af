"""The ALU's arithmetic against plain numbers, at the extremes of 32 bits."""

import random

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tests.hw.streams import simulate
from vta.hw.compute import lane_arithmetic

EXTREMES = (
    0,
    1,
    -1,
    2,
    -2,
    30,
    31,
    32,
    33,
    -30,
    -31,
    -32,
    -33,
    64,
    -64,
    255,
    256,
    65535,
    65536,
    -65536,
    2**31 - 1,
    -(2**31),
    -(2**31) + 1,
    0x5555_5555,
    -0x5555_5556,
)


def wrap(value):
    return (value + 2**31) % 2**32 - 2**31


def reference(name, x, y):
    """docs/isa.md, "ALU"."""
    if name == "shift":
        if y >= 0:
            return x >> min(y, 31)
        return 0 if -y >= 32 else wrap(x << -y)
    return {"minimum": min(x, y), "maximum": max(x, y), "add": wrap(x + y)}[name]


class Harness(wiring.Component):
    x: In(signed(32))
    y: In(signed(32))
    minimum: Out(signed(32))
    maximum: Out(signed(32))
    add: Out(signed(32))
    shift: Out(signed(32))

    def elaborate(self, platform):
        m = Module()
        # The block needs no clock, but the bench counts in its cycles.
        tick = Signal()
        m.d.sync += tick.eq(~tick)
        x, y, by = Signal(32), Signal(32), Signal(lane_arithmetic.Distance)
        m.d.comb += [
            by.eq(lane_arithmetic.distance(y)),
            x.eq(self.x),
            y.eq(self.y),
            self.minimum.eq(Mux(lane_arithmetic.is_extreme(x, y, Const(0)), x, y)),
            self.maximum.eq(Mux(lane_arithmetic.is_extreme(x, y, Const(1)), x, y)),
            self.add.eq(lane_arithmetic.add(x, y)),
            self.shift.eq(lane_arithmetic.shift(m, x, by, Const(1))),
        ]
        return m


@pytest.mark.parametrize("name", ["minimum", "maximum", "add", "shift"])
def test_against_plain_numbers(name):
    dut = Harness()
    rng = random.Random(name)
    pairs = [(x, y) for x in EXTREMES for y in EXTREMES]
    # Every distance of a shift, and beyond.
    pairs += [(rng.randrange(-(2**31), 2**31), y) for y in range(-40, 41)]
    pairs += [(rng.randrange(-(2**31), 2**31), rng.randrange(-(2**31), 2**31)) for _ in range(500)]

    async def bench(ctx):
        for x, y in pairs:
            ctx.set(dut.x, x)
            ctx.set(dut.y, y)
            assert ctx.get(getattr(dut, name)) == reference(name, x, y), (x, y)

    simulate(dut, bench)
