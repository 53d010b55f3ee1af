"""`RtlMachine`: the accelerator's own RTL under Verilator, driven over its registers.

Nothing here knows how the Verilog was made, and importing this module loads no Amaranth.
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
"""Cycles between two calls of `progress`, and between two looks at Python's signals."""

DONE_SLACK = 16
"""Cycles after the last one for its end to show at the interrupt."""

RESET_PATIENCE = 1 << 24
"""Cycles that a reset may wait for the bus; a memory model may be slow, but not that slow."""

_WAITS = tuple(
    (module.name.lower(), flag, queue)
    for (module, side), link in TOKEN_LINKS.items()
    for flag, queue in ((f"pop_{side}", link.pops), (f"push_{side}", f"{link.pushes} full"))
)
"""Module, flag of its status register, and the queue that the flag is about."""

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
"""The statistics that the ISA defines, each as the sum of some counter registers."""

_COUNTERS = tuple(
    register.name
    for register in REGISTERS
    if register.name == "tile_count" or register.offset >= BY_NAME["fetch_busy"].offset
)

# Faults that are about no single instruction, or about one that cannot be read.
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
        How the memory behaves in time.
    waves : Path or None
        A file to trace every signal into: FST, or VCD if its name ends in ``.vcd``. Tracing has its
        own library, several times slower.
    record : bool
        Whether to record each run.

    Attributes
    ----------
    recording : Recording or None
        What happened in the last run, if it was to be recorded.

    Raises
    ------
    DeviceError
        The hardware was not made for this configuration; or, from any method, it has violated the
        bus protocol.
    ToolError
        The simulator cannot be built.
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
            The machine is halted by an earlier error, or a number is no pointer or count.
        """
        check_call(self.memory, self._halted, insn_addr, insn_count, base, max_cycles)
        for name, address in {"insn": insn_addr, **base}.items():
            self._write(f"{name}_ptr", address & 0xFFFF_FFFF)
            self._write(f"{name}_ptr_hi", address >> 32)
        self._write("insn_count", insn_count)
        self._write("irq_status", 0xFFFF_FFFF)
        self._simulation.record(self._record)
        self._write("control", _bits("control", "launch"))
        # The launch is answered in the cycle before the first that the machine counts.
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
        """Empties queues, tokens, counters and errors; the buffers keep their content.

        Raises
        ------
        DeviceTimeout
            The hardware does not come to rest.
        """
        self._write("control", _bits("control", "reset"))
        start = self._simulation.cycle
        while self._read("control") & _bits("control", "reset"):
            if self._simulation.cycle - start > RESET_PATIENCE:
                raise DeviceTimeout(f"the reset did not end within {RESET_PATIENCE} cycles")
            self._simulation.step(16)
        self._halted = None

    def close(self) -> None:
        """Ends the simulation and completes the waveform file; the memory is the caller's."""
        self._simulation.close()

    def _wait(self, max_cycles: int | None, progress: Callable[[int], None] | None) -> bool:
        """Until the run has ended, or `max_cycles` and some are over; whether it has ended."""
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

    # -- what it says ----------------------------------------------------------------------------

    def _read(self, name: str) -> int:
        return self._simulation.read(BY_NAME[name].offset)

    def _write(self, name: str, value: int) -> None:
        self._simulation.write(BY_NAME[name].offset, value)

    def _identify(self) -> None:
        """Refuses hardware that is not this accelerator, or of another configuration."""
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
        """What the error registers say, with the instruction and, for a deadlock, who waits."""
        error, index = self._read("error"), self._read("error_index")
        cause = Cause(_field("error", "cause", error)).name.lower()
        module = ModuleId(_field("error", "module", error)).name.lower()
        insn = "" if cause in _NO_INSN else self._text(insn_addr, insn_count, index)
        waiting = self._waiting(insn_addr, insn_count) if cause == "deadlock" else ()
        return Fault(cause=cause, module=module, insn_index=index, insn=insn, waiting=waiting)

    def _timeout(self, insn_addr: int, insn_count: int, max_cycles: int | None) -> Fault:
        """The run is longer than allowed: who is at work on the earliest instruction."""
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
