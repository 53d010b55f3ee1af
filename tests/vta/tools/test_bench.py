"""`vta bench`: bounds, streams, figures on the RTL, pictures and pages."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import vta
from tests.images import REFERENCE
from tests.vta.commands import Run
from vta.config import PRESETS, Config
from vta.image import Image
from vta.isa import AluOp, MemoryType
from vta.sim.functional.functional_machine import FunctionalMachine
from vta.sim.replay import replay
from vta.sim.rtl.memory_model import MemoryModel
from vta.tools.bench import page
from vta.tools.bench.bound import bound
from vta.tools.bench.kernels import BenchKernel, fill, kernels, matmul
from vta.tools.bench.measure import MicroResult, measure_micro, measure_stream
from vta.tools.bench.micro import microbenchmarks
from vta.tools.bench.stream import Stream

TINY = PRESETS["tiny"]
REMEDY = "docs/performance.md is out of date: make performance"
PAGE = Path(vta.__file__).parent.parent / "docs" / "performance.md"

# The table: a ceiling in cycles per unit of work, or a floor in bytes per cycle.
CEILINGS = {
    "GEMM, consecutive destinations": 1.0,
    "GEMM, same destination": 1.0,
    "GEMM, any indices": 1.0,
    "ALU immediate, consecutive destinations": 1.0,
    "ALU immediate, same destination": 1.0,
    "ALU register": 2.0,
    "ALU register, source is the destination before": 2.0,
    "ALU register, one source": 1.0,
}
FLOORS = {
    "LOAD INP, contiguous": 7.95,
    "LOAD WGT, contiguous": 7.95,
    "LOAD ACC, contiguous": 7.95,
    "LOAD INP, rows of 56 padded 1 + 1": 7.8,
    "STORE, contiguous": 7.8,
    "STORE, rows of 64": 7.5,
}
STREAMS = {
    "vadd": 1_400,
    "matrix_multiply": 9_400,
    "gemm_128": 18_900,
    "dense128": 720_000,
    "conv2d_c8": 472_000,
    "conv2d_c10": 38_500,
}


def micros(preset: str, latency: int = 20) -> dict[str, MicroResult]:
    model = MemoryModel(latency)
    return {micro.name: measure_micro(micro, model) for micro in microbenchmarks(PRESETS[preset])}


@pytest.fixture(scope="module")
def default_micros() -> dict[str, MicroResult]:
    return micros("default")


# -- the bound -----------------------------------------------------------------------------------


def alu_cycles(*fill_in: Callable[[Stream], None]) -> int:
    stream = Stream(TINY)
    stream.uops([(0, 8, 0), (1, 0, 0), (5, 5, 0)])
    for add in fill_in:
        add(stream)
    image = stream.image()
    report = replay(image, FunctionalMachine).report
    assert report.fault is None
    return bound(image, report.stats, report.instructions).alu


def add(**fields: int) -> Callable[[Stream], None]:
    return lambda stream: stream.alu(alu_opcode=AluOp.ADD, **fields)


ONE_SOURCE = {"iter_in": 6, "dst_factor_in": 1}


@pytest.mark.parametrize(
    ("steps", "cycles"),
    [
        ([add(iter_in=7, iter_out=2, use_imm=1, imm=1, dst_factor_in=1)], 14),
        ([add(iter_in=7, dst_factor_in=1, src_factor_in=1)], 14),
        # One source for six tiles: it is read once.
        ([add(**ONE_SOURCE)], 1 + 6),
        # It is still held in the instruction after, but not after one that takes an immediate ...
        ([add(**ONE_SOURCE), add(**ONE_SOURCE)], 1 + 6 + 6),
        ([add(**ONE_SOURCE), add(use_imm=1), add(**ONE_SOURCE)], 7 + 1 + 7),
        # ... or after GEMM, a reset of the same tile, or a load of it; others leave it alone.
        ([add(**ONE_SOURCE), lambda s: s.gemm(), add(**ONE_SOURCE)], 14),
        (
            [
                add(**ONE_SOURCE),
                lambda s: s.gemm(reset=1, iter_in=9, dst_factor_in=1),
                add(**ONE_SOURCE),
            ],
            14,
        ),
        (
            [
                add(**ONE_SOURCE),
                lambda s: s.gemm(reset=1, iter_in=8, dst_factor_in=1),
                add(**ONE_SOURCE),
            ],
            13,
        ),
        (
            [
                add(**ONE_SOURCE),
                lambda s: s.load(MemoryType.ACC, sram=6, cols=3),
                add(**ONE_SOURCE),
            ],
            14,
        ),
        (
            [
                add(**ONE_SOURCE),
                lambda s: s.load(MemoryType.ACC, sram=9, cols=3),
                add(**ONE_SOURCE),
            ],
            13,
        ),
        # Each step writes the tile that the next one reads, or the one that it read itself.
        ([add(uop_bgn=1, uop_end=2, iter_in=6, dst_factor_in=1, src_factor_in=1)], 12),
        ([add(uop_bgn=2, uop_end=3, iter_in=6)], 12),
        # The narrow multiplier.
        ([lambda s: s.alu(alu_opcode=AluOp.MUL, iter_in=3, use_imm=1, imm=2)], 15),
        ([lambda s: s.alu(alu_opcode=AluOp.MUL, iter_in=3, src_factor_in=1)], 18),
        ([add(iter_in=0)], 0),
    ],
)
def test_alu_cycles(steps: list[Callable[[Stream], None]], cycles: int) -> None:
    assert alu_cycles(*steps) == cycles


def test_alu_cycles_follow_micro_ops_that_a_padded_load_brings() -> None:
    def reload(stream: Stream) -> None:
        # Zeros at 0 and 3, the new micro-ops at 1 and 2: both have source 4.
        base = Stream(TINY)
        base.uops([(0, 4, 0), (1, 4, 0)])
        words = next(segment for segment in base.image().before if len(segment.data) == 8)
        place = stream.place(MemoryType.UOP, words.data)
        stream.load(MemoryType.UOP, cols=2, dram=place, x_pad=(1, 1))
        stream.alu(alu_opcode=AluOp.MAX, uop_bgn=1, uop_end=3, iter_in=2)

    assert alu_cycles(reload) == 1 + 4


def test_bound_takes_the_largest_and_names_it() -> None:
    stream = Stream(TINY)
    stream.uops([(0, 0, 0)])
    stream.load(MemoryType.INP, cols=9)
    stream.gemm(iter_in=4, reset=1)
    stream.gemm(iter_in=5)
    stream.store(cols=3)
    image = stream.image()
    report = replay(image, FunctionalMachine).report
    limit = bound(image, report.stats, report.instructions)
    # 9 tiles of 8 bytes, one micro-op, six instructions of 16, over 8 bytes a cycle.
    assert (limit.gemm, limit.alu, limit.read, limit.write) == (9, 0, 22, 3)
    assert (limit.cycles, limit.resource) == (22, "read")


# -- streams -------------------------------------------------------------------------------------


def test_streams_compute_what_numpy_does(configs: vta.config.Config) -> None:
    for kernel in (
        *kernels(configs)[:2],
        BenchKernel("fill", lambda: fill(configs, 5)),
        BenchKernel("matmul", lambda: matmul(configs, 128, 256, 64)),
        BenchKernel("dense", lambda: matmul(configs, configs.batch, 128, 64)),
    ):
        result = replay(kernel.build(), FunctionalMachine)
        assert result.report.fault is None, kernel.name
        assert result.match is True, kernel.name


def test_a_product_expects_the_clipped_product() -> None:
    image = matmul(TINY, 16, 64, 16)
    a, b = (
        next(part.data for part in image.before if part.addr == addr).view(np.int8)
        for addr in (0x1000_0000, 0x1000_1000)
    )
    a = a.reshape(16, 8, 1, 8).transpose(0, 2, 1, 3).reshape(16, 64).astype(np.int32)
    b = b.reshape(2, 8, 8, 8).transpose(0, 2, 1, 3).reshape(16, 64).astype(np.int32)
    expected = np.minimum(np.maximum((a @ b.T) >> 8, -128), 127)
    (after,) = image.after or ()
    found = after.data.view(np.int8).reshape(16, 2, 1, 8).transpose(0, 2, 1, 3).reshape(16, 16)
    np.testing.assert_array_equal(found, expected)


# -- figures -------------------------------------------------------------------------------------


def test_rates(default_micros: dict[str, MicroResult]) -> None:
    for name, most in CEILINGS.items():
        assert default_micros[name].figure <= most, name
    for name, least in FLOORS.items():
        assert default_micros[name].figure >= least, name


def test_nothing_is_faster_than_its_bound(default_micros: dict[str, MicroResult]) -> None:
    for result in default_micros.values():
        assert 1 <= result.ratio <= 1.02, result.name


def test_rates_at_a_long_latency() -> None:
    model = MemoryModel(100)
    for micro in microbenchmarks(PRESETS["default"]):
        if micro.name.startswith("LOAD") and micro.name.endswith("contiguous"):
            assert measure_micro(micro, model).figure >= 7.8


@pytest.mark.full
@pytest.mark.parametrize("preset", ["wide", "batch4", "small"])
def test_rates_of_other_configurations(preset: str) -> None:
    config, results = PRESETS[preset], micros(preset)
    for name, most in CEILINGS.items():
        assert results[name].figure <= most, name
    # Small buffers end the loads before their overhead counts for nothing.
    share = 7.95 / 8 if preset != "small" else 0.96
    for memory in (MemoryType.INP, MemoryType.WGT, MemoryType.ACC):
        best = min(config.bus_bytes, config.elem_bytes(memory))
        assert results[f"LOAD {memory.name}, contiguous"].figure >= share * best


def shown(name: str) -> list[str]:
    """The two cells of the page's first table that we measure, at latency 20 and 100."""
    (row,) = re.findall(
        rf"^\| {re.escape(name)}, (?:cycles|bytes).*$", PAGE.read_text(encoding="utf-8"), re.M
    )
    return [cell.strip() for cell in row.split("|")][4:6]


