"""`Board`: a board as its own processor sees it. It runs on Python 3.10's standard library alone.

`vta.driver.board.board_device.BoardDevice` makes a device of it, on the board itself or, through
`vta.driver.remote`, from another computer.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from vta.driver.board.devmem import DevmemArena, DevmemRegisters, MemoryRange, PolledInterrupt
from vta.driver.board.fpga_manager import FpgaManager, parse_bit, to_bin
from vta.driver.board.kinds import BoardKind
from vta.driver.board.ports import Arena, Interrupt, Registers
from vta.driver.board.system import System
from vta.driver.board.ticket import Ticket
from vta.driver.board.u_dma_buf import UDmaBuf, find_u_dma_buf
from vta.driver.board.uio import UioRegisters, find_uio
from vta.driver.board.xrt import XrtArena
from vta.errors import DeviceError, DeviceTimeout

__all__ = ["Board", "BoardInfo", "BoardLink", "BoardRun", "RegisterMap"]

logger = logging.getLogger(__name__)

INSN_BYTES = 16
RESET_SECONDS = 10.0
"""How long a reset may wait for the machine's last bursts."""

WATCH_SECONDS = 0.05
"""How often a run looks whether it should go on."""

_MARK = "run/vta/programmed"
"""A file that says since when the FPGA holds a machine; the next start of the board removes it."""

_CLAIMED = ("sys/class/uio", "dev", "")
"""The folder whose lock is the right to use the board: the first that is there. Everybody may read
it, and nobody else locks it."""

LAUNCH, DONE, RESET = 1, 2, 4
"""Bits of the register `control`; a test compares them with `vta.registers`."""


@dataclass(frozen=True)
class RegisterMap:
    """Where the machine's registers are: the byte offset of each, by its name in the map."""

    offsets: Mapping[str, int]
    identity: tuple[str, ...]
    """The registers that say what the machine is."""


@dataclass(frozen=True)
class BoardInfo:
    """What a client must know of a board.

    Attributes
    ----------
    kind : str
    address, nbytes : int
        The memory that belongs to the machine.
    emulated : bool
    """

    kind: str
    address: int
    nbytes: int
    emulated: bool = False


@dataclass(frozen=True)
class BoardRun:
    """The end of a run: the value of each register, and the seconds that the board measured."""

    registers: Mapping[str, int]
    seconds: float


class BoardLink(Protocol):
    """A `Board`, or the far end of a connection to one."""

    info: BoardInfo

    def write(self, addr: int, data: memoryview) -> None: ...

    def read(self, addr: int, into: memoryview) -> None: ...

    def launch(
        self,
        insn_addr: int,
        insn_count: int,
        base: Mapping[str, int],
        timeout: float | None,
        insns: memoryview | None = None,
    ) -> BoardRun: ...

    def identify(self) -> dict[str, int]: ...

    def reset(self) -> None: ...

    def program(self, bitstream: bytes, clock_hz: int | None = None) -> None: ...

    def close(self) -> None: ...


