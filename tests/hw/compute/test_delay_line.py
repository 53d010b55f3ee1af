"""QNT in the execution pipeline: its meaning beside everything else, and its rate, to the cycle."""

import functools
import random

import numpy as np
import pytest

from tests.hw.compute.test_execute import ADD, MOV, MUL, QNT, Bench, iteration, random_items
from tests.hw.streams import STALLS, simulate
from vta.config import PRESETS
from vta.hw.compute.delay_line import DelayLine
from vta.hw.compute.requantiser import Requantiser
from vta.isa import pack_qnt

CONFIGS = {name: PRESETS[name].replace(hw_ver="0.0.3") for name in ("tiny", "small", "batch4")}
TINY = CONFIGS["tiny"]
SCALES = (6, 7)
"""Tiles of scales; the others that iterations use are 0 to 2, and for QNT alone 8 to 13."""

LOADED = (3, 4, 5)
"""Tiles that LOADs write beside the iterations."""


def qnt(dst, src=SCALES[0], *, zero_point=0, lower=-128, last=0):
    return iteration(dst=dst, src=src, alu=QNT, qnt=pack_qnt(zero_point, lower), last=last)


def first_tiles(config, seed=0):
    """LOADs of tiles with numbers like GEMM's sums, of scales that bring them into the range of an
    int8, and of scales near 1, which keep what is there."""
    rng = np.random.default_rng(seed)
    shape = (config.batch, config.block)
    loads = [
        (tile, rng.integers(-(2**17), 2**17, shape) >> rng.integers(0, 10, shape))
        for tile in (*range(3), *range(8, 14))
    ]
    for tile, magnitude in zip(SCALES, (2.0**-9, 1), strict=True):
        scales = rng.uniform(0.9, 1.4, shape) * magnitude
        loads.append((tile, scales.astype(np.float32).view(np.int32).astype(np.int64)))
    return loads


def random_qnts(config, rng, count):
    """Runs of QNT between the other iterations, on the same few tiles."""
    items = []
    others = random_items(config, rng, count)
    while others:
        taken = rng.choice((0, 1, 2, 5))
        items += others[:taken]
        del others[:taken]
        if rng.random() < 0.3:
            # A scale that is gone when it is used, and one that comes just then.
            first, second = rng.sample(range(3), 2)
            items += [iteration(dst=second, src=rng.randrange(9), last=0) for _ in range(3)]
            items.append(iteration(dst=first, src=SCALES[0], alu=MOV))
            items += [qnt(first, SCALES[1]), qnt(second, first, last=1)]
            items.append(iteration(dst=first, src=SCALES[1], alu=MOV))
            items.append(qnt(second, first, last=1))
        for number in range(length := rng.choice((1, 1, 2, 3, 12))):
            # Sums, not what another QNT has left.
            if rng.random() < 0.3:
                fresh = (*range(3), *range(8, 14))
                items += [iteration(dst=dst, src=rng.randrange(9), last=0) for dst in fresh]
            dst = rng.choice((rng.randrange(3), *range(8, 14)))
            src = rng.choice((*SCALES, *SCALES, dst, rng.randrange(3)))
            lower = rng.choice((-128, -128, rng.randrange(-128, 128)))
            more = {"zero_point": rng.choice((0, 7, rng.randrange(-128, 128))), "lower": lower}
            items.append(qnt(dst, src, last=number == length - 1, **more))
    items[-1]["last"] = 1
    return items


@pytest.mark.parametrize(
    ("name", "stalls"),
    [
        ("tiny", "none"),
        ("tiny", "short"),
        pytest.param("tiny", "long", marks=pytest.mark.full),
        *(
            pytest.param(name, stalls, marks=pytest.mark.full)
            for name in ("small", "batch4")
            for stalls in STALLS
        ),
    ],
)
def test_random_iterations_beside_loads(name, stalls):
    """All kinds of iterations between QNTs; LOADs of other tiles at the same time."""
    config = CONFIGS[name]
    rng, data = random.Random(f"qnt {name} {stalls}"), np.random.default_rng(len(stalls))
    items = random_qnts(config, rng, 70 if name == "tiny" else 50)
    loads = first_tiles(config, len(stalls))
    before = len(loads)
    for _ in range(35):
        value = data.integers(-(2**31), 2**31, (config.batch, config.block))
        loads.append((rng.choice(LOADED), rng.choice((value, value, None))))
        if rng.random() < 0.3:
            loads.append((0, rng.choice(("mark", "error"))))
    bench = Bench(config, stalls=stalls)
    bench.run(items, loads, before=before, after=[bench.drain])
    assert [fault for _, fault in bench.done] == [0] * sum(item["last"] for item in items)
    assert bench.load_done == [value == "error" for _, value in loads if isinstance(value, str)]


def cycles(items, config=TINY):
    """Cycles from the first iteration to the last one's end, more than those of one alone."""
    loads = first_tiles(config)
    bench = Bench(config)
    bench.run(
        [*items[:-1], items[-1] | {"last": 1}], loads, before=len(loads), after=[bench.check_out]
    )
    return bench.done[-1][0] - _alone(config)


