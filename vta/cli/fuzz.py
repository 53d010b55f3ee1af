"""`vta fuzz`: random programs on the RTL, the functional simulator and a plain interpreter."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vta.cli.app import EXIT_DIFFERENCE
from vta.cli.output import print_table, progress_bar, step, thousands
from vta.config import Config

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from vta.tools.fuzz.campaign import Tally
    from vta.tools.fuzz.trial import Difference

__all__ = ["command"]

PROGRAMS = 1000


@click.command("fuzz", short_help="Compare random programs on the RTL and two simulators.")
@click.option(
    "--programs",
    metavar="N",
    type=click.IntRange(1),
    help=f"Stop after at least N programs (default: {PROGRAMS}).",
)
@click.option(
    "--minutes", metavar="M", type=click.FloatRange(0, min_open=True), help="Stop after M minutes."
)
@click.option(
    "--seed", metavar="S", type=click.IntRange(0), default=0, help="Another seed, other programs."
)
@click.option(
    "--config",
    "names",
    metavar="NAME",
    multiple=True,
    help="A preset, an odd configuration, or a file; several times for several (default: twelve).",
)
@click.option(
    "--jobs",
    metavar="J",
    type=click.IntRange(1),
    help="Batches at a time (default: as many as there are processors).",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Run on the Dask cluster with this scheduler, for example tcp://10.0.0.1:8786.",
)
@click.option(
    "--output",
    metavar="FOLDER",
    type=click.Path(file_okay=False, writable=True, path_type=str),
    default="build/fuzz",
    show_default=True,
    help="Where memory images of differences go.",
)
def command(
    programs: int | None,
    minutes: float | None,
    seed: int,
    names: tuple[str, ...],
    jobs: int | None,
    scheduler: str | None,
    output: str,
) -> int:
    """Run random programs and compiled random schedules on the RTL, on the functional simulator in
    two interleavings, and on an interpreter of one instruction after the other. Memory is slow,
    stalls and answers out of order; some programs have an error, some are reset in mid-run.

    A difference is made small and written as a memory image for `vta replay`. Exit status: 0 no
    difference, 1 a difference.

    Example: vta fuzz --config tiny --programs 100 --seed 7
    """
    from vta.tools.fuzz.campaign import Until, campaign

    if programs is None and minutes is None:
        programs = PROGRAMS
    until = Until(programs, None if minutes is None else minutes * 60)
    configs = _configs(names)
    if scheduler is None:
        _build_simulators(configs)
    lines: list[str] = []
    with contextlib.ExitStack() as stack:
        pool, jobs = stack.enter_context(_pool(scheduler, jobs))
        show = stack.enter_context(progress_bar("random programs"))

        def report(tally: Tally, share: float) -> None:
            show(share, f"{thousands(tally.launches)}, {_differences(tally)}")
            # At once: a campaign may be interrupted.
            for number in range(len(lines), len(tally.differences)):
                lines.append(_save(Path(output), number, seed, tally.differences[number]))

        tally = campaign(configs, seed=seed, until=until, pool=pool, jobs=jobs, report=report)
    _print_coverage(tally, configs)
    _print_totals(tally, configs)
    for line in lines:
        click.echo(line)
    return EXIT_DIFFERENCE if tally.differences else 0


def _configs(names: Sequence[str]) -> dict[str, Config]:
    from vta.tools.fuzz.configurations import CAMPAIGN, CONFIGURATIONS

    return {
        name: CONFIGURATIONS[name] if name in CONFIGURATIONS else Config.load(name)
        for name in names or CAMPAIGN
    }


def _build_simulators(configs: dict[str, Config]) -> None:
    """Builds what is not in the cache, so that processes need not wait for one another."""
    from vta.sim.memory import Memory
    from vta.sim.rtl.memory_model import MemoryModel
    from vta.tools.fuzz.trial import make_rtl

    for name, config in configs.items():
        with step(f"the simulator of {name}"), Memory(config.addr_width) as memory:
            make_rtl(config, memory, MemoryModel()).close()


@contextlib.contextmanager
def _pool(scheduler: str | None, jobs: int | None) -> Iterator[tuple[Executor | None, int]]:
    """What runs batches, None for this process, and how many at a time."""
    from vta.tools.fuzz.campaign import cluster_pool, local_pool

    if scheduler is not None:
        with cluster_pool(scheduler) as (pool, threads):
            yield pool, jobs or threads
        return
    jobs = jobs or os.cpu_count() or 1
    if jobs == 1:
        yield None, 1
        return
    with local_pool(jobs) as pool:
        yield pool, jobs


def _print_coverage(tally: Tally, configs: dict[str, Config]) -> None:
    from vta.tools.fuzz.coverage import rows

    every = rows(configs.values())
    print_table(
        "what the programs reached",
        ("group", "what", "times"),
        [(group, name, tally.covered[group, name]) for group, name in every],
    )
    empty = [name for group, name in every if not tally.covered[group, name]]
    if empty:
        click.echo(f"{thousands(len(empty))} rows are empty: {'; '.join(empty)}")


def _print_totals(tally: Tally, configs: dict[str, Config]) -> None:
    rate = tally.launches / tally.seconds * 60 if tally.seconds else 0
    click.echo(
        f"{thousands(tally.launches)} programs on {len(configs)} configurations, "
        f"{thousands(tally.errors)} of them with an error and {thousands(tally.resets)} reset in "
        f"mid-run, {thousands(round(rate))} a minute and processor: "
        f"{_differences(tally)}"
    )


def _differences(tally: Tally) -> str:
    found = len(tally.differences)
    return "1 difference" if found == 1 else f"{thousands(found)} differences"


def _save(folder: Path, number: int, seed: int, difference: Difference) -> str:
    """Writes the image of a difference, if it has one, and says how to see it again."""
    import dataclasses

    from vta.tools.fuzz.random_cases import memory_end

    case, model = difference.case, difference.case.model
    end = memory_end(case)
    text = difference.text + (f" (memory ends at {end:#x})" if end else "")
    found = f"{case.name}, case {case.number}: {text}"
    if difference.image is None:
        return f"{found}\n  draw_case({seed}, ...) of vta.tools.fuzz.random_cases draws it again"
    options = f"--target tsim --latency {model.latency} --write-response {model.write_response}"
    for option, value in (
        ("outstanding", model.outstanding),
        ("stalls", model.stall_seed),
        ("reorder", model.order_seed),
    ):
        options += f" --{option} {value}" if value is not None else ""
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", Path(case.name).stem)
    path = folder / f"{name}-{seed}-{case.number}-{number}.npz"
    description = (
        f"vta fuzz --seed {seed} --config {case.name}, case {case.number}, launch "
        f"{difference.launch} of the smallest case: {text}; replay with {options}"
    )
    dataclasses.replace(difference.image, description=description).save(path)
    return f"{found}\n  {difference.insns} instructions: vta replay {options} {path}"
