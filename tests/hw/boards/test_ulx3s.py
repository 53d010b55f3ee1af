"""The complete ULX3S, with LiteDRAM and a model of the SDRAM, driven by the board's own driver."""

from __future__ import annotations

import os
import subprocess
import tty
from pathlib import Path

import numpy as np
import pytest

import vta
from tests.driver.conftest import add_seven
from vta import cache, te
from vta.config import PRESETS
from vta.driver.board.serial_board import MEMORY_BYTES, SERIAL_PORT, open_serial_device
from vta.errors import DeviceError, MachineError
from vta.hw.boards.ulx3s import BAUD, CLOCK_HZ, CONTROL, REGISTERS, SDRAM_OUTPUTS, Ulx3sSystem
from vta.hw.verilog import verilog_of
from vta.sim.rtl import verilator

pytest.importorskip("litedram", reason="litedram is not installed: pip install 'amaranth-vta[boards]'")
pytest.importorskip("serial", reason="pyserial is not installed: pip install 'amaranth-vta[boards]'")

TINY = PRESETS["tiny"].replace(target="ulx3s")
DIVISOR = 4
HERE = Path(__file__).parent


def system() -> str:
    from amaranth.hdl import IOPort

    dq = IOPort(16, name="sdram_dq")
    design = Ulx3sSystem(TINY, divisor=DIVISOR, dq=dq)
    outputs = [getattr(design, f"sdram_{name}") for name in SDRAM_OUTPUTS]
    return verilog_of(design, TINY, ports=[design.rx, design.tx, dq, *outputs])


@pytest.fixture(scope="module")
def simulator() -> Path:
    """The executable; built once, like the simulator's library."""
    from vta.tools.bitstream.litedram import litedram_core

    text = system() + litedram_core(CLOCK_HZ) + (HERE / "ulx3s_bench.v").read_text()
    harness = (HERE / "ulx3s_bench.cpp").read_text()
    found = verilator.find()

    def make(folder: Path) -> None:
        (folder / "bench.v").write_text(text)
        (folder / "bench.cpp").write_text(harness)
        done = found.run(
            *("--cc", "--exe", "--build", "-O3", "--x-assign", "fast", "--no-timing", "-Wno-fatal"),
            *("-Wno-lint", "-Wno-style", "-CFLAGS", "-O2", "-j", "2", "--top-module", "bench"),
            *("-MAKEFLAGS", "CFG_CXXFLAGS_PCH_I=-include", "bench.v", "bench.cpp"),
            cwd=folder,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    folder = cache.cached("ulx3s", cache.digest(text, harness, found.version), make)
    return folder / "obj_dir" / "Vbench"


@pytest.fixture
def port(simulator: Path, monkeypatch: pytest.MonkeyPatch):
    """A serial port with the simulated board at its other end."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    tty.setraw(ours)
    process = subprocess.Popen([simulator, str(ours), str(DIVISOR)], pass_fds=[ours])
    monkeypatch.setenv(SERIAL_PORT, os.ttyname(theirs))
    yield os.ttyname(theirs)
    assert process.poll() is None, "the simulator ended: the SDRAM was used wrongly"
    process.kill()
    process.wait()
    os.close(ours)
    os.close(theirs)


def test_a_program(port):
    """Both halves of the memory, exact, three times; then the registers of a machine in error."""
    with open_serial_device(TINY, seconds=30.0) as device:
        device.program()
        rng, program = np.random.default_rng(0), add_seven(TINY)
        for _ in range(2):
            shape = program.args[0].shape
            a, b = (rng.integers(-100, 100, shape, np.int32) for _ in range(2))
            (out,), report = device.call(program, [a, b])
            np.testing.assert_array_equal(out, (a + b + 7).astype(np.int8))
            assert report.cycles and report.cycles > 0
            assert report.target == "ulx3s"
