"""`vta export`: a saved program as a memory image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from vta.cli.output import path_argument, step
from vta.driver.program_image import to_image
from vta.errors import ArgumentError
from vta.program import Program

__all__ = ["command"]


@click.command("export", short_help="Make a memory image of a saved program.")
@click.argument("program", metavar="PROGRAM", type=path_argument)
@click.option(
    "-o",
    "--output",
    metavar="IMAGE",
    type=path_argument,
    required=True,
    help="Where to write the image.",
)
@click.option(
    "--arg",
    "args",
    metavar="NAME=F.npy",
    multiple=True,
    help="Values of an input (default: random).",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of what is random."
)
@click.option(
    "--expect",
    is_flag=True,
    help="Run it on the functional simulator, and make the result the expectation.",
)
def command(program: str, output: str, args: tuple[str, ...], seed: int, expect: bool) -> None:
    """Lay out the buffers of a saved program in memory, fill its inputs, and write the whole as a
    memory image for `vta replay`. Outputs hold random bytes before the run.

    Example: vta export vadd.o -o vadd.npz --expect
    """
    loaded = Program.load(program)
    image = to_image(loaded, dict(_read_argument(arg) for arg in args), seed=seed)
    if expect:
        from vta.errors import MachineError
        from vta.sim.functional.functional_machine import FunctionalMachine
        from vta.sim.replay import replay

        with step("Running it on sim"):
            result = replay(image, FunctionalMachine)
        if result.report.fault is not None:
            raise MachineError(result.report.fault)
        image = result.to_image()
    image.save(output)
    click.echo(f"{output}: {image.description}")


def _read_argument(text: str) -> tuple[str, NDArray[Any]]:
    name, separator, path = text.partition("=")
    if not separator or not name or not path:
        raise click.UsageError(f"--arg must be NAME=F.npy, not {text!r}")
    try:
        values = np.load(Path(path), allow_pickle=False)
    except OSError as error:
        raise ArgumentError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, EOFError):
        raise ArgumentError(f"{path}: not a .npy file, or a damaged one") from None
    if not isinstance(values, np.ndarray):
        raise ArgumentError(f"{path}: must be one array (.npy), not an archive")
    return name, values
