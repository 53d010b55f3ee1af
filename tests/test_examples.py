"""The examples run, on either simulator, and say that they succeeded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import vta
from vta.config import PRESETS

ROOT = Path(vta.__file__).parent.parent
EXAMPLE = ROOT / "examples" / "vta_get_started.py"


def _run(config: dict[str, object], folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "config.json"
    file.write_text(json.dumps(config))
    return subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "VTA_CONFIG": str(file), "PYTHONPATH": str(ROOT)},
        check=False,
    )


@pytest.mark.parametrize("preset", list(PRESETS))
def test_get_started_on_sim(tmp_path: Path, preset: str) -> None:
    done = _run(PRESETS[preset].to_dict(), tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.endswith("Successful vector add test!\n")
    assert "cycle_count" not in done.stdout


def test_get_started_on_tsim(tmp_path: Path) -> None:
    done = _run(PRESETS["tiny"].replace(target="tsim").to_dict(), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cycle_count" in done.stdout
    assert done.stdout.endswith("Successful vector add test!\n")


def test_get_started_on_an_emulated_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = PRESETS["tiny"].replace(target="de10nano").to_dict()
    monkeypatch.delenv("VTA_RPC_HOST", raising=False)
    done = _run(config, tmp_path)
    assert done.stderr.endswith("connect needs a host: pass one, or set VTA_RPC_HOST\n")
    daemon = subprocess.Popen(
        [sys.executable, "-m", "vta", "serve", "--emulate", "de10nano", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert daemon.stdout is not None
        port = daemon.stdout.readline().rpartition(":")[2].strip()
        monkeypatch.setenv("VTA_RPC_HOST", "127.0.0.1")
        monkeypatch.setenv("VTA_RPC_PORT", port)
        done = _run(config, tmp_path)
    finally:
        daemon.kill()
        daemon.communicate()
    assert done.returncode == 0, done.stderr
    assert "cycle_count" in done.stdout
    assert done.stdout.endswith("Successful vector add test!\n")


def test_get_started_prints_the_tutorials_listing(tmp_path: Path) -> None:
    """The calls of the tutorial, with its numbers, for its machine."""
    text = _run(PRESETS["default"].to_dict(), tmp_path).stdout
    handle = "T.tvm_thread_context(T.tir.vta.command_handle())"
    lines = [
        f'T.call_extern("int32", "VTALoadBuffer2D", {handle}, A.data, '
        "0, 64, 1, 64, 0, 0, 0, 0, 0, 3)",
        f'T.call_extern("int32", "VTALoadBuffer2D", {handle}, B.data, '
        "0, 64, 1, 64, 0, 0, 0, 0, 64, 3)",
        'T.call_extern("int32", "VTAUopLoopBegin", 64, 1, 1, 0)',
        "T.tir.vta.uop_push(1, 0, 0, 64, 0, 2, 0, 0)",
        'T.call_extern("int32", "VTAUopLoopEnd")',
        "T.tir.vta.coproc_dep_push(2, 3)",
        "T.tir.vta.coproc_dep_pop(2, 3)",
        f'T.call_extern("int32", "VTAStoreBuffer2D", {handle}, 0, 4, C.data, 0, 64, 1, 64)',
        "T.tir.vta.coproc_sync()",
    ]
    printed = [line.strip() for line in text.splitlines()]
    calls = [line for line in printed if line.startswith(("T.call_extern", "T.tir"))]
    assert calls == lines
