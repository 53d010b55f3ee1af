"""`RtlFabric` and `FunctionalFabric`: the machine in an emulated FPGA, behind its registers."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol

from vta.driver.board.board import DONE, LAUNCH, RESET
from vta.errors import DeviceError, Fault
from vta.isa import TOKEN_LINKS, Cause, ModuleId
from vta.readout import STAT_COUNTERS
from vta.registers import ID, REGISTERS, config_words, field_of, version_word
from vta.sim.functional.functional_machine import FunctionalMachine
from vta.sim.rtl.library import Simulation
from vta.sim.rtl.memory_model import MemoryModel

if TYPE_CHECKING:
    from vta.config import Config
    from vta.program import RunReport
    from vta.sim.memory import Memory

__all__ = ["Fabric", "FunctionalFabric", "RtlFabric"]

CYCLES = 2048
"""Cycles between two looks at the clock."""

_NAMES = {register.offset: register.name for register in REGISTERS}
_DONE_EVENT, _ERROR_EVENT = 1, 2


class Fabric(Protocol):
    """What an emulated FPGA is programmed with."""

    def read(self, offset: int) -> int: ...

    def write(self, offset: int, value: int) -> None: ...

    def advance(self, seconds: float) -> bool:
        """Lets the machine work until it raises the interrupt, or for `seconds`; returns whether
        the interrupt is high."""
        ...

    def close(self) -> None: ...


class RtlFabric:
    """The hardware's RTL under Verilator.

    Parameters
    ----------
    config : Config
    verilog : str
    memory : Memory
        The board's DRAM.
    longest_burst : int
        The most beats of a burst that the memory port takes. A longer one is an error, as is one
        that is longer than MAX_BURST.
    """

    def __init__(
        self, config: Config, verilog: str, memory: Memory, longest_burst: int = 256
    ) -> None:
        longest = min(config.max_burst, longest_burst)
        self._simulation = Simulation(verilog, memory, model=MemoryModel(), max_burst=longest)

    def read(self, offset: int) -> int:
        return self._simulation.read(offset)

    def write(self, offset: int, value: int) -> None:
        self._simulation.write(offset, value)

    def advance(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while self._simulation.step(CYCLES, until_irq=True) == CYCLES:
            if time.monotonic() >= end:
                return False
        return True

    def close(self) -> None:
        self._simulation.close()


class _StoppedRun(Exception):
    """A reset ends the run."""


class FunctionalFabric:
    """The functional simulator behind the machine's registers: the same results, and no cycles.

    A run goes on in a thread of its own, so that the processor can look at registers, give up
    waiting, and reset the machine.

    Parameters
    ----------
    config : Config
    memory : Memory
        The board's DRAM.
    """

    def __init__(self, config: Config, memory: Memory) -> None:
        self._machine = FunctionalMachine(config, memory)
        self._values = {register.name: register.reset for register in REGISTERS}
        self._values |= {"id": ID, "version": version_word(config)}
        self._values |= {f"config_{i}": word for i, word in enumerate(config_words(config))}
        # The upper bits of pointers are only as many as there are addresses.
        self._masks = {register.name: (1 << register.bits(config)) - 1 for register in REGISTERS}
        self._thread: threading.Thread | None = None
        self._stop = False
        self._crash: BaseException | None = None

    def read(self, offset: int) -> int:
        name = _NAMES[offset]
        if name == "control" and self._thread is not None:
            return LAUNCH
        return self._values[name]

    def write(self, offset: int, value: int) -> None:
        name = _NAMES[offset]
        if name == "irq_status":
            self._values[name] &= ~value
        elif name != "control":
            self._values[name] = value & self._masks[name]
        elif value & RESET:
            self._reset()
        elif value & LAUNCH and self._thread is None:
            self._stop = False
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def advance(self, seconds: float) -> bool:
        if self._thread is not None:
            self._thread.join(seconds)
            if self._thread.is_alive():
                return False
            self._thread = None
            if self._crash is not None:
                raise DeviceError(f"the emulated machine failed: {self._crash!r}")
        return bool(self._values["irq_status"] & self._values["irq_enable"])

    def close(self) -> None:
        self._reset()

    def _reset(self) -> None:
        if self._thread is not None:
            self._stop = True
            self._thread.join()
            self._thread = None
        self._machine.reset()
        self._crash = None
        self._values |= {"control": 0, "error": 0, "error_index": 0, "irq_status": 0}

    def _check(self, done: int) -> None:
        if self._stop:
            raise _StoppedRun

    def _run(self) -> None:
        try:
            report = self._machine.run(
                self._pointer("insn"),
                self._values["insn_count"],
                {name: self._pointer(name) for name in ("uop", "inp", "wgt", "acc", "out")},
                progress=self._check,
            )
        except _StoppedRun:
            return
        except Exception as error:
            self._crash = error
            return
        self._count(report)
        if report.fault is not None:
            self._fail(report.fault)
        self._values["control"] = 0 if report.fault else DONE
        self._values["irq_status"] |= _DONE_EVENT | (_ERROR_EVENT if report.fault else 0)

    def _pointer(self, name: str) -> int:
        return self._values[f"{name}_ptr"] | self._values[f"{name}_ptr_hi"] << 32

    def _count(self, report: RunReport) -> None:
        for key, counters in STAT_COUNTERS.items():
            self._values |= dict.fromkeys(counters, 0) | {counters[0]: report.stats[key]}

    def _fail(self, fault: Fault) -> None:
        """Sets the registers that tell of a fault."""
        module = ModuleId[fault.module.upper()]
        self._values["error"] = (
            int(Cause[fault.cause.upper()]) | int(module) << field_of("error", "module").low
        )
        self._values["error_index"] = fault.insn_index
        for entry in fault.waiting:
            waiter = ModuleId[entry["module"].upper()]
            status = 0
            for (other, side), link in TOKEN_LINKS.items():
                for flag, queue in (
                    (f"pop_{side}", link.pops),
                    (f"push_{side}", f"{link.pushes} full"),
                ):
                    if other == waiter and queue in entry["token"].split(" and "):
                        status |= 1 << field_of(f"{entry['module']}_status", flag).low
            self._values[f"{entry['module']}_status"] = status
            self._values[f"{entry['module']}_index"] = entry["insn_index"]
