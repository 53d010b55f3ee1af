"""AXI write channels as a model of memory, for blocks that store."""

from __future__ import annotations

import random
from collections import deque

from tests.hw.streams import Pauses, rest

__all__ = ["WriteBus"]


class WriteBus:
    """Takes bursts and their data, keeps the bytes, acknowledges in order.

    Attributes
    ----------
    memory : dict
        Byte address to byte, of those whose strobe was set.
    bursts : list of (address, beats)
    """

    def __init__(self, config, bus, *, stalls="none", bad=(), latency=3):
        self.config, self.bus, self.stalls, self.bad = config, bus, stalls, set(bad)
        self.latency = latency
        self.memory: dict[int, int] = {}
        self.bursts: list[tuple[int, int]] = []
        self.beat_times: list[int] = []
        self.silent = False
        self.unacknowledged = 0
        self._open: deque[tuple[int, int]] = deque()
        self._complete: deque[tuple[int, int]] = deque()
        self._now = 0
        self.benches = [self._clock, self._addresses, self._data, self._acknowledge]

    async def _clock(self, ctx):
        while True:
            await ctx.tick()
            self._now += 1

    async def _addresses(self, ctx):
        bus, pauses = self.bus, Pauses(self.stalls, "aw")
        trigger = ctx.tick().sample(
            bus.awvalid, bus.awready, bus.awaddr, bus.awlen, bus.awsize, bus.awburst
        )
        held, wait = None, 0
        while True:
            ctx.set(bus.awready, wait == 0)
            wait = wait - 1 if wait else pauses.next()
            _, _, valid, ready, *request = await trigger
            if held is not None:
                assert valid
                assert request == held, "a request changed before it was taken"
            held = request if valid and not ready else None
            if valid and ready:
                addr, length, size, burst = request
                assert 1 << size == self.config.bus_bytes
                assert burst.value == 1
                self.bursts.append((addr, length + 1))
                self._open.append((addr, length + 1))
                self.unacknowledged += 1

    async def _data(self, ctx):
        """Data may come before its address: it is kept until then."""
        bus, pauses = self.bus, Pauses(self.stalls, "w")
        trigger = ctx.tick().sample(bus.wvalid, bus.wready, bus.wdata, bus.wstrb, bus.wlast)
        held, wait, beats = None, 0, deque()
        while True:
            ctx.set(bus.wready, wait == 0)
            wait = wait - 1 if wait else pauses.next()
            _, _, valid, ready, *beat = await trigger
            if held is not None:
                assert valid
                assert beat == held, "a beat changed before it was taken"
            held = beat if valid and not ready else None
            if valid and ready:
                beats.append(beat)
                self.beat_times.append(self._now)
            while self._open and len(beats) >= self._open[0][1]:
                addr, count = self._open.popleft()
                for index in range(count):
                    data, strobe, last = beats.popleft()
                    assert last == (index == count - 1)
                    for byte in range(self.config.bus_bytes):
                        if strobe >> byte & 1:
                            at = addr + index * self.config.bus_bytes + byte
                            self.memory[at] = data >> 8 * byte & 0xFF
                self._complete.append((self._now + self.latency, addr))

    async def _acknowledge(self, ctx):
        bus, pauses, rng = self.bus, Pauses(self.stalls, "b"), random.Random("b")
        while True:
            await rest(ctx, pauses.next())
            if not self._complete or self._complete[0][0] > self._now or self.silent:
                await ctx.tick()
                continue
            _, addr = self._complete.popleft()
            ctx.set(bus.bresp, rng.choice((2, 3)) if addr in self.bad else 0)
            ctx.set(bus.bvalid, 1)
            trigger = ctx.tick().sample(bus.bready)
            while not (await trigger)[2]:
                pass
            ctx.set(bus.bvalid, 0)
            self.unacknowledged -= 1
