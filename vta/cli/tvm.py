"""`vta tvm`: runs a script that was written for TVM's VTA back end."""

from __future__ import annotations

import click

from vta.cli.app import EXIT_MACHINE, EXIT_USAGE, complain
from vta.cli.output import config_option, path_argument
from vta.config import TARGETS, Config
from vta.errors import MachineError

__all__ = ["command"]


@click.command(
    "tvm",
    short_help="Run a Python script written for TVM's VTA back end.",
    context_settings={"allow_interspersed_args": False},
)
@click.argument("script", metavar="SCRIPT", type=path_argument)
@click.argument("args", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
@config_option
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    help="Where it runs (default: the configuration's TARGET). Boards are found by VTA_RPC_HOST.",
)
def command(script: str, args: tuple[str, ...], config_file: str | None, target: str | None) -> int:
    """Run a script that imports `tvm` and `vta` as it is, without TVM: for this process those of
    TVM's names that VTA's scripts use lead to this project's own compiler and devices. All that
    follows SCRIPT is the script's. Of a notebook (.ipynb) the code cells are run.

    Exit status: the script's own; 1 with a traceback for what it does not catch; 2 and 3, with one
    line, for an error of this project's.

    Example: vta tvm --target tsim matrix_multiply.py
    """
    import vta
    from vta.tvm.script import ScriptError, run_script

    config = Config.load(config_file)
    if target is not None:
        config = config.replace(target=target)
    try:
        with vta.Environment(config):
            return run_script(script, args)
    except ScriptError as error:
        complain(str(error), error.cause)
        return EXIT_MACHINE if isinstance(error.cause, MachineError) else EXIT_USAGE
