"""`vta boards`: the boards, what is on them, and how far each has come."""

from __future__ import annotations

import json
from typing import Any

import click

from vta.cli.output import print_table
from vta.driver.board.catalogue import CATALOGUE, BoardEntry
from vta.tools.bitstream.toolchains import BITSTREAM_TOOLS

__all__ = ["command"]


@click.command("boards", short_help="List the boards, and how far each has come.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
def command(as_json: bool) -> None:
    """List the boards: the FPGA, what makes bitstreams for it (and whether that is installed here),
    what has been done with the board, how programs reach it, and whether `vta flash` loads
    it.

    Example: vta boards --json
    """
    if as_json:
        for entry in CATALOGUE.values():
            click.echo(json.dumps(_record(entry)))
        return
    print_table(
        "",
        ("board", "FPGA", "toolchains", "state", "programs by", "vta flash"),
        [
            (
                entry.name,
                entry.part or "-",
                _toolchains(entry),
                entry.state,
                entry.connection,
                " ".join(entry.suffixes) or "-",
            )
            for entry in CATALOGUE.values()
        ],
    )
    click.echo("* is installed here. No board has run on hardware yet (docs/boards.md).")


def _is_here(toolchain: str) -> bool:
    return not BITSTREAM_TOOLS[toolchain].missing()


def _toolchains(entry: BoardEntry) -> str:
    return ", ".join(name + ("*" if _is_here(name) else "") for name in entry.toolchains) or "-"


def _record(entry: BoardEntry) -> dict[str, Any]:
    return {
        "board": entry.name,
        "part": entry.part,
        "toolchains": {name: _is_here(name) for name in entry.toolchains},
        "state": entry.state,
        "connection": entry.connection,
        "flash": list(entry.suffixes),
    }
