"""Safe file access: atomic writes, and reads with a size limit."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["FileTooLargeError", "read_limited", "replacing", "require_regular", "require_space"]


class FileTooLargeError(ValueError):
    """A file with more bytes than are allowed for its kind."""


def require_regular(path: str | os.PathLike[str]) -> None:
    """Raises `OSError` for a device or a pipe, which may have no end."""
    kind = os.stat(path).st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise OSError(errno.EINVAL, "not a regular file")


def require_space(folder: str | os.PathLike[str], nbytes: int) -> None:
    """Raises `OSError` if `nbytes` cannot be written to a folder."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(nbytes))
        file.flush()
        os.fsync(file.fileno())  # some file systems only find out then


def read_limited(path: str | os.PathLike[str], limit: int) -> bytes:
    """The bytes of a regular file; anything else is an `OSError`.

    Raises
    ------
    FileTooLargeError
        If it has more than `limit` bytes.
    """
    require_regular(path)
    with open(path, "rb") as file:
        raw = file.read(limit + 1)
    if len(raw) > limit:
        raise FileTooLargeError(f"must have at most {limit} bytes")
    return raw


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file to write; it replaces `path` at the end, or is removed if writing fails.

    Several processes and threads may write the same path; the last one wins.

    If `path` is a device or a pipe, it is written directly. If it is a link, the file that it
    points to is replaced.
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
