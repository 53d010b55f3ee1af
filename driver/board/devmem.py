"""Registers and memory through ``/dev/mem``, for boards without UIO and u-dma-buf.

Only where the user asks for it: it takes root's rights, nothing checks the addresses, and the
processor's cache is not used, so that moving arrays is slow.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from vta.driver.board.system import System
from vta.driver.board.uio import REGISTER_BYTES
from vta.errors import ConfigError

__all__ = ["DevmemArena", "DevmemRegisters", "MemoryRange", "PolledInterrupt", "parse_range"]

POLL_SECONDS = 0.0005


@dataclass(frozen=True)
class MemoryRange:
    """Physical memory that Linux leaves alone, by its ``mem=`` or a reserved-memory node."""

    address: int
    nbytes: int


def parse_range(text: str) -> MemoryRange:
    """A range from ``ADDRESS:BYTES``, such as ``0x1a000000:0x4000000``.

    Raises
    ------
    ConfigError
        If it is something else, or not whole pages.
    """
    first, _, second = text.partition(":")
    try:
        address, nbytes = int(first, 0), int(second, 0)
    except ValueError:
        address, nbytes = -1, 0
    if address < 0 or nbytes <= 0 or address % 4096 or nbytes % 4096:
        raise ConfigError(
            f"the memory must be ADDRESS:BYTES in whole pages, such as 0x1a000000:0x4000000, not "
            f"{text!r}"
        )
    return MemoryRange(address, nbytes)


class DevmemRegisters:
    """The machine's registers at a physical address."""

    def __init__(self, system: System, address: int) -> None:
        self._words = system.words("dev/mem", REGISTER_BYTES, address)

    def read(self, offset: int) -> int:
        return self._words[offset >> 2]

    def write(self, offset: int, value: int) -> None:
        self._words[offset >> 2] = value

    def close(self) -> None:
        """Does nothing: the mapping ends with the last reference to it."""


class PolledInterrupt:
    """In place of an interrupt: the caller looks at the machine again and again."""

    def enable(self) -> None:
        pass

    def wait(self, seconds: float) -> bool:
        time.sleep(min(seconds, POLL_SECONDS))
        return False

    def close(self) -> None:
        pass


class DevmemArena:
    """A range of physical memory, which the processor does not cache. See `ports.Arena`."""

    def __init__(self, system: System, place: MemoryRange) -> None:
        self.address, self.nbytes = place.address, place.nbytes
        self.view = system.map("dev/mem", place.nbytes, place.address, cached=False)

    def flush(self, offset: int, nbytes: int) -> None:
        pass

    def invalidate(self, offset: int, nbytes: int) -> None:
        pass

    def close(self) -> None:
        self.view.release()
