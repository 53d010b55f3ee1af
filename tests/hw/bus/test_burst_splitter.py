"""Bursts of a transfer: they cover its bytes, in order, within the bus's rules, one a cycle."""

import random

import pytest

from tests.hw.streams import STALLS, Clock, Pauses, get, put, simulate, stable
from tests.hw.transfers import PAGE, Move, check_bursts, elem_bytes, random_move
from vta.config import PRESETS
from vta.hw.bus.burst_splitter import BurstSplitter
from vta.isa import MemoryType

CONFIGS = {
    "tiny": PRESETS["tiny"],
    "small": PRESETS["small"],
    "default": PRESETS["default"],
    "wide": PRESETS["wide"],
    "axi3": PRESETS["default"].replace(max_burst=16),
    "long": PRESETS["default"].replace(max_burst=256, log_bus_width=8),
}
KINDS = (MemoryType.UOP, MemoryType.WGT, MemoryType.INP, MemoryType.ACC, MemoryType.ACC_8BIT)


def expected_bursts(config, move):
    """Each run of bytes without a gap, cut at multiples of the longest burst."""
    chunk = min(config.max_burst * config.bus_bytes, PAGE)
    bursts = []
    size = elem_bytes(config, move.kind)
    rows = move.rows(config)
    if len(rows) == 1 or move.stride == move.x:
        rows = [(move.addr, move.y * move.x * size)]
    for addr, nbytes in rows:
        at, end = addr // config.bus_bytes * config.bus_bytes, addr + nbytes
        while at < end:
            stop = min(end, (at // chunk + 1) * chunk)
            bursts.append((at, -(-(stop - at) // config.bus_bytes)))
            at = stop
    return bursts


@pytest.mark.parametrize("stalls", STALLS)
@pytest.mark.parametrize("name", CONFIGS)
def test_random_transfers(name, stalls):
    config = CONFIGS[name]
    rng = random.Random(f"requests {name} {stalls}")
    moves = [
        move for move in (random_move(config, rng, KINDS, limit=2048) for _ in range(40)) if move.y
    ]
    dut = BurstSplitter(config, KINDS)
    expected = [
        (*burst, index == len(bursts) - 1)
        for bursts in (expected_bursts(config, move) for move in moves)
        for index, burst in enumerate(bursts)
    ]
    found = []

    async def send(ctx):
        await put(ctx, dut.job, [move.job(config) for move in moves], Pauses(stalls, "job"))

    async def receive(ctx):
        found.extend(await get(ctx, dut.burst, len(expected), Pauses(stalls, "burst"), dut.last))

    simulate(dut, send, receive, background=[stable(dut.burst)])
    found = [(burst.addr, burst.beats, bool(last)) for burst, last in found]
    assert found == expected
    check_bursts(config, [(addr, beats) for addr, beats, _ in found])


def test_a_run_that_ends_with_memory():
    """The address after the last run would not fit the address width; it is never requested."""
    config = PRESETS["default"]
    move = Move(MemoryType.INP, (1 << 32) - 16 * 21, 0, 3, 1, 10)
    dut = BurstSplitter(config, KINDS)
    found = []

    async def send(ctx):
        await put(ctx, dut.job, [move.job(config)])

    async def receive(ctx):
        found.extend(await get(ctx, dut.burst, 3, None, dut.last))

    simulate(dut, send, receive)
    assert [(burst.addr, burst.beats, last) for burst, last in found] == [
        ((1 << 32) - 16 * 21, 2, 0),
        ((1 << 32) - 16 * 11, 2, 0),
        ((1 << 32) - 16, 2, 1),
    ]


def test_one_burst_a_cycle():
    """Rows of one element cost nothing extra; between two jobs there is a pause of a cycle."""
    config = PRESETS["default"]
    dut, clock, times = BurstSplitter(config, KINDS), Clock(), []
    moves = [Move(MemoryType.INP, 4096 * index, 0, 8, 1, 3) for index in range(4)]

    async def send(ctx):
        await put(ctx, dut.job, [move.job(config) for move in moves])

    async def receive(ctx):
        for _ in range(32):
            await get(ctx, dut.burst, 1)
            times.append(clock.now)

    simulate(dut, send, receive, background=[clock.run])
    gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
    assert gaps == ([1] * 7 + [2]) * 3 + [1] * 7
