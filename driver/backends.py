"""Which device a configuration's `TARGET` means."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from vta.errors import ConfigError

if TYPE_CHECKING:
    from vta.config import Config
    from vta.driver.device import Device

__all__ = ["BACKENDS", "open_device", "require_backend"]

BACKENDS = {"sim": "vta.driver.simulated:SimDevice", "tsim": "vta.driver.simulated:TsimDevice"}
"""Target to class: a new board is a new row."""


def require_backend(target: str) -> str:
    """The row of `BACKENDS` for a target; raises `ConfigError` where there is none."""
    if target not in BACKENDS:
        raise ConfigError(
            f"TARGET {target} has no back end yet; those that have: {', '.join(BACKENDS)}"
        )
    return BACKENDS[target]


def open_device(config: Config) -> Device:
    """A device of the configuration's target."""
    module, name = require_backend(config.target).split(":")
    device: Device = getattr(importlib.import_module(module), name)(config)
    return device
