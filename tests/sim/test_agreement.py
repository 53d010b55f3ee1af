"""Random programs: the RTL, the functional simulator and `tests.oracle` must agree.

They agree on every byte of memory, on the statistics, and on errors. The functional simulator runs
each program in two interleavings; the oracle, one instruction after the other, those without error.
"""

from __future__ import annotations

import gc
import os
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.oracle import Oracle
from tests.programs import Builder, recipes
from vta.config import PRESETS
from vta.driver.verilog_cache import cached_verilog
from vta.sim.functional.functional_machine import FunctionalMachine
from vta.sim.memory import PAGE_BYTES, Memory
from vta.sim.rtl.memory_model import MemoryModel
from vta.sim.rtl.rtl_machine import RtlMachine

SEED = int(os.environ.get("VTA_TEST_SEED", "0"))
"""Added to every seed: another number, other programs."""

ODD = {
    # Tiles as wide as, or wider than, a beat; burst limits; more address bits.
    "block5-128": PRESETS["wide"].replace(addr_width=36, max_burst=16),
    "block5-256": PRESETS["wide"].replace(log_bus_width=8, log_batch=2),
    "block4-256": PRESETS["default"].replace(
        log_bus_width=8,
        log_batch=1,
        log_acc_buff_size=16,
        log_wgt_buff_size=15,
        log_inp_buff_size=13,
    ),
    # The smallest there is: every depth 8.
    "least": PRESETS["tiny"].replace(
        log_uop_buff_size=5, log_inp_buff_size=6, log_wgt_buff_size=9, log_acc_buff_size=8
    ),
    # Very unequal depths: more INP than ACC, little of WGT; and the other way round.
    "uneven": PRESETS["tiny"].replace(
        log_inp_buff_size=16,
        log_wgt_buff_size=9,
        log_acc_buff_size=9,
        log_bus_width=7,
        max_burst=256,
        addr_width=40,
    ),
    "uneven-acc": PRESETS["tiny"].replace(
        log_inp_buff_size=6, log_wgt_buff_size=14, log_acc_buff_size=15, log_uop_buff_size=6
    ),
    "block6": PRESETS["default"].replace(
        log_block=6, log_inp_buff_size=12, log_wgt_buff_size=16, log_acc_buff_size=13
    ),
    "batch4-block5": PRESETS["default"].replace(
        log_batch=2,
        log_block=5,
        log_uop_buff_size=10,
        log_inp_buff_size=13,
        log_wgt_buff_size=14,
        log_acc_buff_size=14,
    ),
}

OLD = {f"{name}-old": config.replace(hw_ver="0.0.2") for name, config in (PRESETS | ODD).items()}
"""The same with encoding 0.0.2."""

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


class Machines:
    """All that must agree, as after power-on."""

    def __init__(self, config, model, interleaving):
        self.config = config
        self.memories = [Memory(config.addr_width) for _ in range(3)]
        self.rtl = RtlMachine(config, cached_verilog(config), self.memories[0], model=model)
        self.functional = [
            FunctionalMachine(config, memory, seed=interleaving + number)
            for number, memory in enumerate(self.memories[1:])
        ]
        self.oracle = Oracle(config)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.rtl.close()
        for memory in self.memories:
            memory.close()
        if self.config.addr_width > 36:
            # A mapping goes with the last view of it, and a process has room for few of 2^40 bytes.
            del self.rtl, self.functional
            gc.collect()

    def run(self, launch):
        """Runs a launch on all, compares, and gives the report of the RTL."""
        for addr, data in launch.writes:
            for memory in self.memories:
                memory.write(addr, data)
            self.oracle.write(addr, data)
        reports = [
            machine.run(launch.insn_addr, launch.insn_count, launch.base)
            for machine in (self.rtl, *self.functional)
        ]
        found = [(_fault(report), dict(report.stats), report.instructions) for report in reports]
        assert found[0] == found[1]
        assert found[0] == found[2]
        if reports[0].fault is None:
            self.oracle.run(launch.meaning, launch.base)
            assert dict(reports[0].stats) == self.oracle.stats
        pages = np.union1d(self._dirty(), sorted(self.oracle.pages))
        expected = self.oracle.page if reports[0].fault is None else self._page
        for number in pages.tolist():
            for memory in self.memories:
                np.testing.assert_array_equal(
                    memory.read(number * PAGE_BYTES, PAGE_BYTES),
                    expected(number),
                    err_msg=f"page {number:#x}",
                )
        return reports[0]

    def recover(self, launch):
        """After an error: reset, and start again from what is still defined."""
        for machine in (self.rtl, *self.functional):
            machine.reset()
        assert self.run(launch).fault is None

    def follow(self):
        """The oracle takes over what an erroneous run has left."""
        datapath = self.functional[0].datapath
        self.oracle.inp[...] = datapath.inp
        self.oracle.wgt[...] = datapath.wgt
        for number in self._dirty().tolist():
            self.oracle.page(number)[:] = self._page(number)

    def _dirty(self):
        return np.unique(np.concatenate([memory.dirty_pages() for memory in self.memories]))

    def _page(self, number):
        return self.memories[1].read(number * PAGE_BYTES, PAGE_BYTES)


def _fault(report):
    fault = report.fault
    if fault is None:
        return None
    waiting = [(entry["module"], entry["insn_index"], entry["token"]) for entry in fault.waiting]
    return fault.cause, fault.module, fault.insn_index, fault.insn, waiting


def run(config, recipe, model, interleaving):
    """Runs a recipe on all machines; gives what became of its launches."""
    outcomes = []
    builder = Builder(config)
    with Machines(config, model, interleaving) as machines:
        for plan in recipe.plans:
            report = machines.run(builder.build(plan))
            outcomes.append("good" if report.fault is None else report.fault.cause)
            if report.fault is not None:
                machines.follow()
                machines.recover(builder.recovery())
    return outcomes


def agree(config, part, count, record, *, faulty=False):
    """Has hypothesis make `count` recipes and runs them."""
    outcomes = Counter()
    if config.addr_width == 40:
        # To look through a terabyte for what has changed takes a while.
        count //= 10

    @seed(1000 * SEED + part)
    @settings(
        max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(recipe=recipes(faulty=faulty), model=models, interleaving=st.integers(0, 1000))
    def check(recipe, model, interleaving):
        outcomes.update(run(config, recipe, model, interleaving))

    check()
    record("programs", sum(outcomes.values()))
    record("errors", outcomes.total() - outcomes["good"])
    record("configuration", str(config.hardware()))
    return outcomes


@pytest.mark.parametrize("part", range(2))
@pytest.mark.parametrize("name", ["tiny", "small", "default", "tiny-old"])
def test_programs(name, part, record_property):
    agree((PRESETS | OLD)[name], part, 80 if name == "default" else 160, record_property)


@pytest.mark.parametrize("name", ["tiny", "small", "default", "tiny-old"])
def test_erroneous_programs(name, record_property):
    outcomes = agree(
        (PRESETS | OLD)[name], 50, 60 if name == "default" else 120, record_property, faulty=True
    )
    assert len(outcomes) > 5


@pytest.mark.full
@pytest.mark.parametrize("part", range(2))
@pytest.mark.parametrize("name", [*PRESETS, *ODD, *OLD])
def test_more_programs(name, part, record_property):
    agree((PRESETS | ODD | OLD)[name], 100 + part, 250, record_property)


@pytest.mark.full
@pytest.mark.parametrize("name", [*PRESETS, *ODD, *OLD])
def test_more_erroneous_programs(name, record_property):
    agree((PRESETS | ODD | OLD)[name], 150, 200, record_property, faulty=True)
