"""The functional simulator behind registers: it starts, stops and fails as hardware does."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tests.driver.remote.conftest import endless
from vta.config import PRESETS
from vta.driver.board.fabric import FunctionalFabric
from vta.errors import DeviceError
from vta.registers import BY_NAME, ID, config_words
from vta.sim.memory import Memory

TINY = PRESETS["tiny"]
CONTROL, IRQ = BY_NAME["control"].offset, BY_NAME["irq_status"].offset


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def fabric(memory: Memory) -> FunctionalFabric:
    return FunctionalFabric(TINY, memory)


def put(fabric: FunctionalFabric, **values: int) -> None:
    for name, value in values.items():
        fabric.write(BY_NAME[name].offset, value)


def test_registers(fabric: FunctionalFabric) -> None:
    assert fabric.read(BY_NAME["id"].offset) == ID
    for index, word in enumerate(config_words(TINY)):
        assert fabric.read(BY_NAME[f"config_{index}"].offset) == word
    # An address has 32 bits here, so the upper half of a pointer has none.
    put(fabric, insn_ptr=0x1234_5678, insn_ptr_hi=7, irq_enable=0xFF)
    assert fabric.read(BY_NAME["insn_ptr"].offset) == 0x1234_5678
    assert fabric.read(BY_NAME["insn_ptr_hi"].offset) == 0
    assert fabric.read(BY_NAME["irq_enable"].offset) == 3
    assert not fabric.advance(0)
    assert fabric.read(CONTROL) == 0


def test_an_error_ends_a_run(fabric: FunctionalFabric) -> None:
    put(fabric, insn_ptr=0x1000, insn_count=0, irq_enable=3, control=1)
    assert fabric.advance(20)
    assert fabric.read(CONTROL) == 0
    assert fabric.read(BY_NAME["error"].offset) & 0xF == 8  # no_finish
    assert fabric.read(IRQ) == 3
    put(fabric, irq_status=1)
    assert fabric.read(IRQ) == 2
    assert fabric.advance(0)
    put(fabric, control=4)
    assert not fabric.advance(0)
    assert fabric.read(BY_NAME["error"].offset) == 0


def test_a_reset_ends_a_run(fabric: FunctionalFabric, memory: Memory) -> None:
    program = endless(TINY)
    memory.write(0x1000, program.link({"A": 0x2000, "uops": 0x2000}))
    put(fabric, insn_ptr=0x1000, insn_count=3, irq_enable=3, control=1)
    assert not fabric.advance(0.05)
    assert fabric.read(CONTROL) == 1
    put(fabric, control=1)  # it runs already
    start = time.monotonic()
    put(fabric, control=4)
    assert time.monotonic() - start < 20
    assert fabric.read(CONTROL) == 0
    assert not fabric.advance(0)
    fabric.close()


def test_a_failure_of_the_simulator_is_shown(
    fabric: FunctionalFabric, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **more: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(fabric._machine, "run", fail)
    put(fabric, control=1)
    with pytest.raises(DeviceError, match=r"machine failed: ZeroDivisionError\('planted'\)"):
        fabric.advance(20)
    put(fabric, control=4)
    assert np.array_equal(fabric.read(CONTROL), 0)
