"""The group of subcommands, and how every one of them ends."""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import os
import sys
import traceback
from typing import Any

import click

import vta
from vta.errors import MachineError, VtaError
from vta.extras import MODULES
from vta.processes import TERMINATED

__all__ = [
    "EXIT_BUG",
    "EXIT_DIFFERENCE",
    "EXIT_MACHINE",
    "EXIT_PIPE",
    "EXIT_USAGE",
    "cli",
    "complain",
    "run",
    "verbosity",
]

EXIT_DIFFERENCE = 1
EXIT_USAGE = 2
EXIT_MACHINE = 3
EXIT_BUG = 70
"""A defect of ours; a number that no result uses, so that a crash never reads as a difference."""

EXIT_PIPE = 141
"""What a shell shows for a process that SIGPIPE ended."""

COMMANDS = (
    "vadd",
    "quantize",
    "compile",
    "run",
    "verilog",
    "replay",
    "fuzz",
    "bench",
    "profile",
    "dis",
    "config",
    "export",
    "synth",
    "bitstream",
    "cache",
    "tvm",
    "serve",
    "boards",
    "flash",
    "board",
)

_state = {"verbosity": 0}


class LazyGroup(click.Group):
    """Imports a subcommand's module when the subcommand is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"vta.cli.{name}").command
        below = command.commands.values() if isinstance(command, click.Group) else ()
        for each in (command, *below):
            if not any(option.name == "verbose" for option in each.params):
                each.params += [_verbose(), _quiet()]
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(
                f"{error.message.rstrip('.')}; there are {', '.join(COMMANDS)}", ctx
            ) from None


def _count(ctx: click.Context, option: click.Parameter, count: int) -> None:
    _state["verbosity"] += count if option.name == "verbose" else -count
    _configure_logging()


def _verbose() -> click.Option:
    return click.Option(
        ["-v", "--verbose"],
        count=True,
        expose_value=False,
        callback=_count,
        help="Say more on stderr, tracebacks too; twice for debugging.",
    )


def _quiet() -> click.Option:
    return click.Option(
        ["-q", "--quiet"],
        count=True,
        expose_value=False,
        callback=_count,
        help="Say less on stderr: no progress.",
    )


def _show_version(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"vta {vta.__version__}")
        ctx.exit()


cli = LazyGroup(
    name="vta",
    help="VTA, the Versatile Tensor Accelerator: compile, simulate, inspect.\n\n"
    "Results go to stdout, progress and messages to stderr. Exit status: 0 success, "
    "1 a result differs, 2 bad input, 3 the machine reported an error.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    params=[
        _verbose(),
        _quiet(),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            help="Show the version and exit.",
        ),
    ],
)


def run(args: list[str]) -> int:
    """Runs one command line; returns the exit status."""
    _state["verbosity"] = 0
    try:
        result: Any = cli.main(args, prog_name="vta", standalone_mode=False)
        # What is still buffered must meet a closed pipe here, not at the interpreter's exit.
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return EXIT_USAGE
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        complain("interrupted")
        return 130
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "vta"
        # click adds guesses to what it says of an unknown option.
        unknown = isinstance(error, click.NoSuchOption)
        said = (error.message if unknown else error.format_message()).rstrip(".")
        complain(f"{said}{_what_there_is(error)} (see {path} --help)")
        return EXIT_USAGE
    except click.ClickException as error:
        complain(error.format_message())
        return EXIT_USAGE
    except MachineError as error:
        complain(str(error), error)
        return EXIT_MACHINE
    except VtaError as error:
        complain(str(error), error)
        return EXIT_USAGE
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, SystemExit) and error.code == TERMINATED:
            complain("terminated")
            return TERMINATED
        # Whoever read our output has enough, as in `vta dis ... | head`. click and rich meet it
        # first, as a rule, and make a SystemExit of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        complain(f"{named}{error.strerror or error}", error)
        return EXIT_USAGE
    except ModuleNotFoundError as error:
        extra = _extra_of(error.name)
        if extra is None:
            return _bug(error)
        complain(f"this needs {error.name}: pip install 'amaranth-vta[{extra}]'", error)
        return EXIT_USAGE
    except Exception as error:
        return _bug(error)


def _what_there_is(error: click.UsageError) -> str:
    """What could have been said instead of an unknown option or argument."""
    if error.ctx is None:
        return ""
    command = error.ctx.command
    if isinstance(error, click.NoSuchOption):
        options = [option for option in command.params if isinstance(option, click.Option)]
        return "; there are " + ", ".join(max(option.opts, key=len) for option in options)
    if "unexpected extra argument" in error.message:
        return "; the command is: " + " ".join(
            [error.ctx.command_path, *command.collect_usage_pieces(error.ctx)]
        )
    return ""


def verbosity() -> int:
    """How much to say: below 0 no progress, above 0 tracebacks."""
    return _state["verbosity"]


def _configure_logging() -> None:
    """Shows the libraries' messages on stderr, as much as was asked for."""
    levels = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}
    level = levels[max(-1, min(verbosity(), 2))]
    logging.basicConfig(level=level, stream=sys.stderr, format="%(name)s: %(message)s", force=True)
    # A logger below that lets more through for its own handler must not reach this one.
    logging.getLogger().handlers[0].setLevel(level)


def _bug(error: Exception) -> int:
    hint = "" if verbosity() > 0 else " (-v shows the traceback)"
    complain(f"unexpected {type(error).__name__}: {error}{hint}", error)
    return EXIT_BUG


def complain(message: str, error: Exception | None = None) -> None:
    """One line on stderr; with -v the traceback of `error` before it, and all of the message."""
    if error is not None and verbosity() > 0:
        traceback.print_exception(error)
    lines = message.splitlines() or [""]
    more = "" if len(lines) == 1 or verbosity() > 0 else " ... (-v shows the rest)"
    text = message if verbosity() > 0 else lines[0]
    click.echo(f"vta: {text}{more}", err=True)


def _extra_of(package: str | None) -> str | None:
    """The extra of ours that installs an importable package."""
    name = (package or "").split(".")[0]
    return next((extra for extra, modules in MODULES.items() if name in modules), None)
