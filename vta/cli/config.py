"""`vta config`: every size that follows from a configuration, and whether its fields fit."""

from __future__ import annotations

import json
from typing import Any

import click

from vta.cli.output import path_argument, print_table
from vta.config import Config, default_path
from vta.errors import ConfigError
from vta.isa import Isa, MemoryType

__all__ = ["command"]

_MEMORIES = (MemoryType.UOP, MemoryType.INP, MemoryType.WGT, MemoryType.ACC, MemoryType.OUT)


@click.command("config", short_help="Show every derived size; does it fit, and why?")
@click.argument("file", required=False, metavar="[F]", type=path_argument)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(file: str | None, as_json: bool) -> None:
    """Show every size that follows from a configuration, and whether its fields fit the ISA.

    F is a JSON file or a preset's name; without it, $VTA_CONFIG or the package's own file counts.
    A configuration that is not legal is refused with the reason (exit status 2).

    Example: vta config tiny
    """
    try:
        config = Config.load(file)
    except ConfigError as error:
        if as_json:
            click.echo(json.dumps({"fits": False, "error": str(error)}))
        raise
    described = _describe(config)
    if as_json:
        click.echo(json.dumps(described))
        return
    source = file or str(default_path())
    click.echo(f"{source}: {config.bitstream}, target {config.target}\n")
    print_table("The name, part by part", ("part", "is"), described["name"])
    print_table(
        "Configuration",
        ("key", "value"),
        [
            (key, str(value))
            for key, value in {
                "TARGET": config.target,
                "HW_VER": config.hw_ver,
                **config.hardware(),
            }.items()
        ],
    )
    print_table(
        "Sizes", ("what", "value"), [(key, str(value)) for key, value in described["sizes"].items()]
    )
    print_table(
        "Buffers",
        ("buffer", "bytes", "bytes of an element", "depth", "log2 depth"),
        [
            (name.upper(), row["bytes"], row["elem_bytes"], row["depth"], row["log_depth"])
            for name, row in described["buffers"].items()
        ],
    )
    print_table(
        "Encoding",
        ("word", "bits used", "bits there", "fits"),
        [
            (row["word"], row["bits"], row["limit"], "yes" if row["bits"] <= row["limit"] else "no")
            for row in described["encoding"]
        ],
    )
    click.echo("fits: every instruction word and the micro-op hold their fields")


def _describe(config: Config) -> dict[str, Any]:
    isa = Isa(config)
    encoding = [
        {
            "word": form.name if len(form.words) == 1 else f"{form.name} word {index}",
            "bits": form.used_bits(index),
            "limit": form.word_bits,
        }
        for form in (isa.mem, isa.gemm, isa.alu, isa.uop)
        for index in range(len(form.words))
    ]
    return {
        "fits": True,
        "config": config.to_dict(),
        "bitstream": config.bitstream,
        "name": _name_parts(config),
        "sizes": {
            "BATCH": config.batch,
            "BLOCK_IN": config.block,
            "BLOCK_OUT": config.block,
            "INP_WIDTH": config.inp_width,
            "WGT_WIDTH": config.wgt_width,
            "ACC_WIDTH": config.acc_width,
            "OUT_WIDTH": config.out_width,
            "bus_width": config.bus_width,
            "addr_width": config.addr_width,
            "max_burst": config.max_burst,
            "insn_queue_depth": config.insn_queue_depth,
            "multipliers": config.batch * config.block * config.block,
        },
        "buffers": {
            kind.name.lower(): {
                "bytes": config.depth(kind) * config.elem_bytes(kind),
                "elem_bytes": config.elem_bytes(kind),
                "depth": config.depth(kind),
                "log_depth": config.log_depth(kind),
            }
            for kind in _MEMORIES
        },
        "encoding": encoding,
    }


def _name_parts(config: Config) -> list[tuple[str, str]]:
    """Each part of the configuration's name, and what it says."""
    buffers = ("uop", "inp", "wgt", "acc")
    logs = [int(getattr(config, f"log_{buffer}_buff_size")) for buffer in buffers]
    batch, block = config.batch, config.block
    return [
        (
            f"{batch}x{block}",
            f"a tile is {batch} x {block} numbers (batch x block): "
            f"{batch * block * block} multipliers",
        ),
        (f"i{config.inp_width}", f"inputs of {config.inp_width} bits"),
        (f"w{config.wgt_width}", f"weights of {config.wgt_width} bits"),
        (f"a{config.acc_width}", f"an accumulator of {config.acc_width} bits"),
        *(
            (f"_{log}", f"the {buffer.upper()} buffer has 2^{log} = {1 << log:,} bytes")
            for buffer, log in zip(buffers, logs, strict=True)
        ),
    ]
