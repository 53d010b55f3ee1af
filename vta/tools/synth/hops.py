"""A path from register to register, as the reports of synthesis show it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Hop", "joined"]


@dataclass(frozen=True)
class Hop:
    """A part of a path that has one name: ns spent in logic and on the way to the next hop.

    `signal` is a signal of the design if `own`; otherwise optimisation left none, and `signal` is
    the nearest that it derived a name from. `levels` counts the cells that were passed.
    """

    signal: str
    own: bool
    levels: int
    logic: float
    routing: float


def joined(hops: Iterable[Hop]) -> tuple[Hop, ...]:
    """Neighbours with the same name become one."""
    path: list[Hop] = []
    for hop in hops:
        if path and (path[-1].signal, path[-1].own) == (hop.signal, hop.own):
            last = path.pop()
            hop = Hop(
                hop.signal,
                hop.own,
                last.levels + hop.levels,
                last.logic + hop.logic,
                last.routing + hop.routing,
            )
        path.append(hop)
    return tuple(path)
