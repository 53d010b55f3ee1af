"""`Recording`: a compact record of the events in an RTL run, cycle by cycle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MODULES", "Recording"]

MODULES = ("load", "compute", "store")
"""The modules, in the order of the bits in each group of events."""

_GROUPS = {
    name: 3 * index
    for index, name in enumerate(("issue", "retire", "wait_prev", "wait_next", "wait_memory"))
}
_READ, _WRITE, _PENDING = 15, 16, 17


@dataclass(frozen=True)
class Recording:
    """A run of `cycles` cycles, starting with the cycle after the launch.

    Attributes
    ----------
    cycles : int
    starts : (n,) int64
        The first cycle of each stretch in which nothing changes, ascending from 0 on.
    words : (n,) int64
        The events in each cycle of the stretch, as in `Simulation.changes`.
    """

    cycles: int
    starts: NDArray[np.int64]
    words: NDArray[np.int64]

    @classmethod
    def cut(
        cls, at: NDArray[np.int64], words: NDArray[np.int64], begin: int, cycles: int
    ) -> Recording:
        """The `cycles` cycles from `begin` on; the changes may start earlier."""
        first = max(0, int(np.searchsorted(at, begin, "right")) - 1)
        last = int(np.searchsorted(at, begin + cycles))
        if cycles == 0 or first >= last:
            return cls(cycles, np.zeros(1, np.int64), np.zeros(1, np.int64))
        return cls(cycles, np.maximum(at[first:last] - begin, 0), words[first:last])

    def bit(self, event: str, module: str) -> NDArray[np.bool_]:
        """Whether an event is active in each stretch; `event` is one of the groups of `events`."""
        return self._bit(_GROUPS[event] + MODULES.index(module))

    def beats(self, direction: str) -> NDArray[np.bool_]:
        """Whether the cycles of each stretch move a beat; ``read`` or ``write``."""
        return self._bit({"read": _READ, "write": _WRITE}[direction])

    def pending(self) -> NDArray[np.bool_]:
        """Whether memory had a burst to answer in each stretch."""
        return self._bit(_PENDING)

    def lengths(self) -> NDArray[np.int64]:
        """The number of cycles of each stretch."""
        return np.diff(self.starts, append=self.cycles)

    def pulses(self, event: str, module: str) -> NDArray[np.int64]:
        """All cycles in which an event is active."""
        chosen = self.bit(event, module)
        begins, lengths = self.starts[chosen], self.lengths()[chosen]
        before = np.cumsum(lengths) - lengths
        return np.repeat(begins - before, lengths) + np.arange(int(lengths.sum()))

    def _bit(self, number: int) -> NDArray[np.bool_]:
        return (self.words >> number & 1).astype(np.bool_)
