"""The Verilog cache: what it depends on, and that a cached run needs no Amaranth."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import vta
from vta.config import PRESETS
from vta.driver import verilog_cache
from vta.driver.verilog_cache import cached_verilog, simulated_verilog
from vta.errors import ConfigError
from vta.isa import Isa, Opcode

TINY = PRESETS["tiny"]


def test_key_follows_the_hardware_and_only_it() -> None:
    key = verilog_cache._key(TINY)
    assert verilog_cache._key(TINY.replace(target="tsim")) == key
    older, oldest = (verilog_cache._key(TINY.replace(hw_ver=v)) for v in ("0.0.2", "0.0.1"))
    assert older == oldest
    keys = {
        key,
        older,
        verilog_cache._key(TINY.replace(log_bus_width=7)),
        verilog_cache._key(PRESETS["default"]),
    }
    assert len(keys) == 4


def test_key_follows_sources_and_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = verilog_cache._key(TINY)
    package = tmp_path / "vta"
    (package / "hw").mkdir(parents=True)
    source = Path(vta.__file__).parent
    for name in ("__init__.py", *verilog_cache._GROUND):
        (package / name).write_bytes((source / name).read_bytes())
    for file in (source / "hw").rglob("*.py"):
        copy = package / "hw" / file.relative_to(source / "hw")
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(file.read_bytes())
    monkeypatch.setattr(vta, "__file__", str(package / "__init__.py"))
    assert verilog_cache._key(TINY) == key
    with open(package / "hw" / "verilog.py", "a", encoding="utf-8") as file:
        file.write("# changed\n")
    changed = verilog_cache._key(TINY)
    assert changed != key
    monkeypatch.setattr(verilog_cache.importlib.metadata, "version", lambda name: "0")
    assert verilog_cache._key(TINY) not in (key, changed)


def test_a_second_run_takes_it_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VTA_CACHE_PATH", str(tmp_path))
    calls = []

    def generate(config: object, *, family: str, few_pins: bool, assertions: bool) -> str:
        calls.append(config)
        return "module vta; endmodule\n"

    monkeypatch.setattr("vta.hw.verilog.generate", generate)
    assert cached_verilog(TINY) == cached_verilog(TINY) == "module vta; endmodule\n"
    assert calls == [TINY]


def test_simulators_get_assertions_where_they_are_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VTA_CACHE_PATH", str(tmp_path))
    monkeypatch.setattr(
        "vta.hw.verilog.generate",
        lambda config, *, family, few_pins, assertions: "asserting" if assertions else "fast",
    )
    for value, text in (("1", "asserting"), ("0", "fast"), (None, "fast")):
        if value is None:
            monkeypatch.delenv("VTA_ASSERTIONS")
        else:
            monkeypatch.setenv("VTA_ASSERTIONS", value)
        assert simulated_verilog(TINY) == text
        # Synthesis never sees them.
        assert cached_verilog(TINY) == "fast"
    monkeypatch.setenv("VTA_ASSERTIONS", "yes")
    with pytest.raises(ConfigError, match="VTA_ASSERTIONS must be 0 or 1, not 'yes'"):
        simulated_verilog(TINY)


def test_a_cached_run_imports_no_amaranth() -> None:
    from vta.driver.simulated import TsimDevice

    stop = Isa.words([Isa(TINY).common.pack(opcode=Opcode.FINISH)])
    with TsimDevice(TINY) as device:  # fills the cache
        assert device.run_stream(stop).instructions == 1
    script = (
        "import sys\n"
        "from vta.config import PRESETS\n"
        "from vta.driver.simulated import TsimDevice\n"
        "import numpy as np\n"
        "with TsimDevice(PRESETS['tiny']) as device:\n"
        "    report = device.run_stream(np.array([[3, 0]], np.uint64))\n"
        "assert report.instructions == 1 and report.cycles > 0\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] == 'amaranth'))\n"
    )
    root = Path(vta.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout == "[]\n"