class Board:
    """A machine behind registers, an interrupt and an arena.

    One thread may use it at a time.

    Parameters
    ----------
    kind : BoardKind
    system : System
    registers : RegisterMap
    emulated : bool
    devmem : MemoryRange, optional
        The memory for the machine, if all is to go through ``/dev/mem`` instead of UIO and
        u-dma-buf.

    Raises
    ------
    DeviceError
        If the board lacks a driver or a device; the message says which.
    """

    def __init__(
        self,
        kind: BoardKind,
        system: System,
        registers: RegisterMap,
        *,
        emulated: bool = False,
        devmem: MemoryRange | None = None,
    ) -> None:
        self.kind = kind
        self._system, self._map = system, registers
        self._fpga = FpgaManager(system)
        self._registers: Registers | None = None
        self._interrupt: Interrupt | None = None
        self._arena: Arena
        self._touched = 0
        self._claim: int | None = None
        self.taken = False
        self.ticket: Ticket | None = None
        """Of a program that keeps the board until `close`, which gives the ticket back."""
        self._taking = threading.Lock()
        self._devmem = devmem is not None
        self._arena = _open_arena(system) if devmem is None else DevmemArena(system, devmem)
        self.info = BoardInfo(kind.name, self._arena.address, self._arena.nbytes, emulated)

    # -- the right to use it ---------------------------------------------------------------------

    def queue_up(self) -> Ticket:
        """A ticket for the board. Its owner should `take` the board at place 0 only."""
        return Ticket(self._system)

    def take(self) -> bool:
        """Takes the board, unless it is taken. Threads may call this and `give_back`.

        The right ends with the process, however that ends. A daemon and sessions over ssh share it.
        The machine is reset and its memory is wiped, for the last user may have been killed in the
        middle of a run.

        Raises
        ------
        DeviceError
            If the board cannot be opened, or the reset fails; then it is not taken.
        """
        with self._taking:
            if self.taken:
                return False
            if self._claim is None:
                folder = next(name for name in _CLAIMED if self._system.exists(name))
                self._claim = self._system.open_folder(folder)
            try:
                fcntl.flock(self._claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self._touched = self.info.nbytes
            try:
                self.reset()
                self.wipe()
            except BaseException:
                self._let_go()
                raise
            self.taken = True
            return True

    def give_back(self) -> None:
        """Resets the machine and wipes its memory, and lets others take the board.

        It does nothing if this process has not taken it.

        Raises
        ------
        DeviceError
            If the reset fails; others can take the board nevertheless.
        """
        with self._taking:
            try:
                if self.taken:
                    try:
                        self.reset()
                    finally:
                        self.wipe()
            finally:
                self._let_go()

    def _let_go(self) -> None:
        """Lets others take the board; its registers must not be touched after this."""
        self.taken = False
        self._release()
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None

    # -- memory ----------------------------------------------------------------------------------

    def write(self, addr: int, data: memoryview) -> None:
        """Puts bytes at the machine's address `addr`, where the machine sees them."""
        with self.writing(addr, data.nbytes) as view:
            view[:] = data

    @contextlib.contextmanager
    def writing(self, addr: int, nbytes: int) -> Iterator[memoryview]:
        """The processor's view of a range, which the machine sees when the context ends."""
        offset = self.locate(addr, nbytes)
        with self._arena.view[offset : offset + nbytes] as view:
            yield view
        self._arena.flush(offset, nbytes)

    def read(self, addr: int, into: memoryview) -> None:
        """Copies what the machine has at its address `addr`."""
        with self.reading(addr, into.nbytes) as view:
            into[:] = view

    @contextlib.contextmanager
    def reading(self, addr: int, nbytes: int) -> Iterator[memoryview]:
        """The processor's view of a range, as the machine left it."""
        offset = self.locate(addr, nbytes)
        self._arena.invalidate(offset, nbytes)
        with self._arena.view[offset : offset + nbytes] as view:
            yield view

    def wipe(self) -> None:
        """Sets to zero all that may have been used, so that the next user does not see it."""
        piece = bytes(1 << 20)
        for offset in range(0, self._touched, len(piece)):
            size = min(len(piece), self._touched - offset)
            self._arena.view[offset : offset + size] = piece[:size]
        self._arena.flush(0, self._touched)
        self._touched = 0

    def locate(self, addr: int, nbytes: int) -> int:
        """The place in the arena of a range of the machine's addresses.

        Raises
        ------
        DeviceError
            If the range is not all in the arena.
        """
        offset = addr - self.info.address
        if not 0 <= offset <= offset + nbytes <= self.info.nbytes:
            raise DeviceError(
                f"{nbytes} bytes at {addr:#x} must lie in the board's memory, which has "
                f"{self.info.nbytes} bytes at {self.info.address:#x}"
            )
        self._touched = max(self._touched, offset + nbytes)
        return offset

    # -- the machine -----------------------------------------------------------------------------

    @property
    def programmed(self) -> bool:
        """Whether the FPGA holds a machine, as far as can be known without touching it.

        To read registers of an FPGA that does not answer stops a board for good.
        """
        return self._system.exists(_MARK)

    def identify(self) -> dict[str, int]:
        """The registers that say what the machine is; none if the FPGA is not programmed."""
        if not self.programmed:
            return {}
        return {name: self._read(name) for name in self._map.identity}

    def launch(
        self,
        insn_addr: int,
        insn_count: int,
        base: Mapping[str, int],
        timeout: float | None,
        insns: memoryview | None = None,
        watch: Callable[[], None] | None = None,
    ) -> BoardRun:
        """Resets the machine, runs a stream that is in memory, and waits for the interrupt.

        Parameters
        ----------
        insn_addr, insn_count : int
        base : mapping
            The byte address of each base register, by its name.
        timeout : float, optional
            Seconds.
        insns : memoryview, optional
            The stream, if it must be put there first.
        watch : callable, optional
            Called now and then; what it raises ends the run.

        Raises
        ------
        DeviceTimeout
            If the run takes longer than `timeout`; the machine is reset.
        """
        self.locate(insn_addr, insn_count * INSN_BYTES)
        if insns is not None:
            self.write(insn_addr, insns)
        # Programs leave no tokens behind, but a run that was interrupted may have left some.
        self.reset()
        for name, address in {"insn": insn_addr, **base}.items():
            self._write(f"{name}_ptr", address & 0xFFFF_FFFF)
            self._write(f"{name}_ptr_hi", address >> 32)
        self._write("insn_count", insn_count)
        self._write("irq_status", 0xFFFF_FFFF)
        self._write("irq_enable", 3)
        interrupt = self._opened_interrupt()
        interrupt.enable()
        self._touched = self.info.nbytes  # the machine may write anywhere
        start = time.monotonic()
        self._write("control", LAUNCH)
        try:
            self._wait(interrupt, None if timeout is None else start + timeout, timeout, watch)
        except BaseException:
            self.reset()
            raise
        seconds = time.monotonic() - start
        return BoardRun({name: self._read(name) for name in self._map.offsets}, seconds)

    def _wait(
        self,
        interrupt: Interrupt,
        end: float | None,
        timeout: float | None,
        watch: Callable[[], None] | None,
    ) -> None:
        while True:
            left = WATCH_SECONDS if end is None else min(WATCH_SECONDS, end - time.monotonic())
            came = interrupt.wait(max(left, 0.0))
            # The register decides: an interrupt may be left from before, or be lost.
            if not self._read("control") & LAUNCH:
                return
            if came:
                interrupt.enable()
            if end is not None and time.monotonic() >= end:
                raise DeviceTimeout(f"the run had not finished after {timeout:g} s")
            if watch is not None:
                watch()

    def reset(self) -> None:
        """Resets the machine, and waits until its last bursts are answered.

        Raises
        ------
        DeviceTimeout
            If that does not end: the machine's memory port hangs.
        """
        if not self.programmed:
            return
        self._write("control", RESET)
        end = time.monotonic() + RESET_SECONDS
        while self._read("control") & RESET:
            if time.monotonic() > end:
                raise DeviceTimeout(
                    f"the machine did not come out of reset within {RESET_SECONDS:g} s: its memory "
                    "port hangs; switch the board off and on"
                )
            self._opened_interrupt().wait(0.0)

    # -- the FPGA --------------------------------------------------------------------------------

    def program(self, bitstream: bytes, clock_hz: int | None = None) -> None:
        """Programs the FPGA; the machine in it is reset first, so that no burst is in flight.

        Parameters
        ----------
        bitstream : bytes
            The content of a .bit or .bin file.
        clock_hz : int, optional
            The clock that it was routed for; the default is that of the kind of board. If the
            board's clock is faster, it is slowed down.

        Raises
        ------
        DeviceError
            If it is for another part, is refused, or needs a slower clock than can be set.
        """
        self._check_part(bitstream)
        data = to_bin(bitstream, swapped=self.kind.swapped)
        self.reset()
        self._release()
        self._system.remove(_MARK)
        if self.kind.clock is not None:
            rate = self.kind.clock.limit(self._system, clock_hz or self.kind.clock_hz)
            logger.info("the clock of %s is %.6g MHz", self.kind.name, rate / 1e6)
        self._fpga.program(data)
        for width in self.kind.widths:
            self._set_width(width.address, width.mask, width.value)
        self._system.put(_MARK, b"")
        logger.info("programmed %s with a bitstream of %d bytes", self.kind.name, len(data))

    def _check_part(self, bitstream: bytes) -> None:
        if not self.kind.part or bitstream[:2] != b"\0\t":
            return
        part = parse_bit(bitstream).part
        if not part.startswith(self.kind.part):
            raise DeviceError(
                f"the bitstream is for the part {part}, and {self.kind.name} has {self.kind.part}"
            )

    def _set_width(self, address: int, mask: int, value: int) -> None:
        """Sets bits of a register of the processor system."""
        self._system.poke(address, self._system.peek(address) & ~mask | value)

    def _release(self) -> None:
        for part in (self._registers, self._interrupt):
            if part is not None:
                part.close()
        self._registers = self._interrupt = None

    def close(self) -> None:
        """Resets the machine and lets go of memory and registers; may be called twice."""
        with contextlib.ExitStack() as stack:
            if self.ticket is not None:
                stack.callback(self.ticket.leave)
                self.ticket = None
            stack.callback(self._arena.close)
            stack.callback(self.give_back)
            if self._registers is not None and not self.taken:
                self.reset()

    # -- registers -------------------------------------------------------------------------------

    def _opened(self) -> Registers:
        if self._registers is None:
            if not self.programmed:
                raise DeviceError(
                    f"the FPGA of {self.kind.name} is not programmed: call "
                    "vta.program_fpga(remote) first"
                )
            address = self.kind.registers
            self._registers = (
                DevmemRegisters(self._system, address)
                if self._devmem
                else UioRegisters(self._system, find_uio(self._system, address))
            )
        return self._registers

    def _opened_interrupt(self) -> Interrupt:
        if self._interrupt is None and self._devmem:
            self._interrupt = PolledInterrupt()
        if self._interrupt is None:
            name = find_uio(self._system, self.kind.registers)
            self._interrupt = self._system.interrupt(f"dev/{name}")
        return self._interrupt

    def _read(self, name: str) -> int:
        return self._opened().read(self._map.offsets[name])

    def _write(self, name: str, value: int) -> None:
        self._opened().write(self._map.offsets[name], value)


def _open_arena(system: System) -> Arena:
    """The memory for the machine: u-dma-buf's, else XRT's."""
    try:
        return UDmaBuf(system, find_u_dma_buf(system))
    except DeviceError as error:
        try:
            return XrtArena(system)
        except DeviceError as other:
            raise DeviceError(f"{error}; nor XRT ({other})") from None
