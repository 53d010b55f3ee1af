"""The simulated devices: the functional simulator, and the RTL under Verilator."""

from __future__ import annotations

import abc
import logging
import time
from typing import TYPE_CHECKING, Any

from vta.driver.allocator import Allocator
from vta.driver.device import Device
from vta.driver.statistics import Statistics, count_stream
from vta.errors import DeviceTimeout
from vta.isa import INSN_BYTES, Isa, MemoryType
from vta.program import STAT_KEYS, RunReport
from vta.sim.memory import Memory
from vta.sim.rtl.memory_model import MemoryModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from vta.config import Config
    from vta.sim.machine import Machine
    from vta.sim.rtl.recording import Recording
    from vta.sim.rtl.rtl_machine import RtlMachine

__all__ = [
    "DEBUG_DUMP_INSN",
    "DEBUG_SKIP_EXEC",
    "PROFILE",
    "SimulatorTotals",
    "SimDevice",
    "SimulatedDevice",
    "TsimDevice",
]

logger = logging.getLogger(__name__)

DEBUG_SKIP_EXEC = 1
DEBUG_DUMP_INSN = 2

_RESERVED = 4096
"""Bytes at address 0 that are never allocated, so that a null pointer hits no buffer."""


class SimulatorTotals(Statistics):
    """Total statistics of several devices, and the debug mode that they share.

    Threads may share it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.debug_flag = 0


PROFILE = SimulatorTotals()
"""The totals in `vta.testing.simulator`; every device of the process counts here."""


class SimulatedDevice(Device):
    """The base class of both simulated devices: memory, and a machine made at the first run.

    Parameters
    ----------
    config : Config
    target : str
    profile : SimulatorTotals
        Totals that are counted in addition to the device's own statistics.
    """

    def __init__(self, config: Config, target: str, profile: SimulatorTotals) -> None:
        super().__init__(config, target)
        self.memory = Memory(config.addr_width)
        self._profile = profile
        self._machine: Machine | None = None
        alignment = max(64, *(config.elem_bytes(kind) for kind in MemoryType))
        self._allocator = Allocator(_RESERVED, self.memory.size, alignment)

    @abc.abstractmethod
    def _make_machine(self) -> Machine:
        """Makes the machine on `self.memory`; called once, at the first run."""

    def _allocate(self, nbytes: int) -> int:
        return self._allocator.allocate(nbytes)

    def _free(self, addr: int) -> None:
        self._allocator.free(addr)

    def _write(self, addr: int, data: NDArray[Any]) -> None:
        self.memory.write(addr, data)

    def _read(self, addr: int, nbytes: int) -> NDArray[np.uint8]:
        return self.memory.read(addr, nbytes)

    def _launch(
        self,
        insn_addr: int,
        insn_count: int,
        base: Mapping[str, int],
        timeout: float | None,
        insns: NDArray[np.uint64] | None,
    ) -> RunReport:
        if insns is not None:
            self._write(insn_addr, insns)
        self._reset()
        if self._profile.debug_flag:
            stream = self.memory.read(insn_addr, insn_count * INSN_BYTES).view("<u8").reshape(-1, 2)
            if self._profile.debug_flag & DEBUG_DUMP_INSN:
                for insn in Isa(self.config).decode_stream(stream):
                    # The user asked for it, so it must show even if logging is not set up.
                    logger.warning("%5d  %s", insn.index, insn)
            if self._profile.debug_flag & DEBUG_SKIP_EXEC:
                stats = count_stream(self.config, stream)
                report = RunReport(
                    target=self.target,
                    stats=stats,
                    instructions=sum(stats[key] for key in STAT_KEYS if key.endswith("_insns")),
                )
                self._profile.add(report)
                return report
        if self._machine is None:
            self._machine = self._make_machine()
        report = self._machine.run(
            insn_addr,
            insn_count,
            base,
            progress=_deadline(timeout) if timeout is not None else None,
        )
        self._profile.add(report)
        return report

    def _reset(self) -> None:
        if self._machine is not None:
            self._machine.reset()

    def _close(self) -> None:
        if self._machine is not None:
            self._machine.close()
        self.memory.close()


def _deadline(timeout: float) -> Callable[[int], None]:
    """A progress callback that ends the run after `timeout`."""
    end = time.monotonic() + timeout

    def check(done: int) -> None:
        if time.monotonic() > end:
            raise DeviceTimeout(f"the run had not finished after {timeout:g} s ({done} steps done)")

    return check


class SimDevice(SimulatedDevice):
    """The functional simulator.

    Parameters
    ----------
    config : Config
    seed : int
        The seed for the interleaving of the three modules.
    profile : SimulatorTotals
    """

    def __init__(
        self, config: Config, *, seed: int = 0, profile: SimulatorTotals = PROFILE
    ) -> None:
        super().__init__(config, "sim", profile)
        self._seed = seed

    def _make_machine(self) -> Machine:
        from vta.sim.functional.functional_machine import FunctionalMachine

        return FunctionalMachine(self.config, self.memory, seed=self._seed)


class TsimDevice(SimulatedDevice):
    """The RTL under Verilator. The first run builds the Verilog and the library, and caches them.

    Parameters
    ----------
    config : Config
    model : MemoryModel
        The timing of its memory.
    waves : path, optional
        The waveform file (FST) to write.
    profile : SimulatorTotals
    record : bool
        Whether `recording` gets each run.
    """

    def __init__(
        self,
        config: Config,
        *,
        model: MemoryModel | None = None,
        waves: Path | None = None,
        record: bool = False,
        profile: SimulatorTotals = PROFILE,
    ) -> None:
        super().__init__(config, "tsim", profile)
        self._model = model or MemoryModel()
        self._waves = waves
        self._record = record
        self._rtl: RtlMachine | None = None

    @property
    def recording(self) -> Recording | None:
        """What happened in each cycle of the last run, if the device records."""
        return None if self._rtl is None else self._rtl.recording

    def _make_machine(self) -> Machine:
        from vta.driver.verilog_cache import simulated_verilog
        from vta.sim.rtl.rtl_machine import RtlMachine

        self._rtl = RtlMachine(
            self.config,
            simulated_verilog(self.config),
            self.memory,
            model=self._model,
            waves=self._waves,
            record=self._record,
        )
        return self._rtl
