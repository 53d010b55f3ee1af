"""`vta profile`: where the cycles of a program went."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vta.cli.app import EXIT_DIFFERENCE, EXIT_MACHINE
from vta.cli.inputs import load_any
from vta.cli.memory_options import memory_model_options
from vta.cli.output import path_argument, print_table, step, thousands
from vta.files import replacing
from vta.image import Image
from vta.sim.rtl.memory_model import MemoryModel

if TYPE_CHECKING:
    from vta.sim.profile.diagnosis import Diagnosis
    from vta.sim.profile.profile import ModuleProfile, Profile, Span

__all__ = ["command"]

PICTURES = (".png", ".svg")

SHOWN = 0.0005
"""The smallest part of the cycles that the table names: less would read 0.0 %."""


def _window(
    context: click.Context, option: click.Parameter, text: str | None
) -> tuple[int, int] | None:
    first, _, last = (text or "").partition(":")
    if text is None:
        return None
    if not (first.isdecimal() and last.isdecimal() and int(first) < int(last)):
        raise click.BadParameter(f"must be two cycles, FIRST:LAST, not {text!r}")
    return int(first), int(last)


@click.command("profile", short_help="Show where the cycles of a program went.")
@click.argument("file", metavar="PROGRAM|IMAGE", type=path_argument)
@memory_model_options
@click.option("--max-cycles", metavar="N", type=click.IntRange(1), help="Stop after N cycles.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of a program's inputs.",
)
@click.option(
    "--top",
    metavar="N",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="How many of the slowest instructions to show.",
)
@click.option(
    "--trace",
    metavar="F.json",
    type=path_argument,
    help="Write a timeline of every instruction as a Chrome trace, for Perfetto.",
)
@click.option(
    "--plot",
    metavar="F.png|F.svg",
    type=path_argument,
    help="Draw the timeline (needs matplotlib).",
)
@click.option(
    "--window",
    metavar="FIRST:LAST",
    callback=_window,
    help="Draw these cycles only, such as 0:30000.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(
    file: str,
    model: MemoryModel,
    max_cycles: int | None,
    seed: int,
    top: int,
    trace: str | None,
    plot: str | None,
    window: tuple[int, int] | None,
    as_json: bool,
) -> int:
    """Run a saved program, or a memory image, on the RTL, and show where its cycles went: for each
    module how long it was busy, waited for a token (of which queue), waited for memory, and was
    idle; the slowest instructions; what limits the run. Inputs of a program are random.

    l2g, g2l, g2s and s2g are the token queues from load to compute (g), from compute to load, from
    compute to store, from store to compute. In a trace one microsecond is one cycle.

    Exit status: 0, 1 memory differs from what the image expects, 2 a bad file, 3 the machine
    reported an error (the figures then show how far it came).

    Example: vta profile vadd.npz --trace vadd.json --plot vadd.png
    """
    _check_outputs(trace, plot)
    if window is not None and plot is None:
        raise click.UsageError("--window needs --plot")
    # What is missing is better said before a long run than after it.
    draw = None if plot is None else _painter()
    from vta.driver.verilog_cache import simulated_verilog
    from vta.sim.profile.diagnosis import verdict
    from vta.sim.profile.profile import profile

    image = _image(file, seed)
    with step(f"{Path(file).name} on tsim") as say:
        found = profile(
            image,
            simulated_verilog(image.config),
            model=model,
            max_cycles=max_cycles,
            progress=lambda done: say(f"{thousands(done)} cycles"),
        )
    limit = verdict(found)
    if trace is not None:
        from vta.sim.profile.timeline import chrome_trace

        with replacing(trace) as partial:
            partial.write_text(json.dumps(chrome_trace(found, Path(file).name)), encoding="utf-8")
    if plot is not None and draw is not None:
        with step(f"Drawing {plot}"):
            draw(
                found,
                plot,
                title=f"{Path(file).name}: {thousands(found.cycles)} cycles",
                note=limit.text,
                window=window,
            )
    if as_json:
        click.echo(json.dumps(_record(file, found, limit, top)))
    else:
        _print(file, found, limit, top)
    assert found.replay is not None
    if found.replay.report.fault is not None:
        return EXIT_MACHINE
    return EXIT_DIFFERENCE if found.replay.match is False else 0


def _check_outputs(trace: str | None, plot: str | None) -> None:
    for name, value in (("--trace", trace), ("--plot", plot)):
        if value is not None and not os.access(Path(value).absolute().parent, os.W_OK):
            raise click.UsageError(f"{name} {value}: its folder cannot be written")
    if plot is not None and Path(plot).suffix.lower() not in PICTURES:
        raise click.UsageError(f"--plot must end in .png or .svg, not {Path(plot).name!r}")


def _painter() -> Callable[..., None]:
    from vta.sim.profile.timeline_plot import plot_timeline

    return plot_timeline


def _image(file: str, seed: int) -> Image:
    loaded = load_any(file)
    if isinstance(loaded, Image):
        return loaded
    from vta.driver.program_image import to_image

    return to_image(loaded, seed=seed)


# -- what it shows -------------------------------------------------------------------------------


def _print(file: str, found: Profile, limit: Diagnosis, top: int) -> None:
    assert found.replay is not None
    print_table(
        f"{Path(file).name}: {thousands(found.cycles)} cycles",
        ("module", "instructions", "busy", "waits: token", "waits: memory", "idle", "of which"),
        [_row(module) for module in found.modules.values()],
    )
    beats = {direction: found.beats(direction) for direction in ("read", "write")}
    click.echo(
        "bus       "
        + ", ".join(
            f"{direction} busy {_share(count, found.cycles)} "
            f"({thousands(count * found.bus_bytes)} bytes)"
            for direction, count in beats.items()
        )
    )
    click.echo()
    spans = [span for span in found.slowest(top) if span.cycles]
    if spans:
        print_table(
            "The slowest instructions, by cycles from issue to retirement "
            "(sram, dram, size and stride count elements)",
            ("cycles", "issue", "retire", "index", "instruction"),
            [
                (span.cycles, span.issue, span.retire, span.insn.index, str(span.insn))
                for span in spans
            ],
        )
    click.echo(limit.text)
    report = found.replay.report
    if report.fault is not None:
        click.echo(f"{Path(file).name}: the machine reported {report.fault}")
    if found.replay.difference:
        click.echo(f"{Path(file).name}: {found.replay.difference}")


def _row(module: ModuleProfile) -> tuple[str | int, ...]:
    cycles, busy, waits = module.cycles, module.busy(), module.wait_token()
    parts = [
        ", ".join(
            f"{name} {_share(count, cycles)}"
            for name, count in sorted(states.items(), key=lambda item: -item[1])
            if count / cycles >= SHOWN
        )
        for states in (busy, waits)
    ]
    return (
        module.name,
        len(module.spans),
        *(
            _cell(count, cycles)
            for count in (sum(busy.values()), sum(waits.values()), module.wait_memory, module.idle)
        ),
        "; ".join(part for part in parts if part),
    )


def _cell(count: int, cycles: int) -> str:
    width = len(thousands(cycles))
    return f"{thousands(count):>{width}} {_share(count, cycles):>7}"


def _share(count: int, cycles: int) -> str:
    return f"{100 * count / max(1, cycles):.1f} %"


def _record(file: str, found: Profile, limit: Diagnosis, top: int) -> dict[str, Any]:
    result = found.replay
    assert result is not None
    fault = result.report.fault
    return {
        "file": file,
        "cycles": found.cycles,
        "match": result.match,
        "error": None
        if fault is None
        else {"cause": fault.cause, "module": fault.module, "insn_index": fault.insn_index},
        "verdict": limit.kind,
        "text": limit.text,
        "shares": dataclasses.asdict(limit.shares),
        "modules": {
            module.name: {
                "instructions": len(module.spans),
                "busy": module.busy(),
                "wait_token": module.wait_token(),
                "wait_memory": module.wait_memory,
                "idle": module.idle,
            }
            for module in found.modules.values()
        },
        "bus": {f"{direction}_beats": found.beats(direction) for direction in ("read", "write")}
        | {"beat_bytes": found.bus_bytes},
        "slowest": [_span(span) for span in found.slowest(top)],
    }


def _span(span: Span) -> dict[str, Any]:
    return {
        "index": span.insn.index,
        "insn": str(span.insn),
        "issue": span.issue,
        "retire": span.retire,
        "cycles": span.cycles,
    }
