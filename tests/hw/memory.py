"""Memory behind a block's `burst` and `beat` streams."""

from __future__ import annotations

from collections import deque

from tests.hw.streams import Pauses, get, put, rest

__all__ = ["ReadMemory"]


class ReadMemory:
    """Answers bursts in order from a bytearray that starts at address 0."""

    def __init__(self, config, dut, size=1 << 16, *, stalls="none", latency=5):
        self.config, self.dut, self.stalls, self.latency = config, dut, stalls, latency
        self.data = bytearray(size)
        self.bad: set[int] = set()
        self.bursts: list[tuple[int, int]] = []
        self._beats: deque[tuple[int, int]] = deque()
        self._now = 0
        self.benches = [self._clock, self._requests, self._answers]

    def write(self, addr, raw):
        self.data[addr : addr + len(raw)] = raw

    async def _clock(self, ctx):
        while True:
            await ctx.tick()
            self._now += 1

    async def _requests(self, ctx):
        pauses = Pauses(self.stalls, "burst")
        while True:
            (burst,) = await get(ctx, self.dut.burst, 1, pauses)
            self.bursts.append((burst.addr, burst.beats))
            self._beats.extend(
                (self._now + self.latency, burst.addr + index * self.config.bus_bytes)
                for index in range(burst.beats)
            )

    async def _answers(self, ctx):
        pauses, size = Pauses(self.stalls, "beat"), self.config.bus_bytes
        while True:
            if not self._beats or self._beats[0][0] > self._now:
                await ctx.tick()
                continue
            await rest(ctx, pauses.next())
            _, addr = self._beats.popleft()
            data = int.from_bytes(self.data[addr : addr + size], "little")
            await put(ctx, self.dut.beat, [{"data": data, "error": addr in self.bad}])
