"""The real hardware on the public memory images, byte for byte, however slow or jerky memory is."""

from __future__ import annotations

from pathlib import Path

import pytest

from vta.config import PRESETS
from vta.driver.verilog import cached_verilog
from vta.image import Image
from vta.sim.memory_model import MemoryModel
from vta.sim.replay import replay
from vta.sim.rtl import RtlMachine

VECTORS = Path(__file__).parents[3] / "shared" / "vectors"
IMAGES = sorted(VECTORS.glob("*.npz"))
MODELS = {
    "latency 1": MemoryModel(latency=1),
    "latency 20": MemoryModel(),
    "latency 100": MemoryModel(latency=100),
    "one burst at a time": MemoryModel(outstanding=1, write_response=30),
    "stalls": MemoryModel(stall_seed=1),
}


@pytest.fixture(scope="module")
def verilog():
    if not IMAGES:
        pytest.skip(f"there are no images in {VECTORS}")
    return cached_verilog(PRESETS["default"])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.stem)
def test_image(verilog, image, model):
    result = replay(Image.load(image), lambda config, memory: RtlMachine(
        config, verilog, memory, model=MODELS[model]), max_cycles=10_000_000)
    assert result.report.fault is None
    assert (result.match, result.difference) == (True, None)
    assert result.report.instructions <= result.image.insn_count


def test_vadd_is_fast_enough(verilog):
    """The first issue's bound; its loads alone are 1,024 beats."""
    path = VECTORS / "vadd.npz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    result = replay(Image.load(path), lambda config, memory: RtlMachine(config, verilog, memory))
    assert 1024 < result.report.cycles <= 1600
