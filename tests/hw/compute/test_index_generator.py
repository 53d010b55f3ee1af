"""Loops, micro-ops and indices against plain Python loops in unlimited numbers."""

import itertools
import random

import pytest

from tests.hw.streams import QUICK_STALLS, Clock, Pauses, get, put, rest, simulate, stable
from vta.config import PRESETS
from vta.hw.compute.index_generator import IndexGenerator
from vta.isa import Isa

CONFIGS = {
    "tiny": PRESETS["tiny"],
    "default": PRESETS["default"],
    # INP deeper than ACC, ACC deeper than INP.
    "inp": PRESETS["tiny"].replace(log_inp_buff_size=13),
    "acc": PRESETS["tiny"].replace(log_acc_buff_size=14),
}


class Bench:
    """An index generator and the micro-ops that it reads."""

    def __init__(self, config, uops, *, stalls="none"):
        self.config, self.stalls = config, stalls
        self.dut = IndexGenerator(config)
        self.uops = [
            Isa(config).uop.pack(dst_idx=dst, src_idx=src, wgt_idx=wgt) for dst, src, wgt in uops
        ]
        self.clock = Clock()

    def run(self, loops, count):
        """The first `count` iterations of the loops, and the cycles in which they came."""
        found, times = [], []

        async def send(ctx):
            await put(ctx, self.dut.job, loops, Pauses(self.stalls, "job"))

        async def receive(ctx):
            pauses = Pauses(self.stalls, "iteration")
            for _ in range(count):
                found.extend(await get(ctx, self.dut.iteration, 1, pauses))
                times.append(self.clock.now)

        simulate(
            self.dut,
            receive,
            background=[send, self._buffer, self.clock.run, stable(self.dut.iteration)],
        )
        return found, times

    async def _buffer(self, ctx):
        dut = self.dut
        trigger = ctx.tick().sample(dut.uop_en, dut.uop_addr)
        while True:
            _, _, en, addr = await trigger
            if en:
                ctx.set(dut.uop_data, self.uops[addr] if addr < len(self.uops) else 0)


def walk(config, loop, uops):
    """The loops of docs/isa.md, "GEMM": (dst, src, wgt, fault, last) of each iteration."""
    context = loop["context"]
    src_depth = config.acc_depth if context["is_alu"] else config.inp_depth
    iterations = []
    for out in range(loop["iter_out"]):
        for inner in range(loop["iter_in"]):
            for u in range(loop["uop_bgn"], loop["uop_end"]):
                fault = u >= config.uop_depth
                dst, src, wgt = (
                    field + out * loop[f"{name}_factor_out"] + inner * loop[f"{name}_factor_in"]
                    for name, field in zip(
                        ("dst", "src", "wgt"), uops[u] if not fault else (0, 0, 0), strict=True
                    )
                )
                fault |= dst >= config.acc_depth
                if context["is_alu"]:
                    fault |= not context["use_imm"] and src >= src_depth
                elif not context["reset"]:
                    fault |= src >= src_depth or wgt >= config.wgt_depth
                iterations.append([dst, src, wgt, fault, False])
    iterations[-1][-1] = True
    return iterations


def random_loop(config, rng, *, huge=False):
    """A loop of a few iterations; with `huge`, of factors and counts of all sizes."""

    def factor(depth):
        return rng.randrange(depth) if huge else rng.choice((0, 0, 1, 2, rng.randrange(4)))

    is_alu = rng.random() < 0.5
    src_depth = config.acc_depth if is_alu else config.inp_depth
    begin = rng.randrange(config.uop_depth)
    end = min(begin + rng.randint(1, 5), 2 * config.uop_depth - 1)
    return {
        "context": {
            "is_alu": is_alu,
            "reset": rng.random() < 0.3,
            "use_imm": rng.random() < 0.5,
            "alu_opcode": rng.randrange(8),
            "imm": rng.randrange(1 << 16),
        },
        "uop_bgn": begin,
        "uop_end": end,
        "iter_out": rng.randint(1, 4),
        "iter_in": rng.randint(1, 4),
        "dst_factor_out": factor(config.acc_depth),
        "dst_factor_in": factor(config.acc_depth),
        "src_factor_out": factor(src_depth),
        "src_factor_in": factor(src_depth),
        "wgt_factor_out": factor(config.wgt_depth),
        "wgt_factor_in": factor(config.wgt_depth),
    }


