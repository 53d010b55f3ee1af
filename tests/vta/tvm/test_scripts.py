"""Scripts as VTA's users have them, under `vta tvm`, on both simulators."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.vta.commands import Run

FOLDER = Path(__file__).parent / "scripts"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py"))
MACHINES = [
    ("--config", "default"),
    ("--config", "wide"),
    ("--config", "batch4"),
    ("--config", "tiny", "--target", "tsim"),
]


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("machine", MACHINES, ids=" ".join)
def test_scripts(run: Run, machine: tuple[str, ...], name: str) -> None:
    result = run("tvm", *machine, FOLDER / f"{name}.py")
    assert result.err == ""
    assert result.status == 0
    assert result.out == f"{name}: equal\n"


def test_what_does_not_fit_says_so(run: Run) -> None:
    script = FOLDER / "convolution.py"
    result = run("tvm", "--config", "small", script)
    assert result.status == 2
    assert result.complaint.startswith(f"vta: {script}, line ")
    assert re.search(
        "stage w_buf: the weight buffer holds 16 tiles .* but the schedule needs "
        "18 .*: w_buf 9 tiles x 2 threads; ",
        result.complaint,
    )


def test_there_is_a_script_of_each_kind() -> None:
    assert {"vector_add", "matmul", "matmul_blocked", "convolution"} <= set(SCRIPTS)
