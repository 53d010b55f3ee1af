"""What the compiler reckons with in cycles, and how the simulated RTL follows memory's latency."""

from __future__ import annotations

import numpy as np
import pytest

from vta import top
from vta.compiler.ir.timing import TIMING, MachineTiming
from vta.compiler.operators import Dense
from vta.config import PRESETS
from vta.driver.simulated import TsimDevice
from vta.sim.rtl.memory_model import MemoryModel

TINY = PRESETS["tiny"]


def test_figures_at_twenty_cycles():
    assert TIMING == MachineTiming(latency=20)
    assert (TIMING.start, TIMING.load) == (60, 40)


@pytest.mark.parametrize("latency", [5, 60, 100])
def test_what_grows_with_the_latency(latency):
    """A product in one piece waits for memory twice: for its instructions, and for its operands."""
    operator = Dense((8, 32), (32, 32)).compile(TINY)
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
