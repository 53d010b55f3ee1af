"""What the block tests share: running a bench, streams with random stalls, random numbers."""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Value
from amaranth.sim import Simulator

__all__ = [
    "CYCLE",
    "QUICK_STALLS",
    "STALLS",
    "Clock",
    "Pauses",
    "get",
    "number",
    "put",
    "raw",
    "ready_at_random",
    "record",
    "rest",
    "simulate",
    "stable",
    "tiles",
    "until",
]

CYCLE = 1e-6

STALLS = ("none", "short", "long")
"""How often a side of a stream rests: never, for a few cycles, for many."""

QUICK_STALLS = ("none", "short", pytest.param("long", marks=pytest.mark.full))
"""The same for tests that take long: "long" in full only."""


class Pauses:
    """Random rests of one side of one stream."""

    def __init__(self, kind: str, seed: object) -> None:
        self._chance, self._longest = {"none": (0.0, 1), "short": (0.4, 3), "long": (0.15, 25)}[
            kind
        ]
        self._random = random.Random(f"{kind} {seed}")

    def next(self) -> int:
        """Cycles to rest before the next item."""
        if self._random.random() < self._chance:
            return self._random.randint(1, self._longest)
        return 0


def simulate(dut, *benches, background=(), limit=200_000) -> None:
    """Runs the benches to their ends; `background` ones are stopped with them.

    `limit` in cycles: a bench that waits for what never comes fails. Waves are written to the
    folder that the environment variable VTA_WAVES names.
    """
    sim = Simulator(dut)
    sim.add_clock(CYCLE)
    for bench in benches:
        sim.add_testbench(bench)

    async def watch(ctx) -> None:
        for _ in range(limit):
            await ctx.tick()
        raise AssertionError(f"not finished after {limit} cycles")

    for bench in (*background, watch):
        sim.add_testbench(bench, background=True)
    folder = os.environ.get("VTA_WAVES")
    test = os.environ.get("PYTEST_CURRENT_TEST", "bench").rsplit("::", 1)[-1].split(" ")[0]
    with sim.write_vcd(str(Path(folder) / f"{test}.vcd")) if folder else contextlib.nullcontext():
        sim.run()


async def rest(ctx, cycles: int) -> None:
    """Lets cycles pass. Like all waits here it may be stopped (Amaranth's `repeat` may not)."""
    for _ in range(cycles):
        await ctx.tick()


async def until(ctx, condition, *values) -> tuple:
    """Waits for the end of a cycle in which `condition` holds; what `values` were in it."""
    trigger = ctx.tick().sample(condition, *values)
    while True:
        _, _, holds, *found = await trigger
        if holds:
            return tuple(found)


async def put(ctx, stream, items, pauses: Pauses | None = None) -> None:
    """Sends the items, one a cycle but for the rests."""
    for item in items:
        if pauses and (cycles := pauses.next()):
            ctx.set(stream.valid, 0)
            await rest(ctx, cycles)
        ctx.set(stream.payload, item)
        ctx.set(stream.valid, 1)
        await until(ctx, stream.ready)
    ctx.set(stream.valid, 0)


async def get(ctx, stream, count: int, pauses: Pauses | None = None, *more) -> list:
    """Receives `count` items; with `more`, tuples of the item and those signals beside it."""
    items = []
    for _ in range(count):
        if pauses and (cycles := pauses.next()):
            ctx.set(stream.ready, 0)
            await rest(ctx, cycles)
        ctx.set(stream.ready, 1)
        values = await until(ctx, stream.valid, stream.payload, *more)
        items.append(values if more else values[0])
    ctx.set(stream.ready, 0)
    return items


def ready_at_random(signal, pauses: Pauses):
    """A background bench that lowers `signal` now and then."""

    async def bench(ctx) -> None:
        while True:
            if cycles := pauses.next():
                ctx.set(signal, 0)
                await rest(ctx, cycles)
            ctx.set(signal, 1)
            await ctx.tick()

    return bench


def stable(*streams):
    """A background bench: once valid, a stream keeps valid and payload until it is taken."""

    async def bench(ctx) -> None:
        held = [None] * len(streams)
        signals = [
            signal
            for stream in streams
            for signal in (stream.valid, stream.ready, raw(stream.payload))
        ]
        trigger = ctx.tick().sample(*signals)
        while True:
            _, _, *values = await trigger
            for index in range(len(streams)):
                valid, ready, payload = values[3 * index : 3 * index + 3]
                if held[index] is not None:
                    assert valid, f"valid of stream {index} was withdrawn"
                    assert payload == held[index], f"payload of stream {index} changed"
                held[index] = payload if valid and not ready else None

    return bench


def record(found: list, when, *signals):
    """A background bench that appends a tuple of `signals` in each cycle in which `when` holds."""

    async def bench(ctx) -> None:
        trigger = ctx.tick().sample(when, *signals)
        while True:
            _, _, happens, *values = await trigger
            if happens:
                found.append(tuple(values))

    return bench


class Clock:
    """Counts cycles from 0; `run` is its background bench. `now` is the cycle that just ended."""

    def __init__(self) -> None:
        self.now = 0

    async def run(self, ctx) -> None:
        while True:
            await ctx.tick()
            self.now += 1


def raw(value):
    """A signal as a plain number, whatever its shape."""
    return Value.cast(value)


def number(const) -> int:
    """A sampled payload as an unsigned number."""
    return const if isinstance(const, int) else const.as_bits()


def tiles(array) -> int:
    """An array's bytes as one number, the first in the lowest bits."""
    return int.from_bytes(np.ascontiguousarray(array).tobytes(), "little")
