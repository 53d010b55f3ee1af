"""The memory model's options, for commands that run the RTL."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from vta.sim.rtl.memory_model import MAX_CYCLES, MAX_SEED, MemoryModel

__all__ = ["MEMORY_OPTIONS", "memory_model_options"]

MEMORY_OPTIONS = ("latency", "write_response", "outstanding", "stalls", "reorder")

_DEFAULT = MemoryModel()


def memory_model_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options, which reach `function` as one argument, `model`."""

    @functools.wraps(function)
    def call(
        *,
        latency: int,
        write_response: int,
        outstanding: int | None,
        stalls: int | None,
        reorder: int | None,
        **others: Any,
    ) -> Any:
        model = MemoryModel(latency, write_response, outstanding, stalls, reorder)
        return function(model=model, **others)

    options = (
        click.option(
            "--latency",
            metavar="N",
            type=click.IntRange(1, MAX_CYCLES),
            default=_DEFAULT.latency,
            show_default=True,
            help="Cycles from a read's address to its first beat.",
        ),
        click.option(
            "--write-response",
            metavar="N",
            type=click.IntRange(1, MAX_CYCLES),
            default=_DEFAULT.write_response,
            show_default=True,
            help="Cycles from a write's last beat to its response.",
        ),
        click.option(
            "--outstanding",
            metavar="N",
            type=click.IntRange(1, MAX_CYCLES),
            help="Bursts in flight at once (default: unlimited).",
        ),
        click.option(
            "--stalls",
            metavar="SEED",
            type=click.IntRange(0, MAX_SEED),
            help="Stall every channel at random (default: never).",
        ),
        click.option(
            "--reorder",
            metavar="SEED",
            type=click.IntRange(0, MAX_SEED),
            help="Answer reads of different AXI identifiers out of order and interleaved "
            "(default: in order).",
        ),
    )
    for option in reversed(options):
        call = option(call)
    return call
