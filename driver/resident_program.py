"""`ResidentProgram`: a program whose constants and stream stay in a device's memory."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from vta.isa import Isa, Opcode

if TYPE_CHECKING:
    from vta.driver.device import Device
    from vta.program import DramBuffer, Program, RunReport

__all__ = ["ResidentProgram"]


class ResidentProgram:
    """A program in a device's memory, to be run there more than once.

    Its constants (micro-ops among them) are written at the first run. The stream is linked and
    written again only if an argument moves. So on a remote board a later run is one request, but
    for constants that the program overwrites, which are written before each run. The memory is free
    again after `close`, or some time after the program is forgotten.

    It is a context manager. Threads may share it.

    Parameters
    ----------
    program : Program
    device : Device

    Raises
    ------
    ProgramError
        If the program was compiled for another configuration than that of the device.
    """

    def __init__(self, program: Program, device: Device) -> None:
        device.check(program)
        self.program = program
        self.device = device
        self._overwritten = _overwritten_constants(program)
        self._own: dict[str, int] = {}
        self._insn_addr: int | None = None
        self._written = False
        self._linked: dict[str, int] | None = None
        self._memory: list[int] = []
        self._discard = weakref.finalize(self, _discard, device, self._memory)

    def reserve(self) -> None:
        """Takes memory for constants, scratch and stream; once. The first run does it.

        Raises
        ------
        DeviceError
            If there is not enough.
        """
        with self.device.lock:
            if self._insn_addr is not None:
                return
            try:
                for buffer in self.program.buffers:
                    if buffer.role in ("const", "temp"):
                        self._own[buffer.name] = address = self._take(buffer.nbytes)
                        self.device.check_place(buffer, address)
                self._insn_addr = self._take(self.program.insns.nbytes)
            except BaseException:
                self._give_back()
                raise

    def run(self, addresses: Mapping[str, int], *, timeout: float | None = None) -> RunReport:
        """Runs the program.

        Parameters
        ----------
        addresses : mapping
            The address of each argument's buffer, by name.
        timeout : float, optional
            Seconds that the run may take; waiting for other threads does not count.

        Raises
        ------
        ProgramError
            If a buffer lies where the instructions cannot reach it.
        DeviceTimeout
            If the run takes longer than `timeout`.
        MachineError
            If the machine reports an error. The device is reset and can be used again.
        """
        program, device = self.program, self.device
        with device.lock:
            self.reserve()
            assert self._insn_addr is not None
            places = dict(self._own)
            for buffer in program.args:
                places[buffer.name] = addresses[buffer.name]
                device.check_place(buffer, places[buffer.name])
            for buffer in self._overwritten if self._written else program.buffers:
                if buffer.data is not None:
                    device.write(places[buffer.name], buffer.data)
            self._written = True
            insns = None if places == self._linked else program.link(places)
            # Until a run has ended well, nobody knows whether its stream arrived.
            self._linked = None
            count = len(program.insns)
            report = device.launch(self._insn_addr, count, timeout=timeout, insns=insns)
            self._linked = places
            return report

    def close(self) -> None:
        """Frees the memory; may be called twice. The next run takes it again."""
        with self.device.lock:
            self._give_back()

    def __enter__(self) -> ResidentProgram:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _take(self, nbytes: int) -> int:
        address = self.device.allocate(nbytes)
        self._memory.append(address)
        return address

    def _give_back(self) -> None:
        while self._memory:
            self.device.free(self._memory.pop())
        self._own.clear()
        self._insn_addr = self._linked = None
        self._written = False


def _overwritten_constants(program: Program) -> list[DramBuffer]:
    """The constants that the program itself stores to."""
    opcodes = Isa(program.config).common.unpack_array(program.insns)["opcode"]
    stores = program.refs[(opcodes == Opcode.STORE) & (program.refs >= 0)]
    buffers = [program.buffers[index] for index in np.unique(stores)]
    return [buffer for buffer in buffers if buffer.data is not None]


def _discard(device: Device, memory: list[int]) -> None:
    for address in memory:
        device.discard(address)
