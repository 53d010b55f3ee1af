"""Bitstreams for emulated boards: a configuration in the container of a real bitstream."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

from vta.config import Config
from vta.driver.board.fpga_manager import BIT_START, SYNC
from vta.errors import ConfigError, DeviceError

if TYPE_CHECKING:
    from vta.driver.board.kinds import BoardKind

__all__ = ["emulated_bitstream", "read_emulated"]

_NAME = "vta-emulated"
VERSION = 1


def emulated_bitstream(kind: BoardKind, config: Config, clock_hz: int | None = None) -> bytes:
    """The .bit file that "programs" an emulated board with the machine of a configuration.

    It has the form of a real one: a header, padding, the word AA995566, then data. The data is a
    JSON manifest instead of frames. As in a real one, MAX_BURST is lowered to what the board's
    memory port takes.
    """
    config = config.replace(target="sim", max_burst=min(config.max_burst, kind.longest_burst))
    manifest = json.dumps(
        {
            "format": _NAME,
            "version": VERSION,
            "board": kind.name,
            "clock_hz": clock_hz or kind.clock_hz,
            "config": config.to_dict(),
        }
    ).encode()
    manifest += b" " * (-len(manifest) % 4)
    data = b"\xff" * 32 + SYNC + manifest
    fields = (f"{_NAME};{config.bitstream}", kind.part or kind.name, "2026/01/01", "00:00:00")
    header = b"".join(
        tag + struct.pack(">H", len(text) + 1) + text.encode() + b"\0"
        for tag, text in zip((b"a", b"b", b"c", b"d"), fields, strict=True)
    )
    return BIT_START + header + b"e" + struct.pack(">I", len(data)) + data


def read_emulated(data: bytes, kind: BoardKind) -> tuple[Config, int]:
    """The configuration and the clock in Hz of an emulated board's bitstream.

    Raises
    ------
    DeviceError
        If it is a real bitstream, or one for another board.
    """
    start = data.find(SYNC)
    try:
        manifest = json.loads(data[start + len(SYNC) :]) if start >= 0 else {}
    except ValueError:
        manifest = {}
    if not isinstance(manifest, dict) or manifest.get("format") != _NAME:
        raise DeviceError(
            f"an emulated {kind.name} can only be programmed with an emulated bitstream, not with "
            "one for an FPGA"
        )
    if manifest.get("version") != VERSION or manifest.get("board") != kind.name:
        raise DeviceError(
            f"the emulated bitstream must be for {kind.name} (version {VERSION}), not for "
            f"{manifest.get('board')} (version {manifest.get('version')})"
        )
    clock_hz = manifest.get("clock_hz")
    if not isinstance(clock_hz, int):
        raise DeviceError(f"the emulated bitstream must have clock_hz in Hz, not {clock_hz!r}")
    try:
        return Config.from_dict(manifest.get("config"), "emulated bitstream"), clock_hz
    except ConfigError as error:
        raise DeviceError(str(error)) from None
