"""`UioRegisters`: registers behind a UIO device, found by their physical address."""

from __future__ import annotations

from vta.driver.board.system import System
from vta.errors import DeviceError

__all__ = ["UioRegisters", "find_uio"]

_CLASS = "sys/class/uio"
REGISTER_BYTES = 4096
"""Bytes that the machine's registers need."""


def find_uio(system: System, address: int) -> str:
    """The name of the UIO device whose first map is at a physical address, such as ``uio0``.

    Raises
    ------
    DeviceError
        If there is none.
    """
    found = {}
    for name in system.names(_CLASS):
        if system.exists(f"{_CLASS}/{name}/maps/map0/addr"):
            found[name] = int(system.read(f"{_CLASS}/{name}/maps/map0/addr"), 0)
            if found[name] == address:
                return name
    there = ", ".join(f"{name} at {place:#x}" for name, place in found.items()) or "none"
    raise DeviceError(
        f"there is no UIO device at {address:#x} (there is {there}): the device tree must have a "
        "generic-uio node there, and the kernel's arguments must bind it"
    )


class UioRegisters:
    """The machine's registers behind a UIO device.

    Parameters
    ----------
    system : System
    name : str
        The device, such as ``uio0``.
    """

    def __init__(self, system: System, name: str) -> None:
        nbytes = int(system.read(f"{_CLASS}/{name}/maps/map0/size"), 0)
        if nbytes < REGISTER_BYTES:
            raise DeviceError(f"{name} must map {REGISTER_BYTES} bytes, not {nbytes}")
        self._words = system.words(f"dev/{name}", nbytes)

    def read(self, offset: int) -> int:
        return self._words[offset >> 2]

    def write(self, offset: int, value: int) -> None:
        self._words[offset >> 2] = value

    def close(self) -> None:
        """Does nothing: the mapping ends with the last reference to it."""
