"""Hazards between LOADs and loops: what overlaps waits, what does not goes on."""

import random
from collections import deque

import pytest

from tests.hw.streams import Clock, get, put, rest, simulate, stable
from vta.config import PRESETS
from vta.hw.compute.hazards import AccGuard, Hazards
from vta.hw.compute.requantiser import Requantiser
from vta.hw.issue.sequencer import IN_FLIGHT
from vta.isa import AluOp


class Bench:
    """The hazard unit, and which LOADs and loops are under way."""

    def __init__(self):
        self.dut = Hazards(PRESETS["tiny"])
        self.came = False

    async def head(self, ctx, kind, begin=0, end=0, *, issue=True, following=None):
        """Puts an instruction at the head; returns whether it is hindered; issues it if not.

        The instruction `following` (kind, begin, end) comes in the cycle of the issue.
        """
        dut = self.dut
        if not self.came:
            self._come(ctx, (kind, begin, end))
            await ctx.tick()
        ctx.set(dut.comes, 0)
        for name in ("load_uop", "load_acc", "loop"):
            ctx.set(getattr(dut, name), name == kind)
        if kind != "loop":
            ctx.set(dut.load_begin, begin)
            ctx.set(dut.load_end, end)
            await ctx.tick()
        hindered = bool(ctx.get(dut.hinders))
        issues = issue and not hindered
        ctx.set(dut.issue, issues)
        if issues and following:
            self._come(ctx, following)
        self.came = issues and following is not None
        await ctx.tick()
        ctx.set(dut.issue, 0)
        ctx.set(dut.comes, 0)
        return hindered

    def _come(self, ctx, insn):
        kind, begin, end = insn
        ctx.set(self.dut.comes, 1)
        if kind == "loop":
            ctx.set(self.dut.coming_begin, begin)
            ctx.set(self.dut.coming_end, end)

    async def pulse(self, ctx, name):
        ctx.set(getattr(self.dut, name), 1)
        await ctx.tick()
        ctx.set(getattr(self.dut, name), 0)


@pytest.mark.parametrize(
    ("first", "second", "waits"),
    [
        ((0, 4), (4, 8), False),
        ((4, 8), (0, 4), False),
        ((0, 4), (3, 5), True),
        ((3, 5), (0, 4), True),
        ((2, 3), (0, 8), True),
        ((0, 8), (2, 3), True),
    ],
)
def test_uop_ranges(first, second, waits):
    bench = Bench()

    async def run(ctx):
        # A loop behind a LOAD of its micro-ops, at once and later.
        loop = ("loop", *second)
        assert not await bench.head(ctx, "load_uop", *first, following=loop)
        assert await bench.head(ctx, *loop, issue=False) == waits
        assert await bench.head(ctx, "loop", *second, issue=False) == waits
        await bench.pulse(ctx, "load_uop_done")
        # A LOAD behind that loop, at once and later.
        load = ("load_uop", *first)
        assert not await bench.head(ctx, "loop", *second, following=load)
        assert await bench.head(ctx, *load, issue=False) == waits
        ctx.set(bench.dut.loops_busy, 1)
        await rest(ctx, 5)
        assert await bench.head(ctx, "load_uop", *first, issue=False) == waits
        ctx.set(bench.dut.loops_busy, 0)
        assert not await bench.head(ctx, "load_uop", *first)

    simulate(bench.dut, run)


def reach(dst=(0, 0), src=None, *, known=True):
    """Loops that touch tiles from `first` to `last`, both inclusive."""
    first, last = src or (0, 0)
    return {
        "known": known,
        "has_src": src is not None,
        "dst": {"first": dst[0], "last": dst[1]},
        "src": {"first": first, "last": last},
    }


