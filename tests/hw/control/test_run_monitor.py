"""How a run ends: done, the lowest error, the lowest waiter, no FINISH, or a timeout."""

import random

import pytest

from tests.hw.streams import rest, simulate
from vta.hw.control.run_monitor import STABLE_CYCLES, RunMonitor
from vta.isa import Cause, ModuleId

EXECUTORS = ("load", "compute", "store")


class Bench:
    """A monitor and what it looks at."""

    def __init__(self):
        self.dut = RunMonitor()
        self.ended = None

    async def start(self, ctx, *, finished=True, fetch_index=10, watchdog=0):
        """A running machine in which no module holds an instruction."""
        dut = self.dut
        ctx.set(dut.running, 1)
        ctx.set(dut.settled, 0b111)
        ctx.set(dut.fetch_settled, 1)
        ctx.set(dut.fetch_finished, finished)
        ctx.set(dut.fetch_index, fetch_index)
        ctx.set(dut.bus_quiet, 1)
        ctx.set(dut.watchdog, watchdog)

    async def end(self, ctx, limit=60):
        """Cycles until it is over, and how: ("done",) or (cause, module, index)."""
        dut = self.dut
        for cycles in range(limit):
            if ctx.get(dut.done):
                assert not ctx.get(dut.halt)
                return cycles, ("done",)
            if ctx.get(dut.halt):
                verdict = ctx.get(dut.verdict)
                return cycles, (verdict.cause, verdict.module, verdict.index)
            await ctx.tick()
        return limit, None


def run(*, finished=True, fetch_index=10, fetch_cause=0, **statuses):
    bench = Bench()
    found = []

    async def body(ctx):
        await bench.start(ctx, finished=finished, fetch_index=fetch_index)
        ctx.set(bench.dut.fetch_cause, fetch_cause)
        for name, status in statuses.items():
            ctx.set(getattr(bench.dut, f"{name}_status"), status)
        found.append((await bench.end(ctx))[1])

    simulate(bench.dut, body)
    return found[0]


def test_done():
    assert run() == ("done",)


def test_no_finish():
    assert run(finished=False, fetch_index=77) == (Cause.NO_FINISH, ModuleId.FETCH, 77)


@pytest.mark.parametrize("finished", [False, True])
def test_the_lowest_error(finished):
    """Errors come before waits and before a missing FINISH, whatever the indices are."""
    assert run(
        finished=finished,
        load={"cause": Cause.SRAM_RANGE, "index": 9},
        compute={"pop_prev": 1, "index": 2},
        store={"cause": Cause.ILLEGAL_PADDING, "index": 8},
    ) == (Cause.ILLEGAL_PADDING, ModuleId.STORE, 8)


def test_an_error_of_fetch():
    assert run(
        finished=False,
        fetch_cause=Cause.MEMORY_RESPONSE,
        fetch_index=5,
        load={"cause": Cause.SRAM_RANGE, "index": 4},
    ) == (Cause.SRAM_RANGE, ModuleId.LOAD, 4)
    assert run(
        finished=False,
        fetch_cause=Cause.MEMORY_RESPONSE,
        fetch_index=5,
        load={"pop_next": 1, "index": 4},
    ) == (Cause.MEMORY_RESPONSE, ModuleId.FETCH, 5)


@pytest.mark.parametrize("flag", ["pop_prev", "pop_next", "push_prev", "push_next"])
def test_deadlock(flag):
    assert run(
        load={flag: 1, "index": 30}, compute={flag: 1, "index": 12}, store={flag: 1, "index": 20}
    ) == (Cause.DEADLOCK, ModuleId.COMPUTE, 12)


