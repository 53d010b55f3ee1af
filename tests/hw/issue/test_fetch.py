"""Fetch: which queue gets what, where it ends, what it does when memory or a queue fails it."""

import random
from collections import deque

import pytest

from tests.hw.streams import STALLS, Clock, Pauses, get, put, rest, simulate, stable
from tests.hw.transfers import check_bursts
from vta.config import PRESETS
from vta.hw.issue.fetch import Fetch
from vta.isa import Cause

CONFIGS = {"tiny": PRESETS["tiny"], "wide": PRESETS["wide"], "small": PRESETS["small"]}
QUEUES = ("load", "compute", "store")
FINISH = 3


def insn(rng, opcode, memory_type):
    """Random bits, except for what decides where it goes (docs/isa.md, "Dispatch")."""
    return rng.randrange(1 << 128) & ~0b111_1111_000 & ~0b111 | opcode | memory_type << 7


def target(word):
    opcode, memory_type = word & 7, word >> 7 & 7
    if opcode == 1:
        return "store"
    return "load" if opcode == 0 and memory_type in (1, 2) else "compute"


def stream(rng, count):
    """Every opcode and memory type but FINISH, the illegal ones included."""
    return [
        insn(rng, rng.choice((0, 0, 0, 1, 2, 4, 5, 6, 7)), rng.randrange(8)) for _ in range(count)
    ]


