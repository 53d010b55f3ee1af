"""Runs tools (compilers, Verilator, Yosys) so that none of them outlives what started it."""

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

__all__ = ["TERMINATED", "cause", "end_group", "end_groups", "run", "unwound_by_sigterm"]

TERMINATED = 128 + signal.SIGTERM
"""The exit status of a process that SIGTERM ended while it had something to tidy up."""

GRACE = 2.0
"""Seconds that a tool has to remove its own temporary files once it is told to end."""


def run(
    command: Sequence[str],
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    running: set[subprocess.Popen[str]] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a tool to its end, in a process group of its own; the caller looks at the exit code.

    If anything interrupts the wait, the tool and all that it has started are ended first. While it
    runs it is in `running`, so that another thread can end it.

    Raises
    ------
    ToolError
        The tool cannot be started.
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
    """Ends a process that leads a group, and the group; returns once the process is gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
            return


def end_groups(running: Iterable[subprocess.Popen[str]]) -> None:
    """Tells tools that other threads wait for in `run` to end."""
    for process in list(running):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGTERM)


@contextlib.contextmanager
def unwound_by_sigterm() -> Iterator[None]:
    """While it lasts, SIGTERM raises SystemExit(`TERMINATED`), so that what is half made goes away.

    Nothing changes where the program handles SIGTERM itself, nor outside of the main thread.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return

    def unwind(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
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


def cause(done: subprocess.CompletedProcess[str], lines: int = 20) -> str:
    """Why a tool failed: the line that names it and what helps, then the first lines it printed."""
    said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    if done.returncode < 0:
        said.append(f"it was ended by {signal.Signals(-done.returncode).name}")
    for pattern, remedy in _REMEDIES:
        for line in said:
            if re.search(pattern, line):
                return "\n".join([f"{line.strip()} ({remedy})", *said[:lines]])
    named = next((line for line in said if _ERROR.search(line)), None)
    first = named or next(iter(said), f"exit status {done.returncode}, without a message")
    more = [f"... {len(said) - lines} more lines"] if len(said) > lines else []
    return "\n".join([first.strip(), *(said[:lines] if len(said) > 1 else []), *more])
