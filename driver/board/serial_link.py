"""`SerialLink`: words of a board at a serial port, by the frames of `vta.hw.boards.uart_bridge`."""

from __future__ import annotations

import binascii
import logging
import struct
from typing import Protocol

from vta.errors import DeviceError

__all__ = ["SerialLink", "SerialPort"]

logger = logging.getLogger(__name__)

REQUEST, ANSWER = 0x56, 0x76
READ, WRITE = 1, 2
MOST_WORDS = 256
"""Words of a request."""

TRIES = 5
"""How often a request is sent before the board counts as lost."""

_STATUS = {1: "refused by its bus", 2: "unknown to it"}


class SerialPort(Protocol):
    """What is used of pyserial's `Serial`; `read` returns less after the port's time limit."""

    def read(self, size: int) -> bytes: ...

    def write(self, data: bytes) -> int | None: ...

    def reset_input_buffer(self) -> None: ...

    def close(self) -> None: ...


class SerialLink:
    """Reads and writes 32-bit words by their byte addresses, and repeats what was lost.

    Parameters
    ----------
    port : SerialPort
        With a time limit of more than the longest answer takes.
    """

    def __init__(self, port: SerialPort) -> None:
        self._port = port
        self._sequence = 0
        self.repeats = 0
        """How many requests had to be sent again."""

    def read(self, addr: int, count: int) -> bytes:
        """`count` words from `addr` on, 4 bytes each."""
        parts = [
            self._ask(READ, addr + 4 * first, min(MOST_WORDS, count - first), b"")
            for first in range(0, count, MOST_WORDS)
        ]
        return b"".join(parts)

    def write(self, addr: int, data: bytes) -> None:
        """Writes whole words."""
        for first in range(0, len(data), 4 * MOST_WORDS):
            part = data[first : first + 4 * MOST_WORDS]
            self._ask(WRITE, addr + first, len(part) // 4, part)

    def read_word(self, addr: int) -> int:
        return int.from_bytes(self.read(addr, 1), "little")

    def write_word(self, addr: int, value: int) -> None:
        self.write(addr, value.to_bytes(4, "little"))

    def close(self) -> None:
        self._port.close()

    def _ask(self, operation: int, addr: int, count: int, data: bytes) -> bytes:
        """Sends a request until it is answered; returns the words of the answer.

        Raises
        ------
        DeviceError
            If the board does not answer, or refuses.
        """
        self._sequence = (self._sequence + 1) & 0xFF
        body = struct.pack("<BBBI", self._sequence, operation, count - 1, addr) + data
        request = bytes([REQUEST]) + body + binascii.crc_hqx(body, 0xFFFF).to_bytes(2, "big")
        nbytes = 4 * count if operation == READ else 0
        for attempt in range(TRIES):
            if attempt:
                self.repeats += 1
                logger.info("no answer from the board at %#x; asking again", addr)
            self._port.reset_input_buffer()
            self._port.write(request)
            answer = self._port.read(6 + nbytes)
            if self._is_good(answer):
                break
        else:
            raise DeviceError(
                f"the board does not answer at its serial port ({TRIES} times): look at the cable, "
                "and whether its FPGA holds the machine"
            )
        if answer[2]:
            raise DeviceError(
                f"a request for {count} words at {addr:#x} was {_STATUS.get(answer[2], 'refused')}"
            )
        return answer[4:-2]

    def _is_good(self, answer: bytes) -> bool:
        # A refusal of a read has its words, too, unless the operation is unknown.
        return (
            answer[:2] == bytes([ANSWER, self._sequence])
            and binascii.crc_hqx(answer[1:-2], 0xFFFF).to_bytes(2, "big") == answer[-2:]
        )
