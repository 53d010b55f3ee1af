"""Bitstreams on the client's side: from a file, from the cache, or made for an emulated board."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from vta import cache
from vta.config import Config
from vta.driver.board.emulated_bitstream import emulated_bitstream
from vta.driver.board.fpga_manager import MAX_BITSTREAM
from vta.driver.board.kinds import KINDS, kind_named
from vta.errors import DeviceError
from vta.files import FileTooLargeError, read_limited, replacing

__all__ = [
    "RoutedBitstream",
    "bitstream_key",
    "bitstream_place",
    "fitting_bitstream",
    "read_bitstream",
    "write_emulated",
]

CACHE_KIND = "bitstream"
CACHED_FILE = "vta.bit"

_MAX_MANIFEST = 1 << 16


class RoutedBitstream(NamedTuple):
    """A bitstream, and the clock that it was routed for (None: the board's default)."""

    data: bytes
    clock_hz: int | None


def bitstream_key(board: str, config: Config) -> str:
    """The cache's key of the bitstream for a board and the programs of a configuration.

    The width of the bus and the like are the board's own affair.
    """
    encoding = config.encoding() | {"REQUANTISES": config.requantises}
    return cache.digest(board, json.dumps(encoding, sort_keys=True))


def bitstream_place(board: str, config: Config) -> Path:
    """Where the cache has the bitstream for a board and a configuration, or will have it."""
    return cache.cache_dir() / CACHE_KIND / bitstream_key(board, config) / CACHED_FILE


def fitting_bitstream(board: str, config: Config, *, emulated: bool) -> RoutedBitstream | None:
    """The bitstream for a board and a configuration; None if there is none here.

    It is also None for boards that the driver does not program, but a cable.
    """
    if board not in KINDS:
        return None
    if emulated:
        return RoutedBitstream(emulated_bitstream(kind_named(board), config), None)
    folder = cache.lookup(CACHE_KIND, bitstream_key(board, config))
    return None if folder is None else read_bitstream(folder / CACHED_FILE)


def read_bitstream(path: Path) -> RoutedBitstream:
    """The content of a file, and the clock in its manifest, the file with ``.json`` for a suffix.

    Raises
    ------
    DeviceError
        If it cannot be read, or is too large for a bitstream; or if the manifest is damaged.
    """
    data = _content(path, MAX_BITSTREAM)
    manifest = path.with_suffix(".json")
    if not manifest.is_file():
        return RoutedBitstream(data, None)
    try:
        clock_hz = json.loads(_content(manifest, _MAX_MANIFEST))["clock_hz"]
    except (KeyError, TypeError, ValueError):
        clock_hz = None
    if not isinstance(clock_hz, int) or not 0 < clock_hz < 1 << 32:
        raise DeviceError(f"{manifest}: must have clock_hz, the clock that was routed, in Hz")
    return RoutedBitstream(data, clock_hz)


def write_emulated(board: str, path: str | os.PathLike[str], config: Config | None = None) -> None:
    """Writes the bitstream that programs an emulated board.

    Parameters
    ----------
    board : str
        The kind of board, such as ``intelfocl``.
    path : path
    config : Config, optional
        The default is what `Config.load` finds.
    """
    with replacing(path) as partial:
        partial.write_bytes(emulated_bitstream(kind_named(board), config or Config.load()))


def _content(path: Path, limit: int) -> bytes:
    try:
        return read_limited(path, limit)
    except FileTooLargeError as error:
        raise DeviceError(f"{path}: {error}, as a bitstream") from None
    except OSError as error:
        raise DeviceError(f"{path}: cannot be read ({error.strerror})") from None