def test_the_page_shows_the_rates(default_micros: dict[str, MicroResult]) -> None:
    for name in (*CEILINGS, *FLOORS):
        assert shown(name)[0] == f"{default_micros[name].figure:.3f}", REMEDY


@pytest.mark.parametrize("name", STREAMS)
def test_reference_streams(shared: Path, name: str) -> None:
    image = Image.load(shared / "vectors" / f"{name}.npz")
    result = measure_stream(name, image, MemoryModel())
    assert result.match is True
    assert result.bound is not None
    assert result.bound.cycles <= result.cycles <= STREAMS[name]
    assert shown(f"`{name}`")[0] == f"{result.cycles:,}", REMEDY
    if name == "conv2d_c8":
        # 14 x 14 x 256 outputs of 3 x 3 x 256 terms.
        assert result.macs == 196 * 256 * 2304
        slow = measure_stream(name, image, MemoryModel(100))
        assert abs(slow.cycles - result.cycles) <= 0.01 * result.cycles


@pytest.mark.full
def test_the_page_is_up_to_date() -> None:
    """Where the reference images are not there, their rows cannot be compared."""
    images = {name: load() for name, load in REFERENCE.items()}
    text = PAGE.read_text(encoding="utf-8")
    written = text[text.index(page.BEGIN) + len(page.BEGIN) : text.index(page.END)].strip()
    measured = page.tables(images, lambda what: None).strip()
    if images:
        assert measured == written, REMEDY
    else:
        rows = [line for line in measured.splitlines() if line.startswith("|")]
        assert [row for row in rows if row not in written] == [], REMEDY


