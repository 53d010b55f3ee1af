"""`vta board selftest`: checks a board, and prints a report of it."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import click

from vta.cli.app import EXIT_DIFFERENCE
from vta.cli.open_board import BOARDS, host_options, open_board
from vta.cli.output import config_option, path_argument, print_table, step
from vta.config import Config
from vta.driver.board.kinds import kind_named
from vta.processes import unwound_by_sigterm

if TYPE_CHECKING:
    from vta.driver.board.board_device import BoardDevice
    from vta.tools.selftest import SelfTestReport

__all__ = ["command"]


@click.group("board", short_help="Check a board: vta board selftest.")
def command() -> None:
    """Work with one board.

    Example: vta board selftest pynq --emulate
    """


@command.command("selftest", short_help="Run known programs on a board, and report.")
@click.argument("board", metavar="BOARD", type=click.Choice(BOARDS))
@click.option("--emulate", is_flag=True, help="Emulate the board.")
@click.option(
    "--functional",
    is_flag=True,
    help="Emulate with the functional simulator instead of the RTL: no cycles, but faster.",
)
@host_options
@click.option(
    "--bitstream",
    metavar="F",
    type=path_argument,
    help="Program the FPGA with this file (default: the one made for the configuration here).",
)
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON object on stdout.")
@config_option
def selftest(
    board: str,
    emulate: bool,
    functional: bool,
    host: str | None,
    port: int | None,
    bitstream: str | None,
    as_json: bool,
    config_file: str | None,
) -> int:
    """Program a board, run a known set of programs on it, compare the results with NumPy, and print
    a report that may be sent to the project. Exit status 1 if a check fails.

    Example: vta board selftest pynq --emulate
    """
    from vta.tools.bitstream.designs import DESIGNS
    from vta.tools.selftest import run_selftest

    if functional and not emulate:
        raise click.UsageError("--functional needs --emulate")
    if emulate and (host or port or bitstream):
        raise click.UsageError("--emulate takes no --host, --port and --bitstream")
    # As for `vta bitstream`: the configuration in the configuration file may not fit the board.
    design = DESIGNS.get(board)
    preset = design.preset if design is not None else ""
    config = Config.load(config_file or preset or None).replace(target=board)
    with unwound_by_sigterm(), contextlib.ExitStack() as stack:
        with step(f"Programming {board}"):
            device = _open(config, emulate, functional, host, port, stack)
            device.program(bitstream)
        with step(f"Checking {board}") as say:
            report = run_selftest(device, say)
    if as_json:
        click.echo(json.dumps(report.record()))
    else:
        _print(report)
    return 0 if report.passed else EXIT_DIFFERENCE


def _open(
    config: Config,
    emulate: bool,
    functional: bool,
    host: str | None,
    port: int | None,
    stack: contextlib.ExitStack,
) -> BoardDevice:
    from vta.driver.board.board_device import BoardDevice
    from vta.driver.board.emulated import emulated_board

    if emulate:
        kind = kind_named(config.target)
        emulated = BoardDevice(config, emulated_board(kind, functional=functional))
        stack.callback(emulated.close)
        return emulated
    return open_board(config, host, port, stack)


def _print(report: SelfTestReport) -> None:
    board, config = report.board, Config.from_dict(report.config)
    click.echo(", ".join(f"{name} {version}" for name, version in report.versions.items()))
    click.echo(
        f"board: {'emulated ' if board['emulated'] else ''}{board['kind']}, "
        f"{board['memory_bytes']:,} bytes at {board['memory_address']:#x}"
    )
    click.echo(f"configuration: {config.bitstream}, HW_VER {config.hw_ver}")
    words = ", ".join(f"{name} {value:#010x}" for name, value in report.registers.items())
    click.echo(f"registers: {words}\n")
    print_table(
        "",
        ("check", "", "cycles", "ms on the board", "detail"),
        [
            (
                check.name,
                "passed" if check.passed else "FAILED",
                check.cycles,
                "" if check.seconds is None else f"{1e3 * check.seconds:8.3f}",
                check.detail,
            )
            for check in report.checks
        ],
    )
    failed = sum(not check.passed for check in report.checks)
    total = len(report.checks)
    click.echo(
        f"\n{failed} of {total} checks failed." if failed else f"\nAll {total} checks passed."
    )
