"""Says in words what limits a run.

Each cycle is of one of four kinds:

- *computing*: a GEMM or ALU instruction executes (the bus may move data as well);
- *moving*: nothing executes, and a beat moves on the bus;
- *latency*: nothing executes, no beat moves, and a module waits for memory; or compute has no
  instruction and memory has not answered yet, for example while the first ones are fetched;
- *overhead*: all other cycles: launch, checks, passing of tokens, filling and draining pipelines.

The first rule that applies decides:

1. If computation, read data or written data take at least `BOUND` of the cycles, the run is
   **compute-bound** or **memory-bound**, whichever of the three takes the most.
2. Otherwise the verdict is the change that could save the most cycles. **latency-bound**: removing
   the latency cycles. **overhead-bound**: removing the overhead cycles. **serialised**: overlapping
   computing, reading and writing. The *computing* and *moving* cycles together could then be as few
   as those of the busiest of the three.

The text then gives the busy shares, and other states of compute with at least `MENTION` of the
cycles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vta.sim.profile.profile import IDLE, WAIT_MEMORY, Profile, is_token_wait
from vta.sim.rtl.recording import MODULES

__all__ = ["BOUND", "MENTION", "Shares", "Diagnosis", "decide", "shares", "verdict"]

BOUND = 0.75
MENTION = 0.01

EXECUTING = ("GEMM", "ALU")


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Figures of a run, as shares of its cycles.

    `computing`, `moving`, `latency` and `overhead` add up to 1.
    """

    gemm: float
    alu: float
    read: float
    write: float
    moving: float
    latency: float
    overhead: float

    @property
    def computing(self) -> float:
        return self.gemm + self.alu

    @property
    def most_used(self) -> float:
        """The share of cycles in which the busiest of arithmetic, read bus and write bus works."""
        return max(self.computing, self.read, self.write)

    @property
    def turns(self) -> float:
        """The share of cycles saved if computing, reading and writing overlapped."""
        return self.computing + self.moving - self.most_used


@dataclass(frozen=True)
class Diagnosis:
    """`kind` is the first word of `text`: ``compute-bound``, ``memory-bound``, ``latency-bound``,
    ``serialised``, ``overhead-bound``, or ``empty`` for a run of no cycles."""

    kind: str
    text: str
    shares: Shares


def shares(profile: Profile) -> Shares:
    """The figures from which the verdict follows."""
    if profile.cycles == 0:
        return Shares(gemm=0, alu=0, read=0, write=0, moving=0, latency=0, overhead=0)
    recording, compute = profile.recording, profile.modules["compute"]
    at = np.unique(np.concatenate([recording.starts, compute.starts]))
    lengths = np.diff(at, append=profile.cycles)
    of = np.searchsorted(recording.starts, at, "right") - 1
    doing = np.searchsorted(compute.starts, at, "right") - 1
    gemm, alu, idle = (
        np.array([state == kind for state in compute.states])[doing] for kind in (*EXECUTING, IDLE)
    )
    read, write = recording.beats("read")[of], recording.beats("write")[of]
    waits = np.logical_or.reduce([recording.bit("wait_memory", name) for name in MODULES])[of]
    waits |= idle & recording.pending()[of]
    computing, bus = gemm | alu, read | write

    def part(chosen: np.ndarray) -> float:
        return float(lengths[chosen].sum() / profile.cycles)

    return Shares(
        gemm=part(gemm),
        alu=part(alu),
        read=part(read),
        write=part(write),
        moving=part(~computing & bus),
        latency=part(~computing & ~bus & waits),
        overhead=part(~computing & ~bus & ~waits),
    )


def verdict(profile: Profile) -> Diagnosis:
    """What limits the run."""
    found = shares(profile)
    if profile.cycles == 0:
        return Diagnosis("empty", "empty: the run has no cycles", found)
    kind, reason = decide(found)
    totals = profile.modules["compute"].totals()
    waits = [
        f"{_percent(count / profile.cycles)} {_waiting(state)}"
        for state, count in sorted(totals.items(), key=lambda item: -item[1])
        if (is_token_wait(state) or state in (WAIT_MEMORY, IDLE))
        and count / profile.cycles >= MENTION
    ]
    compute = ", ".join(waits)
    return Diagnosis(
        kind, f"{kind}: {reason}" + (f"; compute: {compute}" if compute else ""), found
    )


def decide(found: Shares) -> tuple[str, str]:
    """The verdict's kind and its reason, by the rules above."""
    executing = _executing(found)
    if found.most_used >= BOUND:
        if found.computing == found.most_used:
            return "compute-bound", executing
        direction = "read" if found.read == found.most_used else "write"
        return (
            "memory-bound",
            f"the {direction} bus is busy {_percent(found.most_used)}; {executing}",
        )
    savings = {
        "latency-bound": found.latency,
        "overhead-bound": found.overhead,
        "serialised": found.turns,
    }
    kind = max(savings, key=lambda name: savings[name])
    reasons = {
        "latency-bound": f"{_percent(found.latency)} of the cycles wait for memory while nothing "
        "moves or computes",
        "overhead-bound": f"{_percent(found.overhead)} of the cycles go to launch, checks, "
        "hand-over and pipelines",
        "serialised": "computing, reading and writing take turns; overlapped they would save up "
        f"to {_percent(found.turns)}",
    }
    return kind, (
        f"{reasons[kind]}; {executing}, read bus {_percent(found.read)}, write bus "
        f"{_percent(found.write)}"
    )


def _executing(found: Shares) -> str:
    parts = [
        f"{name} busy {_percent(share)}"
        for name, share in (("GEMM", found.gemm), ("ALU", found.alu))
        if share > 0
    ]
    return ", ".join(parts) or "GEMM and ALU idle"


def _waiting(state: str) -> str:
    if is_token_wait(state):
        return f"waiting for {state.replace(' full', ' to have room')}"
    return "waiting for memory" if state == WAIT_MEMORY else "idle"


def _percent(share: float) -> str:
    """Whole percents; below one, a tenth."""
    return f"{100 * share:.0f} %" if share >= 0.01 or share == 0 else f"{100 * share:.1f} %"