# -- the command ---------------------------------------------------------------------------------


def test_json_names_everything(run: Run) -> None:
    result = run("bench", "--config", "tiny", "--only", "vadd_64", "--json")
    assert result.status == 0
    (record,) = map(json.loads, result.out.splitlines())
    assert (record["kind"], record["name"], record["match"], record["error"]) == (
        "stream",
        "vadd_64",
        True,
        None,
    )
    # The tiny configuration's tiles: 8 numbers of 32 bits in, of 8 bits out.
    assert record["bytes_written"] == 64 * 8
    assert record["bytes_read"] >= 2 * 64 * 32
    assert record["alu_cycles"] == 2 * 64
    assert record["bound"] == -(-record["bytes_read"] // 8)
    assert record["ratio"] == round(record["cycles"] / record["bound"], 4) > 1


def test_table(run: Run) -> None:
    result = run("bench", "--config", "tiny", "--only", "vadd", "--latency", "30")
    assert result.status == 0
    assert "latency 30" in result.out
    assert re.search(r"vadd_64 +[\d,]+ +[\d,]+ +read", result.out)
    assert "bound = max(" in result.out


def test_images_and_their_exit_status(run: Run, images: dict[str, Path]) -> None:
    quick = ("bench", "--config", "tiny", "--json", "--only")
    assert run(*quick, "good", images["good"]).status == 0
    wrong = run(*quick, "wrong", images["wrong"])
    assert (wrong.status, json.loads(wrong.out)["match"]) == (1, False)
    fault = run(*quick, "fault", images["fault"])
    record = json.loads(fault.out)
    assert (fault.status, record["error"]["insn_index"], record["bound"]) == (3, 2, None)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--only", "no such thing"], "no benchmark has that in its name"),
        (["--plot", "picture.txt"], "must end in .png, .svg, .pdf"),
        (["--plot", "/nowhere/x.png"], "cannot be written"),
        (["--speed", "--plot", "x.png"], "--speed cannot be combined"),
        (["--speed", "--only", "vadd"], "with --speed it chooses among the images"),
        (["no.npz"], "no.npz"),
    ],
)
def test_bad_input(run: Run, arguments: list[str], says: str) -> None:
    result = run("bench", "--config", "tiny", *arguments)
    assert result.status == 2
    assert says in result.complaint


