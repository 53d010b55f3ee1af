"""Runs tools (compilers, Verilator, Yosys) so that no tool outlives its caller."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from vta.errors import ToolError

__all__ = ["TERMINATED", "cause", "end_group", "end_groups", "remedy", "run", "unwound_by_sigterm"]

TERMINATED = 128 + signal.SIGTERM
"""The exit status of a process that cleaned up after SIGTERM."""

GRACE = 2.0
"""Seconds that a tool has to remove its temporary files after it is told to end."""


def run(
    command: Sequence[str],
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    running: set[subprocess.Popen[str]] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a tool to its end in its own process group; the caller checks the exit code.

    If the wait is interrupted, the tool and all its child processes are ended first. While the
    tool runs, it is in `running`, so that another thread can end it.

    Raises
    ------
    ToolError
        If the tool cannot be started.
    """
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            process_group=0,
        )
    except OSError as error:
        raise ToolError(f"{command[0]} cannot be run ({error.strerror})") from None
    running = set() if running is None else running
    running.add(process)
    try:
        out, err = process.communicate()
    except BaseException:
        end_group(process)
        raise
    finally:
        running.discard(process)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def end_group(process: subprocess.Popen[str]) -> None:
    """Ends a process and its group; returns when the process has ended."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
            return


def end_groups(running: Iterable[subprocess.Popen[str]]) -> None:
    """Tells all tools that `run` is running in other threads to end."""
    for process in list(running):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGTERM)


@contextlib.contextmanager
def unwound_by_sigterm() -> Iterator[None]:
    """A context in which SIGTERM raises SystemExit(`TERMINATED`), so that cleanup code runs.

    It has no effect if the program handles SIGTERM itself, or outside the main thread.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return

    def unwind(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second signal must not interrupt this
        raise SystemExit(TERMINATED)

    signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


_REMEDIES = (
    (
        r"No space left on device|Disk quota exceeded",
        "free some space, or name another folder in VTA_CACHE_PATH",
    ),
    (
        r"cannot execute .?as\b|'as'|installed assembler",
        "install the assembler (Debian, Ubuntu: apt install binutils)",
    ),
    (r"cannot find .?ld\b|collect2: fatal", "install the linker (apt install binutils)"),
    (r"Killed signal|[Oo]ut of memory|virtual memory exhausted", "there was too little memory"),
)
_ERROR = re.compile(r"%Error|\berror\b|ERROR|\bcannot\b|not found", re.IGNORECASE)


def remedy(message: str) -> str:
    """What helps against the cause that a message names; "" if that is not known."""
    return next((advice for pattern, advice in _REMEDIES if re.search(pattern, message)), "")


def cause(done: subprocess.CompletedProcess[str], lines: int = 20) -> str:
    """Why a tool failed: the line with the cause and a remedy, then the start of its output."""
    said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    if done.returncode < 0:
        said.append(f"it was ended by {signal.Signals(-done.returncode).name}")
    for pattern, advice in _REMEDIES:
        for line in said:
            if re.search(pattern, line):
                return "\n".join([f"{line.strip()} ({advice})", *said[:lines]])
    named = next((line for line in said if _ERROR.search(line)), None)
    first = named or next(iter(said), f"exit status {done.returncode}, without a message")
    more = [f"... {len(said) - lines} more lines"] if len(said) > lines else []
    return "\n".join([first.strip(), *(said[:lines] if len(said) > 1 else []), *more])
