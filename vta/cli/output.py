"""What subcommands show: tables on stdout, progress on stderr."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.status import Status
from rich.table import Table
from rich.text import Text

from vta.cli.app import verbosity

__all__ = [
    "Cell",
    "config_option",
    "path_argument",
    "print_table",
    "progress_bar",
    "step",
    "thousands",
]

Cell = str | int | None


def thousands(number: int | None) -> str:
    """A number with separators; a dash for None."""
    return "-" if number is None else f"{number:,}"


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """A table on stdout; columns of numbers are set to the right. No cell is ever shortened."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, column in enumerate(columns):
        numbers = all(isinstance(row[index], int | None) for row in rows)
        table.add_column(column, justify="right" if numbers else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else thousands(cell) for cell in row))
    # As wide as it needs to be, whatever the terminal's width: rich would cut cells to make it fit.
    width = Console(width=10_000).measure(table).maximum
    if title:
        Console(highlight=False, soft_wrap=True).print(Text(title, "bold"))
    Console(highlight=False, width=width).print(table)
    if title:
        click.echo()


PATIENCE = 1.0
"""Seconds that something may take before it is worth a line."""


@contextlib.contextmanager
def step(what: str) -> Iterator[Callable[[str], None]]:
    """Shows on stderr that `what` goes on, and how long it took; nothing if it is quick.

    What the libraries say meanwhile (INFO) appears too, and what is said to the function that
    this yields: on a terminal in place of what was there, elsewhere not too often.
    """
    if verbosity() < 0:
        yield lambda more: None
        return
    console = Console(stderr=True, highlight=False)
    start = time.monotonic()
    with contextlib.ExitStack() as stack:
        show: Callable[[str], None]
        say: Callable[[str], None]
        if console.is_terminal:
            status = stack.enter_context(console.status(Text(what)))
            show = functools.partial(_update, status, what)
            say = show
        else:
            timer = threading.Timer(PATIENCE, _log, [f"{what} ..."])
            timer.daemon = True
            timer.start()
            stack.callback(timer.cancel)
            show = functools.partial(_log_more, what)
            say = _seldom(show)
        stack.enter_context(_listening(logging.getLogger("vta"), show))
        yield say
    if (seconds := time.monotonic() - start) >= PATIENCE:
        _log(f"{what}: done in {seconds:.1f} s")


@contextlib.contextmanager
def progress_bar(what: str) -> Iterator[Callable[[float, str], None]]:
    """Shows on stderr how far a task has come: a bar on a terminal, elsewhere a line now and then.

    It yields a function that takes the share that is done, 0 to 1, and a remark.
    """
    if verbosity() < 0:
        yield lambda share, more: None
        return
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        say = _seldom(functools.partial(_log_more, what))
        yield lambda share, more: say(f"{share:.0%}, {more}")
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=1.0)
        yield lambda share, more: progress.update(
            task, completed=share, description=f"{what}: {more}"
        )


def _log(text: str) -> None:
    click.echo(text, err=True)


def _log_more(what: str, more: str) -> None:
    _log(f"{what}: {more}")


def _update(status: Status, what: str, more: str) -> None:
    status.update(Text(f"{what}: {more}"))


def _seldom(show: Callable[[str], None], seconds: float = 10.0) -> Callable[[str], None]:
    """`show`, but silent until `seconds` after it last showed something."""
    last = time.monotonic()

    def say(more: str) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            show(more)

    return say


class _Listener(logging.Handler):
    """Passes progress messages on."""

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.INFO:
            self._show(record.getMessage())


@contextlib.contextmanager
def _listening(logger: logging.Logger, show: Callable[[str], None]) -> Iterator[None]:
    """Shows the INFO messages of `logger` and below while it lasts."""
    if verbosity() > 0:
        # They appear on stderr anyway.
        yield
        return
    handler, level = _Listener(show), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


path_argument = click.Path(path_type=str)
"""A file's name; whether it can be read is for the code that reads it, which knows more."""


def config_option(function: Callable[..., object]) -> Callable[..., object]:
    """The option ``--config``."""
    return click.option(
        "--config",
        "config_file",
        metavar="F",
        type=path_argument,
        help="A configuration file, or a preset's name (default: $VTA_CONFIG, else the "
        "package's vta_config.json).",
    )(function)
