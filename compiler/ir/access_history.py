"""What instructions read and write, and which earlier ones they therefore depend on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vta.isa import ModuleId

__all__ = ["Access", "History", "Index", "loop_indices", "scaled"]

Index = slice | NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Access:
    """Elements `index` of `space`: an on-chip memory (``acc``) or a buffer (``dram:A``)."""

    space: str
    index: Index
    write: bool


def loop_indices(starts: Sequence[int], steps: Sequence[tuple[int, int]]) -> Index:
    """Every index of loops of (extent, step), outermost first, around micro-ops at `starts`.

    In the order of execution; a slice where the indices are consecutive.
    """
    count = len(starts)
    if count == 1 or isinstance(starts, range) and starts.step == 1 and count:
        # The usual case, without making the indices: each loop goes on where the one inside ends.
        for extent, step in reversed(steps):
            if extent != 1 and step != count:
                break
            count *= extent
        else:
            return slice(starts[0], starts[0] + count)
    index = np.asarray(starts, np.int64)
    for extent, step in reversed(steps):
        index = (np.arange(extent)[:, None] * step + index.reshape(1, -1)).reshape(-1)
    if index.size and np.array_equal(index, np.arange(index[0], index[0] + index.size)):
        return slice(int(index[0]), int(index[0]) + index.size)
    return index


def scaled(index: Index, factor: int) -> Index:
    """The same places counted in parts of which an element has `factor`."""
    if isinstance(index, slice):
        return slice(index.start * factor, index.stop * factor)
    return (index[:, None] * factor + np.arange(factor)).reshape(-1)


class History:
    """For every element, which instruction of each module last read and last wrote it.

    Instructions are known by their position in their module's own order, counted from 1.

    Parameters
    ----------
    sizes : mapping of str to int
        The elements of each space that is to be watched; accesses to others are of no concern.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._last: dict[tuple[str, ModuleId, bool], NDArray[np.int32]] = {}
        self._sizes = sizes

    def conflicts(self, module: ModuleId, accesses: Iterable[Access]) -> dict[ModuleId, int]:
        """The latest instruction of each other module that must come before one of `module`.

        Two accesses conflict if they touch the same element and one of them writes.
        """
        latest: dict[ModuleId, int] = {}
        for access in accesses:
            for (space, other, wrote), last in self._last.items():
                if space == access.space and other != module and (wrote or access.write):
                    position: Any = last[access.index].max(initial=0)
                    if position > latest.get(other, 0):
                        latest[other] = int(position)
        return latest

    def record(self, module: ModuleId, position: int, accesses: Iterable[Access]) -> None:
        """Remembers the accesses of an instruction."""
        for access in accesses:
            if access.space in self._sizes:
                key = (access.space, module, access.write)
                if key not in self._last:
                    self._last[key] = np.zeros(self._sizes[access.space], np.int32)
                self._last[key][access.index] = position
