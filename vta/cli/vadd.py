"""`vta vadd`: the tutorial's vector add, compiled, run on both simulators, and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import numpy as np

from vta.cli.app import EXIT_DIFFERENCE
from vta.cli.output import config_option, print_table, step, thousands
from vta.config import SIMULATED_TARGETS, Config

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vta.driver.module import Module

__all__ = ["command"]

ROWS = (
    "digest of the program",
    "result against NumPy",
    "cycles",
    "bytes loaded",
    "bytes stored",
    "instructions",
)


@click.command("vadd", short_help="Compile a vector add, run it on both simulators, check it.")
@config_option
@click.option(
    "--target",
    "targets",
    type=click.Choice(SIMULATED_TARGETS),
    multiple=True,
    help="Only this target; may be given twice (default: both).",
)
@click.option(
    "--tiles",
    type=click.IntRange(1, 1 << 16),
    default=64,
    show_default=True,
    help="Length of the vectors, in tiles.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of the random operands.",
)
def command(config_file: str | None, targets: tuple[str, ...], tiles: int, seed: int) -> int:
    """Compile the tutorial's vector add from a tensor expression and a schedule, run it on the
    functional simulator and on the RTL, and compare both with NumPy.

    The first run generates the Verilog and builds the simulator, which takes a minute or two; they
    are kept in the cache. Exit status 1 if a result differs.

    Example: vta vadd --config tiny
    """
    import vta
    from vta.testing.programs import vector_add

    config = Config.load(config_file)
    env = vta.Environment(config)
    with env, step(f"Compiling the vector add for {config.bitstream}"):
        schedule, args = vector_add(env, m=tiles)
        module = vta.build(schedule, args, env.target, name="vadd")
    shape = module.program.args[0].shape
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(-128, 128, shape).astype(np.int32) for _ in range(2))
    expected = (a + b).astype(np.int8)
    columns: dict[str, tuple[str, ...]] = {}
    wrong = False
    for target in dict.fromkeys(targets or SIMULATED_TARGETS):
        with step(f"Running it on {target}"):
            result, stats = _run(config.replace(target=target), module, a, b)
        differing = int((result != expected).sum())
        wrong |= differing > 0
        columns[target] = (
            module.program.digest[:16],
            f"{thousands(differing)} of {thousands(result.size)} differ"
            if differing
            else f"all {thousands(result.size)} equal",
            *map(
                thousands,
                (
                    stats.get("cycle_count"),
                    sum(count for key, count in stats.items() if key.endswith("_load_nbytes")),
                    stats["out_store_nbytes"],
                    sum(count for key, count in stats.items() if key.endswith("_insns")),
                ),
            ),
        )
    print_table(
        f"Vector add of {thousands(a.size)} values, {config.bitstream}",
        ("target", *columns),
        list(zip(ROWS, *columns.values(), strict=True)),
    )
    return EXIT_DIFFERENCE if wrong else 0


def _run(
    config: Config, module: Module, a: NDArray[np.int32], b: NDArray[np.int32]
) -> tuple[NDArray[Any], dict[str, int]]:
    """Saves, uploads, loads and calls the program; its result, and what the device counted."""
    from vta import nd
    from vta.driver.session import Session
    from vta.testing import utils

    with Session(config) as remote, utils.tempdir() as folder:
        module.save(folder.relpath("vadd.o"))
        remote.upload(folder.relpath("vadd.o"))
        function = remote.load_module("vadd.o")
        ctx = remote.ext_dev(0)
        out = nd.array(np.zeros(a.shape, np.int8), ctx)
        function(nd.array(a, ctx), nd.array(b, ctx), out)
        return out.numpy(), remote.machine.statistics()
