"""Draws a profile as a picture: load, compute, store and the bus over time.

Importing this module imports matplotlib.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vta.errors import ArgumentError
from vta.extras import needed
from vta.sim.profile.profile import IDLE, WAIT_MEMORY, is_token_wait
from vta.sim.profile.timeline import lanes, utilisation

with needed("a plot", "plot"):
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch
    from matplotlib.ticker import StrMethodFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from vta.sim.profile.profile import ModuleProfile, Profile, Span

__all__ = ["FORMATS", "plot_timeline"]

FORMATS = ("png", "svg")

WAIT_TOKEN = "waits for a token"
_COLOURS = {
    "LOAD INP": "#56b4e9",
    "LOAD WGT": "#0072b2",
    "LOAD ACC": "#009e73",
    "LOAD ACC_8BIT": "#7fcdbb",
    "LOAD UOP": "#8c6bb1",
    "GEMM": "#d55e00",
    "ALU": "#f0b429",
    "STORE": "#cc79a7",
    WAIT_MEMORY: "#d9d9d9",
    WAIT_TOKEN: "#f7f7f7",
}
_OTHER = "#555555"
_DARK = ("LOAD WGT", "LOAD ACC", "LOAD UOP", "GEMM")
"""Colours that need white text."""
_HATCHES = {WAIT_MEMORY: "....", WAIT_TOKEN: "////"}
_LABELS = {WAIT_MEMORY: "waits for memory"}
_BUS = {"read": "#0072b2", "write": "#cc79a7"}

_DETAIL = 300
"""Up to this many intervals or instructions of a module are drawn one by one."""

_POINTS = 480
"""Number of intervals in a picture that shows shares."""

_LISTED = 3
"""How many states have their shares printed next to a module's track."""

_LETTERS = 160
"""How many characters fit into the width of the picture."""

_STYLE: Any = {
    "font.size": 9,
    "hatch.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "vta",
    "svg.fonttype": "none",
}


Window = tuple[int, int]


def plot_timeline(
    profile: Profile,
    path: str | Path,
    *,
    title: str = "",
    note: str = "",
    window: Window | None = None,
) -> None:
    """Draws the timeline into a PNG or SVG file, depending on the suffix.

    A few instructions are drawn one by one. For more, the picture shows the share of each state in
    each interval.

    Parameters
    ----------
    profile : Profile
    path : path
    title, note : str
        Text above the picture; the note may be long.
    window : (int, int), optional
        The first cycle to show, and the one after the last; default all.

    Raises
    ------
    ArgumentError
        If the suffix is not .png or .svg, or if the window is outside the run.
    """
    begin, end = window or (0, max(1, profile.cycles))
    if not 0 <= begin < end or begin >= max(1, profile.cycles):
        raise ArgumentError(
            f"cycles {begin} to {end} are not in the run, which has {profile.cycles}"
        )
    end = min(end, max(1, profile.cycles))
    kind = Path(path).suffix.lower()[1:]
    if kind not in FORMATS:
        raise ArgumentError(f"a picture must end in .png or .svg, not {Path(path).name!r}")
    picture = io.BytesIO()
    with mpl.rc_context(_STYLE):
        figure = _draw(profile, title, note, (begin, end))
        # Without a date, the same run gives the same file.
        figure.savefig(
            picture, format=kind, dpi=120, metadata={"Date": None} if kind == "svg" else None
        )
    Path(path).write_bytes(picture.getvalue())


def _draw(profile: Profile, title: str, note: str, window: Window) -> Figure:
    modules = list(profile.modules.values())
    detailed = all(
        max(len(_lanes(module, window)), len(_stretches(module, window))) <= _DETAIL
        for module in modules
    )
    rows = [_rows(module, window) if detailed else 3 for module in modules]
    figure = Figure(figsize=(14, 2.6 + 0.42 * (sum(rows) + 3)), layout="constrained")
    axes: Sequence[Axes] = figure.subplots(len(modules) + 1, sharex=True, height_ratios=[*rows, 3])
    for module, axis in zip(modules, axes, strict=False):
        (_draw_each if detailed else _draw_shares)(module, axis, window)
        axis.set_ylabel(module.name, rotation=0, ha="right", va="center", fontweight="bold")
        _list_totals(module, axis)
    _draw_bus(profile, axes[-1], window)
    axes[-1].set_xlim(*window)
    axes[-1].set_xlabel("cycle")
    axes[-1].xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    present = {_class(state) for module in modules for state in module.totals()} - {IDLE}
    known = [state for state in _COLOURS if state in present]
    figure.legend(
        handles=[
            *(_patch(state, _LABELS.get(state, state)) for state in known),
            *([_patch("", "other")] if present - set(known) else []),
        ],
        loc="outside lower center",
        ncols=10,
        frameon=False,
    )
    figure.suptitle(
        "\n".join([title, *textwrap.wrap(note, _LETTERS)]), ha="left", x=0.01, fontsize=10
    )
    return figure


def _class(state: str) -> str:
    return WAIT_TOKEN if is_token_wait(state) else state


def _patch(state: str, label: str) -> Patch:
    return Patch(
        facecolor=_COLOURS.get(state, _OTHER),
        hatch=_HATCHES.get(state),
        edgecolor="#888888" if state in _HATCHES else "none",
        label=label,
    )


def _list_totals(module: ModuleProfile, axis: Axes) -> None:
    """Prints the module's main states at the right."""
    totals = sorted(module.totals().items(), key=lambda item: -item[1])
    lines = [
        f"{state} {100 * count / module.cycles:.0f} %"
        for state, count in totals[:_LISTED]
        if count >= 0.005 * module.cycles
    ]
    axis.text(1.005, 0.5, "\n".join(lines), transform=axis.transAxes, va="center", fontsize=8)


