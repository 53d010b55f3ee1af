"""What the compiler reckons with in cycles, and how the simulated RTL follows memory's latency."""

from __future__ import annotations

import numpy as np
import pytest

from vta import top
from vta.compiler.ir.timing import TIMING, MachineTiming
from vta.compiler.operators import Conv2d, Dense, Tiling
from vta.config import PRESETS
from vta.driver.simulated import TsimDevice
from vta.errors import CompileError
from vta.sim.rtl.memory_model import MemoryModel

TINY = PRESETS["tiny"]


def test_figures_at_twenty_cycles():
    assert TIMING == MachineTiming(latency=20)
    assert (TIMING.start, TIMING.load) == (60, 40)


@pytest.mark.parametrize("latency", [5, 60, 100])
def test_what_grows_with_the_latency(latency):
    """A product in one piece waits for memory twice: for its instructions, and for its operands."""
    tiling = Tiling(images=8, outputs=4, inputs=4)
    operator = Dense((8, 32), (32, 32)).compile(TINY, tiling)
    assert operator.tiling.threads == 1
    rng = np.random.default_rng(1)
    a, b = (rng.integers(-128, 128, operand.shape, np.int8) for operand in operator.spec.operands)
    cycles = []
    for cycle in (TIMING.latency, latency):
        with TsimDevice(TINY, model=MemoryModel(latency=cycle)) as device:
            result, report = top.run(operator, a, b, device=device)
        np.testing.assert_array_equal(result, np.clip(a.astype(int) @ b.T.astype(int), -128, 127))
        cycles.append(report.cycles)
    other = MachineTiming(latency=latency)
    growth = (other.start - TIMING.start) + (other.load - TIMING.load)
    assert cycles[1] - cycles[0] == growth


def test_the_search_expects_the_latency_it_is_told():
    """With a slow memory, fewer and larger steps: compiled for it, a layer takes fewer cycles."""
    spec = Conv2d((1, 32, 8, 8), (32, 32, 3, 3), padding=1)
    rng = np.random.default_rng(1)
    x, w = (rng.integers(-128, 128, operand.shape, np.int8) for operand in spec.operands)
    cycles = {}
    for latency in (20, 200):
        operator = spec.compile(TINY, latency=latency)
        with TsimDevice(TINY, model=MemoryModel(latency=200)) as device:
            _, report = top.run(operator, x, w, device=device)
        cycles[latency] = report.cycles
        if latency == 200:
            assert abs(operator.predicted_cycles - report.cycles) < 0.1 * report.cycles
    assert cycles[200] <= cycles[20]


def test_an_operator_is_kept_for_each_latency():
    spec = Dense((8, 32), (32, 32))
    assert top.compile(spec) is top.compile(spec, latency=20)
    slow = top.compile(spec, latency=80)
    assert slow is top.compile(spec, latency=80)
    assert slow.predicted_cycles > top.compile(spec).predicted_cycles


@pytest.mark.parametrize("latency", [0, 2.5, True, "fast"])
def test_wrong_latencies(latency):
    with pytest.raises(CompileError, match="latency must be a whole number of 1 or more"):
        Dense((8, 32), (32, 32)).compile(TINY, latency=latency)
