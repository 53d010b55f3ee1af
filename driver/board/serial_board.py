"""`SerialBoard`: a board at a serial port, such as the ULX3S, whose memory is SDRAM."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vta.driver.board.board import INSN_BYTES, LAUNCH, RESET, BoardInfo, BoardRun, RegisterMap
from vta.driver.board.register_table import register_map
from vta.driver.board.serial_link import SerialLink
from vta.errors import ConfigError, DeviceError, DeviceTimeout, ToolError

if TYPE_CHECKING:
    from vta.config import Config
    from vta.driver.board.board_device import BoardDevice

__all__ = ["SERIAL_PORT", "SerialBoard", "open_serial_device", "open_serial_port"]

SERIAL_PORT = "VTA_SERIAL_PORT"
"""The environment variable that names the port, such as ``/dev/ttyUSB0`` or ``COM3``."""

BAUD = 3_000_000
REGISTERS, CONTROL = 0x8000_0000, 0x9000_0000
MEMORY_BYTES = 32 << 20
RESET_SECONDS = 10.0

ANSWER_SECONDS = 1.0
"""How long an answer may take."""

# LiteDRAM's registers, by their offsets.
_INIT_DONE, _DFII = 0x0000, 0x0800
_MODE, _COMMAND, _ISSUE, _ADDRESS, _BANK = (_DFII + 4 * index for index in range(5))
_BY_SOFTWARE, _BY_HARDWARE = 0x0E, 0x01
_CS, _WE, _CAS, _RAS = 1, 2, 4, 8

# JEDEC's start of an SDRAM: address and command; all banks precharged, the mode register (CAS
# latency 2, bursts of one), two refreshes. The waits between them are shorter than a request takes.
_START = (
    (0x400, _RAS | _WE | _CS),
    (0x120, _RAS | _CAS | _WE | _CS),
    (0x400, _RAS | _WE | _CS),
    (0x000, _RAS | _CAS | _CS),
    (0x000, _RAS | _CAS | _CS),
    (0x020, _RAS | _CAS | _WE | _CS),
)


class SerialBoard:
    """A machine whose registers and memory are reached over a serial line.

    It is a `BoardLink`: `BoardDevice` makes a device of it. The SDRAM is started if it was not.

    Parameters
    ----------
    link : SerialLink
        Closed with the board.
    kind : str
    registers : RegisterMap

    Raises
    ------
    DeviceError
        If the board does not answer.
    """

    def __init__(self, link: SerialLink, kind: str, registers: RegisterMap) -> None:
        self._link, self._map = link, registers
        self.info = BoardInfo(kind, 0, MEMORY_BYTES)
        if not link.read_word(CONTROL + _INIT_DONE):
            self._start_sdram()

    def _start_sdram(self) -> None:
        def put(offset: int, value: int) -> None:
            self._link.write_word(CONTROL + offset, value)

        put(_ADDRESS, 0)
        put(_BANK, 0)
        put(_MODE, _BY_SOFTWARE)
        for address, command in _START:
            put(_ADDRESS, address)
            put(_BANK, 0)
            put(_COMMAND, command)
            put(_ISSUE, 1)
        put(_MODE, _BY_HARDWARE)
        put(_INIT_DONE, 1)

    # -- memory ----------------------------------------------------------------------------------

    def write(self, addr: int, data: memoryview) -> None:
        """Puts bytes at the machine's address `addr`."""
        self._check(addr, data.nbytes)
        raw = bytes(data)
        # Whole words travel; the bytes around are written as they are.
        if before := addr % 4:
            raw = self._link.read(addr - before, 1)[:before] + raw
        if after := -len(raw) % 4:
            last = addr - before + len(raw) + after - 4
            raw += self._link.read(last, 1)[4 - after :]
        self._link.write(addr - before, raw)

    def read(self, addr: int, into: memoryview) -> None:
        """Copies what is at the machine's address `addr`."""
        self._check(addr, into.nbytes)
        before = addr % 4
        count = (before + into.nbytes + 3) // 4
        into[:] = self._link.read(addr - before, count)[before : before + into.nbytes]

    def _check(self, addr: int, nbytes: int) -> None:
        if not 0 <= addr <= addr + nbytes <= MEMORY_BYTES:
            raise DeviceError(
                f"{nbytes} bytes at {addr:#x} must lie in the board's {MEMORY_BYTES} bytes"
            )

    # -- the machine -----------------------------------------------------------------------------

    def launch(
        self,
        insn_addr: int,
        insn_count: int,
        base: Mapping[str, int],
        timeout: float | None,
        insns: memoryview | None = None,
    ) -> BoardRun:
        """Resets the machine, runs a stream, and looks at the registers until it ends.

        `insns` is the stream if it is not in memory yet.

        Raises
        ------
        DeviceTimeout
            If the run takes longer than `timeout` seconds; the machine is reset.
        """
        self._check(insn_addr, insn_count * INSN_BYTES)
        if insns is not None:
            self.write(insn_addr, insns)
        self.reset()
        for name, address in {"insn": insn_addr, **base}.items():
            self._put(f"{name}_ptr", address & 0xFFFF_FFFF)
            self._put(f"{name}_ptr_hi", address >> 32)
        self._put("insn_count", insn_count)
        start = time.monotonic()
        self._put("control", LAUNCH)
        while self._get("control") & LAUNCH:
            if timeout is not None and time.monotonic() - start > timeout:
                self.reset()
                raise DeviceTimeout(f"the run was not through after {timeout:g} s")
        seconds = time.monotonic() - start
        return BoardRun({name: self._get(name) for name in self._map.offsets}, seconds)

    def identify(self) -> dict[str, int]:
        """The registers that say what the machine is."""
        return {name: self._get(name) for name in self._map.identity}

    def reset(self) -> None:
        """Resets the machine.

        Raises
        ------
        DeviceTimeout
            If its last bursts are not answered.
        """
        self._put("control", RESET)
        end = time.monotonic() + RESET_SECONDS
        while self._get("control") & RESET:
            if time.monotonic() > end:
                raise DeviceTimeout(
                    f"the machine did not come out of reset within {RESET_SECONDS:g} s"
                )

    def program(self, bitstream: bytes, clock_hz: int | None = None) -> None:
        """Raises DeviceError: the FPGA is programmed through the board's USB port."""
        raise DeviceError(
            f"a {self.info.kind} is programmed through USB: run `vta flash {self.info.kind} FILE`"
        )

    def close(self) -> None:
        self._link.close()

    def _get(self, name: str) -> int:
        return self._link.read_word(REGISTERS + self._map.offsets[name])

    def _put(self, name: str, value: int) -> None:
        self._link.write_word(REGISTERS + self._map.offsets[name], value)


