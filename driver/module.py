"""`Module`, the result of `vta.build`, and `LoadedModule`, which runs on a device."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vta.driver.ndarray import Context, NDArray
from vta.driver.resident_program import ResidentProgram
from vta.errors import ArgumentError, DeviceError

if TYPE_CHECKING:
    from vta.driver.device import Device
    from vta.program import DramBuffer, Program, RunReport

__all__ = ["LoadedModule", "Module", "TimingResult"]


class Module:
    """A compiled program on the host, which can be saved. It is immutable; threads may share it.

    Attributes
    ----------
    program : Program
    """

    def __init__(self, program: Program) -> None:
        self.program = program

    @property
    def entry_name(self) -> str:
        return self.program.name

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the program's file; the content does not depend on the name's suffix."""
        try:
            self.program.save(path)
        except OSError as error:
            raise DeviceError(f"{path}: cannot be written ({error.strerror})") from None

    export_library = save

    def __repr__(self) -> str:
        return f"Module({_signature(self.program)})"


class MissingFunction(ArgumentError, KeyError):
    """The requested function is not in the program."""

    __str__ = Exception.__str__  # KeyError would show the message in quotes


@dataclass(frozen=True)
class TimingResult:
    """The time of a call in seconds, for each repeat."""

    results: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.results)

    @property
    def median(self) -> float:
        return statistics.median(self.results)

    @property
    def min(self) -> float:
        return min(self.results)

    @property
    def max(self) -> float:
        return max(self.results)

    @property
    def std(self) -> float:
        return statistics.pstdev(self.results)


class LoadedModule:
    """A program loaded on a device; call it with its arguments to run it.

    Its constants and its instructions are written to the device at the first call. They stay there
    until `close`, or until the module is forgotten.
    Threads may share it. The device serves one call at a time. Threads that pass the same array
    must coordinate their writes to it.

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
        self._resident = ResidentProgram(program, device)
        self.program = program
        self.device = device

    @property
    def entry_name(self) -> str:
        return self.program.name

    def __call__(self, *args: NDArray) -> None:
        self.run(*args)

    def close(self) -> None:
        """Frees the program's memory on the device; may be called twice. A call takes it again."""
        self._resident.close()

    def __getitem__(self, name: str) -> LoadedModule:
        """The module's only function, by the name that it was built with: the module itself."""
        if name != self.entry_name:
            raise MissingFunction(f"there is no function {name!r}, only {self.entry_name!r}")
        return self

    def run(self, *args: NDArray, timeout: float | None = None) -> RunReport:
        """Runs the program on arrays in the device's memory.

        Raises
        ------
        ArgumentError
            If the arrays do not fit the signature.
        MachineError
            If the machine reports an error.
        DeviceTimeout
            If the run takes longer than `timeout` seconds.
        """
        return self._resident.run(self._addresses(args), timeout=timeout)

    def time_evaluator(
        self, name: str, ctx: Context, number: int = 10, repeat: int = 1
    ) -> Callable[..., TimingResult]:
        """A function that calls the program and measures the time.

        A board measures its own runs, so that the way to it does not count.

        Parameters
        ----------
        name : str
            The name of the program, `entry_name`.
        ctx : Context
            The device that it runs on.
        number : int
            The number of calls in a measurement; the result is their mean.
        repeat : int
            The number of measurements.
        """
        if name != self.entry_name:
            raise ArgumentError(f"name must be {self.entry_name!r}, not {name!r}")
        if not isinstance(ctx, Context) or ctx.device is not self.device:
            raise ArgumentError(f"ctx must be the device that the module was loaded on, not {ctx}")
        for what, value in (("number", number), ("repeat", repeat)):
            if not isinstance(value, int) or value < 1:
                raise ArgumentError(f"{what} must be a whole number of at least 1, not {value!r}")

        def measure(*args: NDArray) -> TimingResult:
            self(*args)  # the first run also builds things, so it is not measured
            results = []
            for _ in range(repeat):
                results.append(statistics.fmean(self._seconds(args) for _ in range(number)))
            return TimingResult(tuple(results))

        return measure

    def _seconds(self, args: tuple[NDArray, ...]) -> float:
        """The time of a call, by the board's clock if it has one."""
        start = time.perf_counter()
        report = self.run(*args)
        return time.perf_counter() - start if report.seconds is None else report.seconds

    def _addresses(self, args: tuple[Any, ...]) -> dict[str, int]:
        """Checks all arguments; returns their addresses by buffer name."""
        wanted = self.program.args
        if len(args) != len(wanted):
            raise ArgumentError(
                f"{_signature(self.program)} takes {len(wanted)} arguments, not {len(args)}"
            )
        addresses: dict[str, int] = {}
        for index, (buffer, arg) in enumerate(zip(wanted, args, strict=True)):
            where = f"argument {index} ({buffer.name}) of {self.entry_name}"
            addresses[buffer.name] = self._address(where, buffer, arg)
        for buffer in wanted:
            for other in wanted:
                if (
                    buffer.role == "output"
                    and other is not buffer
                    and addresses[buffer.name] == addresses[other.name]
                ):
                    raise ArgumentError(
                        f"output {buffer.name} of {self.entry_name} must be a "
                        f"separate array, not the same as {other.name}"
                    )
        return addresses

    def _address(self, where: str, buffer: DramBuffer, arg: Any) -> int:
        if not isinstance(arg, NDArray):
            raise ArgumentError(
                f"{where} must be made with vta.nd.array(..., ctx), not a {type(arg).__name__}"
            )
        wanted = f"{np.dtype(buffer.dtype).name}{list(buffer.shape)}"
        if arg.shape != buffer.shape or arg.dtype != buffer.dtype:
            raise ArgumentError(f"{where} must be {wanted}, not {arg.dtype}{list(arg.shape)}")
        if arg.ctx.device is not self.device or arg.addr is None:
            raise ArgumentError(
                f"{where} must lie on the device that the module was loaded on, "
                f"not on {arg.ctx}" + (" of another session" if arg.ctx.device is not None else "")
            )
        return arg.addr

    def __repr__(self) -> str:
        return f"LoadedModule({_signature(self.program)}, {self.device.target})"


def _signature(program: Program) -> str:
    args = ", ".join(
        f"{buffer.name}: {buffer.dtype}{list(buffer.shape)}" for buffer in program.args
    )
    return f"{program.name}({args})"