def test_speed(run: Run, images: dict[str, Path]) -> None:
    result = run("bench", "--speed", "--runs", "1", "--json", images["good"])
    assert result.status == 0
    record = json.loads(result.out)
    for key in (
        "rtl_cycles_per_second",
        "functional_seconds",
        "numpy_seconds",
        "calibration_seconds",
    ):
        assert record[key] > 0
    assert "calibration loop" in run("bench", "--speed", "--runs", "1", images["good"]).out


def test_plot(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("roofline.svg", "roofline.png"):
        result = run("bench", "--config", "tiny", "--only", "_64", "--plot", tmp_path / name)
        assert result.status == 0
    text = (tmp_path / "roofline.svg").read_text(encoding="utf-8")
    for words in (
        "vadd_64",
        "GEMM: 128 operations a cycle",
        "ALU: 8 operations a cycle",
        "bus: 8 bytes a cycle",
    ):
        assert words in text
    assert (tmp_path / "roofline.png").read_bytes().startswith(b"\x89PNG")


def test_labels_do_not_hide_one_another() -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from vta.tools.bench.labels import label

    figure = Figure(figsize=(6, 4))
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    points = [(5 + 0.3 * number, 5 + 0.3 * (number % 3)) for number in range(8)]
    for point in points:
        axes.plot(*point, "o")
    canvas.draw()
    # The last one lies on the first.
    names = [f"a long name {number}" for number in range(9)]
    label(axes, [*points, points[0]], names)
    shown = {
        text.get_text(): text.get_window_extent(canvas.get_renderer())
        for text in axes.texts
        if text.get_text()
    }
    assert sorted(shown) == [f"{names[0]}\n{names[8]}", *names[1:8]]
    boxes = list(shown.values())
    assert not any(
        one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place]
    )


def test_a_page_needs_its_place(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("nothing\n", encoding="utf-8")
    assert "must have one line" in run("bench", "--page", path).err
    assert "does not exist; it must have the marks" in run("bench", "--page", "nowhere.md").err


def test_a_page_without_reference_images(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not there has no row; the project's own stream stands for the reference's."""

    def streams(config: Config, images: object, latency: int, say: object) -> list[object]:
        cycles = {20: 1000, 100: 1005}[latency]
        return [SimpleNamespace(name="matmul_256x1024x128", cycles=cycles)]

    def micros(config: Config, latency: int, say: object) -> list[object]:
        name = "LOAD INP, contiguous"
        return [SimpleNamespace(name=name, figure=7.998, unit="bytes per cycle")]

    monkeypatch.setattr(page, "_streams", streams)
    monkeypatch.setattr(page, "_micros", micros)
    for name in (
        "_all_streams",
        "_operators",
        "_operator_results",
        "_networks",
        "_scaled_results",
        "_rates",
        "_ratios",
    ):
        monkeypatch.setattr(page, name, lambda *arguments: "")
    path = tmp_path / "page.md"
    path.write_text(f"head\n{page.BEGIN}\nold\n{page.END}\ntail\n", encoding="utf-8")
    assert run("bench", "--page", path).status == 0
    text = path.read_text(encoding="utf-8")
    assert text.startswith("head\n")
    assert text.endswith("\ntail\n")
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    assert rows[2:] == ["LOAD INP, contiguous, bytes per cycle"]
    assert "`matmul_256x1024x128` takes 0.50 % more cycles than at 20" in text


def test_the_page_meets_every_target() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert "**no**" not in text
    for target in page.TARGETS:
        (row,) = re.findall(rf"^\| `?{re.escape(target.name)}`?, (?:cycles|bytes).*$", text, re.M)
        assert target.text in row