# -- every instruction ---------------------------------------------------------------------------


def _stretches(module: ModuleProfile, window: Window) -> list[tuple[int, int, str]]:
    return [
        (begin, end, state)
        for begin, end, state in module.stretches()
        if begin < window[1] and end > window[0]
    ]


def _lanes(module: ModuleProfile, window: Window) -> list[tuple[int, Span]]:
    return [
        (lane, span)
        for lane, span in lanes(module.spans)
        if span.issue is not None
        and span.issue < window[1]
        and span.issue + span.cycles > window[0]
    ]


def _rows(module: ModuleProfile, window: Window) -> int:
    """The number of rows: one for the state, and one for each lane of instructions."""
    return 1 + max((lane + 1 for lane, _ in _lanes(module, window)), default=0)


def _draw_each(module: ModuleProfile, axis: Axes, window: Window) -> None:
    """Draws the module's state at the top, and its instructions on lanes below."""
    for begin, end, state in _stretches(module, window):
        if state == IDLE:
            continue
        shown = _class(state)
        axis.broken_barh(
            [(begin, end - begin)],
            (-0.9, 0.8),
            facecolor=_COLOURS.get(shown, _OTHER),
            hatch=_HATCHES.get(shown),
            edgecolor="#888888" if shown in _HATCHES else "none",
            linewidth=0.3,
        )
        if shown in _HATCHES:
            _write(axis, begin, end, -0.5, state, window, box=True)
        else:
            _write(
                axis, begin, end, -0.5, state, window, colour="white" if state in _DARK else "black"
            )
    for lane, span in _lanes(module, window):
        assert span.issue is not None
        insn, top = span.insn, -1.9 - lane
        kind = insn.name if insn.name in ("GEMM", "ALU", "STORE") else insn.operation
        axis.broken_barh(
            [(span.issue, span.cycles)],
            (top, 0.8),
            alpha=0.45,
            facecolor=_COLOURS.get(kind, _OTHER),
            edgecolor="#333333",
            linewidth=0.5,
        )
        _write(
            axis,
            span.issue,
            span.issue + span.cycles,
            top + 0.4,
            f"{insn.index} {insn.operation}",
            window,
        )
    axis.set_ylim(-_rows(module, window), 0)
    axis.set_yticks([])


def _write(
    axis: Axes,
    begin: int,
    end: int,
    y: float,
    text: str,
    window: Window,
    *,
    colour: str = "black",
    box: bool = False,
) -> None:
    """Writes text in a bar; shortens it to its first word or omits it if it does not fit."""
    begin, end, cycles = max(begin, window[0]), min(end, window[1]), window[1] - window[0]
    for candidate in (text, text.split()[0]):
        if end - begin > cycles * (len(candidate) + 1) / _LETTERS:
            axis.text(
                (begin + end) / 2,
                y,
                candidate,
                ha="center",
                va="center",
                fontsize=8,
                color=colour,
                clip_on=True,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1} if box else None,
            )
            return


# -- shares of intervals -------------------------------------------------------------------------


def _draw_shares(module: ModuleProfile, axis: Axes, window: Window) -> None:
    """Draws the shares of the module's states in each interval, stacked."""
    cycles = module.cycles
    edges = np.unique(np.linspace(*window, _POINTS + 1).astype(np.int64))
    lengths = np.diff(module.starts, append=cycles)
    below = np.zeros(len(edges) - 1)
    classes = np.array([_class(state) for state in module.states])
    order = [state for state in _COLOURS if state in classes]
    others = sorted(set(classes.tolist()) - set(order) - {IDLE})
    for state in [*others, *order]:
        total = np.concatenate([[0], np.cumsum(lengths * (classes == state))])
        counts = np.interp(edges, np.append(module.starts, cycles), total)
        above = below + np.diff(counts) / np.diff(edges)
        axis.stairs(
            above,
            edges,
            baseline=below,
            fill=True,
            facecolor=_COLOURS.get(state, _OTHER),
            hatch=_HATCHES.get(state),
            edgecolor="#888888" if state in _HATCHES else "none",
            linewidth=0,
        )
        below = above
    _percent_axis(axis)


def _draw_bus(profile: Profile, axis: Axes, window: Window) -> None:
    """Draws the share of each interval in which a bus moves data; writes point down."""
    for direction, sign in (("read", 1), ("write", -1)):
        points = _POINTS * profile.cycles // (window[1] - window[0])
        width, parts = utilisation(profile, direction, max(_POINTS, points))
        edges = np.minimum(np.arange(len(parts) + 1) * width, profile.cycles)
        share = profile.beats(direction) / max(1, profile.cycles)
        axis.stairs(sign * parts, edges, fill=True, color=_BUS[direction], alpha=0.7)
        axis.text(
            1.005,
            0.5 + 0.25 * sign,
            f"{direction} {100 * share:.0f} %",
            transform=axis.transAxes,
            color=_BUS[direction],
            va="center",
            fontsize=8,
        )
    axis.axhline(0, color="#333333", linewidth=0.5)
    axis.set_ylim(-1.05, 1.05)
    axis.set_yticks([-1, 0, 1], ["100 %", "0", "100 %"])
    axis.set_ylabel("bus", rotation=0, ha="right", va="center", fontweight="bold")


def _percent_axis(axis: Axes) -> None:
    axis.set_ylim(0, 1)
    axis.set_yticks([0, 1], ["0", "100 %"])
