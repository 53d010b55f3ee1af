"""`vta bench`: how many cycles things take on the RTL, against the bound of the machine."""

from __future__ import annotations

import functools
import importlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vta.cli.app import EXIT_DIFFERENCE, EXIT_MACHINE, complain
from vta.cli.memory_options import memory_model_options
from vta.cli.output import config_option, path_argument, print_table, step, thousands
from vta.config import Config
from vta.image import Image
from vta.sim.rtl.memory_model import MemoryModel

if TYPE_CHECKING:
    from vta.tools.bench.measure import MicroResult, StreamResult
    from vta.tools.bench.speed import Speed

__all__ = ["command"]


@dataclass(frozen=True)
class BenchOptions:
    config: Config
    model: MemoryModel
    only: str
    as_json: bool

    def wants(self, name: str) -> bool:
        return self.only.lower() in name.lower()


@click.command("bench", short_help="Measure cycles on the RTL against the machine's bounds.")
@click.argument("images", metavar="[IMAGE.npz]...", nargs=-1, type=path_argument)
@config_option
@memory_model_options
@click.option(
    "--only", metavar="TEXT", default="", help="Only the benchmarks whose name contains TEXT."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
@click.option(
    "--plot",
    metavar="FILE",
    type=path_argument,
    help="Draw the roofline of all streams: PNG, SVG or PDF, by the suffix.",
)
@click.option(
    "--speed", is_flag=True, help="Measure the simulators instead: simulated cycles per second."
)
@click.option(
    "--remote",
    is_flag=True,
    help="Measure sessions with a daemon on this computer instead, against bare sockets.",
)
@click.option(
    "--networks", is_flag=True, help="Measure whole networks instead; each takes about a minute."
)
@click.option(
    "--runs",
    metavar="N",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Runs of --speed, which gives the median, and of --remote, which gives the fastest.",
)
@click.option(
    "--page",
    metavar="FILE",
    type=path_argument,
    help="Write the tables of docs/performance.md again; each IMAGE gets a row.",
)
def command(
    images: tuple[str, ...],
    config_file: str | None,
    model: MemoryModel,
    only: str,
    as_json: bool,
    plot: str | None,
    speed: bool,
    remote: bool,
    networks: bool,
    runs: int,
    page: str | None,
) -> int:
    """Run microbenchmarks, the project's own streams, and memory images given as IMAGE on the
    simulated hardware, and compare the cycles of each with the bound

    \b
        max(GEMM operations, ALU cycles, bytes read / bus, bytes written / bus)

    A microbenchmark's cycles are the difference between two sizes. An image runs on a machine of
    its own configuration. Exit status: 0, or as for `vta replay` where a result differs (1) or the
    machine reports an error (3).

    Example: vta bench --plot roofline.png images/*.npz
    """
    options = BenchOptions(Config.load(config_file), model, only, as_json)
    _check_files(plot, page, speed or remote or networks)
    if networks:
        if images or speed or remote:
            raise click.UsageError("--networks takes no images, and no --speed or --remote")
        from vta.cli import network_table

        network_table.measure_and_print(options.config, model, only, as_json=as_json)
        return 0
    if remote:
        if images or speed:
            raise click.UsageError("--remote measures sessions, and takes no images and no --speed")
        from vta.cli.remote_table import measure_and_print

        measure_and_print(options.config, runs, as_json=as_json)
        return 0
    streams = [(Path(path).stem, Image.load(path)) for path in images]
    if page is not None:
        from vta.tools.bench.page import write

        with step("Measuring") as say:
            write(page, dict(streams), say)
        click.echo(f"{page}: written")
        return 0
    if speed:
        _speed(streams, options, runs)
        return 0
    micros = _micros(options)
    results = _streams(streams, options)
    if not micros and not results:
        raise click.UsageError(f"--only {only!r}: no benchmark has that in its name")
    if not as_json:
        _print(micros, results)
    if plot is not None:
        from vta.tools.bench import roofline

        roofline.plot(results, options.config, plot)
        click.echo(f"{plot}: written", err=as_json)
    return max([0, *(_status(result) for result in results)])


def _check_files(plot: str | None, page: str | None, instead: bool) -> None:
    """Refuses at once what would only fail after minutes of work."""
    from vta.tools.bench.roofline import SUFFIXES

    if instead and (plot is not None or page is not None):
        raise click.UsageError(
            "--speed cannot be combined with --plot or --page, nor can --remote or --networks"
        )
    for name, value in (("--plot", plot), ("--page", page)):
        if value is not None and not os.access(Path(value).absolute().parent, os.W_OK):
            raise click.UsageError(f"{name} {value}: its folder cannot be written")
    if page is not None and not Path(page).is_file():
        raise click.UsageError(
            f"--page {page}: does not exist; it must have the marks around the tables, "
            "as docs/performance.md does"
        )
    if plot is not None:
        if Path(plot).suffix.lower() not in SUFFIXES:
            raise click.UsageError(f"--plot {plot}: its name must end in {', '.join(SUFFIXES)}")
        importlib.import_module("matplotlib")


# -- measuring -----------------------------------------------------------------------------------


def _micros(options: BenchOptions) -> list[MicroResult]:
    from vta.tools.bench.measure import measure_micro
    from vta.tools.bench.micro import microbenchmarks

    results = []
    with step(f"Microbenchmarks of {options.config.bitstream}") as say:
        for micro in microbenchmarks(options.config):
            if not options.wants(micro.name):
                continue
            say(micro.name)
            results.append(measure_micro(micro, options.model))
            if options.as_json:
                click.echo(json.dumps(results[-1].record()))
    return results


def _streams(images: Sequence[tuple[str, Image]], options: BenchOptions) -> list[StreamResult]:
    from vta.tools.bench.kernels import BenchKernel, kernels
    from vta.tools.bench.layers import operator_kernels
    from vta.tools.bench.measure import measure_stream
    from vta.tools.bench.scaled_layers import scaled_kernels

    results = []
    todo: list[BenchKernel] = [
        *kernels(options.config),
        *operator_kernels(options.config),
        *(scaled_kernels(options.config) if options.config.requantises else ()),
        *(BenchKernel(name, functools.partial(_identity, image)) for name, image in images),
    ]
    for kernel in todo:
        name = kernel.name
        if not options.wants(name):
            continue
        with step(f"{name} on the RTL") as say:
            say("compiling")
            result = measure_stream(
                name,
                kernel.build(),
                options.model,
                functools.partial(_say_cycles, say),
                kernel.predicted() if kernel.predicted else None,
            )
        if options.as_json:
            click.echo(json.dumps(result.record()))
        if result.report.fault is not None:
            complain(f"{name}: the machine reported {result.report.fault}")
        elif result.match is False:
            complain(f"{name}: memory differs from what the image expects")
        results.append(result)
    return results


def _identity(image: Image) -> Image:
    return image


def _say_cycles(say: Callable[[str], None], done: int) -> None:
    say(f"{thousands(done)} cycles")


def _status(result: StreamResult) -> int:
    if result.report.fault is not None:
        return EXIT_MACHINE
    return EXIT_DIFFERENCE if result.match is False else 0


def _speed(images: Sequence[tuple[str, Image]], options: BenchOptions, runs: int) -> None:
    from vta.tools.bench.kernels import BenchKernel, speed_kernel
    from vta.tools.bench.speed import measure_speed

    if options.only and not any(options.wants(name) for name, _ in images):
        raise click.UsageError(
            f"--only {options.only!r}: with --speed it chooses among the images that are given"
        )
    todo = [
        BenchKernel(name, functools.partial(_identity, image))
        for name, image in images
        if options.wants(name)
    ] or [speed_kernel(options.config)]
    for kernel in todo:
        with step(f"{kernel.name} on both simulators") as say:
            result = measure_speed(kernel, options.model, runs=runs, progress=say)
        if options.as_json:
            click.echo(json.dumps(result.record()))
        else:
            _print_speed(result)


# -- showing -------------------------------------------------------------------------------------


def _print(micros: Sequence[MicroResult], results: Sequence[StreamResult]) -> None:
    if micros:
        print_table(
            f"Microbenchmarks, {micros[0].config.bitstream}, latency {micros[0].latency}",
            ("", "measured", "ideal", "", "cycles", "bound", "cycles / bound"),
            [
                (
                    result.name,
                    f"{result.figure:8.3f}",
                    f"{result.ideal:5g}",
                    result.unit,
                    result.cycles,
                    round(result.bound),
                    f"{result.ratio:6.3f}",
                )
                for result in micros
            ],
        )
    if results:
        print_table(
            f"Streams, latency {results[0].latency}",
            (
                "stream",
                "cycles",
                "bound",
                "by",
                "cycles / bound",
                "GEMM operations",
                "ALU cycles",
                "bytes read",
                "written",
                "instructions",
                "operations / cycle",
                "utilisation",
                "predicted",
            ),
            [_row(result) for result in results],
        )
        click.echo(
            "bound = max(GEMM operations, ALU cycles, bytes read / bus, bytes written / "
            "bus); GEMM operations\ninclude resets, bytes read the instructions; a "
            "multiply-accumulate is two operations. Utilisation is the share of the multipliers' "
            "cycles that are used.\nThe operator "
            "library's model\npredicts its cycles for a latency of 20."
        )


def _row(result: StreamResult) -> tuple[str | int | None, ...]:
    limit, fault = result.bound, result.report.fault
    return (
        result.name,
        result.cycles,
        limit.cycles if limit else None,
        f"error: {fault.cause}" if fault else limit.resource if limit else "",
        "" if result.ratio is None else f"{result.ratio:6.3f}",
        limit.gemm if limit else None,
        limit.alu if limit else None,
        result.read,
        result.written,
        result.report.instructions,
        f"{result.operations / result.cycles:7.2f}" if result.cycles else "",
        f"{100 * result.utilisation:5.1f} %",
        result.predicted,
    )


def _print_speed(speed: Speed) -> None:
    m, k, n = speed.product
    print_table(
        f"Speed on {speed.name}, {speed.config.bitstream}: medians of {speed.runs} runs",
        ("", "value", ""),
        [
            (
                "RTL simulator",
                f"{speed.cycles_per_second:13,.0f}",
                f"cycles a second ({speed.cycles:,} cycles in {speed.rtl:.3f} s)",
            ),
            ("", f"{speed.cycles / speed.rtl_processor:13,.0f}", "cycles a second on a processor"),
            (
                "",
                f"{speed.cycles_per_second * speed.calibration:13,.0f}",
                "cycles in the time of the calibration loop",
            ),
            (
                "functional simulator",
                f"{1000 * speed.functional:13.1f}",
                f"ms ({speed.macs:,} multiply-accumulates)",
            ),
            ("", f"{speed.functional / speed.calibration:13.3f}", "calibration loops"),
            ("", f"{speed.functional / speed.numpy:13.2f}", "times as long as NumPy's product"),
            ("NumPy", f"{1000 * speed.numpy:13.1f}", f"ms for float32 ({m}, {k}) @ ({k}, {n})"),
            ("calibration loop", f"{1000 * speed.calibration:13.1f}", "ms, run between the others"),
        ],
    )
    click.echo(
        "On the RTL nearly all time goes into the netlist, little of it into the memory "
        "model (docs/performance.md)."
    )
