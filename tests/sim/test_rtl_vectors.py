"""The reference images of the shared folder on the RTL, with memories of different timing."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from vta.driver.verilog_cache import cached_verilog
from vta.image import Image
from vta.sim.replay import replay
from vta.sim.rtl.memory_model import MemoryModel
from vta.sim.rtl.rtl_machine import RtlMachine

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors"
NAMES = sorted(path.stem for path in VECTORS.glob("*.npz"))

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
    image = Image.load(VECTORS / f"{name}.npz")
    verilog = cached_verilog(image.config)
    make = functools.partial(_machine, verilog=verilog, model=model)
    return replay(image, make)


def _machine(config, memory, *, verilog, model):
    return RtlMachine(config, verilog, memory, model=model)


def test_the_images_are_there(shared):
    assert len(list((shared / "vectors").glob("*.npz"))) == len(NAMES) > 0


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", NAMES)
def test_image(name, model):
    result = play(name, MODELS[model])
    assert result.report.fault is None, str(result.report.fault)
    assert result.difference is None
    assert result.match is True


@pytest.mark.skipif("vadd" not in NAMES, reason="the reference images are not there")
def test_vadd_is_fast_enough():
    result = play("vadd", MemoryModel())
    assert result.match is True
    assert result.report.cycles <= VADD_CYCLES
