"""`RtlMachine`: the accelerator's RTL under Verilator, controlled through its registers.

This module does not depend on how the Verilog was made, and does not import Amaranth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vta.errors import DeviceError, DeviceTimeout, Fault
from vta.isa import INSN_BYTES, TOKEN_LINKS, Cause, Isa, ModuleId
from vta.program import RunReport
from vta.registers import BY_NAME, ID, MODULES, REGISTERS, VERSION, config_words, field_of
from vta.sim.machine import check_call
from vta.sim.rtl.library import Simulation
from vta.sim.rtl.memory_model import MemoryModel
from vta.sim.rtl.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from vta.config import Config
    from vta.sim.memory import Memory

__all__ = ["RtlMachine"]

PROGRESS_CYCLES = 1 << 16
"""Cycles between two calls of `progress`, and between two checks of Python's signals."""

DONE_SLACK = 16
"""Cycles from the end of a run until the interrupt shows it, at most."""

RESET_PATIENCE = 1 << 24
"""The most cycles that a reset may wait for the bus; no realistic memory model is this slow."""

_WAITS = tuple(
    (module.name.lower(), flag, queue)
    for (module, side), link in TOKEN_LINKS.items()
    for flag, queue in ((f"pop_{side}", link.pops), (f"push_{side}", f"{link.pushes} full"))
)
"""Each module, a flag in its status register, and the queue that the flag refers to."""

_STATS = {
    "load_insns": ("load_insns",),
    "compute_insns": ("compute_insns",),
    "store_insns": ("store_insns",),
    "uop_load_nbytes": ("uop_bytes",),
    "inp_load_nbytes": ("inp_bytes",),
    "wgt_load_nbytes": ("wgt_bytes",),
    "acc_load_nbytes": ("acc_bytes", "acc_8bit_bytes"),
    "out_store_nbytes": ("out_bytes",),
    "gemm_counter": ("gemm_ops",),
    "reset_counter": ("reset_ops",),
    "alu_counter": ("alu_ops",),
}
"""The statistics that the ISA defines, each the sum of some counter registers."""

_COUNTERS = tuple(
    register.name
    for register in REGISTERS
    if register.name == "tile_count" or register.offset >= BY_NAME["fetch_busy"].offset
)

# Faults that do not belong to one instruction, or whose instruction cannot be read.
_NO_INSN = ("misaligned_base", "no_finish")


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
        if self._read("error"):
            fault: Fault | None = self._fault(insn_addr, insn_count)
        elif not ended or (max_cycles is not None and cycles > max_cycles):
            fault = self._timeout(insn_addr, insn_count, max_cycles)
        else:
            fault = None
        self._halted = fault
        return self._report(cycles, fault)

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
        for name, expected in (("id", ID), ("version", VERSION)):
            found = self._read(name)
            if found != expected:
                raise DeviceError(
                    f"the hardware's {name} register must read {expected:#010x}, not {found:#010x}"
                )
        differences = []
        for index, expected in enumerate(config_words(self.config)):
            name = f"config_{index}"
            found = self._read(name)
            differences += [
                f"{bits.doc} is {_part(found, bits.low, bits.bits)} in hardware and "
                f"{_part(expected, bits.low, bits.bits)} here"
                for bits in BY_NAME[name].fields
                if _part(found ^ expected, bits.low, bits.bits)
            ]
        if differences:
            raise DeviceError(
                "the hardware was made for another configuration: " + ", ".join(differences)
            )

    def _report(self, cycles: int, fault: Fault | None) -> RunReport:
        counters = {name: self._read(name) for name in _COUNTERS}
        stats = {
            name: sum(counters[counter] for counter in parts) for name, parts in _STATS.items()
        }
        return RunReport(
            target=self.target,
            cycles=cycles,
            stats=stats,
            fault=fault,
            counters=counters,
            instructions=sum(stats[f"{module}_insns"] for module in MODULES[1:]),
        )

    # -- faults ----------------------------------------------------------------------------------

    def _fault(self, insn_addr: int, insn_count: int) -> Fault:
        """The fault in the error registers, with its instruction and the waiting modules."""
        error, index = self._read("error"), self._read("error_index")
        cause = Cause(_field("error", "cause", error)).name.lower()
        module = ModuleId(_field("error", "module", error)).name.lower()
        insn = "" if cause in _NO_INSN else self._text(insn_addr, insn_count, index)
        waiting = self._waiting(insn_addr, insn_count) if cause == "deadlock" else ()
        return Fault(cause=cause, module=module, insn_index=index, insn=insn, waiting=waiting)

    def _timeout(self, insn_addr: int, insn_count: int, max_cycles: int | None) -> Fault:
        """The fault of a run that takes too long, in the module with the earliest instruction."""
        active = [
            (self._read(f"{module}_index"), module)
            for module in MODULES
            if self._read(f"{module}_status") & 0x1F
        ]
        index, module = min(
            active, key=lambda entry: entry[0], default=(self._read("fetch_index"), "fetch")
        )
        return Fault(
            cause="timeout",
            module=module,
            insn_index=index,
            insn=self._text(insn_addr, insn_count, index),
            detail=f"the run takes more than {max_cycles} cycles",
        )

    def _waiting(self, insn_addr: int, insn_count: int) -> tuple[dict[str, Any], ...]:
        entries = []
        for module in MODULES[1:]:
            status = self._read(f"{module}_status")
            queues = [
                queue
                for waiter, flag, queue in _WAITS
                if waiter == module and _field(f"{module}_status", flag, status)
            ]
            if queues:
                index = self._read(f"{module}_index")
                entries.append(
                    {
                        "module": module,
                        "insn_index": index,
                        "insn": self._text(insn_addr, insn_count, index),
                        "token": " and ".join(queues),
                    }
                )
        return tuple(sorted(entries, key=lambda entry: entry["insn_index"]))

    def _text(self, insn_addr: int, insn_count: int, index: int) -> str:
        """An instruction of the stream as text; empty if there is no such instruction."""
        begin = insn_addr + index * INSN_BYTES
        if index >= insn_count or begin + INSN_BYTES > self.memory.size:
            return ""
        word = int.from_bytes(self.memory.read(begin, INSN_BYTES).tobytes(), "little")
        return str(self._isa.decode(word, index))


def _part(word: int, low: int, bits: int) -> int:
    return (word >> low) & ((1 << bits) - 1)


def _field(register: str, name: str, word: int) -> int:
    bits = field_of(register, name)
    return _part(word, bits.low, bits.bits)


def _bits(register: str, name: str) -> int:
    """The mask of a field."""
    bits = field_of(register, name)
    return ((1 << bits.bits) - 1) << bits.low