def test_acc():
    bench = Bench()

    async def run(ctx):
        # Loops follow LOADs of ACC and loops.
        assert not await bench.head(ctx, "load_acc", 0, 1)
        assert not await bench.head(ctx, "load_acc", 1, 2)
        assert not await bench.head(ctx, "loop", 0, 1)
        assert not await bench.head(ctx, "loop", 0, 1)
        # LOADs of ACC wait for loops, LOADs of other micro-ops do not.
        ctx.set(bench.dut.loops_busy, 1)
        assert await bench.head(ctx, "load_acc", 0, 1)
        assert not await bench.head(ctx, "load_uop", 1, 2)
        ctx.set(bench.dut.loops_busy, 0)
        await rest(ctx, 2)
        assert not await bench.head(ctx, "load_acc", 0, 1)

    simulate(bench.dut, run)


@pytest.mark.parametrize(
    ("loops", "load", "waits"),
    [
        (reach((4, 7)), (0, 4), False),
        (reach((4, 7)), (0, 5), True),
        (reach((4, 7)), (7, 9), True),
        (reach((4, 7)), (8, 9), False),
        (reach((4, 7)), (5, 6), True),
        (reach((4, 7)), (0, 20), True),
        # What was the source of another loop, or of none.
        (reach((4, 7)) | {"src": {"first": 8, "last": 9}}, (8, 9), False),
        (reach((4, 7), (12, 13)), (8, 12), False),
        (reach((4, 7), (12, 13)), (8, 13), True),
        (reach((4, 7), (12, 13)), (13, 14), True),
        (reach((4, 7), (12, 13)), (14, 64), False),
        (reach((12, 13), (4, 7)), (8, 12), False),
        (reach((12, 13), (4, 7)), (7, 8), True),
        (reach((4, 7), known=False), (8, 9), True),
        (reach((4, 63)), (63, 64), True),
    ],
)
def test_a_load_of_acc_beside_a_loop(loops, load, waits):
    bench = Bench()

    async def run(ctx):
        ctx.set(bench.dut.loops_busy, 1)
        ctx.set(bench.dut.reach, loops)
        await bench.head(ctx, "load_acc", *load, issue=False)
        assert await bench.head(ctx, "load_acc", *load) == waits
        # Unknown again, as behind another loop.
        ctx.set(bench.dut.reach, loops | {"known": 0})
        await bench.head(ctx, "load_acc", *load, issue=False)
        assert await bench.head(ctx, "load_acc", *load)

    simulate(bench.dut, run)


def test_nothing_unsafe_is_ever_let_through():
    """Random traffic against a list of what is under way."""
    bench = Bench()
    rng = random.Random("hazards")
    issued = {"load_uop": 0, "load_acc": 0, "loop": 0}

    def draw(uops):
        kind = rng.choice(("load_acc", "loop") if len(uops) == 8 else tuple(issued))
        begin = rng.randrange(16)
        return kind, begin, rng.randint(begin + 1, 16)

    async def run(ctx):
        uops, loops = [], []
        insn = draw(uops)
        for _ in range(3000):
            kind, *span = insn
            ctx.set(bench.dut.loops_busy, bool(loops))
            following = draw([*uops, span] if kind == "load_uop" else uops)
            at_once = rng.random() < 0.5
            hindered = await bench.head(ctx, *insn, following=following if at_once else None)
            if not hindered:
                issued[kind] += 1
                begin, end = span
                overlaps = [
                    one
                    for one in (loops if kind == "load_uop" else uops)
                    if one[0] < end and begin < one[1]
                ]
                if kind == "load_uop":
                    assert not overlaps
                    uops.append((begin, end))
                elif kind == "load_acc":
                    assert not loops
                else:
                    assert not overlaps
                    loops.append((begin, end))
                insn = following
            if uops and rng.random() < 0.5:
                uops.pop(0)
                await bench.pulse(ctx, "load_uop_done")
            if loops and rng.random() < 0.5:
                loops.pop(0)

    simulate(bench.dut, run)
    assert min(issued.values()) > 100


