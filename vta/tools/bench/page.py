"""The tables of `docs/performance.md`: cycles, so that every computer writes the same page."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vta.config import PRESETS, Config
from vta.errors import MachineError, VtaError
from vta.files import replacing
from vta.image import Image
from vta.sim.rtl.memory_model import MemoryModel
from vta.tools.bench.kernels import BenchKernel, kernels
from vta.tools.bench.layers import RESNET, accumulator_cycles, operator_kernels
from vta.tools.bench.measure import MicroResult, StreamResult, measure_micro, measure_stream
from vta.tools.bench.micro import microbenchmarks
from vta.tools.bench.scaled_layers import MOBILENET, scaled_kernels

__all__ = ["BEGIN", "END", "TARGETS", "RequiredFigure", "tables", "write"]

BEGIN = "<!-- Written by `make performance`; change vta/tools/bench/page.py instead. -->"
END = "<!-- End of what `make performance` writes. -->"

LATENCIES = (20, 100)
RESNET_LIMIT, ADD_LIMIT = 2_850_000, 80_000
"""Cycles that all of ResNet-18's layers together, and a residual addition, may take."""
SCALED_RESNET_LIMIT, MOBILENET_LIMIT = 2_680_000, 3_600_000
"""The same of ResNet-18 and MobileNetV2 with real scales."""
PATIENT = ("conv2d_c8", "matmul_256x1024x128")
"""The first of these that there is must not get slower where memory's latency is longer."""
OTHERS = tuple(name for name in PRESETS if name != "default")
"""The presets whose rates are shown beside the default's."""

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class RequiredFigure:
    """A figure that the machine must reach: `limit` is a ceiling, or with `floor` a floor."""

    name: str
    reference: str
    limit: float
    floor: bool = False

    @property
    def text(self) -> str:
        return f"{'≥' if self.floor else '≤'} {self.limit:,}"

    def met(self, value: float) -> bool:
        # A slope over some thousand cycles: what the table shows is what counts.
        shown = round(value, 3)
        return shown >= self.limit if self.floor else shown <= self.limit


TARGETS = (
    RequiredFigure("GEMM, consecutive destinations", "1.000", 1.0),
    RequiredFigure("GEMM, same destination", "1.000", 1.0),
    RequiredFigure("GEMM, any indices", "1.000", 1.0),
    RequiredFigure("ALU immediate, consecutive destinations", "1.0", 1.0),
    RequiredFigure("ALU immediate, same destination", "1.0, wrong result", 1.0),
    RequiredFigure("ALU register", "2.0", 2.0),
    RequiredFigure("ALU register, source is the destination before", "2.0, wrong result", 2.0),
    RequiredFigure("ALU register, one source", "2.0", 1.0),
    RequiredFigure("LOAD INP, contiguous", "8.00", 7.95, floor=True),
    RequiredFigure("LOAD WGT, contiguous", "8.00", 7.95, floor=True),
    RequiredFigure("LOAD ACC, contiguous", "8.00", 7.95, floor=True),
    RequiredFigure("LOAD INP, rows of 56 padded 1 + 1", "7.86", 7.8, floor=True),
    RequiredFigure("STORE, contiguous", "5.31", 7.8, floor=True),
    RequiredFigure("STORE, rows of 64", "5.25", 7.5, floor=True),
    RequiredFigure("vadd", "1,472", 1_400),
    RequiredFigure("matrix_multiply", "9,655", 9_400),
    RequiredFigure("gemm_128", "19,746", 18_900),
    RequiredFigure("dense128", "850,447", 720_000),
    RequiredFigure("conv2d_c8", "476,734", 472_000),
    RequiredFigure("conv2d_c10", "41,472", 38_500),
)
"""At the default configuration, latency 20; the reference is the last RTL of VTA's authors."""


