"""The page about a network, as a browser without the internet shows it."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import onnx
import pytest

from tests.compiler.graph.networks import quantise, small_net
from vta.compiler.graph.network import compile_network
from vta.compiler.graph.network_file import Network
from vta.compiler.graph.read_model import read
from vta.config import PRESETS
from vta.tools.network_page import write_page
from vta.tools.network_profile import NodeCycles

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def _shown(page: Path, folder: Path) -> tuple[list[str], str]:
    """What a browser's scripts complain about, and the page after they ran."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"there is no {BROWSERS[0]} (Debian: apt install {BROWSERS[0]})")
    done = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",  # which root cannot have; the page is our own
            "--disable-gpu",
            "--enable-logging=stderr",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={folder}",
            "--virtual-time-budget=20000",  # milliseconds, which pass while nothing is to be done
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return re.findall(r":CONSOLE.*\] (.*)", done.stderr), done.stdout


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    onnx.save(quantise(small_net(), path.parent), path)
    return compile_network(read(path), PRESETS["tiny"].replace(hw_ver="0.0.3"))


@pytest.mark.parametrize("runs", [False, True], ids=["compiled", "measured"])
def test_everything_is_drawn(network: Network, tmp_path: Path, runs: bool) -> None:
    """A point for each node, bars for its cycles, a bar of time, a point of the roofline."""
    rows = network.report["rows"]
    there = [row for row in rows if row["where"] == "accelerator" and row["cycles"]]
    measured, begin = [], 0
    for row in there if runs else ():
        measured.append(NodeCycles(0, row["node"], begin, row["cycles"] + 10))
        begin += row["cycles"] + 10
    page = tmp_path / "page.html"
    write_page(page, network, measured)
    complaints, text = _shown(page, tmp_path / "browser")
    assert complaints == []
    figures = text.split('class="plotly-graph-div')[1:]
    points = [len(re.findall(r'<(?:g|path) class="point"', figure)) for figure in figures]
    multiplying = sum(row["macs"] > 0 and row["bytes"] > 0 for row in there)
    assert multiplying > 0
    assert points == [len(rows), (3 if runs else 2) * len(there), len(there), multiplying]
    graph, bars, timeline, roofline = figures
    assert len(re.findall('class="js-line"', graph)) >= len(rows) - 1
    assert re.findall('class="legendtext"[^>]*>([^<]*)', bars) == (
        ["predicted", "measured", "bound"] if runs else ["predicted", "bound"]
    )
    assert f"cycles, {'measured' if runs else 'predicted'}<" in timeline
    assert all(f">{row['node']}<" in timeline for row in there)
    # The roof: up along the bus, then level. The other line is in the legend.
    roof, _ = re.findall(r'class="js-line" d="M([^"]*)"', roofline)
    (_, low), (_, knee), (_, level) = (map(float, part.split(",")) for part in roof.split("L"))
    assert low > knee == level


def test_only_what_ran_has_measured_cycles(network: Network, tmp_path: Path) -> None:
    row = next(row for row in network.report["rows"] if row["cycles"])
    changed = dataclasses.replace(network, report={**network.report, "rows": [row]})
    cells = []
    for measured in ([], [NodeCycles(0, row["node"], 0, 1234)]):
        write_page(tmp_path / "page.html", changed, measured)
        text = (tmp_path / "page.html").read_text(encoding="utf-8")
        cells.append(re.findall(r'<td class="number">([^<]*)</td>', text))
    assert cells == [[f"{row['macs']:,}", f"{row['cycles']:,}", shown] for shown in ("", "1,234")]


def test_an_error_of_a_script_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><p></p><script>Plotly.newPlot()</script>", encoding="utf-8")
    complaints, _ = _shown(page, tmp_path / "browser")
    (complaint,) = complaints
    assert "ReferenceError: Plotly is not defined" in complaint
