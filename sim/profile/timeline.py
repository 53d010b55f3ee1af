"""A profile as a Chrome trace, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

One microsecond of the trace is one cycle. Load, compute and store are processes. Each instruction
is a complete event from its issue to its retirement. Instructions in flight at the same time are on
different lanes, because events on one track must nest. Another track shows the module's state in
each cycle. The bus has two counters, in bytes per cycle.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vta.sim.profile.profile import IDLE, WAIT_MEMORY, is_token_wait

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vta.sim.profile.profile import ModuleProfile, Profile, Span

__all__ = ["chrome_trace", "lanes", "utilisation"]

COUNTER_POINTS = 2048
"""The most points of each counter."""

_STATE_TRACK = 0
_BUS = "bus"


def chrome_trace(profile: Profile, name: str = "VTA") -> dict[str, Any]:
    """The trace as a JSON object."""
    events: list[dict[str, Any]] = []
    for pid, module in enumerate(profile.modules.values(), start=1):
        events += _module(pid, module)
    events += _bus(len(profile.modules) + 1, profile)
    return {
        "traceEvents": events,
        "displayTimeUnit": "ns",
        "otherData": {"name": name, "cycles": profile.cycles, "unit": "1 us is 1 cycle"},
    }


def lanes(spans: Iterable[Span]) -> Iterator[tuple[int, Span]]:
    """The issued instructions of a module, each with the lowest lane that is free at its issue."""
    ends: list[int] = []
    for span in spans:
        if span.issue is None:
            return
        lane = next((number for number, end in enumerate(ends) if end <= span.issue), len(ends))
        ends[lane : lane + 1] = [span.issue + span.cycles]
        yield lane, span


def utilisation(profile: Profile, direction: str, points: int) -> tuple[int, NDArray[np.float64]]:
    """The length of intervals in cycles, and for each the share of cycles with a beat on a bus.

    There are at most `points` intervals; the last may be shorter.
    """
    recording = profile.recording
    width = max(1, -(-profile.cycles // points))
    edges = np.append(np.arange(0, profile.cycles, width), profile.cycles)
    beats = recording.beats(direction) * recording.lengths()
    total = np.concatenate([[0], np.cumsum(beats)])
    # In a stretch, a beat moves in every cycle or in none, so the count grows linearly.
    counts = np.interp(edges, np.append(recording.starts, profile.cycles), total)
    return width, np.diff(counts) / np.diff(edges)


def _module(pid: int, module: ModuleProfile) -> Iterator[dict[str, Any]]:
    yield from _names(pid, module.name, ["state"])
    for begin, end, state in module.stretches():
        if state != IDLE and begin < end:
            yield _event(pid, _STATE_TRACK, begin, end - begin, _label(state), "state", {})
    used = 0
    for lane, span in lanes(module.spans):
        if lane == used:
            used += 1
            yield from _track(pid, used, f"instructions {used}")
        insn = span.insn
        details = {
            "index": insn.index,
            "text": str(insn),
            "issue": span.issue,
            "retire": span.retire,
        }
        assert span.issue is not None
        yield _event(pid, 1 + lane, span.issue, span.cycles, insn.operation, "instruction", details)


def _bus(pid: int, profile: Profile) -> Iterator[dict[str, Any]]:
    yield from _names(pid, _BUS, ())
    for direction in ("read", "write"):
        width, parts = utilisation(profile, direction, COUNTER_POINTS)
        values = [*(parts * profile.bus_bytes).tolist(), 0.0]
        for number, value in enumerate(values):
            if number == 0 or value != values[number - 1]:
                yield {
                    "name": f"{direction} bytes a cycle",
                    "ph": "C",
                    "pid": pid,
                    "ts": min(number * width, profile.cycles),
                    "args": {"bytes": round(value, 4)},
                }


def _label(state: str) -> str:
    if state == WAIT_MEMORY:
        return "wait for memory"
    return f"wait for {state}" if is_token_wait(state) else state


def _event(
    pid: int, tid: int, begin: int, cycles: int, name: str, category: str, details: dict[str, Any]
) -> dict[str, Any]:
    return {
        "name": name,
        "cat": category,
        "ph": "X",
        "pid": pid,
        "tid": tid,
        "ts": begin,
        "dur": cycles,
        "args": details,
    }


def _names(pid: int, process: str, tracks: Sequence[str]) -> Iterator[dict[str, Any]]:
    yield {"name": "process_name", "ph": "M", "pid": pid, "args": {"name": process}}
    yield {"name": "process_sort_index", "ph": "M", "pid": pid, "args": {"sort_index": pid}}
    for tid, track in enumerate(tracks):
        yield from _track(pid, tid, track)


def _track(pid: int, tid: int, name: str) -> Iterator[dict[str, Any]]:
    yield {"name": "thread_name", "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}}
    yield {
        "name": "thread_sort_index",
        "ph": "M",
        "pid": pid,
        "tid": tid,
        "args": {"sort_index": tid},
    }
