"""`vta verilog`: the hardware as Verilog."""

from __future__ import annotations

import os
from pathlib import Path

import click

from vta.cli.output import config_option, path_argument, step, thousands
from vta.config import Config
from vta.files import replacing
from vta.tools.synth.parts import FAMILIES

__all__ = ["command"]


@click.command("verilog", short_help="Write the hardware as Verilog.")
@click.option(
    "--family",
    type=click.Choice(list(FAMILIES)),
    default="xc7",
    show_default=True,
    help="The FPGA's: xc7 for multipliers of 25 bits, as in a DSP48; ecp5 for those of 18.",
)
@config_option
@click.option(
    "-o", "--output", metavar="F", type=path_argument, help="Where to write it (default: stdout)."
)
def command(family: str, config_file: str | None, output: str | None) -> None:
    """Write the hardware of a configuration as Verilog; its top module is `vta`.

    Example: vta verilog --config tiny -o vta.v
    """
    config = Config.load(config_file)
    if output is not None and not os.access(Path(output).absolute().parent, os.W_OK):
        raise click.UsageError(f"{output}: its folder cannot be written")
    from vta.driver.verilog_cache import cached_verilog

    with step(f"Verilog of {config.bitstream}"):
        text = cached_verilog(config, family=family)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with replacing(output) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{output}: cannot be written ({error.strerror})") from None
    click.echo(f"{output}: {thousands(text.count(chr(10)))} lines")
