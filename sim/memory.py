"""`Memory`: the machine's whole byte address space, as numpy and a C++ model both see it.

Nothing is allocated until it is touched: the space is one anonymous private mapping, so that 4 GiB
(or 1 TiB, at 40 address bits) cost only the pages that a program uses, and unset bytes read zero.
"""

from __future__ import annotations

import contextlib
import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

from vta.errors import DeviceError

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

__all__ = ["PAGE_BYTES", "Memory"]

LOG_PAGE_BYTES = 12
PAGE_BYTES = 1 << LOG_PAGE_BYTES
"""Bytes that share one entry of `Memory.dirty`."""

# The mmap module names the flag from Python 3.13 on; the number is Linux's, where it matters:
# without it a space larger than RAM may be refused.
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)


class Memory:
    """An address space of 2^`addr_width` bytes, zero where unset.

    It has no lock: threads that share it must agree on which of them writes where, and when.

    Attributes
    ----------
    array : (size,) uint8
        The whole memory, without a copy. Code that writes through it must call `mark`.
    dirty : (size / PAGE_BYTES,) uint8
        1 for each page that was written since `clear_dirty`.
    size : int
        In bytes.
    end : int
        `size`, or less: beyond this byte the machine gets error responses. Set it, to a whole
        number of pages, before a machine is made.

    Raises
    ------
    DeviceError
        The operating system refuses the mapping.
    """

    def __init__(self, addr_width: int = 32) -> None:
        self.addr_width = addr_width
        self.size = self.end = 1 << addr_width
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
        try:
            self._map = mmap.mmap(-1, self.size, flags=flags)
        except (OSError, OverflowError) as error:
            raise DeviceError(
                f"an address space of 2^{addr_width} bytes cannot be mapped ({error})"
            ) from None
        self.array: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)
        self.dirty: NDArray[np.uint8] = np.zeros(self.size >> LOG_PAGE_BYTES, np.uint8)

    def read(self, addr: int, nbytes: int) -> NDArray[np.uint8]:
        """A copy of the `nbytes` bytes that start at byte `addr`."""
        self._check("read", addr, nbytes)
        return self.array[addr : addr + nbytes].copy()

    def write(self, addr: int, data: bytes | bytearray | memoryview | NDArray[Any]) -> None:
        """Puts the bytes of `data` (of any dtype and shape, row-major) at byte `addr`."""
        if isinstance(data, np.ndarray):
            raw = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        else:
            raw = np.frombuffer(data, np.uint8)
        self._check("write", addr, len(raw))
        self.array[addr : addr + len(raw)] = raw
        self.mark(addr, len(raw))

    def mark(self, addr: int, nbytes: int) -> None:
        """Notes that bytes `addr` to `addr + nbytes - 1` were written through `array`."""
        if nbytes > 0:
            self.dirty[addr >> LOG_PAGE_BYTES : ((addr + nbytes - 1) >> LOG_PAGE_BYTES) + 1] = 1

    def clear_dirty(self) -> None:
        """Forgets what was written; the bytes stay."""
        self.dirty[self.dirty_pages()] = 0

    def dirty_pages(self) -> NDArray[np.int64]:
        """Numbers of the pages written since `clear_dirty`, ascending."""
        # Eight entries at a time: nearly all are zero.
        groups = np.flatnonzero(self.dirty.view(np.uint64))
        pages = (groups[:, None] * 8 + np.arange(8)).reshape(-1)
        written: NDArray[np.int64] = pages[self.dirty[pages] != 0]
        return written

    def close(self) -> None:
        """Releases the memory; where views of `array` are left, when the last of them is gone."""
        self.array = np.empty(0, np.uint8)
        self.dirty = np.empty(0, np.uint8)
        self.size = 0
        with contextlib.suppress(BufferError):
            # The mapping lives as long as a view of it.
            self._map.close()

    def _check(self, verb: str, addr: int, nbytes: int) -> None:
        if not 0 <= addr <= addr + nbytes <= self.size:
            raise DeviceError(
                f"cannot {verb} {nbytes} bytes at {addr:#x}: memory has {self.size:#x} bytes"
            )

    def __enter__(self) -> Memory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
