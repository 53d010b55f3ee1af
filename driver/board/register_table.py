"""`register_map`: the registers' places, for the part of the driver without `vta.registers`."""

from __future__ import annotations

from vta.driver.board.board import RegisterMap
from vta.registers import REGISTERS

__all__ = ["register_map"]


def register_map() -> RegisterMap:
    """The offset of each register, and which registers say what the machine is."""
    offsets = {register.name: register.offset for register in REGISTERS}
    identity = ("id", "version", *(name for name in offsets if name.startswith("config_")))
    return RegisterMap(offsets, identity)
