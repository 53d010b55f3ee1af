"""`vta profile`: what it prints and writes, statuses, bad input."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.vta.commands import Run


def test_the_table_and_the_verdict(run: Run, images: dict[str, Path]) -> None:
    result = run("profile", "-q", images["good"])
    assert result.status == 0
    assert result.err == ""
    lines = result.out.splitlines()
    assert lines[0].startswith("good.npz: ")
    rows = {line.split()[0]: line for line in lines if line}
    assert rows["compute"].split()[1] == "4"
    assert "ALU" in rows["compute"]
    assert "g2s" in rows["store"]
    assert "100.0 %" in rows["load"]
    assert "The slowest instructions" in result.out
    assert "ALU ADD uop=0:1 iter=1x4" in result.out
    assert lines[-1].split(":")[0] in ("latency-bound", "overhead-bound", "serialised")
    assert "slowest" not in run("profile", "-q", "--top", 0, images["good"]).out


def test_json(run: Run, images: dict[str, Path]) -> None:
    result = run(
        "profile",
        "-q",
        "--json",
        "--top",
        2,
        "--latency",
        3,
        "--write-response",
        5,
        "--outstanding",
        1,
        "--stalls",
        1,
        images["good"],
    )
    assert result.status == 0
    record = json.loads(result.out)
    assert (record["match"], record["error"]) == (True, None)
    assert set(record["modules"]) == {"load", "compute", "store"}
    assert sum(module["instructions"] for module in record["modules"].values()) == 5
    for module in record["modules"].values():
        assert (
            sum(module["busy"].values())
            + sum(module["wait_token"].values())
            + module["wait_memory"]
            + module["idle"]
        ) == record["cycles"]
    assert record["text"].startswith(record["verdict"])
    # Four OUT tiles of 8 bytes.
    assert record["bus"]["write_beats"] * record["bus"]["beat_bytes"] == 32
    slow, next_slow = record["slowest"]
    assert slow["cycles"] >= next_slow["cycles"] > 0
    fast, far = (
        json.loads(run("profile", "-q", "--json", "--latency", latency, images["good"]).out)
        for latency in (1, 500)
    )
    assert far["cycles"] > fast["cycles"] + 499
    assert far["verdict"] == "latency-bound"


def test_statuses(run: Run, images: dict[str, Path], tmp_path: Path) -> None:
    assert run("profile", "-q", images["open"]).status == 0
    wrong = run("profile", "-q", images["wrong"])
    assert wrong.status == 1
    assert "wrong.npz: byte 0x20005 must be" in wrong.out
    fault = run("profile", "-q", "--json", images["fault"])
    assert fault.status == 3
    assert json.loads(fault.out)["error"] == {
        "cause": "sram_range",
        "module": "compute",
        "insn_index": 2,
    }
    shown = run("profile", "-q", images["fault"])
    assert shown.status == 3
    assert "the machine reported sram_range in compute at instruction 2" in shown.out
    stopped = run("profile", "-q", "--max-cycles", 10, images["good"])
    assert stopped.status == 3
    assert "timeout" in stopped.out


def test_a_program(run: Run, program: Path) -> None:
    result = run("profile", "-q", "--json", "--seed", 3, program)
    assert result.status == 0
    record = json.loads(result.out)
    assert record["match"] is None
    assert record["modules"]["compute"]["busy"]["ALU"] > 0


def test_a_trace_and_a_picture(run: Run, images: dict[str, Path], tmp_path: Path) -> None:
    trace, plot = tmp_path / "t.json", tmp_path / "t.png"
    result = run("profile", "-q", "--trace", trace, "--plot", plot, images["good"])
    assert result.status == 0
    assert result.err == ""
    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    texts = [event["args"]["text"] for event in events if event.get("cat") == "instruction"]
    assert len(texts) == 5
    assert any(text.startswith("STORE OUT") for text in texts)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".npz") == [
        "t.json",
        "t.png",
    ]


def test_a_part_of_a_picture(run: Run, images: dict[str, Path], tmp_path: Path) -> None:
    part = tmp_path / "part.svg"
    assert run("profile", "-q", "--plot", part, "--window", "0:60", images["good"]).status == 0
    shown = part.read_text(encoding="utf-8")
    assert ">60<" in shown
    assert ">100<" not in shown
    late = run("profile", "-q", "--plot", part, "--window", "900000:900001", images["good"])
    assert late.status == 2
    assert "cycles 900000 to 900001 are not in the run" in late.complaint


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["missing.npz"], "missing.npz: cannot be read"),
        (["junk.npz"], "junk.npz"),
        (["numbers.npz"], "numbers.npz"),
        (["x.npz", "--plot", "x.pdf"], r"--plot must end in \.png or \.svg, not 'x\.pdf'"),
        (
            ["x.npz", "--plot", "/nowhere/x.png"],
            "--plot /nowhere/x.png: its folder cannot be written",
        ),
        (["x.npz", "--trace", "/nowhere/x.json"], "--trace /nowhere/x.json: its folder"),
        (["x.npz", "--latency", "0"], "Invalid value for '--latency'"),
        (
            ["x.npz", "--window", "5:3", "--plot", "x.png"],
            "must be two cycles, FIRST:LAST, not '5:3'",
        ),
        (["x.npz", "--window", "3", "--plot", "x.png"], "must be two cycles, FIRST:LAST, not '3'"),
        (["x.npz", "--window", "0:9"], "--window needs --plot"),
        (["x.npz", "--top", "-1"], "Invalid value for '--top'"),
        ([], "Missing argument 'PROGRAM|IMAGE'"),
    ],
)
def test_bad_input_gets_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], message: str
) -> None:
    import re

    monkeypatch.chdir(tmp_path)
    (tmp_path / "junk.npz").write_bytes(b"junk")
    np.savez(tmp_path / "numbers.npz", x=np.zeros(3))
    result = run("profile", *args)
    assert result.status == 2
    assert re.search(message, result.complaint)


def test_only_a_picture_needs_matplotlib(
    run: Run, images: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "vta.sim.profile.timeline_plot", raising=False)
    result = run("profile", "-q", images["good"], "--plot", tmp_path / "x.svg")
    assert result.status == 2
    assert result.complaint == ("vta: a plot needs matplotlib: pip install 'amaranth-vta[plot]'\n")
    assert run("profile", "-q", images["good"], "--trace", tmp_path / "x.json").status == 0
