"""Makes the notebooks: each has the cells of its script, with their outputs.

    python examples/notebooks.py [NAME...]           runs the cells and writes the notebooks
    python examples/notebooks.py --check [NAME...]   fails if it would write something else

A check compares the text of the cells and of their outputs. Pictures must exist, but are not
compared, because they depend on fonts. Numbers in a line about cycles may differ a little, so that
a small change of the hardware does not change the notebooks.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import jupytext
import nbclient
import nbformat
from traitlets.config import Config

__all__ = ["WALKTHROUGHS", "differences", "execute", "notebook"]

FOLDER = Path(__file__).resolve().parent
WALKTHROUGHS = ("matrix_multiply", "blocked_matrix_multiply", "convolution", "handwritten_digits")

SECONDS = 600
"""For a cell, at most: the first that runs the RTL compiles its simulator."""

TOLERANCE = 0.05
"""By which part a measured number may differ; by 1 in any case, as percentages are rounded."""

_NUMBER = re.compile(r"(\d[\d,]*(?:\.\d+)?)")


def notebook(script: str) -> nbformat.NotebookNode:
    """The notebook of a script's text, not run."""
    cells = jupytext.reads(script, fmt="py:percent").cells
    for number, cell in enumerate(cells):
        # The same in every run, and without an editor's settings.
        cell.id, cell.metadata = f"cell-{number}", nbformat.NotebookNode()
    return nbformat.v4.new_notebook(
        cells=cells,
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
    )


def execute(book: nbformat.NotebookNode) -> None:
    """Runs all cells in a new kernel, for the default configuration, and keeps what they show.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails.
    ValueError
        If a cell writes to stderr, for example a warning.
    """
    left_out = ("VTA_CONFIG", "PICTURES")
    env = {key: value for key, value in os.environ.items() if key not in left_out}
    env["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(FOLDER.parent), env.get("PYTHONPATH", "")])
    )
    metadata = book.metadata.copy()
    with tempfile.TemporaryDirectory() as folder:
        # The user's own settings and history of IPython stay out of it, and it opens no port.
        env["IPYTHONDIR"] = folder
        manager = {"transport": "ipc", "connection_file": str(Path(folder) / "kernel.json")}
        nbclient.NotebookClient(
            book,
            kernel_name="python3",
            timeout=SECONDS,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(FOLDER)}},
            config=Config({"KernelManager": manager}),
        ).execute(env=env)
    book.metadata = metadata  # without the version of the Python that ran it
    for cell in book.cells:
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr":
                raise ValueError(f"a cell wrote to stderr: {output.text}")


def differences(
    book: nbformat.NotebookNode, other: nbformat.NotebookNode, *, outputs: bool
) -> Iterator[str]:
    """How two notebooks differ, in words: in the cells and, if `outputs`, in their outputs."""
    if len(book.cells) != len(other.cells):
        yield f"{len(other.cells)} cells, not {len(book.cells)}"
        return
    for number, (cell, another) in enumerate(zip(book.cells, other.cells, strict=True)):
        if (cell.cell_type, cell.source) != (another.cell_type, another.source):
            yield f"cell {number} differs"
        elif outputs and not _alike(_shown(cell), _shown(another)):
            yield f"cell {number} shows something else"


def _shown(cell: nbformat.NotebookNode) -> list[str]:
    """The lines of a cell's outputs, and the kinds of the outputs."""
    shown: list[str] = []
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        shown += [
            output.output_type,
            *sorted(data),
            *output.get("text", "").splitlines(),
            *data.get("text/plain", "").splitlines(),
        ]
    return shown


def _alike(shown: Sequence[str], other: Sequence[str]) -> bool:
    return len(shown) == len(other) and all(
        line == another or ("cycles" in line and _close(line, another))
        for line, another in zip(shown, other, strict=True)
    )


def _close(line: str, other: str) -> bool:
    """Whether two lines have the same words and about the same numbers."""
    # Every other part is a number.
    parts, others = _NUMBER.split(line), _NUMBER.split(other)
    return parts[::2] == others[::2] and all(
        math.isclose(
            float(a.replace(",", "")), float(b.replace(",", "")), rel_tol=TOLERANCE, abs_tol=1
        )
        for a, b in zip(parts[1::2], others[1::2], strict=True)
    )


def _check(name: str, book: nbformat.NotebookNode) -> list[str]:
    path = FOLDER / f"{name}.ipynb"
    if not path.exists():
        return ["there is none"]
    written = nbformat.read(path, as_version=4)
    # What is wrong without running anything is said at once.
    found = list(differences(book, written, outputs=False))
    if not found:
        execute(book)
        found = list(differences(book, written, outputs=True))
    return found


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Run the scripts' cells and write the notebooks.")
    parser.add_argument("--check", action="store_true", help="compare only, and say what differs")
    parser.add_argument("names", metavar="NAME", nargs="*", help=", ".join(WALKTHROUGHS))
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in WALKTHROUGHS]:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(WALKTHROUGHS)}")
    return max(_make(name, check=options.check) for name in options.names or WALKTHROUGHS)


def _make(name: str, *, check: bool) -> int:
    """Writes or checks one notebook; the exit status."""
    book = notebook((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    try:
        if not check:
            execute(book)
            nbformat.write(book, FOLDER / f"{name}.ipynb")
            print(f"{name}.ipynb: written")
        elif found := _check(name, book):
            print(
                f"out of date: {name}.ipynb ({'; '.join(found)}); run make notebooks",
                file=sys.stderr,
            )
            return 1
    except nbclient.exceptions.CellExecutionError as error:
        print(
            f"{name}.py: {error.ename}: {error.evalue}; run it as a script to see where",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
