"""Which instruction last touched each element: what a later one depends on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from vta.compiler.ir.accesses import Access
from vta.isa import ModuleId

__all__ = ["History"]


class History:
    """For every element, which instruction of each module last read and last wrote it.

    Instructions are known by their position in their module's own order, counted from 1.

    Parameters
    ----------
    sizes : mapping of str to int
        The elements of each space that is to be watched; accesses to others do not count.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._last: dict[str, dict[tuple[ModuleId, bool], NDArray[np.int32]]] = {
            space: {} for space in sizes
        }
        self._sizes = sizes

    def conflicts(self, module: ModuleId, accesses: Iterable[Access]) -> dict[ModuleId, int]:
        """The latest instruction of each other module that must come before one of `module`.

        Two accesses conflict if they touch the same element and one of them writes.
        """
        latest: dict[ModuleId, int] = {}
        for access in accesses:
            for (other, wrote), last in self._last.get(access.space, {}).items():
                if other != module and (wrote or access.write):
                    position = int(np.maximum.reduce(last[access.elements], initial=0))
                    if position > latest.get(other, 0):
                        latest[other] = position
        return latest

    def record(self, module: ModuleId, position: int, accesses: Iterable[Access]) -> None:
        """Remembers the accesses of an instruction."""
        for access in accesses:
            if access.space in self._sizes:
                known = self._last[access.space]
                key = (module, access.write)
                if key not in known:
                    known[key] = np.zeros(self._sizes[access.space], np.int32)
                known[key][access.elements] = position
