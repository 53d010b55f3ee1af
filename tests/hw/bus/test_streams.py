"""Queues and slices: order, room, rate and latency."""

import random

import pytest

from tests.hw.streams import STALLS, Clock, Pauses, get, put, rest, simulate, stable
from vta.hw.bus.streams import Queue, SkidBuffer


@pytest.mark.parametrize("stalls", STALLS)
@pytest.mark.parametrize(
    "make",
    [
        lambda: Queue(12, 2),
        lambda: Queue(12, 4),
        lambda: Queue(12, 16),
        lambda: Queue(12, 32),
        lambda: SkidBuffer(12),
    ],
    ids=["queue2", "queue4", "queue16", "queue32", "skid"],
)
def test_order(make, stalls):
    dut = make()
    items = [random.Random(5).randrange(1 << 12) for _ in range(200)]
    got = []

    async def send(ctx):
        await put(ctx, dut.i, items, Pauses(stalls, "in"))

    async def receive(ctx):
        got.extend(await get(ctx, dut.o, len(items), Pauses(stalls, "out")))

    simulate(dut, send, receive, background=[stable(dut.o)])
    assert got == items


@pytest.mark.parametrize(
    ("make", "latency"),
    [
        (lambda: Queue(8, 4), 1),
        (lambda: Queue(8, 16), 1),
        (lambda: Queue(8, 17), 2),
        (lambda: SkidBuffer(8), 1),
    ],
    ids=["queue4", "queue16", "queue17", "skid"],
)
def test_one_item_a_cycle(make, latency):
    dut, clock, arrivals = make(), Clock(), []

    async def send(ctx):
        await put(ctx, dut.i, range(100))

    async def receive(ctx):
        for expected in range(100):
            assert await get(ctx, dut.o, 1) == [expected]
            arrivals.append(clock.now)

    simulate(dut, send, receive, background=[clock.run])
    assert arrivals == list(range(arrivals[0], arrivals[0] + 100))
    # The first item goes in in cycle 0.
    assert arrivals[0] == latency


@pytest.mark.parametrize("depth", [2, 8, 16, 17, 64])
def test_holds_its_depth(depth):
    dut = Queue(8, depth)

    async def bench(ctx):
        for count in range(depth):
            assert ctx.get(dut.level) == count
            assert ctx.get(dut.i.ready)
            ctx.set(dut.i.payload, count)
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
        assert ctx.get(dut.level) == depth
        assert not ctx.get(dut.i.ready)
        # What is offered to a full queue is not taken.
        ctx.set(dut.i.payload, 255)
        await ctx.tick().repeat(3)
        ctx.set(dut.i.valid, 0)
        assert await get(ctx, dut.o, depth) == list(range(depth))
        assert not ctx.get(dut.o.valid)
        assert ctx.get(dut.level) == 0

    simulate(dut, bench)


def test_skid_buffer_cuts_paths():
    dut = SkidBuffer(8)

    async def bench(ctx):
        assert ctx.get(dut.empty)
        for item in (1, 2):
            ctx.set(dut.i.payload, item)
            ctx.set(dut.i.valid, 1)
            assert not ctx.get(dut.o.valid) or item == 2
            assert ctx.get(dut.i.ready)
            await ctx.tick()
            assert not ctx.get(dut.empty)
        assert not ctx.get(dut.i.ready)
        # `ready` of the output reaches `ready` of the input a cycle later.
        ctx.set(dut.o.ready, 1)
        assert not ctx.get(dut.i.ready)
        assert ctx.get(dut.o.payload) == 1
        ctx.set(dut.i.valid, 0)
        await ctx.tick()
        assert ctx.get(dut.i.ready)
        assert ctx.get(dut.o.payload) == 2
        await ctx.tick()
        assert ctx.get(dut.empty)

    simulate(dut, bench)


def test_a_bench_that_waits_for_ever_fails():
    dut = Queue(8, 2)

    async def bench(ctx):
        await get(ctx, dut.o, 1)

    with pytest.raises(AssertionError, match="not finished after 50 cycles"):
        simulate(dut, bench, limit=50)


def test_a_withdrawn_item_is_noticed():
    dut = SkidBuffer(8)

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        await rest(ctx, 5)
        ctx.set(dut.i.valid, 0)
        await rest(ctx, 5)

    with pytest.raises(AssertionError, match="withdrawn"):
        simulate(dut, bench, background=[stable(dut.i)])
