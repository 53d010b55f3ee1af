"""A temporary folder for saved programs."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path
from types import TracebackType

__all__ = ["TempDirectory", "tempdir"]


class TempDirectory:
    """A folder that goes when it is closed, collected, or the process ends."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix="vta-")
        # No warning where nobody removes it, unlike tempfile.TemporaryDirectory.
        self._remove = weakref.finalize(self, shutil.rmtree, self.path, True)

    def relpath(self, name: str) -> str:
        """The path of `name` in the folder."""
        return str(Path(self.path) / name)

    def listdir(self) -> list[str]:
        return sorted(os.listdir(self.path))

    def remove(self) -> None:
        self._remove()

    def __enter__(self) -> TempDirectory:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.remove()


def tempdir() -> TempDirectory:
    """A new temporary folder."""
    return TempDirectory()
