"""The walk-throughs run as scripts and as notebooks, and the notebooks are what the scripts say."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import vta

pytest.importorskip("jupytext")
nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

ROOT = Path(vta.__file__).parent.parent
FOLDER = ROOT / "examples"
NAMES = ("matrix_multiply", "blocked_matrix_multiply", "convolution", "handwritten_digits")
DRAWN = NAMES[:3]
"""Those with pictures of a program's timeline and roofline."""
LARGEST = 300_000
"""Bytes of a notebook: what is larger is slow to show, and heavy in a repository."""


def _import(name: str) -> ModuleType:
    """A module of the folder, which is no package."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run(script: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    inherited = {
        key: value for key, value in os.environ.items() if key not in ("VTA_CONFIG", "PICTURES")
    }
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        env={**inherited, "PYTHONPATH": str(ROOT), **env},
        check=False,
    )


@pytest.fixture(scope="module")
def notebooks() -> ModuleType:
    return _import("notebooks")


@pytest.mark.parametrize(
    ("name", "pictures"),
    [
        ("matrix_multiply", {"matmul_timeline", "matmul_roofline"}),
        ("blocked_matrix_multiply", {"blocks_of_16_x_16_timeline", "blocks_roofline"}),
        ("convolution", {"1_thread_timeline", "2_threads_timeline", "convolution_roofline"}),
        ("handwritten_digits", set()),
    ],
)
def test_script(tmp_path: Path, name: str, pictures: set[str]) -> None:
    done = _run(FOLDER / f"{name}.py", PICTURES=str(tmp_path), PYTHONWARNINGS="error")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert re.search(r"^Successful .* test!\n\Z", done.stdout, re.MULTILINE)
    assert {path.name for path in tmp_path.iterdir()} == {f"{item}.png" for item in pictures}
    if name == "handwritten_digits":
        shares = re.findall(r"^(\w+): (\d+)% of 100 digits$", done.stdout, re.MULTILINE)
        assert [kind for kind, _ in shares] == ["float32", "int8"]
        assert all(int(share) >= 97 for _, share in shares)
    if name == "convolution":
        cycles = {
            threads: int(number.replace(",", ""))
            for threads, number in re.findall(
                r"^(\d) threads? +exact on both; .* ([\d,]+) cycles$", done.stdout, re.MULTILINE
            )
        }
        assert set(cycles) == {"1", "2"}
        # 3 x 3 x 16 x 16 tiles for each of 14 x 14 pixels, one a cycle.
        assert 3 * 3 * 16 * 16 * 14 * 14 < cycles["2"] <= 476_000 < cycles["1"]


# The scripts of the other two run above; as notebooks they take as long again.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=pytest.mark.full if name in ("blocked_matrix_multiply", "convolution") else (),
        )
        for name in NAMES
    ],
)
def test_notebook_runs_and_is_up_to_date(name: str) -> None:
    done = _run(FOLDER / "notebooks.py", "--check", name)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", DRAWN)
def test_notebook_shows_its_pictures(name: str) -> None:
    file = FOLDER / f"{name}.ipynb"
    assert file.stat().st_size < LARGEST
    book = json.loads(file.read_text(encoding="utf-8"))
    drawing = [
        cell
        for cell in book["cells"]
        if cell["cell_type"] == "code"
        and re.search(r"^pictures\.(timeline|roofline)\(", "".join(cell["source"]), re.M)
    ]
    assert len(drawing) >= 2
    for cell in drawing:
        (shown,) = (output for output in cell["outputs"] if "data" in output)
        assert base64.b64decode(shown["data"]["image/png"]).startswith(b"\x89PNG\r\n")
    text = file.read_text(encoding="utf-8")
    assert "VTAUopLoopBegin" in text
    assert str(ROOT) not in text


def test_every_walkthrough_has_its_notebook(notebooks: ModuleType) -> None:
    assert notebooks.WALKTHROUGHS == NAMES
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)


def test_check_notices_a_change_of_the_script(tmp_path: Path) -> None:
    for name in ("notebooks.py", "matrix_multiply.py", "matrix_multiply.ipynb"):
        shutil.copy(FOLDER / name, tmp_path)
    script = tmp_path / "matrix_multiply.py"
    text = script.read_text(encoding="utf-8")
    script.write_text(text.replace("## Tiles", "## Bricks"), encoding="utf-8")
    done = _run(tmp_path / "notebooks.py", "--check", "matrix_multiply")
    assert done.returncode == 1
    assert done.stderr == (
        "out of date: matrix_multiply.ipynb (cell 2 differs); run make notebooks\n"
    )
    script.write_text(text + "\n# %%\nprint()\n", encoding="utf-8")
    done = _run(tmp_path / "notebooks.py", "--check", "matrix_multiply")
    assert re.search(r"\((\d+) cells, not (\d+)\)", done.stderr)
    (tmp_path / "matrix_multiply.ipynb").unlink()
    done = _run(tmp_path / "notebooks.py", "--check", "matrix_multiply")
    assert done.returncode == 1
    assert "there is none" in done.stderr


def test_a_script_that_fails(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "notebooks.py", tmp_path)
    (tmp_path / "convolution.py").write_text("# %%\nraise SystemError('no')\n", encoding="utf-8")
    done = _run(tmp_path / "notebooks.py", "convolution")
    assert done.returncode == 1
    assert done.stderr == "convolution.py: SystemError: no; run it as a script to see where\n"
    assert not (tmp_path / "convolution.ipynb").exists()


def test_names_are_checked() -> None:
    done = _run(FOLDER / "notebooks.py", "--check", "matmul")
    assert done.returncode == 2
    assert "there is no matmul; there are matrix_multiply, " in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "alike"),
    [
        ("cycles", "hours", False),
        # A line about cycles may be a little off ...
        ("18,539", "18,700", True),
        ("47 %", "48 %", True),
        ("18,539", "19,900", False),
        ("47 %", "50 %", False),
        # ... and no other.
        ("8,192", "8,193", False),
    ],
)
def test_outputs_are_compared(notebooks: ModuleType, old: str, new: str, alike: bool) -> None:
    text = "product: 18,539 cycles; GEMM busy 47 %\ngemm_counter 8,192\n"
    book, other = (
        nbformat.v4.new_notebook(
            cells=[
                nbformat.v4.new_markdown_cell("Text."),
                nbformat.v4.new_code_cell(
                    "f()", outputs=[nbformat.v4.new_output("stream", text=shown)]
                ),
            ]
        )
        for shown in (text, text.replace(old, new))
    )
    assert not list(notebooks.differences(book, other, outputs=False))
    assert list(notebooks.differences(book, other, outputs=True)) == (
        [] if alike else ["cell 1 shows something else"]
    )


def test_a_picture_that_is_missing_is_noticed(notebooks: ModuleType) -> None:
    book, other = (nbformat.read(FOLDER / "matrix_multiply.ipynb", as_version=4) for _ in range(2))
    for cell in other.cells:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop("image/png", None)
    assert len(list(notebooks.differences(book, other, outputs=True))) == 2


def test_execution_keeps_what_cells_show(notebooks: ModuleType) -> None:
    book = notebooks.notebook("# %% [markdown]\n# # Title\n\n# %%\nprint(6 * 7)\n'seven'\n")
    assert [cell.cell_type for cell in book.cells] == ["markdown", "code"]
    metadata = dict(book.metadata)
    notebooks.execute(book)
    assert [output.output_type for output in book.cells[1].outputs] == ["stream", "execute_result"]
    assert book.cells[1].outputs[0].text == "42\n"
    assert dict(book.metadata) == metadata


@pytest.mark.parametrize(
    ("code", "error", "match"),
    [
        ("import warnings; warnings.warn('take care')", ValueError, "wrote to stderr: .*take care"),
        ("1 / 0", nbclient.exceptions.CellExecutionError, "ZeroDivisionError"),
    ],
)
def test_what_goes_wrong_in_a_cell(
    notebooks: ModuleType, code: str, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        notebooks.execute(notebooks.notebook(f"# %%\n{code}\n"))


def test_excerpt() -> None:
    pictures = _import("pictures")
    uops = [f"        T.tir.vta.uop_push(0, 0, {number}, 0, 0, 0, 0, 0)" for number in range(9)]
    listing = "\n".join(["a", "b", *uops, "c", "d"])
    assert pictures.excerpt(listing, 100).split("\n") == [
        "a",
        "b",
        *uops[:4],
        "        ... 5 micro-ops more",
        "c",
        "d",
    ]
    assert pictures.excerpt(listing, 1) == "a\n    ... 8 lines more"
    short = "\n".join(["a", *uops[:5]])
    assert pictures.excerpt(short, 6) == short
