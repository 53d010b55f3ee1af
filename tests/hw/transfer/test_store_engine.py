"""The storer against plain Python: bytes, strobes, bursts, acknowledgements and rates."""

import random

import pytest

from tests.hw.axi import WriteBus
from tests.hw.streams import STALLS, Clock, Pauses, put, rest, simulate
from tests.hw.transfers import Move, check_bursts, elem_bytes, random_move
from vta.config import PRESETS
from vta.hw.issue.sequencer import IN_FLIGHT
from vta.hw.transfer.store_engine import StoreEngine
from vta.isa import MemoryType

CONFIGS = {
    "tiny": PRESETS["tiny"],  # a tile is a beat
    "small": PRESETS["small"],  # half a beat
    "narrow": PRESETS["tiny"].replace(log_bus_width=8),  # a quarter of one
    "default": PRESETS["default"],  # two beats
    "batch4": PRESETS["batch4"],  # four
    "axi3": PRESETS["wide"].replace(max_burst=16),
}
OUT = (MemoryType.OUT,)


def out_byte(tile, index):
    """What OUT holds."""
    return (tile * 31 + index * 7 + 5) % 256


class Bench:
    """A storer, its OUT buffer and memory."""

    def __init__(self, config, **bus):
        self.config, self.stalls = config, bus.get("stalls", "none")
        self.dut = StoreEngine(config)
        self.bus = WriteBus(config, self.dut.bus, **bus)
        self.clock = Clock()
        self.done: list[tuple[int, bool]] = []
        self.ended = 0

    def run(self, moves, *benches):
        dut = self.dut

        async def send(ctx):
            pauses = Pauses(self.stalls, "job")
            for number, move in enumerate(moves):
                # The sequencer has no more in flight.
                while number - self.ended >= IN_FLIGHT:
                    await ctx.tick()
                await put(ctx, dut.job, [move.job(self.config)], pauses)

        async def count(ctx):
            trigger = ctx.tick().sample(dut.done)
            while True:
                _, _, done = await trigger
                self.ended += done

        async def finish(ctx):
            trigger = ctx.tick().sample(dut.done, dut.error, dut.quiet)
            while len(self.done) < len(moves):
                _, _, done, error, quiet = await trigger
                if done:
                    self.done.append((self.clock.now, bool(error)))
                if self.bus.unacknowledged > 1:
                    assert not quiet
            await rest(ctx, 5)
            assert ctx.get(dut.quiet)
            assert not ctx.get(dut.waiting)

        simulate(
            dut,
            *(benches or (finish,)),
            background=[send, count, self.clock.run, self._buffer, *self.bus.benches],
        )

    async def _buffer(self, ctx):
        dut, size = self.dut, self.config.out_elem_bytes
        trigger = ctx.tick().sample(dut.read_en, dut.read_addr)
        while True:
            _, _, en, addr = await trigger
            if en:
                ctx.set(
                    dut.read_data,
                    int.from_bytes(bytes(out_byte(addr, index) for index in range(size)), "little"),
                )


def stored(config, moves):
    """Memory after the STOREs, in order."""
    memory = {}
    size = elem_bytes(config, MemoryType.OUT)
    for move in moves:
        for tile, addr in move.tiles(config):
            memory |= {addr + index: out_byte(tile, index) for index in range(size)}
    return memory


@pytest.mark.parametrize("stalls", STALLS)
@pytest.mark.parametrize("name", CONFIGS)
def test_random_stores(name, stalls):
    """Exactly the right bytes: what no tile covers keeps its strobe low."""
    config = CONFIGS[name]
    rng = random.Random(f"storer {name} {stalls}")
    moves = [random_move(config, rng, OUT, pads=False, limit=24) for _ in range(25)]
    bench = Bench(config, stalls=stalls)
    bench.run(moves)
    check_bursts(config, bench.bus.bursts)
    assert bench.bus.memory == stored(config, moves)
    assert not any(error for _, error in bench.done)


def test_a_large_store():
    """All of a buffer, from an address that is aligned to nothing but the tile."""
    config = CONFIGS["default"]
    move = Move(MemoryType.OUT, 4096 - 16 * 3, 0, 1, 300, 300)
    bench = Bench(config)
    bench.run([move])
    check_bursts(config, bench.bus.bursts)
    assert bench.bus.memory == stored(config, [move])
    # A beat a cycle throughout.
    times = bench.bus.beat_times
    assert times == list(range(times[0], times[0] + 600))


def test_a_tile_a_cycle_where_tiles_are_narrow():
    config = CONFIGS["narrow"]
    bench = Bench(config)
    bench.run([Move(MemoryType.OUT, 0, 0, 1, 64, 64)])
    times = bench.bus.beat_times
    assert len(times) == 16
    assert times[-1] - times[0] == 15 * 4


def test_done_waits_for_the_response():
    """A STORE's token must not overtake its bytes."""
    config = CONFIGS["tiny"]
    bench = Bench(config, latency=50)
    bench.run([Move(MemoryType.OUT, 0, 0, 1, 4, 4)] * 3)
    for (time, _), sent in zip(bench.done, bench.bus.beat_times[3::4], strict=True):
        assert time > sent + 50


@pytest.mark.parametrize("stalls", STALLS)
def test_errors_belong_to_their_stores(stalls):
    config = CONFIGS["tiny"]
    moves = [Move(MemoryType.OUT, 4096 * index, 0, 3, 2, 100) for index in range(6)]
    # The first, a middle and the last burst of three of them; neighbours answer right behind.
    bad = {4096, 2 * 4096 + 800, 4 * 4096 + 1600}
    bench = Bench(config, stalls=stalls, bad=bad)
    bench.run(moves)
    assert [error for _, error in bench.done] == [False, True, True, False, True, False]


def test_many_bursts_in_flight():
    """Memory that answers late limits nothing until 64 bursts are unanswered; then it stalls."""
    config = CONFIGS["tiny"]
    bench = Bench(config)
    bench.bus.silent = True

    async def look(ctx):
        await rest(ctx, 400)
        assert bench.bus.unacknowledged == 64
        bench.bus.silent = False
        while len(bench.bus.memory) < 8 * 64 * 3 or bench.bus.unacknowledged:
            await ctx.tick()
        assert ctx.get(bench.dut.quiet)

    moves = [Move(MemoryType.OUT, 1 << 16 | 4096 * 64 * index, 0, 64, 1, 512) for index in range(3)]
    bench.run(moves, look)
    assert bench.bus.memory == stored(config, moves)


def test_stop_drains():
    """After `stop` nothing more is asked for, and what was asked for is completed."""
    config = CONFIGS["default"]
    bench = Bench(config, stalls="short", latency=20)
    moves = [Move(MemoryType.OUT, 4096 * index, 0, 4, 16, 64) for index in range(16)]

    async def look(ctx):
        await rest(ctx, 60)
        ctx.set(bench.dut.stop, 1)
        await rest(ctx, 1)
        asked = len(bench.bus.bursts)
        assert not ctx.get(bench.dut.quiet)
        while not ctx.get(bench.dut.quiet):
            await ctx.tick()
        await rest(ctx, 1)
        assert bench.bus.unacknowledged == 0
        assert asked <= len(bench.bus.bursts) <= asked + 2
        await rest(ctx, 100)
        assert ctx.get(bench.dut.quiet)
        assert len(bench.bus.bursts) < 64

    bench.run(moves, look)
