"""`vta synth`: what the hardware costs on an FPGA."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from vta.cli.output import config_option, print_table, step
from vta.config import Config
from vta.errors import ConfigError
from vta.tools.synth.area import Areas, measure
from vta.tools.synth.parts import FAMILIES, RESOURCES, Family

if TYPE_CHECKING:
    from vta.tools.synth.hops import Hop
    from vta.tools.synth.logic_path import LogicPath
    from vta.tools.synth.pnr import Timing

__all__ = ["command"]

VERILOG_PER_MINUTE = 300_000
"""Characters of Verilog that one processor synthesises in a minute: `tiny` takes two minutes."""


@click.command("synth", short_help="Area and clock on an FPGA.")
@click.option(
    "--family",
    type=click.Choice(list(FAMILIES)),
    default="xc7",
    show_default=True,
    help="What to synthesise for: an xc7z020, or an lfe5u-85f.",
)
@config_option
@click.option(
    "--depth",
    type=click.IntRange(0, 9),
    default=3,
    show_default=True,
    help="Levels of modules to map one by one and to show; 0: all as one netlist.",
)
@click.option("--pnr", is_flag=True, help="Place and route, and report the clock (ECP5 only).")
@click.option(
    "--seeds",
    type=click.IntRange(1, 99),
    help="With --pnr: place that many times, and report the median of the clocks.",
)
@click.option(
    "--longest-path",
    is_flag=True,
    help="Report the longest path through cells, without routing (xc7 only).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def command(
    family: str,
    config_file: str | None,
    depth: int,
    pnr: bool,
    seeds: int | None,
    longest_path: bool,
    as_json: bool,
) -> None:
    """Synthesise a configuration with Yosys and show what each module takes.

    This takes minutes; the result is kept in the cache. With --pnr nextpnr places and routes it,
    with the ports on shift registers because no package has as many pins. With
    --longest-path Yosys adds up the delays of an Artix-7's cells, without routing. Exit status 2 if
    the configuration does not fit the part.

    Example: vta synth --family ecp5 --config ecp5 --pnr
    """
    if pnr and family != "ecp5":
        raise click.UsageError(
            f"--pnr needs --family ecp5, not {family}: no tool here places and routes that family; "
            "--longest-path adds up the delays of its cells"
        )
    if longest_path and family != "xc7":
        raise click.UsageError(
            f"--longest-path needs --family xc7, not {family}: --pnr gives that family's clock"
        )
    if seeds and not pnr:
        raise click.UsageError("--seeds needs --pnr")
    config, chosen = Config.load(config_file), FAMILIES[family]
    from vta.driver.verilog_cache import cached_verilog

    with step(f"Verilog of {config.bitstream}"):
        verilog = cached_verilog(config, family=family)
    with step(f"synthesis for {family} ({_estimate(verilog)})") as say:
        areas = measure(verilog, family, say, depth=depth)
    excess = _excess(areas.total, chosen)
    # nextpnr would find out too, but say less.
    timings = _route(config, seeds or 1) if pnr and not excess else []
    longest = _longest(verilog) if longest_path else None

    if as_json:
        record = _record(config, chosen, areas, depth)
        if timings:
            record |= _clock_record(timings)
        if longest:
            record |= {"logic_ns": longest.ns, "path": _path_record(longest.hops, "routing")}
        click.echo(json.dumps(record))
    else:
        _print_areas(config, chosen, areas, depth)
        if timings:
            _print_timing(timings, chosen)
        if longest:
            _print_longest(longest, chosen)
    if excess:
        raise ConfigError(f"{config.bitstream} does not fit the {chosen.part}: it takes {excess}")


def _estimate(verilog: str) -> str:
    """How long a synthesis takes on one processor of a recent machine that does nothing else."""
    minutes = max(1, round(len(verilog) / VERILOG_PER_MINUTE))
    return f"about {minutes} min of one processor"


def _route(config: Config, seeds: int) -> list[Timing]:
    """The timing of a configuration behind a few pins, with each of the placer's seeds."""
    from vta.driver.verilog_cache import cached_verilog
    from vta.tools.synth import pnr

    with step("Verilog with few pins"):
        verilog = cached_verilog(config, family="ecp5", few_pins=True)
    with step(f"synthesis with few pins ({_estimate(verilog)})") as say:
        netlist = pnr.netlist(verilog, say)
    timings = []
    for seed in range(1, seeds + 1):
        which = f", seed {seed} of {seeds}" if seeds > 1 else ""
        with step(f"place and route{which} (takes minutes)") as say:
            timings.append(pnr.route(netlist, say, seed=seed))
    return timings


def _excess(used: tuple[float, ...], family: Family) -> str:
    """What there is too much of; "" if it fits."""
    return ", ".join(
        f"{_number(amount)} of {size:,} {name}"
        for name, amount, size in zip(family.columns, used, family.capacity, strict=True)
        if amount > size
    )


