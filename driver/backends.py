"""The device for each value of a configuration's `TARGET`."""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING

from vta.driver.board.kinds import KINDS
from vta.errors import ConfigError

if TYPE_CHECKING:
    from vta.config import Config
    from vta.driver.device import Device

__all__ = ["BACKENDS", "open_device", "require_backend"]

BACKENDS = {
    "sim": "vta.driver.simulated:SimDevice",
    "tsim": "vta.driver.simulated:TsimDevice",
    **dict.fromkeys(KINDS, "vta.driver.board.local:open_board_device"),
    "ulx3s": "vta.driver.board.serial_board:open_serial_device",
}
"""The device class of each target; a new board is a new row."""


def require_backend(target: str) -> str:
    """The row of `BACKENDS` for a target; raises `ConfigError` if there is none."""
    if target not in BACKENDS:
        have = f"those that have: {', '.join(BACKENDS)}"
        near = difflib.get_close_matches(target, BACKENDS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"TARGET {target} is unknown and has no back end{hint} ({have})")
    return BACKENDS[target]


def open_device(config: Config) -> Device:
    """Opens a device for the target of the configuration."""
    module, name = require_backend(config.target).split(":")
    device: Device = getattr(importlib.import_module(module), name)(config)
    return device
