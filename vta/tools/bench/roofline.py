"""The roofline: what each stream reached, and what the machine allows at its intensity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vta.errors import VtaError
from vta.extras import needed
from vta.tools.bench.labels import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from vta.config import Config
    from vta.tools.bench.measure import StreamResult

__all__ = ["SUFFIXES", "plot"]

SUFFIXES = (".png", ".svg", ".pdf")

_INK, _SOFT, _GEMM, _ALU = "#222222", "#8a8a8a", "#1f5fa8", "#b5541c"


def plot(results: Sequence[StreamResult], config: Config, path: str) -> None:
    """Writes the picture of those `results` that are of `config`, in the format of the suffix.

    An operation is half a multiply-accumulate of GEMM, or one number of an ALU tile. A byte is one
    in the busier direction of the bus: reads and writes go on at the same time.

    Raises
    ------
    VtaError
        There is nothing to show.
    """
    shown = [
        result
        for result in results
        if result.image.config.hardware() == config.hardware()
        and result.operations
        and result.busier
        and result.cycles
    ]
    if not shown:
        raise VtaError(
            "there is nothing to plot: no stream of this configuration does any operation"
        )
    with needed("a plot", "plot"):
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _scale(axes, shown, config)
    _roofs(axes, config)
    points = [
        (result.operations / result.busier, result.operations / result.cycles) for result in shown
    ]
    for result, (x, y) in zip(shown, points, strict=True):
        axes.plot(
            x,
            y,
            "o",
            color=_GEMM if result.macs else _ALU,
            markersize=6,
            zorder=4,
            markeredgecolor="white",
            markeredgewidth=0.8,
        )
    axes.set_title(
        f"Roofline of {config.bitstream}, {config.bus_width}-bit bus, memory latency "
        f"{shown[0].latency}",
        loc="left",
        fontsize=12,
        color=_INK,
    )
    axes.set_xlabel("operations per byte in the busier direction of the bus")
    axes.set_ylabel("operations per cycle (a multiply-accumulate is two)")
    for color, text in ((_GEMM, "streams with GEMM"), (_ALU, "streams of the ALU alone")):
        axes.plot([], [], "o", color=color, markersize=6, label=text)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    figure.canvas.draw()
    _name_slope(axes, config)
    label(axes, points, [result.name for result in shown])
    # Text stays text in an SVG.
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(path, format=Path(path).suffix[1:].lower(), dpi=150)


def _scale(axes: Axes, shown: Sequence[StreamResult], config: Config) -> None:
    peak = 2 * config.batch * config.block**2
    intensities = [result.operations / result.busier for result in shown]
    rates = [result.operations / result.cycles for result in shown]
    ridge = peak / config.bus_bytes
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(min(intensities) / 4, 25 * max(*intensities, ridge)),
        ylim=(min(rates) / 4, 2.5 * peak),
    )
    axes.grid(visible=True, which="major", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, place: f"{value:g}")
    axes.tick_params(which="minor", length=2)


def _roofs(axes: Axes, config: Config) -> None:
    bus = config.bus_bytes
    peak, alu = 2 * config.batch * config.block**2, config.batch * config.block
    left, right = axes.get_xlim()
    roofs: tuple[tuple[int, str, str, Any], ...] = (
        (peak, _GEMM, f"GEMM: {peak} operations a cycle", "-"),
        (alu, _ALU, f"ALU: {alu} operations a cycle", "--"),
    )
    for height, color, text, style in roofs:
        axes.plot(
            [height / bus, right], [height, height], style, color=color, linewidth=1.8, zorder=2
        )
        axes.annotate(
            text,
            (right, height),
            (-4, 4),
            textcoords="offset points",
            ha="right",
            color=color,
            fontsize=9,
        )
    axes.plot([left, peak / bus], [left * bus, peak], "-", color=_INK, linewidth=1.8, zorder=2)


def _name_slope(axes: Axes, config: Config) -> None:
    """Writes along the bus's roof what it is; the angle is known once the axes are laid out."""
    bus, peak = config.bus_bytes, 2 * config.batch * config.block**2
    low, high = max(axes.get_xlim()[0], axes.get_ylim()[0] / bus), peak / bus
    place = low * (high / low) ** 0.7
    (x0, y0), (x1, y1) = axes.transData.transform([(low, low * bus), (high, high * bus)])
    angle = math.atan2(y1 - y0, x1 - x0)
    axes.annotate(
        f"bus: {bus} bytes a cycle",
        (place, place * bus),
        (-6 * math.sin(angle), 6 * math.cos(angle)),
        textcoords="offset points",
        rotation=math.degrees(angle),
        rotation_mode="anchor",
        ha="center",
        va="bottom",
        color=_INK,
        fontsize=9,
    )
