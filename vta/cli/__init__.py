"""The command `vta`: one module for each subcommand."""

from __future__ import annotations

import io
import sys

__all__ = ["main"]

_NEEDED = ("click", "rich")


def main() -> None:
    """Runs the command line of this process, and exits."""
    try:
        from vta.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        sys.stderr.write(
            f"vta: the command line needs {' and '.join(_NEEDED)}: "
            "pip install 'amaranth-vta[cli]'\n"
        )
        sys.exit(2)
    if isinstance(sys.stdout.buffer, io.FileIO):
        # With PYTHONUNBUFFERED, Python ignores how much of its text a full disk has taken.
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(sys.stdout.buffer), sys.stdout.encoding, line_buffering=True
        )
    sys.exit(run(sys.argv[1:]))
