"""What `vta bench --remote` measures and prints."""

from __future__ import annotations

import json

import click

from vta.cli.output import print_table, step
from vta.config import Config
from vta.driver.board.kinds import KINDS
from vta.tools.bench import remote_speed

__all__ = ["measure_and_print"]


def measure_and_print(config: Config, runs: int, *, as_json: bool) -> None:
    """Measures the speed of remote sessions and prints it."""
    nbytes = remote_speed.NBYTES
    if config.target not in KINDS:
        config = config.replace(target="pynq")
    with step("Calls of a daemon on this computer"):
        calls = remote_speed.measure_calls(config)
    with step(f"Moving {nbytes >> 20} MiB"):
        moves = remote_speed.measure_moves(config, runs)
    if as_json:
        for record in (*(move.record() for move in moves), calls.record()):
            click.echo(json.dumps(record))
        return
    print_table(
        f"{nbytes >> 20} MiB through a session on this computer, the fastest of {runs} runs",
        ("", "", "session MB/s", "bare socket MB/s", "ratio"),
        [
            (
                move.transport,
                move.direction,
                round(nbytes / 1e6 / move.session),
                round(nbytes / 1e6 / move.bare),
                f"{move.ratio:5.2f}",
            )
            for move in moves
        ],
    )
    click.echo(
        f"A request and its answer take {1e3 * calls.request:.2f} ms; a call of a small program "
        f"takes {1e3 * calls.call:.2f} ms\nmore than its run on the board (medians)."
    )
