"""`Allocator`: keeps track of the bytes of a device's memory that are in use."""

from __future__ import annotations

import bisect

from vta.errors import DeviceError

__all__ = ["Allocator"]


class Allocator:
    """Allocates aligned blocks in the bytes `start` to `end - 1`, first fit.

    Only one thread may use it at a time: a device calls it under its lock.

    Parameters
    ----------
    start, end : int
        The range of byte addresses.
    alignment : int
        A power of two; every address is a multiple of it.
    """

    def __init__(self, start: int, end: int, alignment: int) -> None:
        if alignment < 1 or alignment & (alignment - 1):
            raise DeviceError(f"alignment must be a power of two, not {alignment}")
        self.alignment = alignment
        self._holes = [(self._round(start), end)]
        self._sizes: dict[int, int] = {}

    def allocate(self, nbytes: int) -> int:
        """The address of `nbytes` free bytes, which are reserved until `free`."""
        if nbytes < 0:
            raise DeviceError(f"nbytes must be at least 0, not {nbytes}")
        # An empty buffer gets its own address too, so that it can be freed.
        size = self._round(max(nbytes, 1))
        for index, (low, high) in enumerate(self._holes):
            if high - low >= size:
                if high - low == size:
                    del self._holes[index]
                else:
                    self._holes[index] = (low + size, high)
                self._sizes[low] = size
                return low
        raise DeviceError(
            f"out of device memory: {nbytes} bytes were asked for, the largest free "
            f"block has {max((high - low for low, high in self._holes), default=0)}"
        )

    def free(self, addr: int) -> None:
        """Frees a block from `allocate`."""
        size = self._sizes.pop(addr, None)
        if size is None:
            raise DeviceError(f"{addr:#x} is not allocated (freed twice, or never given out)")
        low, high = addr, addr + size
        index = bisect.bisect(self._holes, (low, high))
        if index < len(self._holes) and self._holes[index][0] == high:
            high = self._holes.pop(index)[1]
        if index and self._holes[index - 1][1] == low:
            index -= 1
            low = self._holes.pop(index)[0]
        self._holes.insert(index, (low, high))

    @property
    def used(self) -> int:
        """Bytes in use, including alignment."""
        return sum(self._sizes.values())

    def _round(self, nbytes: int) -> int:
        return -(-nbytes // self.alignment) * self.alignment
