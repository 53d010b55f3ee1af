"""The complete ULX3S, with LiteDRAM and a model of the SDRAM, driven by the board's own driver."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import tty
from pathlib import Path

import numpy as np
import pytest

import vta
from tests.driver.conftest import add_seven
from vta import cache, top
from vta.config import PRESETS
from vta.driver.board import serial_board
from vta.driver.board.serial_board import MEMORY_BYTES, SERIAL_PORT, open_serial_device
from vta.errors import DeviceError, MachineError
from vta.hw.boards.ulx3s import BAUD, CLOCK_HZ, CONTROL, REGISTERS, SDRAM_OUTPUTS, Ulx3sSystem
from vta.hw.verilog import verilog_of
from vta.sim.rtl import verilator

for name in ("litedram", "serial"):
    pytest.importorskip(name, reason=f"{name} is missing: pip install 'amaranth-vta[boards]'")

TINY = PRESETS["tiny"].replace(target="ulx3s")
DIVISOR = 4
SECONDS = 3.0
"""How long an answer may take. The first request comes during the reset, and is sent again."""
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

    options = (
        *("--cc", "--exe", "--build", *verilator.MODEL, "-CFLAGS", verilator.OPTIMISE, "-j", "2"),
        *("--top-module", "bench", "-MAKEFLAGS", "CFG_CXXFLAGS_PCH_I=-include"),
    )

    def make(folder: Path) -> None:
        (folder / "bench.v").write_text(text)
        (folder / "bench.cpp").write_text(harness)
        done = found.run(*options, "bench.v", "bench.cpp", cwd=folder)
        assert done.returncode == 0, done.stderr[-3000:]

    folder = cache.cached("ulx3s", cache.digest(text, harness, *options, found.version), make)
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
    """Twice, exact; then a machine in error, which works again afterwards."""
    with open_serial_device(TINY, seconds=SECONDS) as device:
        device.program()
        rng, program = np.random.default_rng(0), add_seven(TINY)
        for attempt in range(2):
            shape = program.args[0].shape
            a, b = (rng.integers(-100, 100, shape, np.int32) for _ in range(2))
            (out,), report = device.call(program, [a, b])
            np.testing.assert_array_equal(out, (a + b + 7).astype(np.int8))
            assert (report.cycles or 0) > 0
            assert report.target == "ulx3s"
            if not attempt:
                with pytest.raises(MachineError, match="illegal_opcode"):
                    device.run_stream(np.array([[7, 0]], np.uint64))


def test_memory_from_each_byte(port):
    with open_serial_device(TINY, seconds=SECONDS) as device:
        rng = np.random.default_rng(1)
        whole = rng.integers(0, 256, 64, np.uint8)
        device.write(0x10000, whole)
        for start in range(5):
            for size in (1, 2, 5, 35):
                data = rng.integers(0, 256, size, np.uint8)
                device.write(0x10000 + start, data)
                whole[start : start + size] = data
                np.testing.assert_array_equal(device.read(0x10000, 64), whole)
                np.testing.assert_array_equal(device.read(0x10000 + start, size), data)
        last = MEMORY_BYTES - 8
        device.write(last, whole[:8])
        np.testing.assert_array_equal(device.read(last, 8), whole[:8])
        with pytest.raises(DeviceError, match="must lie in the board's 33554432 bytes"):
            device.read(MEMORY_BYTES - 4, 8)


def test_the_tutorial(port, tmp_path, monkeypatch, capsys):
    """The script as it is, on the session that TARGET opens; it compares with numpy itself."""
    config = tmp_path / "config.json"
    config.write_text(json.dumps(TINY.to_dict()))
    monkeypatch.setenv("VTA_CONFIG", str(config))
    monkeypatch.setattr(serial_board, "ANSWER_SECONDS", SECONDS)
    monkeypatch.setattr(vta.rpc, "connect", vta.rpc.LocalSession)
    runpy.run_path(str(HERE.parents[2] / "examples" / "vta_get_started.py"))
    assert "ulx3s" in capsys.readouterr().out


def test_a_convolution(port):
    spec = top.Conv2d((1, 16, 5, 5), (8, 16, 3, 3), padding=1)
    rng = np.random.default_rng(3)
    image, kernel = (
        rng.integers(-128, 128, shape, np.int8) for shape in ((1, 16, 5, 5), (8, 16, 3, 3))
    )
    with open_serial_device(TINY, seconds=SECONDS) as device:
        result, _ = top.run(spec.compile(TINY), image, kernel, device=device)
    bordered = np.pad(image.astype(np.int64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    sums = sum(
        np.einsum("ncyx,oc->noyx", bordered[:, :, i : i + 5, j : j + 5], kernel[:, :, i, j])
        for i in range(3)
        for j in range(3)
    )
    np.testing.assert_array_equal(result, np.clip(sums, -128, 127).astype(result.dtype))


def test_constants_of_hardware_and_driver():
    assert (REGISTERS, CONTROL) == (serial_board.REGISTERS, serial_board.CONTROL)
    assert serial_board.MEMORY_BYTES == 32 << 20
    assert serial_board.BAUD == BAUD
    # The line's rate is a whole number of cycles.
    assert CLOCK_HZ % BAUD == 0