def test_random_verdicts():
    """Indices over all 32 bits."""
    rng = random.Random("monitor")
    for _ in range(25):
        statuses = {}
        for name in EXECUTORS:
            kind = rng.choice(("idle", "wait", "error"))
            statuses[name] = {"index": rng.randrange(1 << 32)}
            if kind == "wait":
                statuses[name][rng.choice(("pop_prev", "push_next"))] = 1
            elif kind == "error":
                statuses[name]["cause"] = rng.choice((Cause.ILLEGAL_OPCODE, Cause.SRAM_RANGE))
        errors = [(s["index"], name, s["cause"]) for name, s in statuses.items() if "cause" in s]
        waits = [
            (s["index"], name, Cause.DEADLOCK)
            for name, s in statuses.items()
            if "cause" not in s and len(s) > 1
        ]
        finished = rng.random() < 0.5
        if errors or waits:
            index, name, cause = min(errors or waits)
            expected = (cause, ModuleId[name.upper()], index)
        else:
            expected = ("done",) if finished else (Cause.NO_FINISH, ModuleId.FETCH, 10)
        assert run(finished=finished, **statuses) == expected


@pytest.mark.parametrize("signal", ["settled", "fetch_settled", "bus_quiet"])
def test_one_moment_of_movement_starts_the_wait_anew(signal):
    bench = Bench()

    async def body(ctx):
        await bench.start(ctx)
        everything = 0b111 if signal == "settled" else 1
        for _ in range(5):
            await rest(ctx, STABLE_CYCLES - 1)
            ctx.set(getattr(bench.dut, signal), 0b101 if signal == "settled" else 0)
            await rest(ctx, 1)
            assert not ctx.get(bench.dut.done)
            ctx.set(getattr(bench.dut, signal), everything)
        cycles, how = await bench.end(ctx)
        assert how == ("done",)
        assert cycles == STABLE_CYCLES + 1  # its inputs are registered

    simulate(bench.dut, body)


def test_it_rests_between_runs():
    bench = Bench()

    async def body(ctx):
        await bench.start(ctx)
        ctx.set(bench.dut.running, 0)
        assert await bench.end(ctx) == (60, None)

    simulate(bench.dut, body)


@pytest.mark.parametrize("busy", ["load", "store", "fetch", "bus"])
def test_the_watchdog(busy):
    """A module is not settled and nothing moves: after the given time the run is halted."""
    bench = Bench()

    async def body(ctx):
        await bench.start(ctx, watchdog=40, fetch_index=500)
        ctx.set(bench.dut.load_status, {"index": 3})
        ctx.set(bench.dut.store_status, {"index": 7})
        ctx.set(bench.dut.bus_quiet, 0)
        if busy in EXECUTORS:
            ctx.set(bench.dut.settled, 0b111 & ~(1 << EXECUTORS.index(busy)))
        if busy == "fetch":
            ctx.set(bench.dut.fetch_settled, 0)
        # Every movement starts the time from zero.
        for _ in range(4):
            ctx.set(bench.dut.progress, 1)
            await rest(ctx, 1)
            ctx.set(bench.dut.progress, 0)
            cycles, how = await bench.end(ctx, 35)
            assert how is None
        cycles, how = await bench.end(ctx, 30)
        # Where only the bus is busy, it owes what fetch read ahead.
        assert how == {
            "load": (Cause.TIMEOUT, ModuleId.LOAD, 3),
            "store": (Cause.TIMEOUT, ModuleId.STORE, 7),
        }.get(busy, (Cause.TIMEOUT, ModuleId.FETCH, 500))
        assert cycles <= 12

    simulate(bench.dut, body)


@pytest.mark.parametrize("patience", [1, 2, 7, 40])
def test_the_watchdogs_exact_cycle(patience):
    """Counted from the last movement: a cycle for its register, one for the count to start from
    zero, `patience` of them without movement, and three in which the verdict is found."""
    bench = Bench()

    async def body(ctx):
        await bench.start(ctx, watchdog=patience)
        ctx.set(bench.dut.settled, 0b110)
        ctx.set(bench.dut.progress, 1)
        await rest(ctx, 10)
        ctx.set(bench.dut.progress, 0)
        # The last movement was in the cycle before this one.
        cycles, how = await bench.end(ctx, patience + 20)
        assert how == (Cause.TIMEOUT, ModuleId.LOAD, 0)
        assert cycles + 1 == 1 + 1 + patience + 3

    simulate(bench.dut, body)


def test_a_watchdog_of_zero_never_barks():
    bench = Bench()

    async def body(ctx):
        await bench.start(ctx, watchdog=0)
        ctx.set(bench.dut.settled, 0b110)
        assert await bench.end(ctx, 300) == (300, None)

    simulate(bench.dut, body)
