"""Pictures for the walk-throughs: the timeline of a program on the RTL, and its roofline.

A notebook shows the picture that a function returns. A script cannot show pictures; it writes them
into the folder ``$PICTURES``, if that is set.
"""

from __future__ import annotations

import functools
import io
import itertools
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image  # matplotlib brings it

from vta.driver.program_image import to_image
from vta.driver.verilog_cache import simulated_verilog
from vta.sim.profile.diagnosis import verdict
from vta.sim.profile.profile import Profile, profile
from vta.sim.profile.timeline_plot import plot_timeline
from vta.sim.rtl.memory_model import MemoryModel
from vta.tools.bench import roofline as roofs
from vta.tools.bench.bound import bound
from vta.tools.bench.measure import StreamResult

if TYPE_CHECKING:
    from vta import image
    from vta.driver.module import Module

__all__ = ["Picture", "excerpt", "roofline", "timeline"]

COLOURS = 256
"""Colours of a picture: diagrams need no more, which makes them a third as large."""

_UOP = "T.tir.vta.uop_push"
_SHOWN_UOPS = 4


class Picture:
    """A PNG, which a notebook shows if it is the last value of a cell."""

    def __init__(self, name: str, file: Path) -> None:
        small = io.BytesIO()
        Image.open(file).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
            small, "png", optimize=True
        )
        self.name = name
        self.data = small.getvalue()
        if folder := os.environ.get("PICTURES"):
            path = Path(folder) / f"{name.replace(' ', '_')}.png"
            path.write_bytes(self.data)
            print(f"{path}: written")

    def __repr__(self) -> str:
        return f"Picture({self.name!r})"

    def _repr_png_(self) -> bytes:
        return self.data


def timeline(name: str, module: Module, window: tuple[int, int] | None = None) -> Picture:
    """Draws load, compute, store and the bus over time, and prints what limits the run.

    `window` is the first cycle to show, and the one after the last; default all. The inputs are
    random, because the values do not affect the cycles of an instruction.
    """
    _, found = _measure(module)
    text = verdict(found).text
    print(f"{name}: {found.cycles:,} cycles; {text}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "timeline.png"
        plot_timeline(
            found, path, title=f"{name}: {found.cycles:,} cycles", note=text, window=window
        )
        return Picture(f"{name} timeline", path)


def roofline(name: str, modules: Mapping[str, Module]) -> Picture:
    """Draws each program's performance below the machine's limit at its operations per byte."""
    results = [_stream(title, *_measure(module)) for title, module in modules.items()]
    for result in results:
        assert result.bound is not None
        print(
            f"{result.name}: {result.operations / result.busier:.0f} operations a byte, "
            f"{result.operations / result.cycles:.0f} a cycle; {result.cycles:,} cycles, of "
            f"which {result.bound.resource} needs {result.bound.cycles:,}"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "roofline.png"
        roofs.plot(results, results[0].image.config, str(path))
        return Picture(f"{name} roofline", path)


def excerpt(listing: object, lines: int) -> str:
    """The first `lines` lines of a listing, in which of a long list of micro-ops only the first
    few are shown."""
    shown: list[str] = []
    for is_uop, group in itertools.groupby(str(listing).splitlines(), lambda line: _UOP in line):
        block = list(group)
        if is_uop and len(block) > _SHOWN_UOPS + 1:
            indent = block[0][: block[0].index(_UOP)]
            block[_SHOWN_UOPS:] = [f"{indent}... {len(block) - _SHOWN_UOPS} micro-ops more"]
        shown += block
    if len(shown) > lines:
        shown[lines:] = [f"    ... {len(shown) - lines} lines more"]
    return "\n".join(shown)


@functools.cache
def _measure(module: Module) -> tuple[image.Image, Profile]:
    """A run on the RTL, which is compiled first if the cache does not hold it (a minute or two)."""
    run = to_image(module.program)
    return run, profile(run, simulated_verilog(run.config), model=MemoryModel())


def _stream(name: str, run: image.Image, found: Profile) -> StreamResult:
    assert found.replay is not None
    report = found.replay.report
    return StreamResult(
        name=name,
        image=run,
        report=report,
        match=None,
        bound=bound(run, report.stats, report.instructions),
        latency=MemoryModel().latency,
    )
