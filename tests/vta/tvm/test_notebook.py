"""Notebooks under `vta tvm`: their code cells run as one script."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.vta.commands import Run

MAGIC = """%matplotlib inline
%config InlineBackend.figure_format = "svg"
if True:
    %time x = [tvm.te.const(7).number]
"""


def _cell(code: str | list[str], kind: str = "code") -> dict[str, Any]:
    return {"cell_type": kind, "metadata": {}, "source": code, "outputs": []}


def _write(path: Path, *cells: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"nbformat": 4, "metadata": {}, "cells": cells}))
    return path


@pytest.mark.parametrize("name", ["book.ipynb", "book.py"])
def test_code_cells_run(run: Run, tmp_path: Path, name: str) -> None:
    """Text stored as lines or in one piece; no newline at the end of a cell."""
    book = _write(
        tmp_path / name,
        _cell("# A title, {not code}", "markdown"),
        _cell(["import sys\n", "import tvm"]),
        _cell(MAGIC),
        _cell(""),
        _cell("print(x, sys.argv[1:], __name__)"),
    )
    result = run("tvm", book, "-n", 3)
    assert (result.status, result.out, result.err) == (0, "[7] ['-n', '3'] __main__\n", "")


def test_our_errors_name_the_cell(run: Run, tmp_path: Path) -> None:
    book = _write(
        tmp_path / "book.ipynb",
        _cell("import tvm"),
        _cell("Text.", "markdown"),
        _cell("x = 1\n\ntvm.te.placeholder((0,))\n"),
    )
    result = run("tvm", book)
    assert result.status == 2
    assert result.complaint.startswith(f"vta: {book}, cell 3, line 3: shape of placeholder must")


def test_other_errors_show_the_code(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other tests may have imported a library with a hook of its own.
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    result = run("tvm", _write(tmp_path / "book.ipynb", _cell("x = 3"), _cell("y = x / 0")))
    assert result.status == 1
    assert 'book.ipynb, cell 2", line 1' in result.err
    assert "y = x / 0" in result.err
    assert result.err.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize("line", ["!pip install tvm", "%run other.py", "%%bash", "?vta"])
def test_what_only_ipython_does_is_refused(run: Run, tmp_path: Path, line: str) -> None:
    book = _write(tmp_path / "book.ipynb", _cell("print(1)"), _cell(f"x = 1\n{line}\n"))
    result = run("tvm", book)
    assert result.status == 2
    assert result.complaint == (
        f"vta: {book}, cell 2, line 2: {line} is for IPython, not for Python; leave it out, or run "
        "it before\n"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1\n", "not a notebook (Expecting value"),
        ("[1]", "not a notebook of format 4: it has no list of cells"),
        ('{"worksheets": []}', "not a notebook of format 4: it has no list of cells"),
        ("[" * 100000, "not a notebook ("),
    ],
)
def test_what_is_no_notebook(run: Run, tmp_path: Path, content: str, message: str) -> None:
    book = tmp_path / "book.ipynb"
    book.write_text(content)
    result = run("tvm", book)
    assert result.status == 2
    assert result.complaint.startswith(f"vta: {book}: {message}")


def test_a_script_that_begins_with_a_brace_is_a_script(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    for code in ("{1: 2}\nprint(3)\n", '{"cells": 3}\nprint(3)\n'):
        script.write_text(code)
        assert run("tvm", script).out == "3\n"
    script.write_text('{"cells": 3}\n')
    assert run("tvm", script).status == 0
