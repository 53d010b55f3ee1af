"""Random schedules of random computations: what is compiled equals numpy, or is refused.

What is refused is refused with a `ScheduleError`, whatever the schedule. Each program runs on the
functional simulator in two interleavings, a sample of them on the RTL too.
"""

from __future__ import annotations

import os
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.compiler.runs import Rtl
from tests.compiler.scheduler import schedule
from tests.compiler.workloads import Chooser, convolution, elementwise, matmul, pooling
from vta.compiler.pipeline import build
from vta.config import PRESETS
from vta.errors import ScheduleError

SEED = int(os.environ.get("VTA_TEST_SEED", "0"))
"""Added to every seed: another number, other schedules."""

KINDS = {
    "matmul": matmul,
    "convolution": convolution,
    "pooling": pooling,
    "elementwise": elementwise,
}
CONFIGS = [PRESETS[name] for name in ("tiny", "small", "batch4", "default", "ecp5", "wide")]


def compiled(chooser, make, configs):
    """A computation and its program; no program if the schedule is refused."""
    work = make(chooser, chooser.pick(configs))
    try:
        return work, build(*schedule(chooser, work), work.config)
    except ScheduleError:
        return work, None


def compare(found, work):
    assert len(found) == len(work.expected)
    for array, right in zip(found, work.expected, strict=True):
        np.testing.assert_array_equal(array, right)


def draw(make, configs, number, count, run):
    """Has hypothesis make `count` schedules, and runs those that are legal; how many of each."""
    outcomes = Counter()

    @seed(1000 * SEED + number)
    @settings(
        max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(data=st.data())
    def check(data):
        work, program = compiled(Chooser(data), make, configs)
        if program is not None:
            run(work, program, data)
        outcomes["illegal" if program is None else "legal"] += 1

    check()
    return outcomes


def require(outcomes, least, record_property):
    """At least so many of the schedules were legal."""
    record_property("schedules", outcomes["legal"])
    record_property("illegal", outcomes["illegal"])
    assert outcomes["legal"] >= least


def functional(kit, kind, number, least, record_property):
    def run(work, program, data):
        first = data.draw(st.integers(0, 1000))
        for interleaving in (first, first + 1):
            compare(kit.run(program, work.arrays, interleaving)[0], work)

    require(draw(KINDS[kind], CONFIGS, number, 2 * least, run), least, record_property)


@pytest.mark.parametrize("kind", KINDS)
def test_schedules(kind, kit, record_property):
    functional(kit, kind, 0, 20, record_property)


@pytest.mark.full
@pytest.mark.parametrize("part", range(1, 5))
@pytest.mark.parametrize("kind", KINDS)
def test_more_schedules(kind, part, kit, record_property):
    functional(kit, kind, part, 50, record_property)


def on_rtl(config, number, least, record_property):
    """The smaller the buffers are, the fewer schedules are legal."""
    outcomes = Counter()
    with Rtl(config) as rtl:

        def run(work, program, data):
            compare(rtl.run(program, work.arrays)[0], work)

        for place, kind in enumerate(KINDS):
            outcomes += draw(KINDS[kind], [config], number + place, least * 3 // 4, run)
    require(outcomes, least, record_property)


@pytest.mark.parametrize("name", ["tiny", pytest.param("small", marks=pytest.mark.full)])
def test_schedules_on_the_rtl(name, record_property):
    on_rtl(PRESETS[name], 500, 8, record_property)


@pytest.mark.full
@pytest.mark.parametrize("name", ["tiny", "small", "batch4", "default"])
def test_more_schedules_on_the_rtl(name, record_property):
    on_rtl(PRESETS[name], 600, 40, record_property)
