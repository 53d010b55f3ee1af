"""`Machine`: the one interface of both simulators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from vta.errors import DeviceError
from vta.image import BASES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vta.config import Config
    from vta.errors import Fault
    from vta.program import RunReport
    from vta.sim.memory import Memory

__all__ = ["Machine", "check_call"]

_MAX_INSNS = (1 << 32) - 1


class Machine(Protocol):
    """A VTA that runs instruction streams from a `Memory`.

    One thread may use it at a time. Machines with separate memories may run in separate threads. A
    device puts a lock around its machine.

    Attributes
    ----------
    config : Config
    memory : Memory
        Belongs to the caller: closing the machine leaves it open.
    target : str
        ``sim`` or ``tsim``.
    """

    config: Config
    memory: Memory
    target: str

    def run(
        self,
        insn_addr: int,
        insn_count: int,
        base: Mapping[str, int],
        *,
        max_cycles: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> RunReport:
        """Runs the `insn_count` instructions from byte `insn_addr` on.

        `base` gives the base registers, a byte address for each of `vta.image.BASES`. `progress`
        is called now and then with the work done so far (cycles, or instructions where there is no
        clock). A machine's error is not an exception but the report's `fault`; after one, the
        machine is halted until `reset`, and running it is a `DeviceError`.
        """
        ...

    def reset(self) -> None:
        """Empties queues, tokens, counters and errors; the buffers keep their content."""
        ...

    def close(self) -> None:
        """Releases what the machine holds; it may be called twice."""
        ...


def check_call(
    memory: Memory,
    halted: Fault | None,
    insn_addr: int,
    insn_count: int,
    base: Mapping[str, int],
    max_cycles: int | None,
) -> None:
    """Refuses a call of `Machine.run` with illegal arguments.

    Raises
    ------
    DeviceError
        The machine is `halted` by an earlier error, or an address or count is out of range.
    """
    if halted is not None:
        raise DeviceError(f"the machine is halted by {halted}; reset it first")
    if not 0 <= insn_count <= _MAX_INSNS:
        raise DeviceError(f"insn_count must be 0 to {_MAX_INSNS}, not {insn_count}")
    if set(base) != set(BASES):
        raise DeviceError(f"base must have the keys {', '.join(BASES)}, not {', '.join(base)}")
    for name, pointer in {"insn_addr": insn_addr, **base}.items():
        if not 0 <= pointer < memory.size:
            raise DeviceError(f"{name} must be 0 to {memory.size - 1:#x}, not {pointer:#x}")
    if max_cycles is not None and max_cycles < 0:
        raise DeviceError(f"max_cycles must be 0 or more, not {max_cycles}")
