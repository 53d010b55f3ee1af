"""Token queues: none is lost, none is made, 65,535 are held."""

import random

import pytest

from tests.hw.streams import rest, simulate
from vta.hw.issue.token_queue import TokenQueue

MOST = 65_535


def test_random_traffic():
    dut = TokenQueue()
    rng = random.Random("tokens")

    async def bench(ctx):
        count = 0
        for _ in range(2000):
            assert ctx.get(dut.count) == count
            assert ctx.get(dut.available) == (count > 0)
            assert not ctx.get(dut.full)
            push, pop = rng.random() < 0.5, count > 0 and rng.random() < 0.5
            ctx.set(dut.push, push)
            ctx.set(dut.pop, pop)
            await ctx.tick()
            count += push - pop

    simulate(dut, bench)


def test_holds_as_many_as_the_isa_says():
    dut = TokenQueue()

    async def bench(ctx):
        ctx.set(dut.push, 1)
        await ctx.tick().repeat(MOST - 1)
        assert ctx.get(dut.count) == MOST - 1
        assert not ctx.get(dut.full)
        await ctx.tick()
        assert ctx.get(dut.count) == MOST
        assert ctx.get(dut.full)
        ctx.set(dut.push, 0)
        await ctx.tick().repeat(3)
        assert ctx.get(dut.count) == MOST
        # One in place of another.
        ctx.set(dut.pop, 1)
        await ctx.tick()
        assert ctx.get(dut.count) == MOST - 1
        assert not ctx.get(dut.full)
        ctx.set(dut.push, 1)
        await ctx.tick().repeat(5)
        assert ctx.get(dut.count) == MOST - 1
        assert ctx.get(dut.available)

    simulate(dut, bench)


@pytest.mark.parametrize(
    ("signal", "message"),
    [("pop", "popped from an empty queue"), ("push", "pushed to a full queue")],
)
def test_misuse_stops_the_simulation(signal, message):
    """The queue itself says so when a token would be made or lost."""
    dut = TokenQueue()

    async def bench(ctx):
        if signal == "push":
            ctx.set(dut.count, MOST - 1)
            ctx.set(dut.push, 1)
            await rest(ctx, 2)
        ctx.set(getattr(dut, signal), 1)
        await rest(ctx, 2)

    with pytest.raises(AssertionError, match=message):
        simulate(dut, bench)
