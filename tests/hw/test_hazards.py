"""Hazards between LOADs and loops: what overlaps waits, what does not goes on."""

import random

import pytest

from tests.hw.streams import rest, simulate
from vta.config import PRESETS
from vta.hw.hazards import Hazards


class Bench:
    """The hazard unit, and which LOADs and loops are under way."""

    def __init__(self):
        self.dut = Hazards(PRESETS["tiny"])

    async def head(self, ctx, kind, begin=0, end=0, *, issue=True):
        """Puts an instruction at the head; returns whether it is hindered; issues it if not."""
        dut = self.dut
        for name in ("load_uop", "load_acc", "loop"):
            ctx.set(getattr(dut, name), name == kind)
        prefix = "loop" if kind == "loop" else "load"
        ctx.set(getattr(dut, f"{prefix}_begin"), begin)
        ctx.set(getattr(dut, f"{prefix}_end"), end)
        hindered = bool(ctx.get(dut.hinders))
        ctx.set(dut.issue, issue and not hindered)
        await ctx.tick()
        ctx.set(dut.issue, 0)
        return hindered

    async def pulse(self, ctx, name):
        ctx.set(getattr(self.dut, name), 1)
        await ctx.tick()
        ctx.set(getattr(self.dut, name), 0)


@pytest.mark.parametrize(("first", "second", "waits"), [
    ((0, 4), (4, 8), False), ((4, 8), (0, 4), False), ((0, 4), (3, 5), True),
    ((3, 5), (0, 4), True), ((2, 3), (0, 8), True), ((0, 8), (2, 3), True)])
def test_uop_ranges(first, second, waits):
    bench = Bench()

    async def run(ctx):
        # A loop behind a LOAD of its micro-ops.
        assert not await bench.head(ctx, "load_uop", *first)
        assert await bench.head(ctx, "loop", *second, issue=False) == waits
        await bench.pulse(ctx, "load_uop_done")
        assert not await bench.head(ctx, "loop", *second)
        # A LOAD behind that loop, at once and later.
        assert await bench.head(ctx, "load_uop", *first, issue=False) == waits
        ctx.set(bench.dut.loops_busy, 1)
        await rest(ctx, 5)
        assert await bench.head(ctx, "load_uop", *first, issue=False) == waits
        ctx.set(bench.dut.loops_busy, 0)
        assert not await bench.head(ctx, "load_uop", *first)

    simulate(bench.dut, run)


def test_acc():
    bench = Bench()

    async def run(ctx):
        assert not await bench.head(ctx, "load_acc", 0, 1)
        assert not await bench.head(ctx, "load_acc", 1, 2)
        assert await bench.head(ctx, "loop", 0, 1)
        await bench.pulse(ctx, "load_acc_done")
        assert await bench.head(ctx, "loop", 0, 1)
        await bench.pulse(ctx, "load_acc_done")
        # Loops follow loops; LOADs of ACC wait for them, LOADs of other micro-ops do not.
        assert not await bench.head(ctx, "loop", 0, 1)
        assert not await bench.head(ctx, "loop", 0, 1)
        ctx.set(bench.dut.loops_busy, 1)
        assert await bench.head(ctx, "load_acc", 0, 1)
        assert not await bench.head(ctx, "load_uop", 1, 2)
        ctx.set(bench.dut.loops_busy, 0)
        await rest(ctx, 2)
        assert not await bench.head(ctx, "load_acc", 0, 1)

    simulate(bench.dut, run)


def test_nothing_unsafe_is_ever_let_through():
    """Random traffic against a list of what is under way."""
    bench = Bench()
    rng = random.Random("hazards")
    issued = {"load_uop": 0, "load_acc": 0, "loop": 0}

    async def run(ctx):
        uops, accs, loops = [], 0, []
        for _ in range(3000):
            kind = rng.choice(tuple(issued))
            begin = rng.randrange(16)
            end = rng.randint(begin + 1, 16)
            if kind == "load_uop" and len(uops) == 8 or kind == "load_acc" and accs == 8:
                continue
            ctx.set(bench.dut.loops_busy, bool(loops))
            hindered = await bench.head(ctx, kind, begin, end)
            if not hindered:
                issued[kind] += 1
                overlaps = [one for one in (loops if kind == "load_uop" else uops)
                            if one[0] < end and begin < one[1]]
                if kind == "load_uop":
                    assert not overlaps
                    uops.append((begin, end))
                elif kind == "load_acc":
                    assert not loops
                    accs += 1
                else:
                    assert not overlaps
                    assert not accs
                    loops.append((begin, end))
            if uops and rng.random() < 0.5:
                uops.pop(0)
                await bench.pulse(ctx, "load_uop_done")
            if accs and rng.random() < 0.5:
                accs -= 1
                await bench.pulse(ctx, "load_acc_done")
            if loops and rng.random() < 0.5:
                loops.pop(0)

    simulate(bench.dut, run)
    assert min(issued.values()) > 100
