"""Jupyter notebooks as scripts: their code cells, one after the other."""

from __future__ import annotations

import json
from typing import Any

from vta.errors import ArgumentError

__all__ = ["code_cells"]

HARMLESS = ("matplotlib", "config", "load_ext", "reload_ext", "autoreload", "time", "capture")
"""IPython's magics that a script can do without."""


def code_cells(path: str, file: bytes) -> dict[int, str] | None:
    """The code of each code cell of a notebook, by its number among all cells, from 1.

    Lines that only matter to IPython become ``pass``. None if the file is not a notebook.

    Raises
    ------
    ArgumentError
        A file named as a notebook cannot be read, or a line is not Python (a shell command, say).
    """
    named = path.endswith(".ipynb")
    if not named and not file.lstrip().startswith(b"{"):
        return None
    try:
        content: Any = json.loads(file)
    except (ValueError, RecursionError) as error:
        if not named:
            return None
        raise ArgumentError(f"{path}: not a notebook ({error})") from None
    cells = content.get("cells") if isinstance(content, dict) else None
    if not isinstance(cells, list):
        if not named:
            return None
        raise ArgumentError(f"{path}: not a notebook of format 4: it has no list of cells")
    return {
        number: _python(_text(cell), f"{path}, cell {number}")
        for number, cell in enumerate(cells, 1)
        if isinstance(cell, dict) and cell.get("cell_type") == "code"
    }


def _text(cell: dict[str, Any]) -> str:
    """A cell's text, which is stored as one string or as lines."""
    text = cell.get("source", "")
    return "".join(map(str, text)) if isinstance(text, list) else str(text)


def _python(code: str, place: str) -> str:
    lines = enumerate(code.splitlines(), 1)
    return "".join(f"{_line(line, f'{place}, line {number}')}\n" for number, line in lines)


def _line(line: str, place: str) -> str:
    word = line.strip()
    if not word.startswith(("%", "!", "?")):
        return line
    if word.startswith("%") and word.lstrip("%").split(" ")[0] in HARMLESS:
        if word.startswith("%time "):
            return line.replace("%time ", "", 1)
        return line[: len(line) - len(line.lstrip())] + "pass"
    raise ArgumentError(
        f"{place}: {word} is for IPython, not for Python; leave it out, or run it before"
    )
