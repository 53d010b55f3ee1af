"""Random te programs: what is compiled is what the interpreter computes, or is refused.

What is refused is refused with an error that names a stage. ``VTA_TEST_SEED`` takes other programs.
"""

from __future__ import annotations

import os

import pytest

from tests.compiler.fuzz.runner import compare, make, run_seeds
from tests.compiler.runs import Rtl
from vta.config import PRESETS
from vta.sim.memory import Memory
from vta.tools.fuzz.choices import Choices

SEED = int(os.environ.get("VTA_TEST_SEED", "0")) * 1_000_000
PRIMITIVES = {
    "split",
    "fuse",
    "reorder",
    "compute_at",
    "compute_inline",
    "cache_read",
    "cache_write",
    "bind",
    "unroll",
    "pragma",
    "tensorize",
    "set_scope",
}


def check(first, count, record_property):
    record_property("seeds", f"{first} to {first + count - 1}")
    with Memory() as memory:
        outcomes = run_seeds(first, count, memory)
    record_property("schedules", outcomes.right)
    record_property("illegal", outcomes.refused)
    return outcomes


def test_programs(record_property):
    outcomes = check(SEED, 200, record_property)
    assert outcomes.right >= 100
    assert set(outcomes.primitives) >= PRIMITIVES


@pytest.mark.full
@pytest.mark.parametrize("part", range(40))
def test_more_programs(part, record_property):
    outcomes = check(SEED + 1000 + 500 * part, 500, record_property)
    assert outcomes.right >= 250


def test_programs_on_the_rtl(record_property):
    right, seed = 0, SEED + 500
    with Rtl(PRESETS["tiny"]) as rtl:
        while right < 5:
            made = make(Choices(seed), "tiny")
            if made.program is not None:
                compare(made, rtl.machine)
                right += 1
            seed += 1
    record_property("schedules", right)
    record_property("illegal", seed - SEED - 500 - right)
