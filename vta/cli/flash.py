"""`vta flash`: loads a bitstream into a board on a USB cable."""

from __future__ import annotations

from pathlib import Path

import click

from vta.cli.output import path_argument, step
from vta.driver.board.catalogue import entry_named
from vta.driver.board.flasher import flash
from vta.processes import unwound_by_sigterm

__all__ = ["command"]


@click.command("flash", short_help="Load a bitstream into a board on a USB cable.")
@click.argument("board", metavar="BOARD")
@click.argument("file", metavar="FILE", type=path_argument)
@click.option(
    "--keep",
    is_flag=True,
    help="Write it to the board's flash memory, so that it is there after power-off.",
)
@click.option("--serial", metavar="S", default="", help="The cable with this serial number.")
@click.option(
    "--firmware",
    metavar="F",
    default="",
    type=path_argument,
    help="The firmware of an Intel cable (blaster_6810.hex in Quartus).",
)
def command(board: str, file: str, keep: bool, serial: str, firmware: str) -> None:
    """Load a bitstream into a board on a USB cable, by openFPGALoader. Without --keep it is lost at
    power-off. `vta boards` lists the boards.

    A board with Linux is better programmed by its Linux, with `vta.program_fpga`: that ends the
    machine's transfers first, and sets the clock and the memory port.

    Example: vta flash ulx3s vta.bit
    """
    entry = entry_named(board)
    with unwound_by_sigterm(), step(f"Loading {file} into {board}"):
        flash(entry, Path(file), keep=keep, serial=serial, firmware=firmware)
    until = "flash memory, from where it starts at power-on" if keep else "FPGA until power-off"
    click.echo(f"{file}: in the {until}")
