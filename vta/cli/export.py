"""`vta export`: a saved program as a memory image, or in the form that the C runtime loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from vta.cli.output import path_argument, step
from vta.driver.c.flat_program import to_flat
from vta.driver.program_image import to_image
from vta.errors import ArgumentError
from vta.files import replacing
from vta.program import Program

__all__ = ["command"]


@click.command("export", short_help="Make a memory image, or a file for C, of a saved program.")
@click.argument("program", metavar="PROGRAM", type=path_argument)
@click.option(
    "-o", "--output", metavar="IMAGE", type=path_argument, required=True, help="Where to write it."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["image", "bin"]),
    default="image",
    show_default=True,
    help="A memory image for `vta replay`, or the flat form that the C runtime loads.",
)
@click.option(
    "--arg",
    "args",
    metavar="NAME=F.npy",
    multiple=True,
    help="Values of an input (default: random).",
)
@click.option("--seed", type=click.IntRange(0), help="Seed of what is random (default: 0).")
@click.option(
    "--expect",
    is_flag=True,
    help="Run it on the functional simulator, and make the result the expectation.",
)
def command(
    program: str, output: str, form: str, args: tuple[str, ...], seed: int | None, expect: bool
) -> None:
    """Lay out the buffers of a saved program in memory, fill its inputs, and write the whole as a
    memory image for `vta replay`. Outputs hold random bytes before the run.

    With --format bin, write the program alone, in the flat form that the C runtime loads.

    \b
    Example: vta export vadd.o -o vadd.npz --expect
             vta export vadd.o -o vadd.bin --format bin
    """
    loaded = Program.load(program)
    if form == "bin":
        if args or expect or seed is not None:
            raise click.UsageError("--format bin takes no --arg, --seed and --expect")
        data = to_flat(loaded)
        with replacing(output) as partial:
            partial.write_bytes(data)
        click.echo(f"{output}: {loaded.name}, {len(data):,} bytes")
        return
    image = to_image(loaded, dict(_read_argument(arg) for arg in args), seed=seed or 0)
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
