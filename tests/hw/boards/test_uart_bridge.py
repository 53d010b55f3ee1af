"""Registers and memory over a serial line: frames by hand, damage, repeats."""

from __future__ import annotations

import binascii
import random
import struct

from tests.hw.streams import rest, simulate
from vta.hw.boards.uart_bridge import UartBridge

DIVISOR, PATIENCE = 4, 300
READ, WRITE = 1, 2


def frame(sequence, operation, address, words=(), count=None):
    """A request, built as the docstring of `UartBridge` says."""
    more = (len(words) if count is None else count) - 1
    body = struct.pack("<BBBI", sequence, operation, more, address)
    body += b"".join(word.to_bytes(4, "little") for word in words)
    return b"\x56" + body + binascii.crc_hqx(body, 0xFFFF).to_bytes(2, "big")


def answer(sequence, status, count, words=()):
    body = bytes([sequence, status, count - 1])
    body += b"".join(word.to_bytes(4, "little") for word in words)
    return b"\x76" + body + binascii.crc_hqx(body, 0xFFFF).to_bytes(2, "big")


class Line:
    """A host's end of the line, and words behind the bridge."""

    def __init__(self):
        self.dut = UartBridge(DIVISOR, patience=PATIENCE)
        self.words: dict[int, int] = {}
        self.accesses: list[tuple[int, int]] = []
        self.received = bytearray()

    def run(self, bench):
        simulate(self.dut, bench, background=[self._bus, self._receive], limit=400_000)

    async def send(self, ctx, data):
        for byte in data:
            for bit in (0, *(byte >> place & 1 for place in range(8)), 1):
                ctx.set(self.dut.rx, bit)
                await rest(ctx, DIVISOR)

    async def ask(self, ctx, data, length):
        """The bytes of an answer; fewer if the line stays silent."""
        self.received.clear()
        await self.send(ctx, data)
        for _ in range(40 + length * 2):
            if len(self.received) >= length:
                break
            await rest(ctx, 10 * DIVISOR)
        await rest(ctx, 10 * DIVISOR)
        return bytes(self.received)

    async def _bus(self, ctx):
        bus, rng = self.dut.bus, random.Random("bus")
        while True:
            await ctx.tick()
            if not ctx.get(bus.valid):
                continue
            await rest(ctx, rng.randrange(4))
            address, write = ctx.get(bus.addr), ctx.get(bus.write)
            self.accesses.append((write, address))
            if write:
                self.words[address] = ctx.get(bus.data)
            ctx.set(bus.read_data, self.words.get(address, ~address & 0xFFFF_FFFF))
            ctx.set(bus.error, address >= 0xF000_0000)
            ctx.set(bus.ready, 1)
            await ctx.tick()
            ctx.set(bus.ready, 0)

    async def _receive(self, ctx):
        while True:
            await ctx.tick()
            if ctx.get(self.dut.tx):
                continue
            await rest(ctx, DIVISOR // 2)
            bits = []
            for _ in range(9):
                await rest(ctx, DIVISOR)
                bits.append(ctx.get(self.dut.tx))
            assert bits[8] == 1
            self.received.append(sum(bit << place for place, bit in enumerate(bits[:8])))


def test_reads_and_writes():
    line, rng = Line(), random.Random("words")

    async def bench(ctx):
        for sequence, count in enumerate((1, 2, 7, 256, 1)):
            words = [rng.randrange(1 << 32) for _ in range(count)]
            address = rng.randrange(0, 1 << 20) & ~3
            done = await line.ask(ctx, frame(2 * sequence + 1, WRITE, address, words), 6)
            assert done == answer(2 * sequence + 1, 0, count)
            assert line.words == {address + 4 * at: word for at, word in enumerate(words)}
            found = await line.ask(
                ctx, frame(2 * sequence + 2, READ, address, count=count), 6 + 4 * count
            )
            assert found == answer(2 * sequence + 2, 0, count, words)
            line.words.clear()

    line.run(bench)


def test_damaged_requests_are_dropped_and_the_next_is_answered():
    line = Line()
    good = frame(1, WRITE, 0x40, [1, 2])

    async def bench(ctx):
        for place in range(len(good)):
            damaged = bytearray(good)
            damaged[place] ^= 1 << place % 8
            # A length that is damaged makes the bridge wait for more, until the line rests.
            line.received.clear()
            await line.send(ctx, damaged)
            await rest(ctx, PATIENCE)
            assert line.received == b""
            assert line.accesses == []
        assert await line.ask(ctx, good, 6) == answer(1, 0, 2)
        assert line.words == {0x40: 1, 0x44: 2}

    line.run(bench)


def test_a_frame_cut_short_is_forgotten():
    line = Line()

    async def bench(ctx):
        await line.send(ctx, frame(1, WRITE, 0, [1, 2, 3])[:9])
        await rest(ctx, PATIENCE + 10)
        assert await line.ask(ctx, frame(2, READ, 8, count=1), 10) == answer(
            2, 0, 1, [~8 & 2**32 - 1]
        )
        assert line.accesses == [(0, 8)]

    line.run(bench)


def test_a_write_that_is_repeated_is_done_once():
    line = Line()

    async def bench(ctx):
        for _ in range(3):
            assert await line.ask(ctx, frame(5, WRITE, 0, [7]), 6) == answer(5, 0, 1)
        assert line.accesses == [(1, 0)]
        assert await line.ask(ctx, frame(6, WRITE, 0, [7]), 6) == answer(6, 0, 1)
        assert line.accesses == [(1, 0)] * 2
        for _ in range(2):
            await line.ask(ctx, frame(7, READ, 0, count=1), 10)
        assert line.accesses[2:] == [(0, 0)] * 2

    line.run(bench)


def test_refusals():
    line = Line()

    async def bench(ctx):
        refused = await line.ask(ctx, frame(1, WRITE, 0xF000_0000, [1]), 6)
        assert refused == answer(1, 1, 1)
        # The same answer, not carried out again.
        assert await line.ask(ctx, frame(1, WRITE, 0xF000_0000, [1]), 6) == refused
        assert len(line.accesses) == 1
        assert await line.ask(ctx, frame(2, 9, 0, count=1), 6) == answer(2, 2, 1)

    line.run(bench)
