"""`Machine`: the one interface of both simulators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vta.config import Config
    from vta.program import RunReport
    from vta.sim.memory import Memory

__all__ = ["Machine"]


class Machine(Protocol):
    """A VTA that runs instruction streams which lie in a `Memory`.

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

    def run(self, insn_addr: int, insn_count: int, base: Mapping[str, int], *,
            max_cycles: int | None = None,
            progress: Callable[[int], None] | None = None) -> RunReport:
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
        """Gives back what the machine holds; calling it twice is no error."""
        ...
