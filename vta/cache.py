"""The user's cache folder, for results that take long to make.

An entry is a folder. It is made under a temporary name and then renamed, so it appears complete or
not at all. Processes that need the same entry wait for the one that makes it. If locks do not work
in the cache's folder (on some network file systems), several may make it and one wins.

An entry includes the digests of its files (`MANIFEST`). They are checked at every use, and an entry
that has changed is made again. If the cache grows beyond `MAX_BYTES`, the least recently used
entries are removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vta import processes
from vta.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "MAX_BYTES",
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

MANIFEST = ".entry.json"
"""A file in each entry: SHA-256 digests of the other files, and a description of the entry.
The file's modification time is the time of the last use."""

MAX_BYTES = 2 << 30
"""Bytes above which old entries are removed; `$VTA_CACHE_MAX_BYTES` sets another limit."""

IN_USE = 3600.0
"""For this many seconds after its last use, an entry is not removed: it may still be read."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One entry of the cache.

    `about` describes it in words; `nbytes` is the size of its files; `made` and `used` are the
    times when it was made and last used (seconds since 1970).
    """

    kind: str
    key: str
    path: Path
    about: str
    nbytes: int
    made: float
    used: float


def cache_dir() -> Path:
    """The cache's folder, which may not exist yet: `$VTA_CACHE_PATH`, else the user's default."""
    named = os.environ.get("VTA_CACHE_PATH")
    if named:
        return Path(named).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("amaranth-vta", appauthor=False))


def digest(*parts: str | bytes) -> str:
    """A key that differs if any of the parts differs, or where one ends and the next begins."""
    total = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        total.update(len(raw).to_bytes(8, "little"))
        total.update(raw)
    return total.hexdigest()


def lookup(kind: str, key: str) -> Path | None:
    """The folder of an entry, or None if there is no intact one."""
    path = _path(kind, key)
    if not path.is_dir() or _damage(path):
        return None
    with contextlib.suppress(OSError):  # the cache may be read-only
        os.utime(path / MANIFEST)
    return path


def cached(
    kind: str, key: str, make: Callable[[Path], None], about: str = "", *, small: bool = False
) -> Path:
    """The folder of an entry; if there is none, `make` fills an empty folder to become the entry.

    `vta cache` shows `about` as the entry's description. If `make` raises an exception, nothing is
    stored and the exception is passed on. Where many `small` entries are made one after the other,
    the cache's size is not looked at after each.

    Raises
    ------
    ToolError
        If the cache's folder cannot be written.
    """
    return lookup(kind, key) or _make(kind, key, make, about, small=small)


def store(kind: str, key: str, make: Callable[[Path], None], about: str = "") -> Path:
    """Like `cached`, but always makes the entry again and replaces an existing one."""
    discard(kind, key)
    return _make(kind, key, make, about)


def discard(kind: str, key: str) -> None:
    """Removes an entry; another process that has its files open can still read them."""
    _remove(_path(kind, key))


def entries() -> list[Entry]:
    """Everything in the cache, ordered by kind and key."""
    found = []
    for path in sorted(_ours()):
        if _NAME.fullmatch(path.name):
            with contextlib.suppress(OSError):  # another process may be clearing the cache
                made = path.stat().st_mtime
                manifest = path / MANIFEST
                used = manifest.stat().st_mtime if manifest.is_file() else made
                about = str(_manifest(path).get("about", ""))
                found.append(
                    Entry(path.parent.name, path.name, path, about, _nbytes(path), made, used)
                )
    return found


def size() -> int:
    """Size of the cache in bytes, with unfinished entries."""
    return sum(map(_nbytes, _ours()))


def clear() -> int:
    """Removes everything in the cache; returns the number of bytes removed.

    Raises
    ------
    ToolError
        If some of it could not be removed.
    """
    total, ours = size(), list(_ours())
    failures = [failure for path in ours if (failure := _remove(path))]
    if failures:
        left = size()
        raise ToolError(
            f"{cache_dir()}: {left:,} of {total:,} bytes could not be removed "
            f"({failures[0].strerror or failures[0]})"
        )
    for kind in {path.parent for path in ours}:
        with contextlib.suppress(OSError):  # the folder has other files in it
            kind.rmdir()
    _remove(cache_dir() / _LOCKS)
    return total


