"""The user's cache folder: what takes long to make is made once.

An entry is a folder that appears complete or not at all: it is made beside its place and renamed
into it. Processes that want the same entry wait for the one that makes it; if locks do not work
where the cache lies (some network file systems), several make it and one wins.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vta.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "Entry",
    "cache_dir",
    "cached",
    "clear",
    "digest",
    "discard",
    "entries",
    "lookup",
    "size",
    "store",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LOCKS = ".locks"


@dataclass(frozen=True)
class Entry:
    """One thing in the cache: a folder, its bytes, and when it was made (seconds since 1970)."""

    kind: str
    key: str
    path: Path
    nbytes: int
    made: float


def cache_dir() -> Path:
    """The cache's folder, which need not exist: `$VTA_CACHE_PATH`, else the user's own."""
    named = os.environ.get("VTA_CACHE_PATH")
    if named:
        return Path(named).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("amaranth-vta", appauthor=False))


def digest(*parts: str | bytes) -> str:
    """A key that differs wherever any of the parts, or their division, differs."""
    total = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        total.update(len(raw).to_bytes(8, "little"))
        total.update(raw)
    return total.hexdigest()


def lookup(kind: str, key: str) -> Path | None:
    """The folder of an entry, or None if there is none."""
    path = _path(kind, key)
    return path if path.is_dir() else None


def cached(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder of an entry; if there is none, `make` fills an empty folder, which becomes it.

    If `make` raises, nothing is stored and its exception passes on.

    Raises
    ------
    ToolError
        The cache's folder cannot be written.
    """
    return lookup(kind, key) or _make(kind, key, make)


def store(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """Like `cached`, but makes the entry anew, in place of the one that there may be."""
    discard(kind, key)
    return _make(kind, key, make)


def discard(kind: str, key: str) -> None:
    """Removes an entry; files of it that somebody has open stay usable there."""
    _remove(_path(kind, key))


def entries() -> list[Entry]:
    """Everything in the cache, ordered by kind and key."""
    found = []
    for path in sorted(_ours()):
        if _NAME.fullmatch(path.name):
            with contextlib.suppress(OSError):  # somebody may be clearing the cache
                found.append(
                    Entry(path.parent.name, path.name, path, _nbytes(path), path.stat().st_mtime)
                )
    return found


def size() -> int:
    """Bytes that the cache takes, what is half made included."""
    return sum(map(_nbytes, _ours()))


def clear() -> int:
    """Removes everything that is in the cache; returns how many bytes that were."""
    total, ours = size(), list(_ours())
    for path in ours:
        _remove(path)
    for kind in {path.parent for path in ours}:
        with contextlib.suppress(OSError):  # something else is in it
            kind.rmdir()
    _remove(cache_dir() / _LOCKS)
    return total


def _ours() -> Iterator[Path]:
    """The folders of entries, half made ones too.

    Only what this module put there: the folder may have been chosen carelessly, and each entry that
    was ever begun has left a lock.
    """
    for path in cache_dir().glob("*/*"):
        # A half made one is named `.KEY.` and a random end.
        key = path.name[1:].rpartition(".")[0] if path.name.startswith(".") else path.name
        if path.is_dir() and (cache_dir() / _LOCKS / f"{path.parent.name}.{key}").is_file():
            yield path


def _path(kind: str, key: str) -> Path:
    for name in (kind, key):
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"a cache entry's name must be letters, digits, '_', '-' and '.', not {name!r}"
            )
    return cache_dir() / kind / key


def _make(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    path = _path(kind, key)
    partial: Path | None = None
    try:
        with _locked(kind, key) as alone:
            if path.is_dir():  # made while this process waited
                return path
            path.parent.mkdir(parents=True, exist_ok=True)
            if alone:
                # Left by processes that were killed: whoever makes this entry holds the lock.
                for left in path.parent.glob(f".{key}.*"):
                    _remove(left)
            partial = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=path.parent))
            partial.chmod(0o755)
            make(partial)
            try:
                partial.rename(path)
            except OSError:
                if not path.is_dir():
                    raise
            return path
    except OSError as error:
        raise ToolError(
            f"the cache in {cache_dir()} cannot be written ({error.strerror or error});"
            f" name another folder in VTA_CACHE_PATH"
        ) from error
    finally:
        if partial is not None:
            _remove(partial)


@contextlib.contextmanager
def _locked(kind: str, key: str) -> Iterator[bool]:
    """Keeps other processes from making the same entry; False where locks do not work."""
    folder = cache_dir() / _LOCKS
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{kind}.{key}", "w", encoding="ascii") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        except (ImportError, OSError):
            yield False
        else:
            yield True


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def _nbytes(path: Path) -> int:
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total
