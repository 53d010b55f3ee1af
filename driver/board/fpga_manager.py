"""`FpgaManager`: programs an FPGA through Linux, and `to_bin`, which converts bitstreams for it."""

from __future__ import annotations

import array
import struct
from typing import NamedTuple

from vta.driver.board.system import System
from vta.errors import DeviceError

__all__ = ["BIT_START", "MAX_BITSTREAM", "SYNC", "Bitstream", "FpgaManager", "parse_bit", "to_bin"]

MAX_BITSTREAM = 1 << 25
"""The most bytes of a bitstream; those of the largest of these parts have 20 million."""

_FOLDER = "sys/class/fpga_manager/fpga0"
_FIRMWARE = "lib/firmware"
_FILE = "vta-bitstream.bin"
SYNC = bytes.fromhex("aa995566")
"""The word before a bitstream's first command."""

BIT_START = bytes.fromhex("00090ff00ff00ff00ff0000001")
"""How a .bit file starts."""


class Bitstream(NamedTuple):
    """What a .bit file holds."""

    design: str
    part: str
    data: bytes


def parse_bit(content: bytes) -> Bitstream:
    """Takes a Xilinx .bit file apart: a header of tagged fields, then the configuration data.

    Raises
    ------
    DeviceError
        If it is not such a file, or is cut short.
    """
    if not content.startswith(BIT_START):
        raise DeviceError("a .bit file must start with its header of 13 bytes")
    place, fields = len(BIT_START), {}
    try:
        for tag in b"abcd":
            if content[place] != tag:
                raise DeviceError(f"a .bit file must have field {chr(tag)!r} at byte {place}")
            (size,) = struct.unpack_from(">H", content, place + 1)
            fields[tag] = content[place + 3 : place + 3 + size].rstrip(b"\0").decode("latin-1")
            place += 3 + size
        if content[place] != ord("e"):
            raise DeviceError(f"a .bit file must have field 'e' at byte {place}")
        (size,) = struct.unpack_from(">I", content, place + 1)
    except (IndexError, struct.error):
        raise DeviceError("the .bit file is cut short in its header") from None
    data = content[place + 5 :]
    if len(data) != size:
        raise DeviceError(f"the .bit file must have {size} bytes of data, not {len(data)}")
    return Bitstream(fields[ord("a")], fields[ord("b")], data)


def to_bin(content: bytes, *, swapped: bool = True) -> bytes:
    """A bitstream as the FPGA manager wants it.

    Parameters
    ----------
    content : bytes
        A .bit file, or raw configuration data in either byte order.
    swapped : bool
        Whether the bytes of each 32-bit word must be reversed, as on Zynq. If not, the content is
        passed on as it is.

    Raises
    ------
    DeviceError
        If it is not a bitstream, or its length is not whole words.
    """
    if not swapped:
        return content
    data = parse_bit(content).data if content.startswith(BIT_START) else content
    if len(data) % 4:
        raise DeviceError(f"a bitstream must have whole 32-bit words, not {len(data)} bytes")
    if SYNC[::-1] in data[:4096]:
        return data
    if SYNC not in data[:4096]:
        raise DeviceError("a bitstream must have the word AA995566 within its first 4096 bytes")
    words = array.array("I", data)
    words.byteswap()
    return words.tobytes()


class FpgaManager:
    """Linux's FPGA manager.

    Parameters
    ----------
    system : System
    """

    def __init__(self, system: System) -> None:
        self._system = system

    @property
    def there(self) -> bool:
        return self._system.exists(_FOLDER)

    @property
    def state(self) -> str:
        """``operating`` once the FPGA is programmed."""
        return self._system.read(f"{_FOLDER}/state")

    def program(self, data: bytes) -> None:
        """Programs the FPGA with what `to_bin` returned.

        Raises
        ------
        DeviceError
            If the kernel refuses it.
        """
        if not self.there:
            raise DeviceError("there is no FPGA manager: the kernel must have one (fpga_manager)")
        self._system.put(f"{_FIRMWARE}/{_FILE}", data)
        try:
            self._system.write(f"{_FOLDER}/flags", "0")
            self._system.write(f"{_FOLDER}/firmware", _FILE)
        finally:
            self._system.remove(f"{_FIRMWARE}/{_FILE}")
        if self.state != "operating":
            raise DeviceError(
                f"the FPGA was not programmed: the FPGA manager's state is {self.state!r} "
                "(dmesg says more)"
            )
