"""Reads the project's ``.npz`` files, which may come from untrusted sources.

Data is unpacked only after its size has been checked, and pickles are never loaded.
"""

from __future__ import annotations

import json
import math
import os
import threading
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from vta.errors import ConfigError
from vta.files import require_regular

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MAX_UNPACKED_BYTES", "read_npz"]

_PARSING = threading.Lock()
"""Held while numpy parses the header of an array: it does so by `ast.literal_eval`, which in
Python 3.11 fails now and then where several threads parse (cpython issue 106905)."""

MAX_UNPACKED_BYTES = 1 << 30
"""The most bytes that all arrays of a file may take, unless `LIMIT_VARIABLE` sets another limit."""

LIMIT_VARIABLE = "VTA_MAX_UNPACKED_BYTES"


def read_npz(
    path: str | os.PathLike[str], kind: str, version: int, error: type[Exception]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The manifest and the other arrays of an ``.npz`` file of this project.

    The manifest's ``format`` and ``version`` must equal `kind` and `version`. The arrays must not
    have more than `MAX_UNPACKED_BYTES` bytes in total, or ``$VTA_MAX_UNPACKED_BYTES`` if it is set.
    Problems raise `error` with the file's name.
    """
    limit = _limit()
    try:
        require_regular(path)
        with open(path, "rb") as file:
            # Numpy would take other bytes for a pickle, and suggest an unsafe way to load them.
            if not zipfile.is_zipfile(file):
                raise error(f"{path}: not a {kind} file, or a truncated one (no .npz archive)")
            with zipfile.ZipFile(file) as archive:
                # zipfile never reads more bytes of a member than the member declares.
                unpacked = sum(member.file_size for member in archive.infolist())
                if unpacked > limit:
                    raise error(
                        f"{path}: unpacks to {unpacked} bytes, more than the limit of {limit}; if "
                        f"you trust it, set {LIMIT_VARIABLE} to a number of bytes that is enough"
                    )
                with _PARSING:
                    for member in archive.infolist():
                        _check_header(archive, member)
            file.seek(0)
            with _PARSING, np.load(file, allow_pickle=False) as loaded:
                arrays = {name: loaded[name] for name in loaded.files}
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror or problem})") from None
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError) as problem:
        if isinstance(problem, error):
            raise
        raise error(f"{path}: not a {kind} file, or a damaged one ({problem})") from None
    except Exception as problem:  # zlib.error has no common base with the rest
        raise error(f"{path}: a damaged {kind} file ({problem})") from None
    if "manifest" not in arrays:
        raise error(f"{path}: not a {kind} file (no manifest)")
    try:
        manifest = json.loads(arrays.pop("manifest").tobytes())
    except (ValueError, RecursionError) as problem:
        why = "nested too deeply" if isinstance(problem, RecursionError) else problem
        raise error(f"{path}: a damaged {kind} file (its manifest is not JSON: {why})") from None
    if not isinstance(manifest, dict) or manifest.get("format") != kind:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise error(f"{path}: must be a {kind} file, not {found!r}")
    if manifest.get("version") != version:
        raise error(f"{path}: must be version {version} of {kind}, not {manifest.get('version')!r}")
    return manifest, arrays


def _limit() -> int:
    text = os.environ.get(LIMIT_VARIABLE, "")
    if not text:
        return MAX_UNPACKED_BYTES
    if not text.isdecimal():
        raise ConfigError(f"{LIMIT_VARIABLE} must be a number of bytes, not {text!r}")
    return int(text)


def _check_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Refuses an array whose header claims too many bytes, because numpy would allocate them."""
    if not member.filename.endswith(".npy"):
        return
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
            version, np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
        claimed, there = math.prod(shape) * dtype.itemsize, member.file_size - file.tell()
    # An array of Python objects has no fixed size; numpy refuses it.
    if claimed != there and not dtype.hasobject:
        name = member.filename.removesuffix(".npy")
        raise ValueError(f"{name} has {there} bytes, but its header says {claimed}")