def write(path: str | os.PathLike[str], images: Mapping[str, Image], say: Say) -> None:
    """Measures everything, and puts the tables between `BEGIN` and `END` of the page at `path`.

    `images` are memory images by name: those that `TARGETS` names, and any others. Images of
    `TARGETS` that are missing have no row.

    Raises
    ------
    VtaError
        The page lacks `BEGIN` or `END`.
    MachineError
        A stream ended in an error.
    """
    page = Path(path)
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise VtaError(f"{path}: must have one line {BEGIN!r} and after it one {END!r}")
    head, tail = text[: text.index(BEGIN)], text[text.index(END) :]
    new = f"{head}{BEGIN}\n\n{tables(images, say)}\n{tail}"
    with replacing(page) as partial:
        partial.write_text(new, encoding="utf-8")


def tables(images: Mapping[str, Image], say: Say) -> str:
    """All tables as Markdown."""
    default = PRESETS["default"]
    micros = {latency: _micros(default, latency, say) for latency in LATENCIES}
    streams = {latency: _streams(default, images, latency, say) for latency in LATENCIES}
    others = {name: _micros(PRESETS[name], LATENCIES[0], say) for name in OTHERS}
    other_streams = {name: _streams(PRESETS[name], {}, LATENCIES[0], say) for name in OTHERS}
    return "\n".join(
        [
            "## What it must reach\n",
            _targets(micros, streams),
            _patience(micros, streams),
            "## Every stream at the default configuration\n",
            _all_streams(streams),
            "## Operators of `vta.top`\n",
            _operators(_operator_results(default, say)),
            "## Networks with real scales\n",
            _networks(_scaled_results(default.replace(hw_ver="0.0.3"), say)),
            "## Rates at other configurations\n",
            _rates({"default": micros[LATENCIES[0]], **others}),
            "## The project's own streams at other configurations\n",
            _ratios({"default": streams[LATENCIES[0]], **other_streams}),
        ]
    )


def _micros(config: Config, latency: int, say: Say) -> list[MicroResult]:
    results = []
    for micro in microbenchmarks(config):
        say(f"{micro.name}, {config.bitstream}, latency {latency}")
        results.append(measure_micro(micro, MemoryModel(latency)))
    return results


def _streams(
    config: Config, images: Mapping[str, Image], latency: int, say: Say
) -> list[StreamResult]:
    results = []
    own = {kernel.name: kernel.build() for kernel in kernels(config)}
    for name, image in (*own.items(), *images.items()):
        say(f"{name}, {config.bitstream}, latency {latency}")
        result = measure_stream(name, image, MemoryModel(latency))
        if result.report.fault is not None:
            raise MachineError(result.report.fault)
        if result.match is False:
            raise VtaError(f"{name}: memory differs from what the image expects")
        results.append(result)
    return results


def _operator_results(config: Config, say: Say) -> list[StreamResult]:
    return _kernel_results(operator_kernels(config), config, say)


def _scaled_results(config: Config, say: Say) -> list[StreamResult]:
    return _kernel_results(scaled_kernels(config), config, say)


def _kernel_results(wanted: Sequence[BenchKernel], config: Config, say: Say) -> list[StreamResult]:
    results = []
    for kernel in wanted:
        say(f"{kernel.name}, {config.bitstream}")
        assert kernel.predicted is not None
        result = measure_stream(
            kernel.name, kernel.build(), MemoryModel(LATENCIES[0]), predicted=kernel.predicted()
        )
        if result.report.fault is not None:
            raise MachineError(result.report.fault)
        if not result.match:
            raise VtaError(f"{kernel.name}: the result differs from NumPy's")
        results.append(result)
    return results


# -- tables --------------------------------------------------------------------------------------