# -- iterations ----------------------------------------------------------------------------------


def iteration(dst, src=None, *, gemm_src=0):
    """An iteration of the ALU, with a register source if there is a `src`; else of GEMM."""
    return {
        "context": {"is_alu": gemm_src == 0, "use_imm": src is None},
        "dst": dst,
        "src": gemm_src if src is None else src,
    }


def touches(item, load):
    """Whether an iteration touches a tile of a LOAD's range."""
    tiles = {item["dst"]}
    if item["context"]["is_alu"] and not item["context"]["use_imm"]:
        tiles.add(item["src"])
    return any(load[0] <= tile < load[1] for tile in tiles)


class Guarded:
    """A guard; `load` and `done` are what its pulses say."""

    def __init__(self):
        self.dut = AccGuard(PRESETS["tiny"])

    async def load(self, ctx, begin, end):
        ctx.set(self.dut.load_begin, begin)
        ctx.set(self.dut.load_end, end)
        await self._pulse(ctx, self.dut.load)

    async def done(self, ctx):
        await self._pulse(ctx, self.dut.load_done)

    async def _pulse(self, ctx, signal):
        ctx.set(signal, 1)
        await ctx.tick()
        ctx.set(signal, 0)


@pytest.mark.parametrize(
    ("item", "held"),
    [
        (iteration(9), False),
        (iteration(10), True),
        (iteration(11), True),
        (iteration(12), False),
        (iteration(30, 9), False),
        (iteration(30, 10), True),
        (iteration(30, 12), False),
        (iteration(11, 40), True),
        (iteration(20, 63), True),
        (iteration(63), True),
        # GEMM's source is no tile of ACC.
        (iteration(30, gemm_src=10), False),
        (iteration(10, gemm_src=30), True),
    ],
)
def test_an_iteration_waits_for_the_loads_that_it_meets(item, held):
    bench = Guarded()

    async def run(ctx):
        await bench.load(ctx, 10, 12)
        await bench.load(ctx, 62, 64)
        await put(ctx, bench.dut.i, [item])
        ctx.set(bench.dut.o.ready, 1)
        assert ctx.get(bench.dut.busy)
        assert ctx.get(bench.dut.o.valid) != held
        await rest(ctx, 20)
        assert ctx.get(bench.dut.busy) == held
        if held:
            await bench.done(ctx)
            await rest(ctx, 20)
            await bench.done(ctx)
            await ctx.tick()
            await ctx.tick()
            assert not ctx.get(bench.dut.busy)

    simulate(bench.dut, run)


def test_one_iteration_a_cycle_beside_a_load():
    bench = Guarded()
    clock = Clock()

    async def run(ctx):
        for begin in range(0, 2 * IN_FLIGHT, 2):
            await bench.load(ctx, begin, begin + 1)
        times = []
        for _ in range(40):
            await get(ctx, bench.dut.o, 1)
            times.append(clock.now)
        assert times == list(range(times[0], times[0] + 40))

    async def send(ctx):
        await put(
            ctx, bench.dut.i, [iteration(1 + 2 * (number % IN_FLIGHT)) for number in range(40)]
        )

    simulate(bench.dut, run, background=[send, clock.run])


def test_nobody_goes_once_the_module_has_stopped():
    bench = Guarded()

    async def run(ctx):
        ctx.set(bench.dut.o.ready, 1)
        await bench.load(ctx, 0, 4)
        await put(ctx, bench.dut.i, [iteration(2)])
        ctx.set(bench.dut.stop, 1)
        await bench.done(ctx)
        for _ in range(20):
            assert not ctx.get(bench.dut.o.valid)
            await ctx.tick()
        assert ctx.get(bench.dut.busy)

    simulate(bench.dut, run)


