"""The boards that this project knows: what is on them, and how far each has come."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from vta.errors import ConfigError

__all__ = ["CATALOGUE", "BoardEntry", "entry_named"]


@dataclass(frozen=True)
class BoardEntry:
    """One board.

    Attributes
    ----------
    name : str
        As in a configuration's TARGET.
    part : str
        The FPGA.
    part_in_file : str
        How a bitstream for it names the part; "" if it does not.
    toolchains : tuple of str
        What makes bitstreams for it, as `vta.tools.bitstream.toolchains` names it.
    state : str
        What has been done with it, as a user should know it.
    connection : str
        How programs reach it.
    suffixes : tuple of str
        Of the files that `vta flash` takes; none if it cannot be flashed by cable.
    loader : str
        openFPGALoader's name for it, or "".
    model : str
        How the name starts that openFPGALoader gives to its FPGA.
    vendor : str
        The USB vendor of its cable, four hex digits.
    """

    name: str
    part: str
    part_in_file: str
    toolchains: tuple[str, ...]
    state: str
    connection: str
    suffixes: tuple[str, ...] = ()
    loader: str = ""
    model: str = ""
    vendor: str = ""


_LINUX = "ssh, daemon"
_SIMULATED = "emulated; shell simulated; never run on hardware"

CATALOGUE = {
    entry.name: entry
    for entry in (
        BoardEntry(
            name="pynq",
            part="XC7Z020-1CLG400C",
            part_in_file="7z020clg400",
            toolchains=("vivado", "openxc7"),
            state=_SIMULATED,
            connection=_LINUX,
            suffixes=(".bit",),
            loader="pynq_z1",
            model="xc7z020",
            vendor="0403",
        ),
        BoardEntry(
            name="ultra96",
            part="XCZU3EG-1SBVA484E",
            part_in_file="xczu3eg",
            toolchains=("vivado",),
            state=_SIMULATED,
            connection=_LINUX,
        ),
        BoardEntry(
            name="zcu104",
            part="XCZU7EV-2FFVC1156E",
            part_in_file="xczu7ev",
            toolchains=("vivado",),
            state=_SIMULATED,
            connection=_LINUX,
        ),
        BoardEntry(
            name="de10nano",
            part="5CSEBA6U23I7",
            part_in_file="",
            toolchains=("quartus",),
            state="emulated; shell linted; never run on hardware",
            connection=_LINUX,
            suffixes=(".rbf", ".svf"),
            loader="de10nano",
            model="5CSE*A6",
            vendor="09fb",
        ),
        BoardEntry(
            name="intelfocl",
            part="",
            part_in_file="",
            toolchains=(),
            state="emulated; there is no back end for real cards",
            connection="local",
        ),
        BoardEntry(
            name="ulx3s",
            part="LFE5U-85F-6BG381C",
            part_in_file="LFE5U-85F",
            toolchains=("trellis",),
            state="bitstream made; simulated with its SDRAM; never run on hardware",
            connection="serial port",
            suffixes=(".bit", ".svf"),
            loader="ulx3s",
            model="LFE5U-85",
            vendor="0403",
        ),
    )
}


def entry_named(name: str) -> BoardEntry:
    """The board of a name.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if name not in CATALOGUE:
        near = difflib.get_close_matches(name, CATALOGUE, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"the board must be one of {', '.join(CATALOGUE)}, not {name!r}{hint}")
    return CATALOGUE[name]