def _number(amount: float) -> str:
    return f"{amount:,.1f}".removesuffix(".0")


def _longest(verilog: str) -> LogicPath:
    """The longest path of the whole machine as one netlist."""
    from vta.tools.synth import logic_path

    with step(f"synthesis as one netlist ({_estimate(verilog)})") as say:
        return logic_path.longest(verilog, say)


def _record(config: Config, family: Family, areas: Areas, depth: int) -> dict[str, Any]:
    """What ``--json`` prints of the area."""
    return {
        "config": config.to_dict(),
        "family": family.name,
        "part": family.part,
        "depth": depth,
        "capacity": dict(zip(RESOURCES, family.capacity, strict=True)),
        "modules": [
            {
                "module": ".".join(("vta", *item.path)),
                **dict(zip(RESOURCES, item.used, strict=True)),
            }
            for item in areas.modules
        ],
        "unknown": dict(areas.unknown),
    }


def _clock_record(timings: list[Timing]) -> dict[str, Any]:
    """What it prints of the clock."""
    from vta.tools.synth import pnr

    timing = pnr.median(timings)
    return {
        "mhz": timing.mhz,
        "seeds": [each.mhz for each in timings],
        "path": _path_record(timing.path),
        "placed": dict(zip(RESOURCES, timing.used, strict=True)),
    }


def _path_record(path: tuple[Hop, ...], *unknown: str) -> list[dict[str, Any]]:
    """The hops of a path, without what is unknown of them."""
    return [
        {name: value for name, value in dataclasses.asdict(hop).items() if name not in unknown}
        for hop in path
    ]


def _print_areas(config: Config, family: Family, areas: Areas, depth: int) -> None:
    rows = [
        ("  " * len(item.path) + (item.path[-1] if item.path else "vta"), *map(_number, item.used))
        for item in areas.modules
    ]
    rows.append((f"of {family.part}", *(f"{size:,}" for size in family.capacity)))
    rows.append(
        (
            "share",
            *(
                f"{100 * used / size:.1f}%"
                for used, size in zip(areas.total, family.capacity, strict=True)
            ),
        )
    )
    # To the right, which the table itself does for whole numbers only.
    lines = [("module", *family.columns), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)][1:]
    header, *rest = [(line[0], *map(str.rjust, line[1:], widths)) for line in lines]
    print_table(
        f"{config.bitstream} on {family.name}, "
        + ("each module with what is in it" if depth else "as one netlist"),
        header,
        rest,
    )
    if areas.unknown:
        click.echo(
            "not counted: "
            + ", ".join(f"{count:,} {kind}" for kind, count in sorted(areas.unknown.items()))
            + "\n"
        )


def _print_timing(timings: list[Timing], family: Family) -> None:
    from vta.tools.synth import pnr

    timing = pnr.median(timings)
    if len(timings) > 1:
        print_table(
            f"Clock with each seed of the placer; the median is {timing.mhz:.1f} MHz",
            ("seed", "MHz"),
            [(seed, f"{each.mhz:.1f}") for seed, each in enumerate(timings, 1)],
        )
    levels = sum(hop.levels for hop in timing.path)
    routing = sum(hop.routing for hop in timing.path)
    click.echo(
        "Placed: "
        + ", ".join(
            f"{amount:,} {name}" for amount, name in zip(timing.used, family.columns, strict=True)
        )
        + "; flat, with the ports on shift registers\n"
    )
    print_table(
        f"Clock: {timing.mhz:.1f} MHz on {pnr.DEVICE}. The path that limits it: "
        f"{timing.ns:.2f} ns, {routing:.2f} of it routing, {levels} cells deep",
        ("at ns", "logic", "routing", "cells", "signal"),
        [
            (at, f"{hop.logic:5.2f}", f"{hop.routing:7.2f}", hop.levels, signal)
            for at, hop, signal in _on_the_way(timing.path)
        ],
    )


def _print_longest(longest: LogicPath, family: Family) -> None:
    levels = sum(hop.levels for hop in longest.hops)
    print_table(
        f"The longest path for {family.name}, with the delays of an Artix-7's cells and without "
        f"routing: {longest.ns:.2f} ns, {levels} cells deep",
        ("at ns", "logic", "cells", "signal"),
        [
            (at, f"{hop.logic:5.2f}", hop.levels, signal)
            for at, hop, signal in _on_the_way(longest.hops)
        ],
    )


def _on_the_way(path: tuple[Hop, ...]) -> Iterator[tuple[str, Hop, str]]:
    """Each hop, with when its signal arrives, and what to call that."""
    at = 0.0
    for hop in path:
        at += hop.logic + hop.routing
        yield f"{at:5.2f}", hop, hop.signal if hop.own else f"(near {hop.signal})"
