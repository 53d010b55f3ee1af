"""Programs for the C runtime, and a machine that is simulated."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.compiler.known import matmul
from tests.driver.conftest import add_seven
from vta.compiler.pipeline import build
from vta.config import PRESETS, Config
from vta.driver.verilog_cache import simulated_verilog
from vta.program import Program
from vta.sim.memory import Memory
from vta.sim.rtl.library import Simulation
from vta.sim.rtl.memory_model import MemoryModel

TINY = PRESETS["tiny"]


@pytest.fixture
def tiny() -> Config:
    return TINY


@pytest.fixture
def addition() -> Program:
    """C = int8(A + B + 7)"""
    return add_seven(TINY)


@pytest.fixture(scope="session")
def product() -> Program:
    """C = int8(A B), of (1, 4) and (3, 4) tiles."""
    schedule, args = matmul(TINY, 1, 4, 3)
    return build(schedule, args, TINY, name="product")


@pytest.fixture
def memory() -> Memory:
    return Memory(TINY.addr_width)


@pytest.fixture
def simulate(memory: Memory) -> Iterator[Callable[..., Simulation]]:
    """Makes the hardware's RTL on `memory`; the keywords are those of `MemoryModel`."""
    made = []

    def make(**timing: int) -> Simulation:
        made.append(Simulation(simulated_verilog(TINY), memory, model=MemoryModel(**timing)))
        return made[-1]

    yield make
    for simulation in made:
        simulation.close()
