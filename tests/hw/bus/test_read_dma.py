"""The read side of the bus: whose beats go where, turns, limits, errors and stopping."""

import random

import pytest

from tests.hw.streams import STALLS, Pauses, get, put, rest, simulate, stable
from vta.config import PRESETS
from vta.hw.bus.read_dma import LATENCY_BITS, MARGIN, ReadDma

CLIENTS = 3
SIZE = {64: 3, 128: 4, 256: 5}


class Bus:
    """Memory behind the read channels: answers different identifiers in any order, interleaved."""

    def __init__(self, config, dut, *, stalls="none", bad=(), silent=False):
        self.config, self.bus, self.stalls, self.bad, self.silent = (
            config,
            dut.bus,
            stalls,
            set(bad),
            silent,
        )
        self.asked: list[tuple[int, int, int]] = []
        self.pending: dict[int, list[tuple[int, bool]]] = {}
        self.benches = [self._addresses, self._data]

    async def _addresses(self, ctx):
        bus, pauses = self.bus, Pauses(self.stalls, "ar")
        trigger = ctx.tick().sample(
            bus.arvalid,
            bus.arready,
            bus.arid,
            bus.araddr,
            bus.arlen,
            bus.arsize,
            bus.arburst,
            bus.arlock,
        )
        held, wait = None, 0
        while True:
            ctx.set(bus.arready, wait == 0)
            wait = wait - 1 if wait else pauses.next()
            _, _, valid, ready, *request = await trigger
            if held is not None:
                assert valid
                assert request == held, "a request changed before it was taken"
            held = request if valid and not ready else None
            if valid and ready:
                ident, addr, length, size, burst, lock = request
                assert size == SIZE[self.config.bus_width]
                assert burst.value == 1
                assert lock == 0
                self.asked.append((ident, addr, length + 1))
                beats = [addr + index * self.config.bus_bytes for index in range(length + 1)]
                self.pending.setdefault(ident, []).extend(
                    (beat, beat == beats[-1]) for beat in beats
                )

    async def _data(self, ctx):
        bus, pauses, rng = self.bus, Pauses(self.stalls, "r"), random.Random("bus")
        while True:
            await rest(ctx, pauses.next())
            waiting = [ident for ident, beats in self.pending.items() if beats]
            if not waiting or self.silent:
                await ctx.tick()
                continue
            ident = rng.choice(waiting)
            addr, last = self.pending[ident].pop(0)
            ctx.set(bus.rid, ident)
            ctx.set(bus.rdata, addr * 0x1_0001)
            ctx.set(bus.rresp, rng.choice((2, 3)) if addr in self.bad else 0)
            ctx.set(bus.rlast, last)
            ctx.set(bus.rvalid, 1)
            trigger = ctx.tick().sample(bus.rready)
            while not (await trigger)[2]:
                pass
            ctx.set(bus.rvalid, 0)


@pytest.mark.parametrize("stalls", STALLS)
@pytest.mark.parametrize("name", ["tiny", "small", "wide"])
def test_each_client_gets_its_own(name, stalls):
    config = PRESETS[name]
    dut = ReadDma(config, CLIENTS)
    rng = random.Random(f"dma {name} {stalls}")
    bursts = [
        [(rng.randrange(1 << 12) * config.bus_bytes, rng.randint(1, 12)) for _ in range(25)]
        for _ in range(CLIENTS)
    ]
    flat = [
        [addr + beat * config.bus_bytes for addr, beats in mine for beat in range(beats)]
        for mine in bursts
    ]
    bad = set(rng.sample(sorted({addr for mine in flat for addr in mine}), 10))
    bus = Bus(config, dut, stalls=stalls, bad=bad)
    got = [[] for _ in range(CLIENTS)]

    def sender(client):
        async def bench(ctx):
            await put(
                ctx,
                getattr(dut, f"burst_{client}"),
                [{"addr": addr, "beats": beats} for addr, beats in bursts[client]],
                Pauses(stalls, f"burst {client}"),
            )

        return bench

    def receiver(client):
        async def bench(ctx):
            got[client] = await get(
                ctx,
                getattr(dut, f"beat_{client}"),
                len(flat[client]),
                Pauses(stalls, f"beat {client}"),
            )

        return bench

    quiet = []

    async def settle(ctx):
        await rest(ctx, 2)
        while not (all(len(got[client]) == len(flat[client]) for client in range(CLIENTS))):
            if sum(beats for _, _, beats in bus.asked) > sum(map(len, got)):
                quiet.append(ctx.get(dut.quiet))
            await ctx.tick()
        await rest(ctx, 3)
        assert ctx.get(dut.quiet)

    simulate(
        dut,
        *map(sender, range(CLIENTS)),
        *map(receiver, range(CLIENTS)),
        settle,
        background=[
            *bus.benches,
            stable(*(getattr(dut, f"beat_{client}") for client in range(CLIENTS))),
        ],
    )
    for client in range(CLIENTS):
        assert [request[1:] for request in bus.asked if request[0] == client] == bursts[client]
        mask = (1 << config.bus_width) - 1
        assert [(beat.data, beat.error) for beat in got[client]] == [
            (addr * 0x1_0001 & mask, addr in bad) for addr in flat[client]
        ]
    assert quiet
    assert not any(quiet)


