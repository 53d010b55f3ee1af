"""`Recording`: what the RTL simulator noted of a run, cycle by cycle, in little space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MODULES", "Recording"]

MODULES = ("load", "compute", "store")
"""In the order of the bits of each group of events."""

_GROUPS = {
    name: 3 * index
    for index, name in enumerate(("issue", "retire", "wait_prev", "wait_next", "wait_memory"))
}
_READ, _WRITE, _PENDING = 15, 16, 17


@dataclass(frozen=True)
class Recording:
    """A run of `cycles` cycles, the first being the one after the launch.

    Attributes
    ----------
    cycles : int
    starts : (n,) int64
        The first cycle of each stretch in which nothing changes, ascending from 0 on.
    words : (n,) int64
        What holds in each cycle of the stretch, as `Simulation.changes` has it.
    """

    cycles: int
    starts: NDArray[np.int64]
    words: NDArray[np.int64]

    @classmethod
    def cut(
        cls, at: NDArray[np.int64], words: NDArray[np.int64], begin: int, cycles: int
    ) -> Recording:
        """The `cycles` cycles from `begin` on, out of changes that began before."""
        first = max(0, int(np.searchsorted(at, begin, "right")) - 1)
        last = int(np.searchsorted(at, begin + cycles))
        if cycles == 0 or first >= last:
            return cls(cycles, np.zeros(1, np.int64), np.zeros(1, np.int64))
        return cls(cycles, np.maximum(at[first:last] - begin, 0), words[first:last])

    def bit(self, event: str, module: str) -> NDArray[np.bool_]:
        """Per stretch, whether an event holds; `event` is one of the groups of `events`."""
        return self._bit(_GROUPS[event] + MODULES.index(module))

    def beats(self, direction: str) -> NDArray[np.bool_]:
        """Per stretch, whether each of its cycles moves a beat; ``read`` or ``write``."""
        return self._bit({"read": _READ, "write": _WRITE}[direction])

    def pending(self) -> NDArray[np.bool_]:
        """Per stretch, whether memory had a burst to answer."""
        return self._bit(_PENDING)

    def lengths(self) -> NDArray[np.int64]:
        """Cycles of each stretch."""
        return np.diff(self.starts, append=self.cycles)

    def pulses(self, event: str, module: str) -> NDArray[np.int64]:
        """The cycles in which an event holds, one by one."""
        chosen = self.bit(event, module)
        begins, lengths = self.starts[chosen], self.lengths()[chosen]
        before = np.cumsum(lengths) - lengths
        return np.repeat(begins - before, lengths) + np.arange(int(lengths.sum()))

    def _bit(self, number: int) -> NDArray[np.bool_]:
        return (self.words >> number & 1).astype(np.bool_)
