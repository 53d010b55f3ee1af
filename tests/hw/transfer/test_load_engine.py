"""The loader against plain Python: what it writes where, when it is done, and how fast."""

import itertools
import random
from collections import deque

import pytest

from tests.hw.streams import STALLS, Clock, Pauses, put, ready_at_random, rest, simulate, stable
from tests.hw.transfers import Move, check_bursts, depth, elem_bytes, random_move
from vta.config import PRESETS
from vta.hw.transfer.load_engine import LoadEngine
from vta.isa import MemoryType

CONFIGS = {
    "tiny": PRESETS["tiny"],
    "small": PRESETS["small"],
    "default": PRESETS["default"],
    "wide": PRESETS["wide"],
    "batch4": PRESETS["batch4"],
    "axi3": PRESETS["tiny"].replace(max_burst=16, log_bus_width=7),
    "wide256": PRESETS["wide"].replace(log_bus_width=8),
    "tiny-old": PRESETS["tiny"].replace(hw_ver="0.0.2"),
    "wide256-old": PRESETS["wide"].replace(hw_ver="0.0.2", log_bus_width=8),
}
LOAD = (MemoryType.INP, MemoryType.WGT)
COMPUTE = (MemoryType.UOP, MemoryType.ACC, MemoryType.ACC_8BIT)


def byte_at(addr):
    """The contents of memory: each byte shows its own address."""
    return (addr * 167 + (addr >> 8) * 59 + 13) % 255 + 1