def test_random_iterations_beside_random_loads():
    """None goes too early, and none is held for nothing."""
    bench, rng = Guarded(), random.Random("guard")
    dut = bench.dut
    counts = {"loads": 0, "taken": 0, "held": 0}

    async def run(ctx):
        loads = deque()
        # Iterations that are not taken, each with the LOADs that it waits for.
        waiting = deque()
        entered, free_for = 0, 0
        for _ in range(6000):
            begin = rng.randrange(20)
            new = (begin, rng.randint(begin, 20), object())
            # What `Hazards` sees to: a LOAD does not overlap what waits before it.
            loading = (
                rng.random() < 0.2
                and len(loads) < IN_FLIGHT
                and not any(touches(item, new) for item, _ in waiting)
            )
            finishing = len(loads) > 0 and rng.random() < 0.1
            if len(waiting) < 3 and not loading:
                item = iteration(rng.randrange(24), rng.choice((None, rng.randrange(24))))
                waiting.append((item, [load for load in loads if touches(item, load)]))
            sending = entered < len(waiting) and rng.random() < 0.8
            ctx.set(dut.load, loading)
            ctx.set(dut.load_begin, new[0])
            ctx.set(dut.load_end, new[1])
            ctx.set(dut.load_done, finishing)
            ctx.set(dut.i.valid, sending)
            if sending:
                ctx.set(dut.i.payload, waiting[entered][0])
            ctx.set(dut.o.ready, rng.random() < 0.7)
            if entered:
                free = not any(load in loads for load in waiting[0][1])
                free_for = free_for + 1 if free else 0
                counts["held"] += not free
                assert free or not ctx.get(dut.o.valid)
                assert ctx.get(dut.o.valid) or free_for < 3
            enters = sending and ctx.get(dut.i.ready)
            if ctx.get(dut.o.valid) and ctx.get(dut.o.ready):
                assert ctx.get(dut.o.payload.dst) == waiting.popleft()[0]["dst"]
                entered, free_for = entered - 1, 0
                counts["taken"] += 1
            entered += enters
            await ctx.tick()
            if loading:
                loads.append(new)
                counts["loads"] += 1
            if finishing:
                loads.popleft()

    simulate(dut, run, background=[stable(dut.o)])
    assert min(counts.values()) > 200


def test_an_iteration_waits_for_the_tiles_that_are_being_requantised():
    """As long as one of its tiles is in the line, and not a cycle longer."""
    config, rng = PRESETS["tiny"], random.Random("delayed")
    dut = AccGuard(config)
    counts = {"taken": 0, "held": 0}

    def random_iteration():
        is_qnt = rng.random() < 0.6
        context = {"is_alu": 1, "alu_opcode": AluOp.QNT if is_qnt else AluOp.MOV}
        return {"context": context, "dst": rng.randrange(12), "src": rng.randrange(12)}

    async def run(ctx):
        line, waiting = [None] * Requantiser.LATENCY, deque()
        for _ in range(4000):
            for place, tile in enumerate(line):
                ctx.set(dut.delayed[place], {"qnt": tile is not None, "addr": tile or 0})
            item = random_iteration()
            ctx.set(dut.i.valid, rng.random() < 0.8)
            ctx.set(dut.i.payload, item)
            ctx.set(dut.o.ready, rng.random() < 0.8)
            if waiting:
                met = {waiting[0]["dst"], waiting[0]["src"]}.intersection(line)
                assert ctx.get(dut.o.valid) == (not met)
                counts["held"] += bool(met)
            enters = ctx.get(dut.i.valid) and ctx.get(dut.i.ready)
            leaves = ctx.get(dut.o.valid) and ctx.get(dut.o.ready)
            await ctx.tick()
            line = [None, *line[:-1]]
            if leaves:
                left = waiting.popleft()
                counts["taken"] += 1
                if left["context"]["alu_opcode"] == AluOp.QNT:
                    line[0] = left["dst"]
            if enters:
                waiting.append(item)

    simulate(dut, run, background=[stable(dut.o)])
    assert min(counts.values()) > 500