def _ours() -> Iterator[Path]:
    """The folders of entries, with unfinished ones.

    Only folders that this module made count, because the user may have chosen a folder with other
    files in it. Every entry that was ever started has a lock file.
    """
    for path in cache_dir().glob("*/*"):
        # The name of an unfinished entry is `.KEY.` and a random suffix.
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


def _make(
    kind: str, key: str, make: Callable[[Path], None], about: str, *, small: bool = False
) -> Path:
    path = _path(kind, key)
    partial: Path | None = None
    try:
        # The lock's file also shows that the entry was made by this module.
        with processes.unwound_by_sigterm(), _locked(kind, key) as alone:
            if path.is_dir():
                damage = _damage(path)
                if not damage:  # another process made it in the meantime
                    return path
                _log.warning("%s in the cache %s; it is made again", path, damage)
                if failure := _remove(path):
                    raise failure
            path.parent.mkdir(parents=True, exist_ok=True)
            if alone and not small:
                _sweep(path)
            try:
                partial = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=path.parent))
                partial.chmod(0o755)
                make(partial)
                _seal(partial, about)
                try:
                    partial.rename(path)
                except OSError:
                    if not path.is_dir():
                        raise
            finally:
                if partial is not None:
                    _remove(partial)
            if not small:
                _evict(path)
            return path
    except OSError as error:
        raise ToolError(
            f"the cache in {cache_dir()} cannot be written ({error.strerror or error}); "
            f"{processes.remedy(str(error)) or 'name another folder in VTA_CACHE_PATH'}"
        ) from error


def _seal(path: Path, about: str) -> None:
    """Writes the manifest of a complete entry."""
    files = {name: _sha256(path / name) for name in _files(path)}
    text = json.dumps({"about": about, "files": files}, indent=1)
    (path / MANIFEST).write_text(text, encoding="utf-8")


def _damage(path: Path) -> str:
    """The damage of an entry, as the end of a sentence; "" if it is intact."""
    sums = _manifest(path).get("files")
    if not isinstance(sums, dict):
        return "has no digests"
    for name, expected in sums.items():
        try:
            if _sha256(path / name) != expected:
                return f"is damaged ({name} has changed)"
        except OSError as error:
            return f"is damaged ({name}: {error.strerror})"
    return ""


def _manifest(path: Path) -> dict[str, object]:
    try:
        found = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sweep(mine: Path) -> None:
    """Removes unfinished entries of killed processes; the lock of such an entry is free.

    The caller holds the lock of `mine`.
    """
    import fcntl

    for path in list(_ours()):
        if not path.name.startswith("."):
            continue
        kind, key = path.parent.name, path.name[1:].rpartition(".")[0]
        with contextlib.suppress(OSError), open(_lock_file(kind, key), "rb") as file:
            if path.parent / key != mine:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(path)


def _evict(kept: Path) -> None:
    """Removes the least recently used entries until the cache is small enough."""
    text = os.environ.get("VTA_CACHE_MAX_BYTES", "")
    if text and not text.isdecimal():
        raise ToolError(f"VTA_CACHE_MAX_BYTES must be a number of bytes, not {text!r}")
    limit = int(text) if text else MAX_BYTES
    found = sorted(entries(), key=lambda entry: entry.used)
    total = sum(entry.nbytes for entry in found)
    for entry in found:
        if total <= limit:
            break
        if entry.path == kept or time.time() - entry.used < IN_USE:
            continue
        if _remove(entry.path) is None:
            total -= entry.nbytes
            _log.info("removed %s %s from the cache, not used lately", entry.kind, entry.about)


def _lock_file(kind: str, key: str) -> Path:
    return cache_dir() / _LOCKS / f"{kind}.{key}"


@contextlib.contextmanager
def _locked(kind: str, key: str) -> Iterator[bool]:
    """Keeps other processes from making the same entry; False if locks do not work."""
    path = _lock_file(kind, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="ascii") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        except (ImportError, OSError):
            yield False
        else:
            yield True


def _remove(path: Path) -> OSError | None:
    """Removes a folder; returns what prevented it, if anything."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return None


def _files(path: Path) -> Iterator[str]:
    """The files of an entry without its manifest, by their paths inside the entry."""
    for folder, _, names in os.walk(path):
        for name in sorted(names):
            inner = os.path.relpath(os.path.join(folder, name), path)
            if inner != MANIFEST:
                yield inner


def _nbytes(path: Path) -> int:
    total = 0
    for name in _files(path):
        with contextlib.suppress(OSError):
            total += os.lstat(path / name).st_size
    return total