@functools.cache
def _alone(config):
    """When a single reset ends."""
    bench = Bench(config)
    bench.run([iteration(reset=1)], loads := first_tiles(config), before=len(loads))
    return bench.done[0][0]


FIRST = Requantiser.LATENCY + 1
"""A QNT with a new source, alone: it reads the source, takes the tile, and puts it later."""


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        # With a source that is held: one a cycle.
        ([qnt(8 + i) for i in range(50)], FIRST + 49),
        ([qnt(8 + i, last=1, lower=-i) for i in range(50)], FIRST + 49),
        # A new source every time: two.
        ([qnt(8 + i, SCALES[i % 2]) for i in range(50)], FIRST + 2 * 49),
        # The same destination again and again: as long as the requantiser takes, and a step more.
        ([qnt(8) for i in range(10)], FIRST + 9 * (FIRST)),
        # So do a source that is being requantised, and other kinds of iterations behind.
        # The first step of an iteration is a cycle after the last one of that before.
        ([qnt(8), qnt(9, 8)], FIRST + FIRST + 1),
        ([qnt(8), iteration(dst=9, alu=ADD, imm=1)], FIRST + 1),
        ([qnt(8), iteration(dst=9, src=3), qnt(8)], FIRST + 2 + FIRST),
        ([qnt(8), iteration(dst=9, src=SCALES[0], alu=MOV)], FIRST + 1),
        # Before QNT nothing waits.
        ([*(iteration(dst=8, src=i) for i in range(9)), qnt(8)], FIRST + 9),
        ([iteration(dst=8, alu=MUL, imm=1), qnt(8)], FIRST + 5),
        # Tiles that are far enough from each other in the line.
        ([qnt(8 + i % FIRST) for i in range(50)], FIRST + 49),
    ],
)
def test_rate(items, expected):
    assert cycles(items) == expected


def test_a_source_that_is_being_requantised():
    """Tile 8 is a scale, and as soon as it is requantised 127, which counts as 0."""
    items = []
    for distance in range(Requantiser.LATENCY + 2):
        target = 16 + distance
        items += [iteration(dst=target, src=src, last=0) for src in range(3)]
        items += [iteration(dst=8, src=SCALES[0], alu=MOV), qnt(8, SCALES[1])]
        items += [qnt(30 + other, SCALES[1]) for other in range(distance)]
        items.append(qnt(target, 8, last=1))
    bench = Bench(TINY)
    bench.run(items, loads := first_tiles(TINY), before=len(loads), after=[bench.check_out])
    assert not bench.acc[16 : 16 + Requantiser.LATENCY].any()


@pytest.mark.parametrize("spacing", [1, 2, 3])
def test_loads_beside_qnt(spacing):
    """Each LOAD's tile costs QNT one cycle at most, and the LOAD is not held up for long."""
    rng = np.random.default_rng(spacing)
    loads = first_tiles(TINY)
    before = len(loads)
    for tile in range(20):
        loads.append((20 + tile, rng.integers(-99, 99, (TINY.batch, TINY.block))))
        loads += [(0, "mark")] if tile % spacing == 0 else []
    items = [qnt(8 + i % 12) for i in range(120)]
    items[-1]["last"] = 1
    plain, loaded = Bench(TINY), Bench(TINY)
    plain.run(items, loads[:before], before=before)
    loaded.run(items, loads, before=before, after=[loaded.check_out])
    assert loaded.done[0][0] - plain.done[0][0] <= len(loads) - before


@pytest.mark.parametrize("distance", [0, 1, 3, 10])
def test_a_fault_behind_qnt(distance):
    """What is being requantised is finished; the fault comes after it."""
    items = [
        *(qnt(8 + i, last=i == 3) for i in range(4)),
        *(qnt(8 + i) for i in range(distance)),
        iteration(fault=1, last=0, alu=QNT, qnt=0),
        qnt(8, last=1),
    ]
    bench = Bench(TINY)
    bench.run(items, loads := first_tiles(TINY), before=len(loads), after=[bench.check_out])
    assert [fault for _, fault in bench.done] == [0, 1]
    assert bench.counts["alu"] == 4 + distance


def test_the_line_says_what_it_holds():
    dut = DelayLine(TINY, 4)
    rng = random.Random("line")
    kinds = [rng.choice(("qnt", "load", None, None)) for _ in range(200)]

    async def bench(ctx):
        held = [(None, 0)] * 4
        for number, kind in enumerate(kinds):
            assert ctx.get(dut.holds_qnt) == any(entry == "qnt" for entry, _ in held)
            assert ctx.get(dut.holds_any) == any(entry is not None for entry, _ in held)
            for place, (entry, addr) in enumerate(held):
                tile = ctx.get(dut.delayed[place])
                assert tile.qnt == (entry == "qnt")
                assert tile.addr == addr
            out = ctx.get(dut.o)
            assert (out.qnt, out.load, out.tile.addr) == (
                held[-1][0] == "qnt",
                held[-1][0] == "load",
                held[-1][1],
            )
            entry = {"qnt": kind == "qnt", "load": kind == "load", "tile": {"addr": number % 64}}
            ctx.set(dut.i, entry)
            await ctx.tick()
            held = [(kind, number % 64), *held[:-1]]

    simulate(dut, bench)