def open_serial_port(name: str, seconds: float | None = None) -> SerialLink:
    """Opens a port by pyserial; `seconds` is how long an answer may take.

    Raises
    ------
    ToolError
        If pyserial is not installed.
    DeviceError
        If the port cannot be opened, or another program has it.
    """
    try:
        import serial
    except ModuleNotFoundError:
        raise ToolError("a serial port needs serial: pip install 'amaranth-vta[boards]'") from None
    try:
        # Requests of two programs must not mix: the port is opened for one alone.
        port = serial.serial_for_url(name, BAUD, timeout=seconds or ANSWER_SECONDS, exclusive=True)
        return SerialLink(port)
    except (OSError, ValueError) as error:
        raise DeviceError(
            f"{name}: cannot be opened ({error}); set {SERIAL_PORT} to the board's serial port"
        ) from None


def open_serial_device(config: Config, seconds: float | None = None) -> BoardDevice:
    """The board at the serial port that `VTA_SERIAL_PORT` names.

    Raises
    ------
    ConfigError
        If it names none.
    DeviceError
        If the board does not answer.
    """
    from vta.driver.board.board_device import BoardDevice

    name = os.environ.get(SERIAL_PORT, "")
    if not name:
        raise ConfigError(
            f"TARGET {config.target} is at a serial port: set {SERIAL_PORT} to it, such as "
            "/dev/ttyUSB0"
        )
    link = open_serial_port(name, seconds)
    try:
        return BoardDevice(config, SerialBoard(link, config.target, register_map()))
    except BaseException:
        link.close()
        raise
