"""Tools that fail name the cause, and none of them outlives a build that is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vta import processes

ROOT = Path(__file__).parents[2]

BUILD = """\
from pathlib import Path
from vta.sim.rtl import verilator
verilator.find = lambda: verilator.Verilator((r"{folder}/verilator",), Path("/"), "1")
print("start", flush=True)
verilator.cached_library("a design")
"""
"""Builds a simulator with fake tools."""

VERILATOR = """\
mkdir obj
cd obj
echo 'VM_CLASSES_FAST = a b' > Vvta_classes.mk
for name in CLASSES_SLOW SUPPORT_FAST SUPPORT_SLOW GLOBAL_FAST GLOBAL_SLOW; do
    echo "VM_$name =" >> Vvta_classes.mk
done
touch a.cpp b.cpp
"""
COMPILER = """\
case $1 in --version) echo fake; exit;; esac
sleep 600 &
echo $! $$ >> "{folder}/pids"
wait
"""


def _script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}", encoding="ascii")
    path.chmod(0o755)
    return path


def _start(folder: Path, compiler: str = COMPILER) -> subprocess.Popen[str]:
    """A build with these tools, under way."""
    _script(folder / "verilator", VERILATOR)
    _script(folder / "c++", compiler.format(folder=folder))
    return subprocess.Popen(
        [sys.executable, "-c", BUILD.format(folder=folder)],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "VTA_CACHE_PATH": str(folder / "cache"),
            "CXX": str(folder / "c++"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _pids(folder: Path) -> list[int]:
    """The compilers that were started, once there is one, and what they started."""
    for _ in range(600):
        if (folder / "pids").exists() and (text := (folder / "pids").read_text(encoding="ascii")):
            return [int(word) for word in text.split()]
        time.sleep(0.05)
    raise AssertionError("no compiler was started")


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


def _hidden(folder: Path) -> list[Path]:
    return list((folder / "cache").glob("*/.*.*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_build_that_is_ended_leaves_nothing(tmp_path, number):
    process = _start(tmp_path)
    _pids(tmp_path)
    process.send_signal(number)
    process.communicate(timeout=120)  # the compilers would take 600 seconds
    assert process.returncode == (143 if number == signal.SIGTERM else -signal.SIGINT)
    assert not any(map(_alive, _pids(tmp_path)))
    assert [path for path in _hidden(tmp_path) if path.parent.name != ".locks"] == []


def test_a_killed_build_is_swept_up_by_the_next(tmp_path):
    process = _start(tmp_path)
    pids = _pids(tmp_path)
    process.kill()
    process.communicate(timeout=30)
    for pid in pids:  # nothing can end them: a real compiler ends by itself, in seconds
        if _alive(pid):
            os.kill(pid, signal.SIGKILL)
    left = [path for path in _hidden(tmp_path) if path.parent.name != ".locks"]
    assert left
    process = _start(tmp_path, "case $1 in --version) echo more;; *) echo error: no; exit 1; esac")
    _, said = process.communicate(timeout=60)
    assert "ToolError" in said
    assert not any(path.exists() for path in left)


def _done(said: str, status: int = 1) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess(["tool"], status, "", said)


@pytest.mark.parametrize(
    ("said", "status", "first"),
    [
        ("In file included from x\nx.cpp:3: error: 'a' is not\n", 1, "x.cpp:3: error: 'a' is not"),
        (
            "as: a note\n/tmp/x.s: fatal error: when writing output: No space left on device\n",
            1,
            "/tmp/x.s: fatal error: when writing output: No space left on device "
            "(free some space, or name another folder in VTA_CACHE_PATH)",
        ),
        (
            "g++: fatal error: cannot execute 'as': execvp: No such file or directory\n",
            1,
            "g++: fatal error: cannot execute 'as': execvp: No such file or directory "
            "(install the assembler (Debian, Ubuntu: apt install binutils))",
        ),
        (
            "%Warning-X: one\n%Error: vta.v:1:2: syntax error\n%Error: Exiting due to 1\n",
            1,
            "%Error: vta.v:1:2: syntax error",
        ),
        ("g++: fatal error: Killed signal terminated program cc1plus\n", 1, None),
        ("", 1, "exit status 1, without a message"),
        ("", -9, "it was ended by SIGKILL"),
    ],
)
def test_the_first_line_names_the_cause(said, status, first):
    line = processes.cause(_done(said, status)).splitlines()[0]
    assert line == (first or f"{said.strip()} (there was too little memory)")


def test_the_first_lines_follow():
    said = "\n".join(["one", "two: error: this", *map(str, range(40))])
    lines = processes.cause(_done(said)).splitlines()
    assert lines[:3] == ["two: error: this", "one", "two: error: this"]
    assert lines[-1] == "... 22 more lines"


def test_sigterm_is_left_to_those_who_handle_it():
    called = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: called.append(number))
    try:
        with processes.unwound_by_sigterm():
            os.kill(os.getpid(), signal.SIGTERM)
        assert called == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
    with pytest.raises(SystemExit):
        _end_myself()
    assert signal.getsignal(signal.SIGTERM) == before


def _end_myself() -> None:
    with processes.unwound_by_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