def _targets(
    micros: Mapping[int, Sequence[MicroResult]], streams: Mapping[int, Sequence[StreamResult]]
) -> str:
    rows = []
    known = {micro.name for micro in micros[LATENCIES[0]]}
    known |= {stream.name for stream in streams[LATENCIES[0]]}
    for target in TARGETS:
        if target.name not in known:
            continue
        values = [_value(target.name, micros[latency], streams[latency]) for latency in LATENCIES]
        shown = [f"{value:.3f}" if isinstance(value, float) else f"{value:,}" for value in values]
        met = "yes" if target.met(values[0]) else "**no**"
        rows.append(
            (_unit(target.name, micros[LATENCIES[0]]), target.reference, target.text, *shown, met)
        )
    return _table(
        (
            "measure",
            "reference RTL",
            "required",
            *(f"latency {latency}" for latency in LATENCIES),
            "met at 20",
        ),
        rows,
    )


def _patience(
    micros: Mapping[int, Sequence[MicroResult]], streams: Mapping[int, Sequence[StreamResult]]
) -> str:
    """What is required at the longer latency, in words."""
    slowest = min(
        micro.figure
        for micro in micros[100]
        if micro.name.startswith("LOAD") and micro.name.endswith("contiguous")
    )
    names = [stream.name for stream in streams[20]]
    name = next(name for name in PATIENT if name in names)
    near, far = (_value(name, (), streams[latency]) for latency in (20, 100))
    verdicts = ["yes" if met else "**no**" for met in (slowest >= 7.8, far <= 1.01 * near)]
    return (
        f"At a latency of 100 cycles the slowest contiguous load moves {slowest:.3f} bytes a "
        f"cycle (required: ≥ 7.8; {verdicts[0]}), and `{name}` takes "
        f"{100 * (far / near - 1):.2f} % more cycles than at 20 (required: within 1 %; "
        f"{verdicts[1]}).\n"
    )


def _value(
    name: str, micros: Sequence[MicroResult], streams: Sequence[StreamResult]
) -> float | int:
    for micro in micros:
        if micro.name == name:
            return micro.figure
    return next(stream.cycles for stream in streams if stream.name == name)


def _unit(name: str, micros: Sequence[MicroResult]) -> str:
    unit = next((micro.unit for micro in micros if micro.name == name), None)
    return f"{name}, {unit}" if unit else f"`{name}`, cycles"


def _all_streams(streams: Mapping[int, Sequence[StreamResult]]) -> str:
    rows = []
    for results in zip(*streams.values(), strict=True):
        limit = results[0].bound
        assert limit is not None  # there was no error
        rows.append(
            (
                f"`{results[0].name}`",
                *(f"{result.cycles:,}" for result in results),
                f"{limit.cycles:,}",
                limit.resource,
                f"{results[0].ratio or 0:.3f}",
                f"{limit.gemm:,}",
                f"{limit.alu:,}",
                f"{results[0].read:,}",
                f"{results[0].written:,}",
                f"{results[0].report.instructions:,}",
            )
        )
    return _table(
        (
            "stream",
            *(f"cycles at {latency}" for latency in streams),
            "bound",
            "by",
            "ratio at 20",
            "GEMM operations",
            "ALU cycles",
            "bytes read",
            "written",
            "instructions",
        ),
        rows,
    )


def _operators(results: Sequence[StreamResult]) -> str:
    """Prediction beside measurement, and what bounds each."""
    rows = []
    for result in results:
        limit, predicted = result.bound, result.predicted
        assert limit is not None
        assert predicted is not None
        accumulator = accumulator_cycles(result.image, limit)
        bounds = {"accumulator": accumulator, "read": limit.read, "write": limit.write}
        most = max(bounds, key=bounds.__getitem__)
        rows.append(
            (
                f"`{result.name}`",
                f"{result.cycles:,}",
                f"{predicted:,}",
                f"{100 * (predicted / result.cycles - 1):+.1f} %",
                f"{limit.gemm:,}",
                f"{accumulator:,}",
                f"{limit.read:,}",
                f"{limit.write:,}",
                most,
                f"{result.cycles / bounds[most]:.3f}",
                f"{result.report.instructions:,}",
            )
        )
    names = {layer.name for layer in RESNET}
    total = sum(result.cycles for result in results if result.name in names)
    added = next(result.cycles for result in results if result.name.startswith("residual_add"))
    return _table(
        (
            "operator",
            "cycles",
            "predicted",
            "error",
            "GEMM",
            "accumulator",
            "read",
            "write",
            "bound by",
            "ratio",
            "instructions",
        ),
        rows,
    ) + (
        "\nEach result equals NumPy's. GEMM operations, ALU cycles and the tiles that LOADs bring "
        "share the accumulator.\n\n"
        f"ResNet-18's layers C2 to C11 take {total:,} cycles in all (required: ≤ {RESNET_LIMIT:,}; "
        f"{'yes' if total <= RESNET_LIMIT else '**no**'}), the residual addition {added:,} "
        f"(required: ≤ {ADD_LIMIT:,}; {'yes' if added <= ADD_LIMIT else '**no**'}).\n"
    )


