"""`RtlMachine`: the accelerator's RTL under Verilator, controlled through its registers.

This module does not depend on how the Verilog was made, and does not import Amaranth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vta.errors import DeviceError, DeviceTimeout
from vta.isa import INSN_BYTES, Isa
from vta.readout import Readout, identity_problem
from vta.registers import BY_NAME, field_of
from vta.sim.machine import check_call
from vta.sim.rtl.library import Simulation
from vta.sim.rtl.memory_model import MemoryModel
from vta.sim.rtl.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from vta.config import Config
    from vta.errors import Fault
    from vta.program import RunReport
    from vta.sim.memory import Memory

__all__ = ["RtlMachine"]

PROGRESS_CYCLES = 1 << 16
"""Cycles between two calls of `progress`, and between two checks of Python's signals."""

DONE_SLACK = 16
"""Cycles from the end of a run until the interrupt shows it, at most."""

RESET_PATIENCE = 1 << 24
"""The most cycles that a reset may wait for the bus; no realistic memory model is this slow."""


class RtlMachine:
    """A `vta.sim.machine.Machine` that simulates the hardware cycle by cycle.

    Parameters
    ----------
    config : Config
    verilog : str
        The hardware of that configuration; top module `vta`.
    memory : Memory
    model : MemoryModel
        The timing of the memory.
    waves : Path or None
        A waveform file for all signals: FST, or VCD if its name ends in ``.vcd``. Tracing needs
        its own library, which is several times slower.
    record : bool
        Whether to record each run.

    Attributes
    ----------
    recording : Recording or None
        The recording of the last run, if `record` is set.

    Raises
    ------
    DeviceError
        If the hardware was not made for this configuration; from any method, if it violates the bus
        protocol.
    ToolError
        If the simulator cannot be built.
    """

    target = "tsim"

    def __init__(
        self,
        config: Config,
        verilog: str,
        memory: Memory,
        *,
        model: MemoryModel | None = None,
        waves: Path | None = None,
        record: bool = False,
    ) -> None:
        if memory.size != 1 << config.addr_width:
            raise DeviceError(
                f"memory must have 2^{config.addr_width} bytes for this "
                f"configuration, not {memory.size:#x}"
            )
        self.config = config
        self.memory = memory
        self._isa = Isa(config)
        self._halted: Fault | None = None
        self._record = record
        self.recording: Recording | None = None
        self._simulation = Simulation(
            verilog, memory, model=model or MemoryModel(), max_burst=config.max_burst, waves=waves
        )
        try:
            self._identify()
            self._write("irq_enable", _bits("irq_enable", "done") | _bits("irq_enable", "error"))
        except BaseException:
            self.close()
            raise

    # -- the machine -----------------------------------------------------------------------------

    def run(
        self,
        insn_addr: int,
        insn_count: int,
        base: Mapping[str, int],
        *,
        max_cycles: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> RunReport:
        """Runs a stream; see `vta.sim.machine.Machine`. Cycles are the hardware's own count.

        Raises
        ------
        DeviceError
            If an earlier error halted the machine, or if a number is not a valid pointer or count.
        """
        check_call(self.memory, self._halted, insn_addr, insn_count, base, max_cycles)
        for name, address in {"insn": insn_addr, **base}.items():
            self._write(f"{name}_ptr", address & 0xFFFF_FFFF)
            self._write(f"{name}_ptr_hi", address >> 32)
        self._write("insn_count", insn_count)
        self._write("irq_status", 0xFFFF_FFFF)
        self._simulation.record(self._record)
        self._write("control", _bits("control", "launch"))
        # The launch is answered one cycle before the first cycle that the machine counts.
        begin = self._simulation.cycle
        ended = self._wait(max_cycles, progress)
        cycles = self._read("cycle_count")
        if self._record:
            self.recording = Recording.cut(*self._simulation.changes(), begin, cycles)
            self._simulation.record(False)
        readout = Readout(self._read, lambda index: self._text(insn_addr, insn_count, index))
        fault = readout.fault()
        if fault is None and (not ended or (max_cycles is not None and cycles > max_cycles)):
            fault = readout.timeout(max_cycles)
        self._halted = fault
        return readout.report(self.target, cycles, fault)

    def reset(self) -> None:
        """Clears queues, tokens, counters and errors; the buffers keep their content.

        Raises
        ------
        DeviceTimeout
            If the reset does not end.
        """
        self._write("control", _bits("control", "reset"))
        start = self._simulation.cycle
        while self._read("control") & _bits("control", "reset"):
            if self._simulation.cycle - start > RESET_PATIENCE:
                raise DeviceTimeout(f"the reset did not end within {RESET_PATIENCE} cycles")
            self._simulation.step(16)
        self._halted = None

    def close(self) -> None:
        """Ends the simulation and completes the waveform file; the caller keeps the memory."""
        self._simulation.close()

    def _wait(self, max_cycles: int | None, progress: Callable[[int], None] | None) -> bool:
        """Simulates until the run ends, or just beyond `max_cycles`; returns whether it ended."""
        simulation, start = self._simulation, self._simulation.cycle
        limit = None if max_cycles is None else max_cycles + DONE_SLACK
        while True:
            spent = simulation.cycle - start
            if limit is not None and spent >= limit:
                return False
            simulation.step(
                PROGRESS_CYCLES if limit is None else min(PROGRESS_CYCLES, limit - spent),
                until_irq=True,
            )
            if not self._read("control") & _bits("control", "launch"):
                return True
            if progress is not None:
                progress(simulation.cycle - start)

    # -- registers -------------------------------------------------------------------------------

    def _read(self, name: str) -> int:
        return self._simulation.read(BY_NAME[name].offset)

    def _write(self, name: str, value: int) -> None:
        self._simulation.write(BY_NAME[name].offset, value)

    def _identify(self) -> None:
        """Refuses hardware that is not this accelerator, or that has another configuration."""
        if problem := identity_problem(self.config, self._read):
            raise DeviceError(problem)

    def _text(self, insn_addr: int, insn_count: int, index: int) -> str:
        """An instruction of the stream as text; empty if there is no such instruction."""
        begin = insn_addr + index * INSN_BYTES
        if index >= insn_count or begin + INSN_BYTES > self.memory.end:
            return ""
        word = int.from_bytes(self.memory.read(begin, INSN_BYTES).tobytes(), "little")
        return str(self._isa.decode(word, index))


def _bits(register: str, name: str) -> int:
    """The mask of a field."""
    bits = field_of(register, name)
    return ((1 << bits.bits) - 1) << bits.low
