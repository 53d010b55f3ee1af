"""`vta run`: a compiled network on one input."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from vta.cli.app import EXIT_DIFFERENCE
from vta.cli.open_board import BOARDS, host_options, open_board
from vta.cli.output import path_argument, print_table, step
from vta.config import SIMULATED_TARGETS
from vta.errors import ArgumentError
from vta.processes import unwound_by_sigterm

if TYPE_CHECKING:
    from vta.net import Net

__all__ = ["command"]

Array = NDArray[Any]


@click.command("run", short_help="Run a compiled network.")
@click.argument("model", metavar="MODEL.vta", type=path_argument)
@click.option(
    "--input",
    "inputs",
    metavar="FILE",
    type=path_argument,
    multiple=True,
    help="A picture, a .npy file, or a .npz file with an array for each input. Given several "
    "times, a file for each input, or for each run of a network with one input.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE.npz",
    type=path_argument,
    help="Write the outputs to a file; those of several runs are stacked.",
)
@click.option("--labels", metavar="FILE", type=path_argument, help="A text file, a line a class.")
@click.option(
    "--top", type=click.IntRange(1), default=5, show_default=True, help="How many classes to show."
)
@click.option(
    "--target",
    type=click.Choice([*SIMULATED_TARGETS, *BOARDS]),
    default="sim",
    show_default=True,
    help="The functional simulator, the simulated hardware, or a board.",
)
@host_options
@click.option(
    "--profile", is_flag=True, help="Show where the time goes; with tsim, the cycles of each node."
)
@click.option(
    "--trace",
    metavar="FILE.json",
    type=path_argument,
    help="Write the timeline for Perfetto (ui.perfetto.dev); needs --target tsim.",
)
@click.option(
    "--html",
    metavar="FILE.html",
    type=path_argument,
    help="Write one page about the network; with tsim, with measured cycles.",
)
@click.option(
    "--check",
    "original",
    metavar="MODEL.onnx",
    type=path_argument,
    help="Compare every tensor with ONNX's formulas and with ONNX Runtime, and name the first "
    "that differs.",
)
def command(
    model: str,
    inputs: tuple[str, ...],
    output: str | None,
    labels: str | None,
    top: int,
    target: str,
    host: str | None,
    port: int | None,
    profile: bool,
    trace: str | None,
    html: str | None,
    original: str | None,
) -> int:
    """Run a network that `vta compile` made, and show what it gives. What --profile, --trace,
    --html and --check are about is the last run.

    Exit status: 0, or 1 where --check finds a difference that rounding in float32 does not explain.

    Example: vta run model.vta --input cat.png --labels classes.txt
    """
    from vta.tools.network_inputs import read_inputs

    if trace is not None and target != "tsim":
        raise click.UsageError("--trace needs --target tsim, which has cycles")
    if (host or port) and target not in BOARDS:
        raise click.UsageError("--host and --port need --target with a board")
    names = _labels(labels)
    record = profile or bool(trace or html)
    with unwound_by_sigterm(), _opened(model, target, host, port, record=record) as net:
        several = len(net.inputs) == 1 and len(inputs) > 1
        calls = [(path,) for path in inputs] if several else [inputs]
        found: list[dict[str, Array]] = []
        with step(f"Running on {target}") as say:
            for number, paths in enumerate(calls, start=1):
                values = read_inputs(paths, net)
                say(f"{number} of {len(calls)}")
                start = time.perf_counter()
                results = net.run(values)
                seconds = time.perf_counter() - start
                if not isinstance(results, dict):
                    results = dict(zip(net.outputs, [results], strict=True))
                found.append(results)
        if output is not None:
            stacked = {name: np.stack([each[name] for each in found]) for name in net.outputs}
            _write(output, stacked if several else found[0])
        for paths, results in zip(calls, found, strict=True):
            if several:
                click.echo(f"{paths[0]}:")
            for name, array in results.items():
                _show(name, array, net, names, top)
        if profile:
            _profile(net, seconds)
        if trace is not None:
            _trace(net, trace)
        if html is not None:
            _page(net, html)
        if original is not None:
            return _check(net, original, values)
    return 0


@contextlib.contextmanager
def _opened(
    model: str, target: str, host: str | None, port: int | None, *, record: bool
) -> Iterator[Net]:
    """The network on a device, which records what happens in each cycle if it can."""
    from vta.compiler.graph.network_file import Network
    from vta.driver.simulated import TsimDevice
    from vta.net import Net

    network = Network.load(model)
    if target == "tsim" and record:
        config = network.config.replace(target=target)
        with TsimDevice(config, record=True) as device, Net(network, device) as net:
            yield net
        return
    if target in BOARDS:
        with contextlib.ExitStack() as stack:
            with step(f"Programming {target}"):
                device = open_board(network.config.replace(target=target), host, port, stack)
                device.program()
            yield stack.enter_context(Net(network, device))
        return
    with Net(network, target=target) as net:
        yield net


def _page(net: Net, path: str) -> None:
    from vta.tools.network_page import write_page
    from vta.tools.network_profile import node_cycles

    recorded = any(each.recording is not None for each in net.times)
    write_page(path, net.network, node_cycles(net.network, net.times) if recorded else ())
    click.echo(f"{path}: written")


def _trace(net: Net, path: str) -> None:
    from vta.tools.network_profile import network_trace

    text = json.dumps(network_trace(net.network, net.times))
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ArgumentError(f"{path}: cannot be written ({error.strerror})") from None
    click.echo(f"{path}: written")


def _labels(path: str | None) -> list[str]:
    if path is None:
        return []
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().splitlines()
    except OSError as error:
        raise ArgumentError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ArgumentError(f"{path}: is not a text file in UTF-8") from None


def _write(path: str, results: dict[str, Array]) -> None:
    try:
        with open(path, "wb") as file:
            np.savez(file, allow_pickle=False, **results)
    except OSError as error:
        raise ArgumentError(f"{path}: cannot be written ({error.strerror})") from None


def _show(name: str, array: Array, net: Net, labels: list[str], top: int) -> None:
    click.echo(f"{name}: {array.dtype}{list(array.shape)}")
    if array.ndim > 2 and array.size != array.shape[1]:
        return
    info = net.outputs[name]
    rows = array.reshape(len(array), -1) if array.ndim > 1 else array.reshape(1, -1)
    for row in rows:
        for place in np.argsort(-row.astype(np.float64), kind="stable")[:top]:
            value = float(row[place])
            if info.scale is not None:
                value = (value - info.zero_point) * info.scale
            label = labels[place] if place < len(labels) else f"class {place}"
            click.echo(f"  {value:10.4f}  {label}")


def _profile(net: Net, seconds: float) -> None:
    rows = [row for row in net.network.report.get("rows", []) if row["where"] == "accelerator"]
    predicted = sum(int(row["cycles"]) for row in rows)
    print_table(
        "Steps of the last call",
        ("step", "pack ms", "run ms", "unpack ms", "cycles"),
        [
            (
                each.name,
                f"{1000 * each.pack:.2f}",
                f"{1000 * each.run:.2f}",
                f"{1000 * each.unpack:.2f}",
                None if each.report is None else each.report.cycles,
            )
            for each in net.times
        ],
    )
    if any(each.recording is not None for each in net.times):
        _nodes(net, rows)
    known = sum(each.pack + each.run + each.unpack for each in net.times)
    host = sum(
        each.pack + each.unpack + (each.run if each.report is None else 0) for each in net.times
    )
    click.echo(
        f"{predicted:,} cycles predicted; host {1000 * (host + seconds - known):.2f} ms of "
        f"{1000 * seconds:.2f}, {1000 * (seconds - known):.2f} of them between steps"
    )


def _nodes(net: Net, rows: list[dict[str, Any]]) -> None:
    """The cycles of each node, measured and predicted."""
    from vta.tools.network_profile import node_cycles

    measured: dict[str, int] = {}
    for each in node_cycles(net.network, net.times):
        measured[each.node] = measured.get(each.node, 0) + each.cycles
    total = max(1, sum(measured.values()))
    print_table(
        "Nodes on the accelerator",
        ("node", "operation", "cycles", "predicted", "share", "bound by"),
        [
            (
                str(row["node"]),
                str(row["op"]),
                measured.get(row["node"], 0),
                int(row["cycles"]),
                f"{100 * measured.get(row['node'], 0) / total:5.1f} %",
                str(row["bound"]),
            )
            for row in rows
        ],
    )


def _check(net: Net, original: str, values: dict[str, Array]) -> int:
    from vta.tools.network_check import check_network

    with step("Comparing with ONNX Runtime"):
        found = check_network(net, original, values)
    click.echo(found.text)
    return 0 if found.equal else EXIT_DIFFERENCE
