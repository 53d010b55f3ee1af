"""The instructions that last touched each element; later instructions depend on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from vta.compiler.ir.accesses import Access
from vta.isa import ModuleId

__all__ = ["History"]


class History:
    """For every element, the instruction of each module that last read and last wrote it.

    An instruction is identified by its position among its module's instructions, counted from 1.

    Parameters
    ----------
    sizes : mapping of str to int
        The number of elements in each tracked space; accesses to other spaces are ignored.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._last: dict[str, dict[tuple[ModuleId, bool], NDArray[np.int32]]] = {
            space: {} for space in sizes
        }
        self._sizes = sizes

    def conflicts(self, module: ModuleId, accesses: Iterable[Access]) -> dict[ModuleId, int]:
        """For each other module, the latest instruction that must precede one of `module`.

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
        """Records the accesses of an instruction."""
        for access in accesses:
            if access.space in self._sizes:
                known = self._last[access.space]
                key = (module, access.write)
                if key not in known:
                    known[key] = np.zeros(self._sizes[access.space], np.int32)
                known[key][access.elements] = position
