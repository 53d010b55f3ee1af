"""`vta synth`: what the hardware costs on an FPGA."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from vta.cli.output import config_option, print_table, step
from vta.config import Config
from vta.errors import ConfigError
from vta.synth.parts import FAMILIES, RESOURCES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vta.synth.area import Area
    from vta.synth.pnr import Timing

__all__ = ["command"]


@click.command("synth", short_help="Area and clock on an FPGA.")
@click.option("--family", type=click.Choice(list(FAMILIES)), default="xc7", show_default=True,
              help="What to synthesise for.")
@config_option
@click.option("--pnr", is_flag=True, help="Place and route, and report the clock (ECP5 only).")
@click.option("--depth", type=click.IntRange(0, 8), default=3, show_default=True,
              help="Levels of the hierarchy to show.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def command(family: str, config_file: str | None, pnr: bool, depth: int, as_json: bool) -> None:
    """Synthesise a configuration with Yosys and show what each module takes.

    This takes minutes; the result is kept in the cache. With --pnr nextpnr places and routes it,
    with the ports on shift registers because no package has as many pins.

    Example: vta synth --family ecp5 --config ecp5 --pnr
    """
    config = Config.load(config_file)
    if pnr and family != "ecp5":
        raise click.UsageError(f"--pnr needs --family ecp5, not {family}: nextpnr has no "
                               "open flow for it on PyPI")
    from vta.driver.verilog import cached_verilog
    from vta.synth import area

    with step(f"Verilog of {config.bitstream}"):
        verilog = cached_verilog(config)
    with step(f"synthesis for {family} (takes minutes)") as say:
        netlist = area.netlist(verilog, family, say)
    areas = area.report(netlist / area.NETLIST, family, depth)
    timing = _route(config, family) if pnr else None

    if as_json:
        click.echo(json.dumps({
            "family": family, "part": FAMILIES[family].part, "config": config.to_dict(),
            "modules": [{"module": ".".join(item.path) or "vta",
                         **dict(zip(RESOURCES, item.used, strict=True))} for item in areas],
            **({} if timing is None else {
                "mhz": timing.mhz,
                "path": [{"ns": hop.ns, "kind": hop.kind, "signal": hop.signal}
                         for hop in timing.path]}),
        }))
        return
    _print_areas(config, family, areas)
    if timing is not None:
        title = f"Clock: {timing.mhz:.1f} MHz; the path that limits it, {timing.ns:.2f} ns"
        print_table(title, ("ns", "spent in", "signal"),
                    [(f"{hop.ns:5.2f}", hop.kind, hop.signal) for hop in timing.path])


def _route(config: Config, family: str) -> Timing:
    """The timing of a configuration behind two pins."""
    from vta.driver.verilog import cached_verilog
    from vta.synth import area, pnr

    with step("Verilog with few pins"):
        verilog = cached_verilog(config, few_pins=True)
    with step("synthesis with few pins (takes minutes)") as say:
        netlist = area.netlist(verilog, family, say)
    with step("place and route (takes minutes)") as say:
        return pnr.route(netlist, say)


def _print_areas(config: Config, family: str, areas: Sequence[Area]) -> None:
    chosen = FAMILIES[family]
    columns = [chosen.bram if name == "BRAM" else name for name in RESOURCES]
    rows = [("  " * len(item.path) + (item.path[-1] if item.path else "vta"),
             *(f"{amount:>8,.1f}".removesuffix(".0") for amount in item.used)) for item in areas]
    total = areas[0].used
    rows.append((f"of {chosen.part}", *(f"{size:>8,}" for size in chosen.capacity)))
    rows.append(("share", *(f"{100 * used / size:>7.1f}%"
                            for used, size in zip(total, chosen.capacity, strict=True))))
    print_table(f"{config.bitstream} on {family}", ("module", *columns), rows)
    over = [name for name, used, size in zip(columns, total, chosen.capacity, strict=True)
            if used > size]
    if over:
        raise ConfigError(f"{config.bitstream} does not fit the {chosen.part}: too many "
                          f"{', '.join(over)}")
