"""`vta cache`: what the cache holds, and emptying it."""

from __future__ import annotations

import datetime

import click

from vta import cache
from vta.cli.output import print_table, thousands

__all__ = ["command"]


@click.command("cache", short_help="Show the cache of Verilog and simulators, or empty it.")
@click.option("--clear", is_flag=True, help="Remove everything that is in it.")
def command(clear: bool) -> None:
    """Show what lies in the cache of generated Verilog and built simulators, or remove it.

    The cache is a folder of the user's; $VTA_CACHE_PATH names another. Beyond 2 GiB, or the bytes
    that $VTA_CACHE_MAX_BYTES says, what was used least recently is removed.

    Example: vta cache --clear
    """
    if clear:
        click.echo(f"{cache.cache_dir()}: removed {thousands(cache.clear())} bytes")
        return
    entries = cache.entries()
    if entries:
        print_table(
            "",
            ("kind", "what", "bytes", "made", "last used"),
            [
                (
                    entry.kind,
                    entry.about or entry.key[:16],
                    entry.nbytes,
                    _time(entry.made),
                    _time(entry.used),
                )
                for entry in entries
            ],
        )
    click.echo(f"{cache.cache_dir()}: {len(entries)} entries, {thousands(cache.size())} bytes")


def _time(seconds: float) -> str:
    return f"{datetime.datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M}"
