"""The options that say how pictures become a network's input."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import click

__all__ = ["picture_options"]


def picture_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--mean`` and ``--std``, which reach `function` as tuples of one number or three."""
    options = (
        click.option(
            "--mean",
            metavar="A[,B,C]",
            default="0",
            show_default=True,
            callback=_numbers,
            help="What is subtracted from the numbers of pictures, 0 to 1: one number, or one for "
            "each channel.",
        ),
        click.option(
            "--std",
            metavar="A[,B,C]",
            default="1",
            show_default=True,
            callback=_numbers,
            help="What they are then divided by.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def _numbers(context: click.Context, option: click.Parameter, text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(each) for each in text.split(","))
    except ValueError:
        raise click.BadParameter(f"must be numbers with commas between, not {text!r}") from None
    if len(numbers) not in (1, 3) or not all(map(math.isfinite, numbers)):
        raise click.BadParameter(f"must be one finite number or three, not {text!r}")
    if option.name == "std" and not all(numbers):
        raise click.BadParameter("must not be 0")
    return numbers
