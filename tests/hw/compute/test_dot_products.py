"""The dot products against numpy, at the extremes of int8 and at random."""

from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.hdl import Fragment

from tests.hw.streams import simulate, tiles
from vta.config import PRESETS
from vta.hw.compute.dot_products import DotProducts

CONFIGS = {
    "tiny": PRESETS["tiny"],
    "small": PRESETS["small"],
    "default": PRESETS["default"],
    "batch4": PRESETS["batch4"],
}
PLATFORMS = {"wide": None, "ecp5": SimpleNamespace(family="ecp5")}
"""Multipliers that two products share, and one for each product."""


def patterns(config, rng, count):
    """Pairs of (BATCH, BLOCK) and (BLOCK, BLOCK) int8: corners first, then random ones."""
    inp, wgt = (config.batch, config.block), (config.block, config.block)
    corners = (-128, 127, -1, 0, 1)
    for x in corners:
        for w in corners:
            yield np.full(inp, x, np.int8), np.full(wgt, w, np.int8)
    # Neighbouring outputs share a multiplier: every combination of corners in a pair.
    for low in corners:
        for high in corners:
            pair = np.empty(wgt, np.int8)
            pair[0::2], pair[1::2] = low, high
            yield np.full(inp, -128, np.int8), pair
    for _ in range(count):
        choices = np.array(corners, np.int8)
        if rng.random() < 0.5:
            yield rng.choice(choices, inp), rng.choice(choices, wgt)
        else:
            yield (
                rng.integers(-128, 128, inp).astype(np.int8),
                rng.integers(-128, 128, wgt).astype(np.int8),
            )


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(
    ("name", "platform"),
    [*((name, "wide") for name in CONFIGS), ("tiny", "ecp5"), ("small", "ecp5")],
)
def test_against_numpy(name, platform, gaps):
    """One a cycle, and with rests between; what lies on the inputs without `valid` is ignored."""
    config = CONFIGS[name]
    rng = np.random.default_rng(len(name) + gaps)
    cases = list(patterns(config, rng, 60 if config.block == 8 else 12))
    dut = DotProducts(config)
    expected, seen = {}, 0

    async def bench(ctx):
        nonlocal seen
        now, left = 0, list(cases)
        while left or any(when >= now for when in expected):
            valid = bool(left) and not (gaps and rng.random() < 0.5)
            ctx.set(dut.valid, valid)
            if valid:
                inp, wgt = left.pop(0)
                expected[now + dut.latency] = inp.astype(np.int64) @ wgt.astype(np.int64).T
            else:
                inp, wgt = next(patterns(config, rng, 0))
            ctx.set(dut.inp, tiles(inp))
            ctx.set(dut.wgt, tiles(wgt))
            if now in expected:
                sums = [
                    [ctx.get(dut.sums[row][column]) for column in range(config.block)]
                    for row in range(config.batch)
                ]
                np.testing.assert_array_equal(sums, expected[now])
                seen += 1
            await ctx.tick()
            now += 1

    simulate(Fragment.get(dut, PLATFORMS[platform]), bench)
    assert seen == len(cases)
