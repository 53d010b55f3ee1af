"""Memory images, our own and the reference's, on the RTL, with memories of different timing."""

from __future__ import annotations

import functools

import pytest

from tests.images import FAULTY, NAMES, image
from vta.driver.verilog_cache import simulated_verilog
from vta.sim.replay import replay
from vta.sim.rtl.memory_model import MemoryModel
from vta.sim.rtl.rtl_machine import RtlMachine

MODELS = {
    "latency-1": MemoryModel(latency=1),
    "latency-20": MemoryModel(),
    "latency-100": MemoryModel(latency=100),
    "stalls-1": MemoryModel(stall_seed=1),
    "stalls-2": MemoryModel(latency=1, write_response=30, stall_seed=2),
    "stalls-3": MemoryModel(latency=60, write_response=7, outstanding=2, stall_seed=3),
}

VADD_CYCLES = 1600
"""The project's limit for the vector add, at the default configuration and memory."""


def play(name, model):
    verilog = simulated_verilog(image(name).config)
    return replay(image(name), functools.partial(_machine, verilog=verilog, model=model))


def _machine(config, memory, *, verilog, model):
    return RtlMachine(config, verilog, memory, model=model)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", NAMES)
def test_image(name, model):
    result = play(name, MODELS[model])
    assert result.report.fault is None, str(result.report.fault)
    assert result.difference is None
    assert result.match is True


@pytest.mark.parametrize("name", FAULTY)
def test_image_with_an_error(name):
    fault = play(name, MemoryModel()).report.fault
    assert fault is not None
    assert (fault.cause, fault.module, fault.insn_index) == ("sram_range", "compute", 2)


@pytest.mark.parametrize("name", [name for name in ("own_vector_add", "vadd") if name in NAMES])
def test_vector_add_is_fast_enough(name):
    result = play(name, MemoryModel())
    assert result.match is True
    assert result.report.cycles <= VADD_CYCLES
