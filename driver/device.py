"""`Device`: the interface of all back ends, and the steps to run a program on any of them."""

from __future__ import annotations

import abc
import collections
import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vta.driver.resident_program import ResidentProgram
from vta.driver.statistics import Statistics
from vta.errors import ArgumentError, DeviceError, MachineError, ProgramError
from vta.image import BASES
from vta.isa import Isa

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

    from vta.config import Config
    from vta.program import DramBuffer, Program, RunReport

__all__ = ["Device"]


class Device(abc.ABC):
    """A VTA with its own memory.

    A back end supplies `_allocate`, `_free`, `_write`, `_read`, `_launch`, `_reset` and `_close`,
    which are called one at a time and never after `close`. The back end must keep caches coherent:
    the machine sees the data of `_write`, and `_read` returns the data that the machine stored. A
    device is a context manager; `close` may be called twice.

    Threads may share a device: it serves one call at a time, and the others wait. `run` and `call`
    are each one call, including their allocations. Hold `lock` to make several calls in a row.

    Parameters
    ----------
    config : Config
        The configuration of the machine; programs for an incompatible one are refused.
    target : str
        The device's name in reports.

    Attributes
    ----------
    lock : threading.RLock
        Held during every call.

    Raises
    ------
    DeviceError
        From any method, if the device is closed.
    """

    def __init__(self, config: Config, target: str) -> None:
        self.config = config
        self.target = target
        self.lock = threading.RLock()
        self._statistics = Statistics()
        self._discarded: collections.deque[int] = collections.deque()
        self._closed = False

    @abc.abstractmethod
    def _allocate(self, nbytes: int) -> int: ...

    @abc.abstractmethod
    def _free(self, addr: int) -> None: ...

    @abc.abstractmethod
    def _write(self, addr: int, data: NDArray[Any]) -> None: ...

    @abc.abstractmethod
    def _read(self, addr: int, nbytes: int) -> NDArray[np.uint8]: ...

    @abc.abstractmethod
    def _launch(
        self,
        insn_addr: int,
        insn_count: int,
        base: Mapping[str, int],
        timeout: float | None,
        insns: NDArray[np.uint64] | None,
    ) -> RunReport:
        """Resets the machine, runs a stream in memory and waits for its end.

        `insns`, little-endian, is the stream if it must be put there first.

        Raises
        ------
        DeviceTimeout
            If it takes longer than `timeout` seconds (None: no limit).
        """

    @abc.abstractmethod
    def _reset(self) -> None:
        """Resets the machine: clears queues, tokens, counters and errors."""

    @abc.abstractmethod
    def _close(self) -> None:
        """Releases the memory and the machine."""

    # -- memory ----------------------------------------------------------------------------------

    def allocate(self, nbytes: int) -> int:
        """The address of `nbytes` bytes, aligned for every kind of element.

        The block is rounded up to whole elements of every kind, because programs write the last
        tile completely even if it is partly used.
        """
        with self._open():
            while self._discarded:
                self._free(self._discarded.popleft())
            return self._allocate(nbytes)

    def free(self, addr: int) -> None:
        """Frees a block from `allocate`; does nothing after `close`, which frees all memory."""
        with self.lock:
            if not self._closed:
                self._free(addr)

    def discard(self, addr: int) -> None:
        """Frees `addr` at the next allocation.

        For finalizers: Python may run one in the middle of any other call, so it must not take the
        lock.
        """
        self._discarded.append(addr)

    @contextlib.contextmanager
    def scratch(self, nbytes: int) -> Iterator[int]:
        """The address of `nbytes` bytes, which are free again when the context ends."""
        addr = self.allocate(nbytes)
        try:
            yield addr
        finally:
            self.free(addr)

    def write(self, addr: int, data: NDArray[Any]) -> None:
        """Writes the bytes of `data`, row-major, to byte address `addr`."""
        with self._open():
            self._write(addr, data)

    def read(self, addr: int, nbytes: int) -> NDArray[np.uint8]:
        """A copy of `nbytes` bytes from byte address `addr` on."""
        with self._open():
            return self._read(addr, nbytes)

    # -- programs --------------------------------------------------------------------------------

    def call(
        self, program: Program, inputs: Sequence[NDArray[Any]], *, timeout: float | None = None
    ) -> tuple[list[NDArray[Any]], RunReport]:
        """Runs a program on host arrays, in device memory that is allocated for this call.

        Parameters
        ----------
        program : Program
        inputs : sequence of arrays
            One for each input of the program, of its shape and dtype.
        timeout : float, optional
            As for `run`.

        Returns
        -------
        outputs : list of arrays
            One for each output of the program.
        report : RunReport

        Raises
        ------
        ArgumentError
            If the arrays do not fit the program's inputs.
        """
        _check_inputs(program, inputs)
        given = iter(inputs)
        with self._open(), contextlib.ExitStack() as stack:
            addresses: dict[str, int] = {}
            for buffer in program.args:
                addresses[buffer.name] = stack.enter_context(self.scratch(buffer.nbytes))
                if buffer.role == "input":
                    self.write(addresses[buffer.name], next(given))
            report = self.run(program, addresses, timeout=timeout)
            outputs = [
                self.read(addresses[buffer.name], buffer.nbytes)
                .view(buffer.dtype)
                .reshape(buffer.shape)
                for buffer in program.args
                if buffer.role == "output"
            ]
        return outputs, report

    def run(
        self, program: Program, addresses: Mapping[str, int], *, timeout: float | None = None
    ) -> RunReport:
        """Runs a program.

        Parameters
        ----------
        program : Program
        addresses : mapping
            The address of each argument's buffer, by name; other buffers are allocated here.
        timeout : float, optional
            Seconds that the run may take; waiting for other threads does not count.

        Raises
        ------
        ProgramError
            If the program was compiled for another configuration.
        DeviceTimeout
            If the run takes longer than `timeout`.
        MachineError
            If the machine reports an error. The device is reset and can be used again.
        """
        with self._open(), ResidentProgram(program, self) as resident:
            return resident.run(addresses, timeout=timeout)

    def run_stream(
        self,
        insns: NDArray[np.uint64],
        *,
        base: Mapping[str, int] | None = None,
        timeout: float | None = None,
    ) -> RunReport:
        """Runs raw instructions, (n, 2) uint64; base registers that are not named are 0."""
        with self._open(), self.scratch(insns.nbytes) as insn_addr:
            return self.launch(insn_addr, len(insns), base=base, timeout=timeout, insns=insns)

    def launch(
        self,
        insn_addr: int,
        insn_count: int,
        *,
        base: Mapping[str, int] | None = None,
        timeout: float | None = None,
        insns: NDArray[np.uint64] | None = None,
    ) -> RunReport:
        """Resets the machine, and runs a stream that lies in the device's memory.

        Parameters
        ----------
        insn_addr, insn_count : int
        base : mapping, optional
            The base registers; those that are not named are 0.
        timeout : float, optional
            As for `run`.
        insns : (insn_count, 2) uint64, optional
            The stream, if it must be put there first.

        Raises
        ------
        ArgumentError
            If `insns` has another shape.
        DeviceTimeout, MachineError
            As for `run`.
        """
        if insns is not None and insns.shape != (insn_count, 2):
            raise ArgumentError(f"insns must have the shape ({insn_count}, 2), not {insns.shape}")
        registers = dict.fromkeys(BASES, 0) | dict(base or {})
        if unknown := registers.keys() - set(BASES):
            raise DeviceError(
                f"base must have only the keys {', '.join(BASES)}, not {', '.join(sorted(unknown))}"
            )
        if insns is not None:
            insns = insns.astype("<u8", copy=False)
        with self._open():
            try:
                report = self._launch(insn_addr, insn_count, registers, timeout, insns)
            except BaseException:
                self._reset()
                raise
            self._statistics.add(report)
            if report.fault is not None:
                self._reset()
                raise MachineError(report.fault)
        return report

    def reset(self) -> None:
        """Resets the machine: clears queues, tokens, counters and errors."""
        with self._open():
            self._reset()

    def check(self, program: Program) -> None:
        """Refuses a program whose instructions mean something else on this machine.

        Bus width, burst length, instruction queues and address width may differ: they do not change
        what a stream does.
        """
        if difference := self.config.encoding_difference(program.config):
            raise ProgramError(
                f"program {program.name} was compiled for another configuration: "
                f"{difference} (here: the device, there: the program)"
            )
        newer = program.config.requantises and not self.config.requantises
        if newer and (insn := Isa(program.config).first_new(program.insns)):
            raise ProgramError(
                f"program {program.name} needs a device with HW_VER 0.0.3, not "
                f"{self.config.hw_ver}: instruction {insn.index} is {insn}"
            )

    def check_place(self, buffer: DramBuffer, addr: int) -> None:
        """Refuses an address from which a buffer does not fit into the machine's memory."""
        end = 1 << self.config.addr_width
        if not 0 <= addr <= end - buffer.nbytes:
            raise DeviceError(
                f"buffer {buffer.name} of {buffer.nbytes} bytes must lie below {end:#x}, "
                f"not at {addr:#x}"
            )

    def statistics(self) -> dict[str, int]:
        """Sums over all runs since `clear_statistics`."""
        return self._statistics.totals()

    def clear_statistics(self) -> None:
        """Starts `statistics` from zero."""
        self._statistics.clear()

    def close(self) -> None:
        """Releases memory and machine, after waiting for a call in another thread."""
        with self.lock:
            if not self._closed:
                self._closed = True
                self._close()

    @contextlib.contextmanager
    def _open(self) -> Iterator[None]:
        """Holds the lock; raises `DeviceError` if the device is closed."""
        with self.lock:
            if self._closed:
                raise DeviceError(f"the {self.target} device is closed")
            yield

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _check_inputs(program: Program, inputs: Sequence[NDArray[Any]]) -> None:
    wanted = [buffer for buffer in program.args if buffer.role == "input"]
    if len(inputs) != len(wanted):
        raise ArgumentError(f"{program.name} has {len(wanted)} inputs, not {len(inputs)}")
    for buffer, array in zip(wanted, inputs, strict=True):
        if array.shape != buffer.shape or array.dtype != buffer.dtype:
            raise ArgumentError(
                f"input {buffer.name} of {program.name} must be "
                f"{buffer.dtype}{list(buffer.shape)}, not {array.dtype}{list(array.shape)}"
            )