def _networks(results: Sequence[StreamResult]) -> str:
    """The layers of two networks, how often each is used, and their sums."""
    uses = {f"{layer.name}_scaled": count for layer, count in MOBILENET}
    wanted = {f"{layer.name}_scaled" for layer in RESNET}
    rows, mobilenet, resnet = [], 0, 0
    for result in results:
        assert result.predicted is not None
        count = uses.get(result.name, 1)
        mobilenet += result.cycles * count if result.name in uses else 0
        resnet += result.cycles if result.name in wanted else 0
        rows.append(
            (
                f"`{result.name.removesuffix('_scaled')}`",
                str(count),
                f"{result.cycles:,}",
                f"{result.predicted:,}",
                f"{100 * (result.predicted / result.cycles - 1):+.1f} %",
                f"{100 * result.utilisation:.0f} %",
            )
        )
    return _table(
        ("operator", "uses", "cycles", "predicted", "error", "multipliers used"), rows
    ) + (
        "\nWith `HW_VER` 0.0.3, one scale for each channel, and zero points; each result equals "
        "NumPy's float32.\n\n"
        f"ResNet-18's layers C2 to C11 take {resnet:,} cycles in all (required: "
        f"≤ {SCALED_RESNET_LIMIT:,}; {_met(resnet, SCALED_RESNET_LIMIT)}), MobileNetV2's 53 layers "
        f"{mobilenet:,} (required: ≤ {MOBILENET_LIMIT:,}; {_met(mobilenet, MOBILENET_LIMIT)}).\n"
    )


def _met(cycles: int, limit: int) -> str:
    return "yes" if cycles <= limit else "**no**"


def _rates(micros: Mapping[str, Sequence[MicroResult]]) -> str:
    """The configurations side by side; each has the same microbenchmarks in the same order."""
    rows = []
    for results in zip(*micros.values(), strict=True):
        rows.append(
            (
                results[0].name,
                results[0].unit,
                *(f"{result.figure:.3f} ({result.ideal:g})" for result in results),
            )
        )
    return _table(
        (
            "measure (ideal in brackets)",
            "unit",
            *(
                f"`{name}` {PRESETS[name].bitstream}, {PRESETS[name].bus_width}-bit bus"
                for name in micros
            ),
        ),
        rows,
    )


def _ratios(streams: Mapping[str, Sequence[StreamResult]]) -> str:
    rows = []
    columns = [
        [result for result in results if _is_ours(result.name, name)]
        for name, results in streams.items()
    ]
    for results in zip(*columns, strict=True):
        row = []
        for result in results:
            assert result.bound is not None
            row.append(f"{result.cycles:,} ({result.ratio or 0:.3f}, {result.bound.resource})")
        # A product's rows are the batch, which differs.
        rows.append((f"`{results[0].name}`", *row))
    return _table(
        ("stream: cycles (ratio to the bound, by)", *(f"`{name}`" for name in streams)), rows
    )


def _is_ours(name: str, preset: str) -> bool:
    return name in {kernel.name for kernel in kernels(PRESETS[preset])}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    align = ["---"] + ["--:"] * (len(head) - 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, align, *rows)) + "\n"
