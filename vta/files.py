"""Writing files so that a crash leaves no half of one, and reading no more than is meant to be."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["FileTooLargeError", "read_limited", "replacing", "require_regular"]


class FileTooLargeError(ValueError):
    """A file of more bytes than its kind may have."""


def require_regular(path: str | os.PathLike[str]) -> None:
    """Raises `OSError` for a device or a pipe, which may have no end."""
    kind = os.stat(path).st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise OSError(errno.EINVAL, "not a regular file")


def read_limited(path: str | os.PathLike[str], limit: int) -> bytes:
    """The bytes of a regular file; anything else is an `OSError`.

    Raises
    ------
    FileTooLargeError
        More than `limit` bytes.
    """
    require_regular(path)
    with open(path, "rb") as file:
        raw = file.read(limit + 1)
    if len(raw) > limit:
        raise FileTooLargeError(f"must have at most {limit} bytes")
    return raw


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """The file to write into: it takes `path`'s place when all is written, and goes if that fails.

    Processes and threads may write one path at a time each; the last one stays.

    What is there and no ordinary file (a device, a pipe) is written itself; so is what a link
    points to.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        yield target
        return
    partial = target.with_name(f"{target.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        yield partial
        partial.replace(target)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
