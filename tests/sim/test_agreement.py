"""Random programs: the RTL, the functional simulator and the plain interpreter must agree.

They agree on every byte of memory, on the statistics, and on errors. The functional simulator runs
each program in two interleavings; the interpreter, one instruction after the other, those without
an error.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from vta.driver.verilog_cache import simulated_verilog
from vta.sim.rtl.memory_model import MemoryModel
from vta.sim.rtl.rtl_machine import RtlMachine
from vta.tools.fuzz.configurations import CONFIGURATIONS
from vta.tools.fuzz.machines import Machines
from vta.tools.fuzz.random_launches import FAULTS, KINDS, LaunchBuilder, LaunchPlan

SEED = int(os.environ.get("VTA_TEST_SEED", "0"))
"""Added to every seed: another number, other programs."""

models = st.one_of(
    st.sampled_from((MemoryModel(), MemoryModel(latency=1), MemoryModel(latency=100))),
    st.builds(
        MemoryModel,
        latency=st.sampled_from((1, 2, 5, 20, 70)),
        write_response=st.sampled_from((1, 1, 8, 60)),
        outstanding=st.sampled_from((None, None, 1, 2)),
        stall_seed=st.one_of(st.none(), st.integers(0, 2**16)),
        order_seed=st.one_of(st.none(), st.integers(0, 2**16)),
    ),
)


seeds = st.integers(0, 2**20)
step_lists = st.lists(st.tuples(st.sampled_from(KINDS), seeds), min_size=1, max_size=24).map(tuple)
right = st.builds(LaunchPlan, seeds, step_lists)
wrong = st.builds(LaunchPlan, seeds, step_lists, st.tuples(st.sampled_from(FAULTS), seeds))
"""Plans, which hypothesis shrinks by leaving steps out."""


def run(config, plans, model, interleaving):
    """Runs launches on all machines, one after the other; gives what became of them.

    Buffers and left-over tokens survive from one to the next.
    """
    outcomes = []
    builder = LaunchBuilder(config)

    def make_rtl(config, memory):
        return RtlMachine(config, simulated_verilog(config), memory, model=model)

    with Machines(config, make_rtl, interleaving) as machines:
        for plan in plans:
            launch = builder.build(plan)
            machines.write(launch)
            report = machines.run(launch)
            outcomes.append("good" if report.fault is None else report.fault.cause)
            if report.fault is not None:
                machines.follow()
                machines.recover(builder.recovery())
    return outcomes


def agree(config, part, count, record, *, faulty=False):
    """Runs `count` sequences of launches; if `faulty`, the first of each ends with an error."""
    outcomes = Counter()
    sequences = st.tuples(wrong, right) if faulty else st.lists(right, min_size=1, max_size=3)
    if config.addr_width == 40:
        # To look through a terabyte for what has changed takes a while.
        count //= 10

    @seed(1000 * SEED + part)
    @settings(
        max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(plans=sequences, model=models, interleaving=st.integers(0, 1000))
    def check(plans, model, interleaving):
        outcomes.update(run(config, plans, model, interleaving))

    check()
    record("programs", sum(outcomes.values()))
    record("errors", outcomes.total() - outcomes["good"])
    record("configuration", str(config.hardware()))
    return outcomes


@pytest.mark.parametrize("part", [0, pytest.param(1, marks=pytest.mark.full)])
@pytest.mark.parametrize("name", ["tiny", "small", "default", "tiny-old"])
def test_programs(name, part, record_property):
    agree(CONFIGURATIONS[name], part, 40 if name == "default" else 120, record_property)


@pytest.mark.parametrize("name", ["tiny", "small", "default", "tiny-old"])
def test_erroneous_programs(name, record_property):
    outcomes = agree(
        CONFIGURATIONS[name], 50, 45 if name == "default" else 90, record_property, faulty=True
    )
    assert len(outcomes) > 5


@pytest.mark.full
@pytest.mark.parametrize("part", range(2))
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_more_programs(name, part, record_property):
    agree(CONFIGURATIONS[name], 100 + part, 250, record_property)


@pytest.mark.full
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_more_erroneous_programs(name, record_property):
    agree(CONFIGURATIONS[name], 150, 200, record_property, faulty=True)
