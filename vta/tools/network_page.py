"""One page about a compiled network, which a browser shows without other files or the internet."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vta.compiler.graph.network_file import Network
from vta.errors import NetworkError
from vta.extras import needed
from vta.files import replacing
from vta.tools.network_profile import NodeCycles

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["write_page"]

COLOURS = {"accelerator": "#2a6f97", "host": "#c77d2e"}
STYLE = """
body { font: 15px/1.4 sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; }
table { border-collapse: collapse; } td, th { padding: .15em .7em; text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
tr:nth-child(even) { background: #f3f3f3; } .host { color: #8a4b08; }
"""


def write_page(
    path: str | os.PathLike[str], network: Network, measured: Sequence[NodeCycles] = ()
) -> None:
    """Writes the page: the graph, cycles of each node, the timeline, the roofline, a table.

    Parameters
    ----------
    path : path
    network : Network
    measured : sequence of NodeCycles
        Of a run on the RTL, if there was one.

    Raises
    ------
    NetworkError
        If the file cannot be written.
    ToolError
        If plotly is missing.
    """
    with needed("a page with plots", "plot"):
        import plotly.graph_objects
    assert plotly.graph_objects
    rows = network.report["rows"]
    there = [row for row in rows if row["where"] == "accelerator" and row["cycles"]]
    cycles: dict[str, int] = {}
    for each in measured:
        cycles[each.node] = cycles.get(each.node, 0) + each.cycles
    parts = [
        ("Where each node runs", _graph(rows)),
        ("Cycles of each node", _bars(there, cycles)),
        ("Timeline", _timeline(there, measured)),
        ("Roofline", _roofline(there, cycles, network)),
    ]
    body = [f"<h1>{html.escape(network.name)}</h1>", f"<p>{_summary(network, rows, cycles)}</p>"]
    for number, (title, figure) in enumerate(parts):
        # The first figure brings the library for all of them.
        shown = figure.to_html(full_html=False, include_plotlyjs=number == 0)
        body.append(f"<h2>{title}</h2>{shown}")
    body.append("<h2>Nodes</h2>" + _table(rows, cycles))
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(network.name)}</title><style>{STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>"
    )
    try:
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise NetworkError(f"{path}: cannot be written ({error.strerror})") from None


def _summary(network: Network, rows: Sequence[Mapping[str, Any]], cycles: Mapping[str, int]) -> str:
    there = sum(row["where"] == "accelerator" for row in rows)
    macs = sum(int(row["macs"]) for row in rows)
    predicted = sum(int(row["cycles"]) for row in rows)
    text = (
        f"{there} of {len(rows)} nodes on the accelerator ({network.config.bitstream}), in "
        f"{len(network.programs)} programs; {macs:,} multiply-accumulates; {predicted:,} cycles "
        "predicted"
    )
    if cycles:
        text += f", {sum(cycles.values()):,} measured"
    return html.escape(f"{text}; {network.device_bytes:,} bytes of device memory.")


def _graph(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """The nodes in their order, each beside those that read the same; edges between them."""
    from plotly import graph_objects as go

    depth: dict[str, int] = {}
    columns: dict[int, int] = {}
    place: dict[str, tuple[int, int]] = {}
    for row in rows:
        level = max((depth.get(name, -1) for name in row["reads"]), default=-1) + 1
        depth[row["node"]] = level
        columns[level] = columns.get(level, -1) + 1
        place[row["node"]] = (columns[level], -level)
    lines: list[tuple[int | None, int | None]] = []
    for row in rows:
        for name in row["reads"]:
            if name in place:
                lines += [place[name], place[row["node"]], (None, None)]
    figure = go.Figure(
        go.Scatter(
            x=[x for x, _ in lines],
            y=[y for _, y in lines],
            mode="lines",
            line={"color": "#999", "width": 1},
            hoverinfo="skip",
            showlegend=False,
        )
    )
    for where, colour in COLOURS.items():
        some = [row for row in rows if row["where"] == where]
        figure.add_scatter(
            x=[place[row["node"]][0] for row in some],
            y=[place[row["node"]][1] for row in some],
            mode="markers+text",
            text=[row["op"] for row in some],
            textposition="middle right",
            marker={"color": colour, "size": 10},
            name=where,
            hovertext=[_hint(row) for row in some],
            hoverinfo="text",
        )
    height = 120 + 26 * (max(depth.values(), default=0) + 1)
    figure.update_layout(height=height, xaxis={"visible": False}, yaxis={"visible": False})
    return figure


def _hint(row: Mapping[str, Any]) -> str:
    shape = "x".join(map(str, row["shape"]))
    lines = [row["node"], f"{row['op']} {shape}", row["where"]]
    return "<br>".join(html.escape(line) for line in [*lines, row["why"]] if line)


def _bars(rows: Sequence[Mapping[str, Any]], cycles: Mapping[str, int]) -> Figure:
    from plotly import graph_objects as go

    names = [row["node"] for row in rows]
    figure = go.Figure(go.Bar(x=names, y=[row["cycles"] for row in rows], name="predicted"))
    if cycles:
        figure.add_bar(x=names, y=[cycles.get(name, 0) for name in names], name="measured")
    figure.add_bar(
        x=names,
        y=[row["least"] for row in rows],
        name="bound",
        hovertext=[row["bound"] for row in rows],
    )
    figure.update_layout(barmode="group", yaxis={"title": "cycles"}, height=500)
    return figure


def _timeline(rows: Sequence[Mapping[str, Any]], measured: Sequence[NodeCycles]) -> Figure:
    """A bar for each node from its begin to its end, measured or predicted."""
    from plotly import graph_objects as go

    spans: list[tuple[str, int, int]] = []
    total = 0
    if measured:
        before, program = 0, 0
        for each in measured:
            if each.program != program:
                before, program = total, each.program
            spans.append((each.node, before + each.begin, each.cycles))
            total = before + each.begin + each.cycles
    else:
        for row in rows:
            spans.append((row["node"], total, row["cycles"]))
            total += row["cycles"]
    figure = go.Figure(
        go.Bar(
            x=[cycles for _, _, cycles in spans],
            base=[begin for _, begin, _ in spans],
            y=[name for name, _, _ in spans],
            orientation="h",
            name="measured" if measured else "predicted",
        )
    )
    figure.update_layout(
        height=200 + 16 * len(spans),
        xaxis={"title": "cycles, measured" if measured else "cycles, predicted"},
        yaxis={"autorange": "reversed"},
    )
    return figure


def _roofline(
    rows: Sequence[Mapping[str, Any]], cycles: Mapping[str, int], network: Network
) -> Figure:
    """Multiply-accumulates a cycle over those for each byte that an operator has to move."""
    from plotly import graph_objects as go

    config = network.config
    most = config.batch * config.block**2
    some = [row for row in rows if row["macs"] and row["bytes"]]
    x = [row["macs"] / row["bytes"] for row in some]
    y = [row["macs"] / (cycles.get(row["node"]) or row["cycles"]) for row in some]
    low, high = min([*x, 1.0]) / 2, max([*x, most / config.bus_bytes]) * 2
    knee = most / config.bus_bytes
    figure = go.Figure(
        go.Scatter(
            x=[low, knee, high],
            y=[low * config.bus_bytes, most, most],
            mode="lines",
            name="what the bus and the multipliers allow",
        )
    )
    figure.add_scatter(x=x, y=y, mode="markers", name="nodes", text=[row["node"] for row in some])
    figure.update_layout(
        height=500,
        xaxis={"type": "log", "title": "multiply-accumulates a byte"},
        yaxis={"type": "log", "title": "multiply-accumulates a cycle"},
    )
    return figure


def _table(rows: Sequence[Mapping[str, Any]], cycles: Mapping[str, int]) -> str:
    heads = ("node", "operation", "runs on", "shape", "MACs", "cycles", "measured", "bound", "why")
    lines = ["<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"]
    for row in rows:
        numbers = [f"{number:,}" for number in (row["macs"], row["cycles"])]
        numbers.append(f"{cycles[row['node']]:,}" if row["node"] in cycles else "")
        texts = [row["node"], row["op"], row["where"], "x".join(map(str, row["shape"]))]
        cells = [f"<td>{html.escape(str(text))}</td>" for text in texts]
        cells += [f'<td class="number">{number}</td>' for number in numbers]
        cells += [f"<td>{html.escape(str(row[name]))}</td>" for name in ("bound", "why")]
        lines.append(f'<tr class="{html.escape(row["where"])}">{"".join(cells)}</tr>')
    return f"<table>{''.join(lines)}</table>"
