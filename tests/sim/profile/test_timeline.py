"""What is made of a profile: the verdict, the Chrome trace, the picture."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.sim.profile.test_profile import TINY, gemm, insns, load, record, work
from vta.driver.verilog_cache import simulated_verilog
from vta.errors import ArgumentError
from vta.isa import MemoryType
from vta.sim.profile.diagnosis import Shares, decide, shares, verdict
from vta.sim.profile.profile import Profile, analyse, profile
from vta.sim.profile.timeline import chrome_trace, lanes, utilisation
from vta.sim.profile.timeline_plot import plot_timeline
from vta.sim.rtl.memory_model import MemoryModel


@pytest.fixture(scope="module")
def overlapping() -> Profile:
    return profile(work(), simulated_verilog(TINY))


def busy(
    cycles: int,
    *,
    computing: range,
    read: range = range(0),
    write: range = range(0),
    waiting: range = range(0),
    pending: range = range(0),
) -> Profile:
    """A run in which one GEMM executes, the bus moves data, load waits for memory, and memory has
    to answer."""
    return analyse(
        insns(gemm(1)),
        record(
            cycles,
            issue_compute=[computing.start],
            retire_compute=[computing.stop - 1],
            read=list(read),
            write=list(write),
            wait_memory_load=list(waiting),
            pending=list(pending),
        ),
        bus_bytes=8,
    )


# -- the verdict ---------------------------------------------------------------------------------


def test_every_cycle_is_one_of_four() -> None:
    found = shares(
        busy(
            100,
            computing=range(10, 40),
            read=range(30, 60),
            write=range(55, 65),
            waiting=range(5, 80),
            pending=range(3, 70),
        )
    )
    assert found.gemm == pytest.approx(0.30)
    assert (found.alu, found.read, found.write) == pytest.approx((0, 0.3, 0.1))
    assert found.moving == pytest.approx(0.25)
    assert found.latency == pytest.approx(0.07 + 0.15)
    assert found.overhead == pytest.approx(0.03 + 0.20)
    # What computes or moves could be as short as the most used of the three.
    assert found.turns == pytest.approx(0.55 - 0.30)


@pytest.mark.parametrize(
    ("run", "kind", "reason"),
    [
        ({"computing": range(80), "read": range(78)}, "compute-bound", "GEMM busy 80 %"),
        ({"computing": range(75)}, "compute-bound", "GEMM busy 75 %; compute: 25 % idle"),
        (
            {"computing": range(76), "read": range(90)},
            "memory-bound",
            "the read bus is busy 90 %; GEMM busy 76 %",
        ),
        (
            {"computing": range(5), "write": range(5, 85)},
            "memory-bound",
            "the write bus is busy 80 %; GEMM busy 5 %",
        ),
        (
            {
                "computing": range(10),
                "read": range(10, 60),
                "waiting": range(60, 80),
                "pending": range(70, 90),
            },
            "latency-bound",
            "30 % of the cycles wait for memory",
        ),
        (
            {"computing": range(10), "read": range(10, 60), "waiting": range(60, 70)},
            "overhead-bound",
            "30 % of the cycles go to launch",
        ),
        (
            {"computing": range(45), "read": range(45, 95)},
            "serialised",
            "they would save up to 45 %; GEMM busy 45 %, read bus 50 %, write bus 0 %",
        ),
    ],
)
def test_verdicts(run: dict[str, range], kind: str, reason: str) -> None:
    found = verdict(busy(100, **run))
    assert found.kind == kind
    assert found.text.startswith(f"{kind}: ")
    assert reason in found.text


def test_a_verdict_names_whom_compute_waits_for() -> None:
    stream = insns(gemm(1, pop_prev=1), load(MemoryType.ACC))
    found = verdict(
        analyse(
            stream,
            record(
                1000,
                issue_compute=[40, 890, 940],
                retire_compute=[889, 939, 940],
                wait_prev_compute=list(range(10, 40)),
                wait_memory_compute=list(range(900, 920)),
                wait_next_compute=[950],
            ),
            bus_bytes=8,
        )
    )
    assert found.text == (
        "compute-bound: GEMM busy 85 %; compute: 7 % idle, 3 % waiting for l2g, "
        "2 % waiting for memory"
    )


def test_nothing_computes_and_nothing_runs() -> None:
    only_moves = Shares(gemm=0, alu=0, read=0.5, write=0.4, moving=0.9, latency=0.05, overhead=0.05)
    kind, reason = decide(only_moves)
    assert kind == "serialised"
    assert "GEMM and ALU idle" in reason
    assert verdict(analyse([], record(0), bus_bytes=8)).kind == "empty"


def test_the_verdict_of_a_run(overlapping: Profile) -> None:
    found = shares(overlapping)
    assert found.computing + found.moving + found.latency + found.overhead == pytest.approx(1)
    assert found.gemm == overlapping.modules["compute"].totals()["GEMM"] / overlapping.cycles
    assert verdict(overlapping).kind == "serialised"
    slow = profile(work(), simulated_verilog(TINY), model=MemoryModel(latency=500))
    assert verdict(slow).kind == "latency-bound"
    # The first fetch, the loads, the load that waits for the GEMM: nothing else to do meanwhile.
    assert shares(slow).latency * slow.cycles > 2 * 450


# -- the trace -----------------------------------------------------------------------------------

NUMBER = (int, float)
FIELDS: dict[str, dict[str, Any]] = {
    "M": {"name": str, "pid": int, "args": dict},
    "C": {"name": str, "pid": int, "ts": NUMBER, "args": dict},
    "X": {
        "name": str,
        "cat": str,
        "pid": int,
        "tid": int,
        "ts": NUMBER,
        "dur": NUMBER,
        "args": dict,
    },
}
"""What the Trace Event Format wants of each phase that is used."""


def test_the_trace_is_valid(overlapping: Profile) -> None:
    trace = json.loads(json.dumps(chrome_trace(overlapping, "work")))
    tracks: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for event in trace["traceEvents"]:
        for field, kind in FIELDS[event["ph"]].items():
            assert isinstance(event[field], kind), (field, event)
        if event["ph"] == "X":
            assert event["dur"] > 0
            assert 0 <= event["ts"] <= event["ts"] + event["dur"] <= overlapping.cycles
            tracks[event["pid"], event["tid"]].append((event["ts"], event["dur"]))
    # Nothing on one track overlaps, so that a viewer need not nest.
    for events in tracks.values():
        events.sort()
        assert all(
            begin + length <= following
            for (begin, length), (following, _) in zip(events, events[1:], strict=False)
        )
    names = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in trace["traceEvents"]
        if event["name"] == "thread_name"
    }
    assert set(tracks) == set(names)
    assert [
        event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "process_name"
    ] == ["load", "compute", "store", "bus"]
    assert trace["otherData"] == {
        "name": "work",
        "cycles": overlapping.cycles,
        "unit": "1 us is 1 cycle",
    }


def test_the_trace_holds_every_instruction_once(overlapping: Profile) -> None:
    found = [
        event
        for event in chrome_trace(overlapping)["traceEvents"]
        if event.get("cat") == "instruction"
    ]
    expected = {span.insn.index: span for span in overlapping.spans()}
    assert sorted(event["args"]["index"] for event in found) == sorted(expected)
    for event in found:
        span = expected[event["args"]["index"]]
        assert (event["ts"], event["dur"]) == (span.issue, span.cycles)
        assert event["args"]["text"] == str(span.insn)
        assert event["name"] == span.insn.operation
    # Some of them are in flight together.
    assert any(event["tid"] > 1 for event in found)


def test_the_states_of_the_trace_are_the_modules_cycles(overlapping: Profile) -> None:
    totals: dict[tuple[int, str], int] = defaultdict(int)
    for event in chrome_trace(overlapping)["traceEvents"]:
        if event.get("cat") == "state":
            totals[event["pid"], event["name"]] += event["dur"]
    names = {
        "memory": "wait for memory",
        "l2g": "wait for l2g",
        "g2l": "wait for g2l",
        "s2g": "wait for s2g",
        "g2s": "wait for g2s",
        "l2g and s2g": "wait for l2g and s2g",
    }
    assert totals == {
        (pid, names.get(state, state)): count
        for pid, module in enumerate(overlapping.modules.values(), 1)
        for state, count in module.totals().items()
        if state != "idle"
    }


def test_lanes_are_reused_when_they_are_free() -> None:
    stream = insns(*[load(MemoryType.INP)] * 4)
    found = analyse(
        stream, record(20, issue_load=[0, 2, 5, 9], retire_load=[4, 8, 12]), bus_bytes=8
    )
    assert [(lane, span.insn.index) for lane, span in lanes(found.modules["load"].spans)] == [
        (0, 0),
        (1, 1),
        (0, 2),
        (1, 3),
    ]


def test_utilisation_counts_beats() -> None:
    found = analyse([], record(10, read=[0, 1, 2, 3, 4, 9], write=[5]), bus_bytes=8)
    width, parts = utilisation(found, "read", 4)
    assert width == 3
    np.testing.assert_allclose(parts, [1, 2 / 3, 0, 1])
    assert utilisation(found, "write", 100)[1].tolist() == [0] * 5 + [1] + [0] * 4


def test_the_counters_of_the_trace_add_up(overlapping: Profile) -> None:
    for direction in ("read", "write"):
        points = [
            (event["ts"], event["args"]["bytes"])
            for event in chrome_trace(overlapping)["traceEvents"]
            if event["name"] == f"{direction} bytes a cycle"
        ]
        assert points[-1][1] == 0
        total = sum(
            (end - begin) * value
            for (begin, value), (end, _) in zip(points, points[1:], strict=False)
        )
        assert total == pytest.approx(overlapping.beats(direction) * 8)


# -- the picture ---------------------------------------------------------------------------------


def test_a_picture_of_few_instructions(overlapping: Profile, tmp_path: Path) -> None:
    plot_timeline(overlapping, tmp_path / "x.svg", title="A title", note="long note " * 40)
    root = ElementTree.parse(tmp_path / "x.svg").getroot()
    texts = {"".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {
        "A title",
        "load",
        "compute",
        "store",
        "bus",
        "cycle",
        "4 GEMM",
        "LOAD INP",
        "waits for a token",
        "waits for memory",
    } <= texts
    first = (tmp_path / "x.svg").read_bytes()
    plot_timeline(overlapping, tmp_path / "x.svg", title="A title", note="long note " * 40)
    assert (tmp_path / "x.svg").read_bytes() == first


def test_a_picture_of_many_instructions(tmp_path: Path) -> None:
    count = 2000
    stream = insns(*[load(MemoryType.INP)] * count)
    cycles = 10 * count
    found = analyse(
        stream,
        record(
            cycles,
            issue_load=list(range(0, cycles, 10)),
            retire_load=list(range(4, cycles, 10)),
            wait_next_load=list(range(6, cycles, 10)),
        ),
        bus_bytes=8,
    )
    plot_timeline(found, tmp_path / "x.svg")
    text = (tmp_path / "x.svg").read_text(encoding="utf-8")
    # Shares, not bars: half of the time in flight, a tenth waiting.
    assert "LOAD INP 50 %" in text
    assert "g2l 10 %" in text
    assert len(text) < 500_000
    plot_timeline(found, tmp_path / "x.PNG")
    raw = (tmp_path / "x.PNG").read_bytes()
    assert raw.startswith(b"\x89PNG\r\n")
    width, height = (int.from_bytes(raw[at : at + 4], "big") for at in (16, 20))
    assert width > 1500
    assert height > 500


def test_pictures_of_nothing_and_of_another_kind(tmp_path: Path) -> None:
    nothing = analyse([], record(0), bus_bytes=8)
    plot_timeline(nothing, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000
    with pytest.raises(ArgumentError, match=r"must end in \.png or \.svg, not 'x.pdf'"):
        plot_timeline(nothing, tmp_path / "x.pdf")
    assert not (tmp_path / "x.pdf").exists()
