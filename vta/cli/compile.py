"""`vta compile`: a quantised ONNX model as a network for the accelerator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vta.cli.output import config_option, path_argument, print_table, step, thousands
from vta.cli.picture_options import picture_options
from vta.compiler.ir.timing import TIMING
from vta.config import Config

if TYPE_CHECKING:
    from vta.compiler.graph.network_file import Network

__all__ = ["command"]


@click.command("compile", short_help="Compile a quantised ONNX model.")
@click.argument("model", metavar="MODEL.onnx", type=path_argument)
@click.option(
    "-o",
    "--output",
    metavar="MODEL.vta",
    type=path_argument,
    required=True,
    help="Where to write the network.",
)
@config_option
@click.option(
    "--batch",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="The first size of each input, where the model leaves it open.",
)
@click.option(
    "--latency",
    type=click.IntRange(1),
    default=TIMING.latency,
    show_default=True,
    help="Cycles after which the memory answers.",
)
@picture_options
@click.option(
    "--html", metavar="FILE.html", type=path_argument, help="Write the report as one page."
)
@click.option("--report", is_flag=True, help="Show where each node runs, why, and what it costs.")
def command(
    model: str,
    output: str,
    config_file: str | None,
    batch: int,
    latency: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    html: str | None,
    report: bool,
) -> None:
    """Compile a model that was quantised to int8: as much of it as possible for the accelerator,
    the rest for ONNX Runtime. `vta run` runs the result.

    Example: vta compile model_int8.onnx -o model.vta --report
    """
    from vta.compiler.graph.network import compile_network
    from vta.compiler.graph.read_model import read

    config = Config.load(config_file)
    with step(f"Reading {model}"):
        graph = read(model, batch)
    with step("Compiling"):
        network = compile_network(
            graph, config, latency=latency, picture={"mean": mean, "std": std}
        )
    network.save(output)
    if report:
        _print(network)
    if html is not None:
        from vta.tools.network_page import write_page

        write_page(html, network)
    rows = network.report["rows"]
    there = sum(row["where"] == "accelerator" for row in rows)
    click.echo(
        f"{output}: {there} of {len(rows)} nodes on the accelerator in "
        f"{len(network.programs)} programs, {thousands(_total(rows, 'cycles'))} cycles expected"
    )


def _total(rows: list[dict[str, Any]], name: str) -> int:
    return sum(int(row[name]) for row in rows)


def _print(network: Network) -> None:
    config, rows = network.config, network.report["rows"]
    print_table(
        f"{network.name} on {config.bitstream}",
        ("node", "operation", "runs on", "shape", "MACs", "cycles", "bound by", "bytes", "why"),
        [
            (
                str(row["node"]),
                str(row["op"]),
                str(row["where"]),
                "x".join(map(str, row["shape"])),
                int(row["macs"]),
                int(row["cycles"]),
                str(row["bound"]),
                int(row["bytes"]),
                str(row["why"]),
            )
            for row in rows
        ],
    )
    macs, cycles = _total(rows, "macs"), _total(rows, "cycles")
    each = config.batch * config.block * config.block
    used = f"{100 * macs / (each * cycles):.1f} %" if cycles else "-"
    click.echo(
        f"In all {thousands(macs)} multiply-accumulates, {thousands(cycles)} cycles expected "
        f"({used} of the multipliers' work)."
    )
    for number, region in enumerate(network.report["regions"]):
        click.echo(
            f"Program {number}: {thousands(region['instructions'])} instructions, "
            f"{thousands(region['constant_bytes'])} bytes of constants, "
            f"{thousands(region['arena_bytes'])} for tensors inside, "
            f"{thousands(region['buffer_bytes'])} in all."
        )
