"""Bitstreams on the client's side: from a file, from the cache, or made for an emulated board."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from vta import cache
from vta.driver.board.emulated_bitstream import emulated_bitstream
from vta.driver.board.fpga_manager import MAX_BITSTREAM
from vta.driver.board.kinds import kind_named
from vta.errors import DeviceError
from vta.files import FileTooLargeError, read_limited

if TYPE_CHECKING:
    from vta.config import Config

__all__ = ["bitstream_key", "fitting_bitstream", "read_bitstream"]

CACHE_KIND = "bitstream"
CACHED_FILE = "vta.bit"


def bitstream_key(board: str, config: Config) -> str:
    """The cache's key of the bitstream for a board and the programs of a configuration.

    The width of the bus and the like are the board's own affair.
    """
    encoding = config.encoding() | {"REQUANTISES": config.requantises}
    return cache.digest(board, json.dumps(encoding, sort_keys=True))


def fitting_bitstream(board: str, config: Config, *, emulated: bool) -> bytes | None:
    """The bitstream for a board and a configuration; None if there is none here."""
    if emulated:
        return emulated_bitstream(kind_named(board), config)
    folder = cache.lookup(CACHE_KIND, bitstream_key(board, config))
    return None if folder is None else read_bitstream(folder / CACHED_FILE)


def read_bitstream(path: Path) -> bytes:
    """The content of a file.

    Raises
    ------
    DeviceError
        If it cannot be read, or is too large for a bitstream.
    """
    try:
        return read_limited(path, MAX_BITSTREAM)
    except FileTooLargeError as error:
        raise DeviceError(f"{path}: {error}, as a bitstream") from None
    except OSError as error:
        raise DeviceError(f"{path}: cannot be read ({error.strerror})") from None