def random_uops(config, rng, *, largest=1.0):
    src = max(config.acc_depth, config.inp_depth)
    return [
        tuple(
            rng.randrange(max(1, int(depth * largest)))
            for depth in (config.acc_depth, src, config.wgt_depth)
        )
        for _ in range(config.uop_depth)
    ]


def check(config, found, loops, uops):
    """The iterations that came are those of the loops; after a fault nothing means anything."""
    expected = [(loop, *iteration) for loop in loops for iteration in walk(config, loop, uops)]
    broken = False
    faults = 0
    for item, (loop, dst, src, wgt, fault, last) in zip(found, expected, strict=True):
        context = loop["context"]
        assert item.last == last
        if not broken:
            assert item.fault == fault
            for name, value in context.items():
                assert item.context[name] == value
            if not fault:
                assert item.dst == dst
                if not context["is_alu"] and not context["reset"]:
                    assert (item.src, item.wgt) == (src, wgt)
                elif context["is_alu"] and not context["use_imm"]:
                    assert item.src == src
            faults += fault
        broken = (broken or fault) and not last
    return faults


@pytest.mark.parametrize("stalls", QUICK_STALLS)
@pytest.mark.parametrize("name", CONFIGS)
def test_random_loops(name, stalls):
    config = CONFIGS[name]
    rng = random.Random(f"index {name} {stalls}")
    uops = random_uops(config, rng, largest=0.6)
    loops = [random_loop(config, rng) for _ in range(25)]
    count = sum(len(walk(config, loop, uops)) for loop in loops)
    found, _ = Bench(config, uops, stalls=stalls).run(loops, count)
    check(config, found, loops, uops)


@pytest.mark.parametrize("name", CONFIGS)
def test_faults_with_huge_factors(name):
    """Sums do not wrap, however large counts and factors are."""
    config = CONFIGS[name]
    rng = random.Random(f"index huge {name}")
    uops = random_uops(config, rng)
    loops = [random_loop(config, rng, huge=True) for _ in range(60)]
    count = sum(len(walk(config, loop, uops)) for loop in loops)
    found, _ = Bench(config, uops).run(loops, count)
    assert check(config, found, loops, uops) > 20


def test_a_sum_that_passes_the_depth_stays_past_it():
    """The largest factor for many iterations: the offset would be in range again modulo 2**n."""
    config = CONFIGS["tiny"]
    loop = {
        "context": {"is_alu": True, "use_imm": True},
        "uop_bgn": 0,
        "uop_end": 1,
        "iter_out": 1,
        "iter_in": 300,
        "dst_factor_in": config.acc_depth // 2 + 1,
    }
    found, _ = Bench(config, [(0, 0, 0)]).run([loop], 300)
    assert [item.fault for item in found] == [0, 0] + [1] * 298


@pytest.mark.full
@pytest.mark.parametrize("counts", [(16383, 1), (1, 16383)])
def test_the_largest_counts(counts):
    config = CONFIGS["tiny"]
    loop = {
        "context": {"is_alu": True, "use_imm": True},
        "uop_bgn": 3,
        "uop_end": 4,
        "iter_out": counts[0],
        "iter_in": counts[1],
    }
    found, times = Bench(config, [(7, 0, 0)] * 8).run([loop], 16383)
    assert [item.last for item in found] == [0] * 16382 + [1]
    assert {item.dst for item in found} == {7}
    assert times[-1] - times[0] == 16382


def test_one_iteration_a_cycle():
    """Within an instruction, and from one to the next."""
    config = CONFIGS["tiny"]
    loops = [
        {
            "context": {"is_alu": True, "use_imm": True},
            "uop_bgn": 0,
            "uop_end": end,
            "iter_out": out,
            "iter_in": inner,
        }
        for end, out, inner in ((1, 1, 1), (1, 1, 1), (3, 2, 2), (1, 3, 1), (1, 1, 4), (2, 1, 1))
    ]
    count = 1 + 1 + 12 + 3 + 4 + 2
    found, times = Bench(config, [(0, 0, 0)] * 4).run(loops, count)
    assert len(found) == count
    assert times == list(range(times[0], times[0] + count))


