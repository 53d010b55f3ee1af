"""`Device`: what every back end offers, and how a program runs on any of them."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vta.driver.statistics import Statistics
from vta.errors import DeviceError, MachineError, ProgramError
from vta.image import BASES

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

    from vta.config import Config
    from vta.program import Program, RunReport

__all__ = ["Device"]


class Device(abc.ABC):
    """A VTA with memory of its own.

    A back end supplies the memory (`allocate`, `free`, `write`, `read`), `launch`, `reset` and
    `close`. Keeping caches coherent is its own affair: what `write` put there the machine sees,
    what the machine stored `read` gives. A device is a context manager; `close` may be called
    twice.

    Parameters
    ----------
    config : Config
        What the machine is; programs for another are refused.
    target : str
        The name that reports carry.
    """

    def __init__(self, config: Config, target: str) -> None:
        self.config = config
        self.target = target
        self._statistics = Statistics()

    @abc.abstractmethod
    def allocate(self, nbytes: int) -> int:
        """The address of `nbytes` bytes, aligned for every kind of element.

        What is given out reaches to the end of the last element, whatever its kind: programs
        compute a tile that is not full like the others, and write all of it.
        """

    @abc.abstractmethod
    def free(self, addr: int) -> None:
        """Gives back what `allocate` gave out."""

    @abc.abstractmethod
    def write(self, addr: int, data: NDArray[Any]) -> None:
        """Puts the bytes of `data`, row-major, at byte `addr`."""

    @abc.abstractmethod
    def read(self, addr: int, nbytes: int) -> NDArray[np.uint8]:
        """A copy of `nbytes` bytes from byte `addr` on."""

    @abc.abstractmethod
    def launch(
        self, insn_addr: int, insn_count: int, base: Mapping[str, int], timeout: float | None
    ) -> RunReport:
        """Runs a stream that lies in memory, and waits for its end.

        Raises
        ------
        DeviceTimeout
            It took longer than `timeout` seconds (None: no limit).
        """

    @abc.abstractmethod
    def reset(self) -> None:
        """The machine's reset: empties queues, tokens, counters and errors."""

    @abc.abstractmethod
    def close(self) -> None:
        """Gives back memory and machine; every later use is a `DeviceError`."""

    # -- the same on every back end --------------------------------------------------------------

    def run(
        self, program: Program, addresses: Mapping[str, int], *, timeout: float | None = None
    ) -> RunReport:
        """Runs a program.

        Parameters
        ----------
        program : Program
        addresses : mapping
            Where each argument's buffer lies, by name; all of its other buffers are made here.
        timeout : float, optional
            Seconds.

        Raises
        ------
        ProgramError
            A program for another configuration.
        MachineError
            The machine reported an error. The device is reset and can be used again.
        """
        self.check(program)
        with contextlib.ExitStack() as stack:
            places = {buffer.name: addresses[buffer.name] for buffer in program.args}
            for buffer in program.buffers:
                if buffer.name not in places:
                    places[buffer.name] = stack.enter_context(self._scratch(buffer.nbytes))
                if buffer.data is not None:
                    self.write(places[buffer.name], buffer.data)
            return self.run_stream(program.link(places), timeout=timeout)

    def run_stream(
        self,
        insns: NDArray[np.uint64],
        *,
        base: Mapping[str, int] | None = None,
        timeout: float | None = None,
    ) -> RunReport:
        """Runs raw instructions, (n, 2) uint64; base registers that are not named are 0."""
        registers = dict.fromkeys(BASES, 0) | dict(base or {})
        if unknown := registers.keys() - set(BASES):
            raise DeviceError(
                f"base must have only the keys {', '.join(BASES)}, not {', '.join(sorted(unknown))}"
            )
        with self._scratch(insns.nbytes) as insn_addr:
            self.write(insn_addr, insns.astype("<u8", copy=False))
            # Our programs leave no tokens behind; an interrupted run before may have.
            self.reset()
            try:
                report = self.launch(insn_addr, len(insns), registers, timeout)
            except BaseException:
                self.reset()
                raise
        self._statistics.add(report)
        if report.fault is not None:
            self.reset()
            raise MachineError(report.fault)
        return report

    def check(self, program: Program) -> None:
        """Refuses a program that was compiled for another machine."""
        if difference := self.config.difference(program.config):
            raise ProgramError(
                f"program {program.name} was compiled for another configuration: "
                f"{difference} (here: the device, there: the program)"
            )

    def statistics(self) -> dict[str, int]:
        """Sums over all runs since `clear_statistics`."""
        return self._statistics.totals()

    def clear_statistics(self) -> None:
        self._statistics.clear()

    @contextlib.contextmanager
    def _scratch(self, nbytes: int) -> Iterator[int]:
        addr = self.allocate(nbytes)
        try:
            yield addr
        finally:
            self.free(addr)

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
