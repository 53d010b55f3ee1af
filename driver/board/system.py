"""`System`: the files of an operating system through which a board is driven."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

from vta.driver.board.ports import Interrupt, Words
from vta.driver.board.uio_interrupt import UioInterrupt
from vta.errors import DeviceError

__all__ = ["System"]

MAX_TEXT = 4096
"""The most bytes that are read of an attribute."""


class System:
    """Files below `root`, by names such as ``sys/class/uio``.

    Parameters
    ----------
    root : path
        ``/`` on a board; another folder in tests and for the emulated board.

    Raises
    ------
    DeviceError
        From any method, if the operating system refuses; the message says what to do.
    """

    def __init__(self, root: str | os.PathLike[str] = "/") -> None:
        self.root = Path(root)

    def read(self, name: str) -> str:
        """The text of a small file, stripped."""
        try:
            with open(self.root / name, "rb") as file:
                return file.read(MAX_TEXT).decode("utf-8", "replace").strip()
        except OSError as error:
            raise self._refused(name, "read", error) from None

    def write(self, name: str, text: str) -> None:
        """Writes an attribute, in one call."""
        try:
            # Without O_TRUNC, which an attribute does not need and a file of a fake tree pays for.
            file = os.open(self.root / name, os.O_WRONLY)
            try:
                os.write(file, text.encode())
            finally:
                os.close(file)
        except OSError as error:
            raise self._refused(name, "written", error) from None

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; none if there is no such folder."""
        try:
            return sorted(os.listdir(self.root / folder))
        except OSError:
            return []

    def exists(self, name: str) -> bool:
        return (self.root / name).exists()

    def put(self, name: str, data: bytes) -> None:
        """Writes a file whole, and makes the folder that it is in."""
        try:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_bytes(data)
        except OSError as error:
            raise self._refused(name, "written", error) from None

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        try:
            (self.root / name).unlink(missing_ok=True)
        except OSError as error:
            raise self._refused(name, "removed", error) from None

    def open_folder(self, name: str) -> int:
        """A descriptor of a folder, which the caller closes."""
        try:
            return os.open(self.root / name, os.O_RDONLY)
        except OSError as error:
            raise self._refused(name, "opened", error) from None

    def map(self, name: str, nbytes: int, offset: int = 0, *, cached: bool = True) -> memoryview:
        """Maps bytes of a device file; `cached` asks for the processor's cache on them."""
        try:
            file = os.open(self.root / name, os.O_RDWR | (0 if cached else os.O_SYNC))
            try:
                return memoryview(mmap.mmap(file, nbytes, mmap.MAP_SHARED, offset=offset))
            finally:
                os.close(file)
        except (OSError, ValueError) as error:
            raise self._refused(name, "mapped", error) from None

    def words(self, name: str, nbytes: int, offset: int = 0) -> Words:
        """Maps bytes of a device file as 32-bit words, without the cache."""
        return self.map(name, nbytes, offset, cached=False).cast("I")

    def peek(self, address: int) -> int:
        """A word of physical memory, by ``/dev/mem``."""
        return self._page(address)[address % mmap.PAGESIZE >> 2]

    def poke(self, address: int, value: int) -> None:
        """Sets a word of physical memory, by ``/dev/mem``."""
        self._page(address)[address % mmap.PAGESIZE >> 2] = value

    def _page(self, address: int) -> Words:
        return self.words("dev/mem", mmap.PAGESIZE, address - address % mmap.PAGESIZE)

    def library(self, name: str) -> ctypes.CDLL:
        """A shared library of the system."""
        try:
            return ctypes.CDLL(name)
        except OSError as error:
            raise DeviceError(f"{name}: cannot be loaded ({error})") from None

    def interrupt(self, name: str) -> Interrupt:
        """The interrupt of a UIO device file."""
        try:
            return UioInterrupt(os.open(self.root / name, os.O_RDWR))
        except OSError as error:
            raise self._refused(name, "opened", error) from None

    def _refused(self, name: str, what: str, error: Exception) -> DeviceError:
        reason = getattr(error, "strerror", None) or str(error)
        hint = ""
        if isinstance(error, PermissionError):
            hint = "; run as root, or give your user's group access by a udev rule"
        return DeviceError(f"{self.root / name}: cannot be {what} ({reason}){hint}")