# -- what a loop will touch ------------------------------------------------------------------------


def sound_loops(config, rng, uops, count):
    """Random loops without a fault, some of them long."""
    loops = []
    while len(loops) < count:
        loop = random_loop(config, rng)
        loop["iter_out"], loop["iter_in"] = rng.choice(((1, 1), (1, 2), (1, 30), (9, 1), (5, 7)))
        if not any(item[3] for item in walk(config, loop, uops)):
            loops.append(loop)
    return loops


def bounds(iterations, which):
    return {
        "first": min(item[which] for item in iterations),
        "last": max(item[which] for item in iterations),
    }


@pytest.mark.parametrize("stalls", QUICK_STALLS)
@pytest.mark.parametrize("name", CONFIGS)
def test_reach(name, stalls):
    """Known or not, it is never wrong; and all that is not taken yet lies within."""
    config = CONFIGS[name]
    rng = random.Random(f"reach {name} {stalls}")
    uops = random_uops(config, rng, largest=0.4)
    loops = sound_loops(config, rng, uops, 30)
    walks = [walk(config, loop, uops) for loop in loops]
    lasts = list(itertools.accumulate(len(items) for items in walks))
    bench = Bench(config, uops)
    dut, known = bench.dut, []

    async def look(ctx):
        sent, taken, since = 0, 0, 0
        trigger = ctx.tick().sample(
            dut.job.valid & dut.job.ready, dut.reach, dut.iteration.valid & dut.iteration.ready
        )
        while taken < lasts[-1]:
            _, _, accepted, reach, takes = await trigger
            if reach.known and since >= 2:
                items, context = walks[sent - 1], loops[sent - 1]["context"]
                known.append(sent)
                assert taken >= lasts[sent - 1] - len(items)
                assert {"first": reach.dst.first, "last": reach.dst.last} == bounds(items, 0)
                assert reach.has_src == (context["is_alu"] and not context["use_imm"])
                if reach.has_src:
                    assert {"first": reach.src.first, "last": reach.src.last} == bounds(items, 1)
            since = 0 if accepted else since + 1
            sent, taken = sent + accepted, taken + takes

    async def send(ctx):
        pauses = Pauses("long", "job")
        for loop in loops:
            if rng.random() < 0.5:
                while ctx.get(dut.busy):
                    await ctx.tick()
            await put(ctx, dut.job, [loop], pauses)

    async def receive(ctx):
        await get(ctx, dut.iteration, lasts[-1], Pauses(stalls, "iteration"))

    simulate(dut, look, background=[send, receive, bench._buffer])
    assert len(set(known)) > 3


def test_reach_is_known_soon():
    config = CONFIGS["tiny"]
    loop = {
        "context": {"is_alu": True},
        "uop_bgn": 1,
        "uop_end": 3,
        "iter_out": 2,
        "iter_in": 20,
        "dst_factor_out": 3,
        "dst_factor_in": 1,
        "src_factor_out": 1,
        "src_factor_in": 2,
    }
    bench = Bench(config, [(0, 0, 0), (20, 5, 0), (30, 4, 0)])
    dut = bench.dut

    async def run(ctx):
        await put(ctx, dut.job, [loop])
        for cycles in range(16):
            assert ctx.get(dut.reach.known) == (cycles >= 15)
            await ctx.tick()
        found = ctx.get(dut.reach)
        assert (found.dst.first, found.dst.last) == (20, 30 + 3 + 19)
        assert (found.src.first, found.src.last, found.has_src) == (4, 5 + 1 + 38, 1)
        while ctx.get(dut.busy):
            assert ctx.get(dut.reach.known) or not ctx.get(dut.uop_en)
            await ctx.tick()
        await rest(ctx, 2)
        assert not ctx.get(dut.reach.known)

    async def receive(ctx):
        await get(ctx, dut.iteration, 80)

    simulate(dut, run, background=[receive, bench._buffer])
