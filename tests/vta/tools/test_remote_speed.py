"""`vta bench --remote`: what it measures is right; how fast it is says nothing about the code."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.vta.commands import Run
from vta.tools.bench import remote_speed


def test_bench_remote(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_speed, "NBYTES", 1 << 20)
    monkeypatch.setattr(remote_speed, "CALLS", 5)
    result = run("-q", "bench", "--remote", "--config", "tiny", "--runs", "2", "--json")
    assert (result.status, result.err) == (0, "")
    *moves, calls = map(json.loads, result.out.splitlines())
    transports = ("TCP", "TLS") if shutil.which("openssl") else ("TCP",)
    assert [(move["transport"], move["direction"]) for move in moves] == [
        (transport, direction) for transport in transports for direction in ("up", "down")
    ]
    for move in moves:
        assert move["nbytes"] == 1 << 20
        expected = move["bare_seconds"] / move["session_seconds"]
        assert move["ratio"] == pytest.approx(expected, abs=0.01)
    assert calls["request_seconds"] > 0


def test_the_table(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = remote_speed.Moved(transport="TCP", direction="up", session=0.25, bare=0.125)
    monkeypatch.setattr(remote_speed, "measure_moves", lambda *args: [moved])
    overhead = remote_speed.CallOverhead(call=0.002, request=0.0001)
    monkeypatch.setattr(remote_speed, "measure_calls", lambda *args: overhead)
    result = run("bench", "--remote")
    # 67.108864 MB in a quarter and in an eighth of a second.
    rows = [line.split() for line in result.out.splitlines()]
    assert ["TCP", "up", "268", "537", "0.50"] in rows
    assert "answer take 0.10 ms; a call of a small program takes 2.00 ms" in result.out


@pytest.mark.parametrize("more", [["x.npz"], ["--speed"]])
def test_what_does_not_go_together(run: Run, more: list[str]) -> None:
    result = run("bench", "--remote", *more)
    assert result.status == 2
    assert "--remote measures sessions, and takes no images and no --speed" in result.complaint
