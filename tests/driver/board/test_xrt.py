"""Memory from XRT, on a library with its functions that is compiled here."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from vta.driver.board.board import Board
from vta.driver.board.kinds import KINDS
from vta.driver.board.register_table import register_map
from vta.driver.board.system import System
from vta.driver.board.xrt import LIBRARY, XrtArena
from vta.errors import DeviceError

COMPILER = shutil.which("cc") or shutil.which("c++")

pytestmark = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")


class WithXrt(System):
    """No u-dma-buf, but a library."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.file = root / "xrt.so"
        source = Path(__file__).with_name("fake_xrt.c")
        command = [str(COMPILER), "-shared", "-fPIC", "-x", "c", str(source), "-o", str(self.file)]
        subprocess.run(command, check=True)
        self.loaded = ctypes.CDLL(str(self.file))

    def library(self, name: str) -> ctypes.CDLL:
        assert name == LIBRARY
        return self.loaded

    def number(self, name: str) -> ctypes.c_int:
        return ctypes.c_int.in_dll(self.loaded, name)

    @property
    def synchronised(self) -> list[int]:
        return list((ctypes.c_uint64 * 3).in_dll(self.loaded, "log_sync"))


def test_memory(tmp_path: Path) -> None:
    system = WithXrt(tmp_path)
    board = Board(KINDS["pynq"], system, register_map())
    assert (board.info.address, board.info.nbytes) == (0x1700_0000, 1 << 22)
    board.write(0x1700_0100, memoryview(b"data"))
    assert system.synchronised == [0, 4, 0x100]
    got = bytearray(4)
    board.read(0x1700_0100, memoryview(got))
    assert got == b"data"
    assert system.synchronised == [1, 4, 0x100]
    system.number("fail_sync").value = 1
    with pytest.raises(DeviceError, match="XRT cannot maintain the cache of 4 bytes at 0x100"):
        board.write(0x1700_0100, memoryview(b"data"))
    board.close()
    board.close()
    assert system.number("opened").value == 0


def test_what_xrt_refuses(tmp_path: Path) -> None:
    system = WithXrt(tmp_path)
    for name, value, said in (
        ("limit", 1000, "XRT has not even 1048576 bytes of contiguous memory"),
        ("fail_map", 1, "XRT cannot map its buffer"),
        ("opened", -1, "XRT has no device 0"),
    ):
        number = system.number(name)
        before, number.value = number.value, value
        with pytest.raises(DeviceError, match=said):
            XrtArena(system)
        number.value = before
    assert system.number("opened").value == 0


def test_neither(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=f"no u-dma-buf device: .* nor XRT .{LIBRARY}: cannot be"):
        Board(KINDS["pynq"], System(tmp_path), register_map())
