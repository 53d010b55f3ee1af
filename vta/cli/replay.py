"""`vta replay`: runs memory images on a simulator and compares memory afterwards."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from vta.cli.app import EXIT_DIFFERENCE, EXIT_MACHINE, EXIT_USAGE, complain
from vta.cli.memory_options import MEMORY_OPTIONS, memory_model_options
from vta.cli.output import path_argument, print_table, step, thousands
from vta.config import SIMULATED_TARGETS
from vta.errors import ImageError, MachineError
from vta.image import Image
from vta.sim.replay import ReplayResult, replay
from vta.sim.rtl.memory_model import MemoryModel

if TYPE_CHECKING:
    from vta.config import Config
    from vta.sim.machine import Machine
    from vta.sim.memory import Memory

__all__ = ["command"]


@dataclass(frozen=True)
class ReplayOptions:
    target: str
    model: MemoryModel
    max_cycles: int | None
    waves: Path | None


@click.command("replay", short_help="Run memory images and compare memory afterwards.")
@click.argument("images", metavar="IMAGE.npz...", nargs=-1, required=True, type=path_argument)
@click.option(
    "--target",
    type=click.Choice(SIMULATED_TARGETS),
    default="sim",
    show_default=True,
    help="The functional simulator, or the RTL.",
)
@memory_model_options
@click.option(
    "--max-cycles",
    metavar="N",
    type=click.IntRange(1),
    help="Stop after N cycles (sim: N instructions, tiles and elements).",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
@click.option(
    "--save",
    metavar="AFTER.npz",
    type=path_argument,
    help="Write the image with what memory became as its expectation.",
)
@click.option("--waves", metavar="F.fst", type=path_argument, help="Write a waveform (RTL).")
def command(
    images: tuple[str, ...],
    target: str,
    model: MemoryModel,
    max_cycles: int | None,
    as_json: bool,
    save: str | None,
    waves: str | None,
) -> int:
    """Run memory images one after the other, each on a machine as after power-on and of the image's
    own configuration, and compare memory with what the image expects.

    Exit status: 0 all match (or expect nothing), 1 a difference, 2 a bad file, 3 the machine
    reported an error; over several images, the highest.

    Example: vta replay --target tsim --stalls 7 --json vadd.npz
    """
    for name, value in (("--save", save), ("--waves", waves)):
        if value is not None and len(images) > 1:
            raise click.UsageError(f"{name} takes one image, not {len(images)}")
        if value is not None and not os.access(Path(value).absolute().parent, os.W_OK):
            raise click.UsageError(f"{name} {value}: its folder cannot be written")
    if target != "tsim":
        source_of = click.get_current_context().get_parameter_source
        for name in ("waves", *MEMORY_OPTIONS):
            if source_of(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--{name.replace('_', '-')} needs --target tsim")
    options = ReplayOptions(target, model, max_cycles, Path(waves).absolute() if waves else None)
    status, rows = 0, []
    for path in images:
        try:
            result = _replay(path, options)
        except MachineError as error:
            # The run that makes `tokens_before` failed.
            complain(f"{path}: {error}", error)
            status = max(status, EXIT_MACHINE)
            continue
        except ImageError as error:
            complain(str(error), error)
            status = max(status, EXIT_USAGE)
            continue
        status = max(status, _status(result))
        if save is not None:
            result.to_image().save(save)
        if as_json:
            click.echo(json.dumps(_record(path, result)))
        else:
            rows.append((path, result))
    if rows:
        _print(rows)
    return status


def _replay(path: str, options: ReplayOptions) -> ReplayResult:
    image = Image.load(path)
    make_machine = _factory(options)
    unit = "cycles" if options.target == "tsim" else "instructions"
    with step(f"{Path(path).name} on {options.target}") as say:
        return replay(
            image,
            make_machine,
            max_cycles=options.max_cycles,
            progress=lambda done: say(f"{thousands(done)} {unit}"),
        )


def _factory(options: ReplayOptions) -> Callable[[Config, Memory], Machine]:
    def make(config: Config, memory: Memory) -> Machine:
        if options.target == "sim":
            from vta.sim.functional.functional_machine import FunctionalMachine

            return FunctionalMachine(config, memory)
        from vta.driver.verilog_cache import simulated_verilog
        from vta.sim.rtl.rtl_machine import RtlMachine

        return RtlMachine(
            config, simulated_verilog(config), memory, model=options.model, waves=options.waves
        )

    return make


def _status(result: ReplayResult) -> int:
    if result.report.fault is not None:
        return EXIT_MACHINE
    return EXIT_DIFFERENCE if result.match is False else 0


def _record(path: str, result: ReplayResult) -> dict[str, Any]:
    report, fault = result.report, result.report.fault
    return {
        "image": path,
        "target": report.target,
        "cycles": report.cycles,
        "instructions": report.instructions,
        "match": result.match,
        "difference": result.difference,
        "error": None
        if fault is None
        else {
            "cause": fault.cause,
            "module": fault.module,
            "insn_index": fault.insn_index,
            "insn": fault.insn,
            "detail": fault.detail,
            "waiting": list(fault.waiting),
        },
        "stats": dict(report.stats),
        "counters": dict(report.counters),
    }


def _print(results: list[tuple[str, ReplayResult]]) -> None:
    verdicts = {True: "match", False: "differs", None: "no expectation"}
    print_table(
        "",
        (
            "image",
            "target",
            "result",
            "cycles",
            "instructions",
            "bytes read",
            "written",
            "GEMM tiles",
            "reset",
            "ALU",
        ),
        [
            (
                Path(path).name,
                result.report.target,
                f"error: {result.report.fault.cause}"
                if result.report.fault
                else verdicts[result.match],
                result.report.cycles,
                result.report.instructions,
                sum(
                    result.report.stats[f"{name}_load_nbytes"]
                    for name in ("uop", "inp", "wgt", "acc")
                ),
                result.report.stats["out_store_nbytes"],
                result.report.stats["gemm_counter"],
                result.report.stats["reset_counter"],
                result.report.stats["alu_counter"],
            )
            for path, result in results
        ],
    )
    for path, result in results:
        if result.report.fault:
            click.echo(f"{Path(path).name}: the machine reported {result.report.fault}")
        if result.difference:
            click.echo(f"{Path(path).name}: {result.difference}")
    total = len(results)
    matching = sum(result.match is True and not result.report.fault for _, result in results)
    if total > 1:
        click.echo(f"{thousands(matching)} of {thousands(total)} images match")
