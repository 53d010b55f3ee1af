"""What `vta bench --networks` measures and prints."""

from __future__ import annotations

import json

import click

from vta.cli.output import print_table, step
from vta.config import Config
from vta.sim.rtl.memory_model import MemoryModel
from vta.tools.bench.network_cycles import (
    NETWORKS,
    OFFLOADED,
    ORIGINAL_SECONDS,
    PUBLISHED,
    NetworkCycles,
    measure_network,
)

__all__ = ["measure_and_print"]


def measure_and_print(config: Config, model: MemoryModel, only: str, *, as_json: bool) -> None:
    """Runs whole networks on the RTL and prints their cycles."""
    names = [name for name in NETWORKS if only.lower() in name.lower()]
    if not names:
        raise click.UsageError(f"--only {only!r}: no network has that in its name")
    results: list[NetworkCycles] = []
    for name in names:
        with step(f"{name} on the RTL"):
            results.append(measure_network(name, config, model))
        if as_json:
            click.echo(json.dumps(results[-1].record()))
    if as_json:
        return
    print_table(
        f"Networks of 224 x 224, batch 1, {config.bitstream}, latency {model.latency}",
        (
            "network",
            "cycles",
            "predicted",
            "multiply-accumulates",
            "instructions",
            "utilisation",
            "images/s at 100 MHz",
            "simulator, s",
        ),
        [
            (
                result.name,
                result.cycles,
                result.predicted,
                result.macs,
                result.instructions,
                f"{100 * result.utilisation:5.1f} %",
                f"{result.images_a_second:7.2f}",
                f"{result.simulator_seconds:5.2f}",
            )
            for result in results
        ],
    )
    click.echo(
        f"Published for VTA, ResNet-18 without the first layer, the first pool and the last two "
        f"layers: {PUBLISHED:,} cycles."
    )
    for result in results:
        if result.name == OFFLOADED:
            ratio = result.simulator_seconds / ORIGINAL_SECONDS
            click.echo(
                f"For these layers the functional simulator takes {ratio:.1f} times the "
                f"{ORIGINAL_SECONDS} s of processor time that VTA's own in C++ took on a server."
            )