class Bench:
    """A loader, memory behind it, and a buffer of what was written."""

    def __init__(self, config, kinds, *, stalls="none", latency=3, bad=()):
        self.config, self.stalls, self.latency, self.bad = config, stalls, latency, set(bad)
        self.dut = LoadEngine(config, kinds)
        self.bursts: list[tuple[int, int]] = []
        self.buffers: dict[tuple[int, int], dict[int, int]] = {}
        self.finished: list[tuple[int, bool]] = []
        self.clock = Clock()
        self.writes = 0
        self._beats: deque[tuple[int, int]] = deque()

    def run(self, moves, *, also=(), background=()):
        dut = self.dut

        async def send(ctx):
            await put(
                ctx, dut.job, [move.job(self.config) for move in moves], Pauses(self.stalls, "job")
            )

        async def finish(ctx):
            trigger = ctx.tick().sample(dut.done, dut.error)
            while len(self.finished) < len(moves):
                _, _, done, error = await trigger
                if done:
                    self.finished.append((self.clock.now, bool(error)))
            await rest(ctx, 5)

        simulate(
            dut,
            send,
            finish,
            *also,
            background=[
                self.clock.run,
                self._requests,
                self._answers,
                self._buffer,
                stable(dut.burst),
                ready_at_random(dut.room, Pauses(self.stalls, "room")),
                *background,
            ],
        )

    async def _requests(self, ctx):
        pauses, trigger = (
            Pauses(self.stalls, "burst"),
            ctx.tick().sample(self.dut.burst.valid, self.dut.burst.payload),
        )
        while True:
            await rest(ctx, pauses.next())
            ctx.set(self.dut.burst.ready, 1)
            _, _, valid, burst = await trigger
            ctx.set(self.dut.burst.ready, 0)
            if valid:
                self.bursts.append((burst.addr, burst.beats))
                for beat in range(burst.beats):
                    self._beats.append(
                        (self.clock.now + self.latency, burst.addr + beat * self.config.bus_bytes)
                    )

    async def _answers(self, ctx):
        pauses, beat, size = Pauses(self.stalls, "beat"), self.dut.beat, self.config.bus_bytes
        while True:
            await rest(ctx, pauses.next())
            if not self._beats or self._beats[0][0] > self.clock.now:
                await ctx.tick()
                continue
            _, addr = self._beats.popleft()
            data = bytes(byte_at(addr + index) for index in range(size))
            await put(
                ctx, beat, [{"data": int.from_bytes(data, "little"), "error": addr in self.bad}]
            )

    async def _buffer(self, ctx):
        """Puts writes together: per (job, kind), the bytes of each tile."""
        dut = self.dut
        trigger = ctx.tick().sample(dut.write_en, dut.write, dut.done, dut.room)
        job = 0
        while True:
            _, _, en, write, done, room = await trigger
            if en:
                self.writes += 1
                assert room
                kind = MemoryType(write.kind)
                size = elem_bytes(self.config, kind)
                lane = min(size, self.config.bus_bytes)
                tiles = self.buffers.setdefault((job, kind), {})
                if write.zero:
                    assert write.last
                    assert write.addr not in tiles, "written twice"
                    tiles[write.addr] = bytes(size)
                elif self.config.requantises and write.least:
                    assert write.last
                    assert write.addr not in tiles, "written twice"
                    least = b"\0\0\0\x80" if kind == MemoryType.ACC else b"\x80"
                    tiles[write.addr] = least * (size // len(least))
                else:
                    parts = tiles.setdefault(write.addr, {})
                    for number in range(size // lane):
                        if write.lanes >> number & 1:
                            assert number not in parts, "written twice"
                            parts[number] = (write.data & (1 << 8 * lane) - 1).to_bytes(
                                lane, "little"
                            )
                    assert write.lanes < 1 << size // lane
                    if write.last:
                        tiles[write.addr] = b"".join(parts[key] for key in sorted(parts))
            job += done


def expected_tiles(config, move):
    size = elem_bytes(config, move.kind)
    return {
        sram: move.padding(config)
        if addr is None
        else bytes(byte_at(addr + i) for i in range(size))
        for sram, addr in move.tiles(config)
    }


@pytest.mark.parametrize(
    ("name", "stalls"),
    [
        *((name, stalls) for name in ("tiny", "small", "axi3") for stalls in STALLS),
        ("default", "short"),
        ("batch4", "long"),
        ("wide", "short"),
        ("wide256", "none"),
        ("tiny-old", "short"),
        ("wide256-old", "none"),
    ],
)
@pytest.mark.parametrize("kinds", [LOAD, COMPUTE], ids=["load", "compute"])
def test_random_loads(name, kinds, stalls):
    """Exactly the right tiles, each once, and nothing else; every combination of padding."""
    config = CONFIGS[name]
    rng = random.Random(f"loader {name} {kinds} {stalls}")
    # A few hundred beats: Python simulates slowly.
    moves, beats = [], 0
    while len(moves) < 30 and beats < 500:
        moves.append(random_move(config, rng, kinds, limit=48))
        beats += (
            moves[-1].y
            * moves[-1].x
            * max(1, elem_bytes(config, moves[-1].kind) // config.bus_bytes)
        )
    bench = Bench(config, kinds, stalls=stalls)
    bench.run(moves)
    check_bursts(config, bench.bursts)
    assert not any(error for _, error in bench.finished)
    for index, move in enumerate(moves):
        assert bench.buffers.pop((index, move.kind), {}) == expected_tiles(config, move), move
    assert not bench.buffers


@pytest.mark.parametrize("y", [0, 1, 3])
def test_every_combination_of_padding(y):
    config = PRESETS["tiny"]
    moves = [
        Move(MemoryType.INP, 8 * 5, 7, y, 2, 5, pads)
        for pads in itertools.product((0, 2), (0, 1), (0, 3), (0, 2))
    ]
    bench = Bench(config, LOAD)
    bench.run(moves)
    for number, move in enumerate(moves):
        found = bench.buffers.get((number, MemoryType.INP), {})
        assert found == expected_tiles(config, move), move


@pytest.mark.parametrize("kind", [*LOAD, *COMPUTE], ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", ["tiny", "wide256"])
def test_padding_with_the_least_number(name, kind):
    """Beside a LOAD whose padding is zero; padding of UOP is zero always."""
    config = CONFIGS[name]
    moves = [Move(kind, 0, 1, 1, 1, 1, (1, 0, 0, 1), pad_min) for pad_min in (0, 1, 0)]
    bench = Bench(config, LOAD if kind in LOAD else COMPUTE)
    bench.run(moves)
    for index, move in enumerate(moves):
        assert bench.buffers[index, kind] == expected_tiles(config, move)


def test_errors_belong_to_their_loads():
    config = PRESETS["tiny"]
    moves = [Move(MemoryType.WGT, 1024 * index, 0, 1, 4, 4) for index in range(5)]
    bench = Bench(config, LOAD, bad={1024 + 64, 3 * 1024 + 4 * 64 - 8})
    bench.run(moves)
    assert [error for _, error in bench.finished] == [False, True, False, True, False]


def test_discard_takes_beats_and_writes_nothing():
    """A stopped module must not block the bus for the others."""
    config = PRESETS["tiny"]
    bench = Bench(config, COMPUTE)

    async def discard(ctx):
        ctx.set(bench.dut.discard, 1)

    moves = [Move(MemoryType.ACC, 0, 0, 2, 4, 9, (1, 1, 1, 1)), Move(MemoryType.UOP, 0, 0, 1, 8, 8)]
    # The receiver of the writes may have stopped, too.
    bench.run(moves, also=[discard], background=[_low(bench.dut.room)])
    assert bench.writes == 0
    assert len(bench.finished) == 2


def _low(signal):
    async def bench(ctx):
        while True:
            ctx.set(signal, 0)
            await ctx.tick()

    return bench


@pytest.mark.parametrize(
    ("name", "move"),
    [
        ("default", Move(MemoryType.WGT, 0, 0, 1, 16, 16)),
        ("default", Move(MemoryType.INP, 0, 0, 4, 16, 16)),
        ("default", Move(MemoryType.INP, 0, 0, 32, 1, 2)),
        ("small", Move(MemoryType.INP, 0, 0, 1, 48, 48)),
        ("tiny", Move(MemoryType.UOP, 4, 0, 1, 60, 60)),
    ],
)
def test_rate(name, move):
    """A beat a cycle, or a tile a cycle where a tile is narrower."""
    config = CONFIGS[name]
    kinds = COMPUTE if move.kind in COMPUTE else LOAD
    size = elem_bytes(config, move.kind)
    bench = Bench(config, kinds)
    bench.run([move])
    steps = move.y * move.x * max(1, size // config.bus_bytes)
    assert bench.writes == steps
    # The rest is the way there and back.
    overhead = bench.finished[0][0] - steps
    assert overhead <= 8 + bench.latency


def test_loads_follow_each_other():
    """One cycle between two LOADs whose data is there in time."""
    config = PRESETS["default"]
    assert depth(config, MemoryType.INP) == 2048
    bench = Bench(config, LOAD, latency=10)
    bench.run([Move(MemoryType.INP, 4096 * index, 0, 1, 16, 16) for index in range(6)])
    times = [time for time, _ in bench.finished]
    gaps = [after - before for before, after in zip(times[1:], times[2:], strict=False)]
    assert max(gaps) <= 16 * 2 + 1


def test_padding_hides_behind_data():
    """Zeros are written while memory is silent: here they cost nothing at all."""
    config = PRESETS["default"]
    plain, padded = (Bench(config, LOAD, latency=40) for _ in range(2))
    plain.run([Move(MemoryType.INP, 0, 0, 4, 8, 20)])
    padded.run([Move(MemoryType.INP, 0, 0, 4, 8, 20, (1, 1, 1, 1))])
    assert padded.finished[0][0] == plain.finished[0][0]