def test_turns():
    """A small load waits for one burst of a large one, not for all of them."""
    config = PRESETS["tiny"]
    dut = ReadDma(config, CLIENTS)
    bus = Bus(config, dut)

    async def large(ctx):
        await put(ctx, dut.burst_1, [{"addr": 512 * index, "beats": 8} for index in range(10)])

    async def small(ctx):
        await rest(ctx, 4)
        await put(ctx, dut.burst_2, [{"addr": 1 << 20, "beats": 1}] * 2)

    async def other(ctx):
        await rest(ctx, 4)
        await put(ctx, dut.burst_0, [{"addr": 1 << 21, "beats": 1}] * 2)

    async def takes(ctx):
        ctx.set(dut.beat_0.ready, 1)
        ctx.set(dut.beat_1.ready, 1)
        ctx.set(dut.beat_2.ready, 1)
        await rest(ctx, 120)

    simulate(dut, large, small, other, takes, background=bus.benches)
    order = [ident for ident, _, _ in bus.asked]
    first = min(order.index(0), order.index(2))
    assert sorted(order) == [0] * 2 + [1] * 10 + [2] * 2
    # From there on everybody who wants something comes in turn.
    assert order[first : first + 6] in ([2, 0, 1] * 2, [0, 1, 2] * 2)
    assert set(order[:first]) <= {1}


@pytest.mark.parametrize("measured", [False, True])
def test_a_limit_of_what_is_asked_for(measured):
    """As much as the longest latency needs, or as the latency that was seen does."""
    config = PRESETS["default"]
    dut = ReadDma(config, CLIENTS)
    bus = Bus(config, dut, silent=not measured)

    async def send(ctx):
        if measured:
            await put(ctx, dut.burst_0, [{"addr": 0, "beats": 1}])
            await rest(ctx, 30)
            bus.silent = True
        await put(ctx, dut.burst_0, [{"addr": 512 * index, "beats": 64} for index in range(20)])

    async def look(ctx):
        ctx.set(dut.beat_0.ready, 1)
        await rest(ctx, 150)
        asked = sum(beats for _, _, beats in bus.asked)
        limit = MARGIN if measured else MARGIN + (1 << LATENCY_BITS) - 1
        # The memory of this test answers at once, but for a few registers on the way.
        assert limit <= asked <= limit + 2 * 64 + 20
        bus.silent = False
        await rest(ctx, 400)
        assert sum(beats for _, _, beats in bus.asked) > asked

    simulate(dut, look, background=[send, *bus.benches])


def test_stop_asks_for_nothing_more_and_drains():
    config = PRESETS["tiny"]
    dut = ReadDma(config, CLIENTS)
    bus = Bus(config, dut, stalls="short")

    async def send(ctx):
        await put(ctx, dut.burst_1, [{"addr": 512 * index, "beats": 8} for index in range(50)])

    async def look(ctx):
        ctx.set(dut.beat_1.ready, 1)
        await rest(ctx, 60)
        ctx.set(dut.stop, 1)
        await rest(ctx, 1)
        before = len(bus.asked)
        assert not ctx.get(dut.quiet)
        while not ctx.get(dut.quiet):
            await ctx.tick()
        # What had been granted was still asked for and answered.
        assert before <= len(bus.asked) <= before + 2
        assert not any(bus.pending.values())
        asked = len(bus.asked)
        await rest(ctx, 50)
        assert len(bus.asked) == asked
        ctx.set(dut.stop, 0)
        await rest(ctx, 50)
        assert len(bus.asked) > asked

    simulate(dut, look, background=[send, *bus.benches])


def test_a_beat_a_cycle():
    config = PRESETS["tiny"]
    dut = ReadDma(config, CLIENTS)
    bus = Bus(config, dut)
    times = []

    async def send(ctx):
        await put(ctx, dut.burst_0, [{"addr": 512 * index, "beats": 16} for index in range(6)])

    async def receive(ctx):
        ctx.set(dut.beat_0.ready, 1)
        trigger = ctx.tick().sample(dut.beat_0.valid)
        now = 0
        while len(times) < 96:
            now += 1
            if (await trigger)[2]:
                times.append(now)

    simulate(dut, send, receive, background=bus.benches)
    assert times == list(range(times[0], times[0] + 96))
