"""The project's exceptions: every problem with a user's input is a `VtaError`.

Each class is also a suitable built-in exception, so that code without knowledge of VTA can catch
it. Messages say what is wrong, what is allowed, and where.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "ArgumentError",
    "CompileError",
    "ConfigError",
    "DeviceError",
    "DeviceTimeout",
    "EncodingError",
    "Fault",
    "ImageError",
    "MachineError",
    "NetworkError",
    "ProgramError",
    "ReadOnlyError",
    "RemoteError",
    "ScheduleError",
    "ToolError",
    "VtaError",
]


class VtaError(Exception):
    """Base of every error that this project raises on purpose."""


class ConfigError(VtaError, ValueError):
    """A configuration that is not legal, or a target that cannot be used."""


class ReadOnlyError(VtaError, AttributeError):
    """An attribute that can be read but not set."""


class EncodingError(VtaError, ValueError):
    """A value that does not fit its instruction field."""


class ProgramError(VtaError, ValueError):
    """A program file that is damaged, foreign, or made for another configuration."""


class ImageError(VtaError, ValueError):
    """A memory image that is damaged or contradicts itself."""


class ScheduleError(VtaError, ValueError):
    """A schedule that names something unknown, or asks for something impossible."""


class CompileError(VtaError, ValueError):
    """A computation that VTA cannot do."""


class NetworkError(VtaError, ValueError):
    """A network that cannot be read, or that is damaged or made for another configuration."""


class ToolError(VtaError, RuntimeError):
    """A tool that the project calls (Verilator, a C++ compiler) is missing or has failed."""


class DeviceError(VtaError, RuntimeError):
    """A device that cannot do what it was asked to do."""


class ArgumentError(DeviceError, ValueError):
    """A call's arguments that do not fit the program's signature."""


class DeviceTimeout(DeviceError, TimeoutError):
    """A device that did not finish in time."""


class RemoteError(DeviceError, ConnectionError):
    """A remote device that cannot be reached, refuses a client, or is no longer connected."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """The report of a machine that stopped on an error (docs/isa.md, "Errors").

    Parameters
    ----------
    cause : str
        A member name of `vta.isa.Cause`, such as ``sram_range``.
    module : str
        The module that stopped: ``fetch``, ``load``, ``compute`` or ``store``.
    insn_index : int
        Position in the stream; `insn_count` for ``no_finish``.
    insn : str
        The instruction as text; empty if there is none (``no_finish``).
    detail : str
        Details in words, for example the index or the address.
    waiting : tuple of dict
        For a deadlock, all modules that wait: ``module``, ``insn_index``, ``insn`` and ``token``
        (the queue's name, or for example ``"l2g full"`` for a producer that cannot push).
    """

    cause: str
    module: str
    insn_index: int
    insn: str = ""
    detail: str = ""
    waiting: tuple[dict[str, Any], ...] = field(default=())

    def __str__(self) -> str:
        where = f"instruction {self.insn_index}"
        if self.insn:
            where += f" ({self.insn})"
        text = f"{self.cause} in {self.module} at {where}"
        if self.detail:
            text += f": {self.detail}"
        if self.waiting:
            text += "; " + "; ".join(
                f"{w['module']} waits for {w['token']} at instruction {w['insn_index']}"
                for w in self.waiting
            )
        return text


class MachineError(DeviceError):
    """The machine stopped with an error; `fault` says which."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"the machine reported {fault}")
        self.fault = fault