class Bench:
    """A fetch unit with memory behind it and three queues before it."""

    def __init__(self, config, *, stalls="none", bad=()):
        self.config, self.stalls, self.bad = config, stalls, set(bad)
        self.dut = Fetch(config)
        self.memory: dict[int, int] = {}
        self.bursts: list[tuple[int, int]] = []
        self.got: dict[str, list[tuple[int, int]]] = {name: [] for name in QUEUES}
        self.times: list[int] = []
        self.clock = Clock()
        self.blocked: set[str] = set()
        self._beats: deque[int] = deque()

    def place(self, pointer, words):
        for index, word in enumerate(words):
            self.memory[pointer + 16 * index] = word

    async def launch(self, ctx, pointer, count):
        """Runs to the end and waits until all is quiet."""
        dut = self.dut
        ctx.set(dut.pointer, pointer)
        ctx.set(dut.count, count)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        assert not ctx.get(dut.over)
        # A new start waits for memory as well.
        while self._beats or not (ctx.get(dut.over) and ctx.get(dut.quiet)):
            await rest(ctx, 2)
        await rest(ctx, 2)

    def run(self, *benches):
        simulate(
            self.dut,
            *benches,
            background=[
                self.clock.run,
                self._requests,
                self._answers,
                *map(self._queue, QUEUES),
                stable(self.dut.burst, *(getattr(self.dut, name) for name in QUEUES)),
            ],
        )

    async def _requests(self, ctx):
        pauses = Pauses(self.stalls, "burst")
        while True:
            (burst,) = await get(ctx, self.dut.burst, 1, pauses)
            self.bursts.append((burst.addr, burst.beats))
            self._beats.extend(
                burst.addr + index * self.config.bus_bytes for index in range(burst.beats)
            )

    async def _answers(self, ctx):
        pauses, size = Pauses(self.stalls, "beat"), self.config.bus_bytes
        while True:
            if not self._beats:
                await ctx.tick()
                continue
            addr = self._beats[0]
            first = addr // 16 * 16
            words = sum(
                self.memory.get(first + 16 * index, 0) << 128 * index
                for index in range(max(1, size // 16))
            )
            data = words >> 8 * (addr - first) & (1 << 8 * size) - 1
            await put(ctx, self.dut.beat, [{"data": data, "error": addr in self.bad}], pauses)
            self._beats.popleft()

    def _queue(self, name):
        async def bench(ctx):
            pauses = Pauses(self.stalls, name)
            while True:
                if name in self.blocked:
                    await ctx.tick()
                    continue
                (item,) = await get(ctx, getattr(self.dut, name), 1, pauses)
                self.got[name].append((item.insn, item.index))
                self.times.append(self.clock.now)

        return bench

    def expect(self, words):
        assert self.got == {
            name: [(word, index) for index, word in enumerate(words) if target(word) == name]
            for name in QUEUES
        }


@pytest.mark.parametrize("stalls", STALLS)
@pytest.mark.parametrize("name", CONFIGS)
def test_dispatch(name, stalls):
    """Several runs, one after the other, from pointers of every alignment."""
    config = CONFIGS[name]
    rng = random.Random(f"fetch {name} {stalls}")
    bench = Bench(config, stalls=stalls)

    async def runs(ctx):
        for pointer in (0x1000, 0x1FF0, 0x2010):
            words = stream(rng, rng.choice((1, 70))) if pointer != 0x1FF0 else stream(rng, 90)
            finish = rng.random() < 0.7
            if finish:
                words[-1] = insn(rng, FINISH, 1)
            # What follows FINISH is not executed, though it may be read.
            bench.memory = {}
            bench.place(pointer, words + stream(rng, 40))
            bench.got = {name: [] for name in QUEUES}
            await bench.launch(ctx, pointer, len(words) + (30 if finish else 0))
            bench.expect(words)
            assert ctx.get(bench.dut.finished) == finish
            assert ctx.get(bench.dut.cause) == Cause.NONE
            assert ctx.get(bench.dut.dispatched) == len(words)

    bench.run(runs)
    check_bursts(config, bench.bursts)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("at", [0, 3, 17])
def test_an_error_response(name, at):
    config = CONFIGS[name]
    words = stream(random.Random("errors"), 30)
    pointer = 0x4010
    where = (pointer + 16 * at) // config.bus_bytes * config.bus_bytes
    # On a bus wider than an instruction its neighbour fails with it.
    first = max(0, (where - pointer) // 16)
    bench = Bench(config, bad=[where])
    bench.place(pointer, words)

    async def run(ctx):
        await bench.launch(ctx, pointer, len(words))
        assert ctx.get(bench.dut.cause) == Cause.MEMORY_RESPONSE
        assert ctx.get(bench.dut.dispatched) == first
        assert not ctx.get(bench.dut.finished)

    bench.run(run)
    bench.expect(words[:first])


@pytest.mark.parametrize("name", CONFIGS)
def test_a_stream_that_runs_out_of_memory(name):
    """Addresses never wrap: instruction 0 is not fetched from address 0."""
    config = CONFIGS[name]
    words = stream(random.Random("end"), 5)
    bench = Bench(config)
    pointer = (1 << 32) - 16 * 5
    bench.place(pointer, words)
    bench.place(0, stream(random.Random("wrap"), 5))

    async def run(ctx):
        await bench.launch(ctx, pointer, 9)
        assert ctx.get(bench.dut.cause) == Cause.MEMORY_RESPONSE
        assert ctx.get(bench.dut.dispatched) == 5

    bench.run(run)
    bench.expect(words)
    assert all(addr >= pointer // 32 * 32 for addr, _ in bench.bursts)


def test_a_full_queue_stops_all():
    config = CONFIGS["tiny"]
    rng = random.Random("full")
    # Ten for compute, one for load, more for compute.
    words = [insn(rng, 2, 0)] * 10 + [insn(rng, 0, 1)] + [insn(rng, 2, 0)] * 5
    bench = Bench(config)
    bench.place(0, words)
    bench.blocked = {"load"}

    async def run(ctx):
        await bench.launch(ctx, 0, len(words))

    async def look(ctx):
        await rest(ctx, 100)
        assert ctx.get(bench.dut.blocked)
        assert not ctx.get(bench.dut.over)
        assert ctx.get(bench.dut.dispatched) == 10
        assert len(bench.got["compute"]) == 10
        bench.blocked = set()

    bench.run(run, look)
    bench.expect(words)


@pytest.mark.parametrize(("name", "cycles"), [("tiny", 2), ("wide", 1), ("small", 1)])
def test_rate(name, cycles):
    """One instruction a cycle, or what the bus brings."""
    bench = Bench(CONFIGS[name])
    words = stream(random.Random("rate"), 64)
    bench.place(0, words)

    async def run(ctx):
        await bench.launch(ctx, 0, 64)

    bench.run(run)
    taken = bench.times[-1] - bench.times[0]
    assert taken <= 63 * cycles + (2 if cycles == 2 else 20)
