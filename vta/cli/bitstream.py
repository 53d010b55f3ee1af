"""`vta bitstream`: a board's bitstream, from its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vta.cli.output import config_option, path_argument, step
from vta.config import Config

if TYPE_CHECKING:
    from vta.tools.bitstream.make import Request

__all__ = ["command"]


@click.command("bitstream", short_help="A board's project and bitstream.")
@click.argument("board")
@config_option
@click.option("--toolchain", default="", help="Another toolchain than the board's default.")
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=path_argument,
    help="Where to write (default: build/BOARD).",
)
@click.option("--clock-mhz", type=click.FloatRange(1, 500), help="The machine's clock.")
@click.option("--project", "project_only", is_flag=True, help="Write the project, run no tool.")
@click.option("--ps-pads", is_flag=True, help="Zynq: with the processor's pads as ports.")
@click.option("--force", is_flag=True, help="Hand out a bitstream that misses its clock, too.")
def command(
    board: str,
    config_file: str | None,
    toolchain: str,
    output: str | None,
    clock_mhz: float | None,
    project_only: bool,
    ps_pads: bool,
    force: bool,
) -> None:
    """Write the project of BOARD (RTL, constraints, script), and run the tools if they are here.

    Then there are vta.bit, vta.bit.bin where Linux's FPGA manager wants it, and vta.json, which
    says what they were made of and which clock they reached. They are kept in the cache, where
    `vta.program_fpga(remote)` finds them.

    Example: vta bitstream pynq --config default -o build/pynq
    """
    from vta.tools.bitstream.designs import design_for
    from vta.tools.bitstream.make import Request, make_bitstream, write_project

    design = design_for(board)
    clock_hz = round(clock_mhz * 1e6) if clock_mhz else 0
    config = Config.load(config_file or design.preset or None)
    request = Request(design, config, toolchain, clock_hz, ps_pads)
    folder = Path(output or f"build/{board}")
    name = request.tools.name
    if name in design.experimental:
        click.echo(f"{name} is experimental for {board}: nobody has tried it", err=True)
    if project_only:
        with step(f"project of {board}"):
            write_project(request, folder)
        _say_what_differs(request)
        click.echo(f"{folder}: project of {board} for {name}; sh build_vta.sh runs the tools")
        return
    with step(f"bitstream of {board} by {name}") as say:
        made = make_bitstream(request, folder, say, force=force)
    _say_what_differs(request)
    clock = f"{made.reached_hz / 1e6:.1f} MHz reached, {request.hz / 1e6:g} MHz asked"
    origin = ", from the cache" if made.cached else ""
    click.echo(f"{', '.join(map(str, made.files))}: {clock}{origin}")


def _say_what_differs(request: Request) -> None:
    """One line if the board's bursts are shorter than the configuration's."""
    asked, made = request.config.max_burst, request.board_config.max_burst
    if made != asked:
        click.echo(
            f"MAX_BURST is {made} in the bitstream, not {asked}: the memory port of "
            f"{request.design.board} takes no longer bursts; programs do not depend on it",
            err=True,
        )
