"""Counters: events, bytes of what retires, clearing, wrapping."""

import random

import pytest

from tests.hw.streams import simulate
from tests.hw.transfers import elem_bytes
from vta.config import PRESETS
from vta.hw.control.counters import EVENTS, Counters
from vta.isa import MemoryType

MOVERS = {"load": ("inp", "wgt"), "compute": ("uop", "acc", "acc_8bit"), "store": ("out",)}


@pytest.mark.parametrize("name", ["tiny", "default", "small"])
def test_random_events(name):
    config = PRESETS[name]
    dut = Counters(config)
    rng = random.Random(f"counters {name}")
    memories = [memory for those in MOVERS.values() for memory in those]
    expected = dict.fromkeys((*EVENTS, *(f"{memory}_bytes" for memory in memories)), 0)

    async def settle(ctx):
        for event in EVENTS:
            ctx.set(getattr(dut, f"on_{event}"), 0)
        for module in MOVERS:
            ctx.set(getattr(dut, f"retire_{module}"), 0)
        await ctx.tick().repeat(2)

    async def check(ctx):
        await settle(ctx)
        for counter, value in expected.items():
            assert ctx.get(getattr(dut, counter)) == value % (1 << 32), counter

    async def bench(ctx):
        for _ in range(300):
            for event in EVENTS:
                happens = rng.random() < 0.5
                ctx.set(getattr(dut, f"on_{event}"), happens)
                expected[event] += happens
            for module, those in MOVERS.items():
                memory = rng.choice(those)
                kind = MemoryType[memory.upper()]
                moved = rng.choice((0, 1, rng.randrange(1 << 17), 1 << 16))
                retires = rng.random() < 0.5
                ctx.set(getattr(dut, f"retire_{module}"), retires)
                ctx.set(getattr(dut, f"retired_{module}"), {"kind": kind, "moved": moved})
                if retires:
                    expected[f"{memory}_bytes"] += moved * elem_bytes(config, kind)
            await ctx.tick()
        await check(ctx)
        # They wrap at 32 bits: the bytes have done so on the larger configurations.
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        expected.update(dict.fromkeys(expected, 0))
        await check(ctx)

    simulate(dut, bench)
