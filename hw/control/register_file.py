"""The registers behind AXI4-Lite, and what starts, ends and resets a run."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from vta.config import Config
from vta.hw.bus.axi import AxiLiteSignature, Response
from vta.hw.bus.payloads import INDEX_BITS
from vta.hw.control.run_monitor import HaltReport
from vta.isa import INSN_BYTES, Cause, MemoryType, ModuleId
from vta.registers import (
    BY_NAME,
    ID,
    POINTERS,
    REGISTERS,
    HostAccess,
    config_words,
    field_of,
    version_word,
)

__all__ = ["ADDR_WIDTH", "READ_FROM_CORE", "RegisterFile", "bus_signature"]

ADDR_WIDTH = 12

READ_FROM_CORE = tuple(register.name for register in REGISTERS if register.from_core)
"""Registers whose value the core supplies."""


def bus_signature() -> AxiLiteSignature:
    """The accelerator's AXI4-Lite port, seen from the host."""
    return AxiLiteSignature(addr_width=ADDR_WIDTH)


@dataclass(frozen=True)
class _Write:
    """The write that the bus carries out, in the cycle in which `en` is 1."""

    en: Signal
    addr: Signal
    data: Signal
    mask: Signal

    def to(self, register: str) -> Value:
        """The write is to this register."""
        return self.en & (self.addr[2:] == BY_NAME[register].offset >> 2)

    def acts(self, register: str, field: str) -> Value:
        """The write sets a bit that acts when 1 is written."""
        bit = field_of(register, field).low
        return self.to(register) & self.mask[bit] & self.data[bit]

    def merged(self, old: Value) -> Value:
        """The value of a register after the write, which may be to some of its bytes only."""
        mask = self.mask[: len(old)]
        return (old & ~mask) | (self.data[: len(old)] & mask)


class RegisterFile(wiring.Component):
    """The register file of `vta/registers.py`, and what starts, ends and resets a run.

    Every output comes from flip-flops: none depends on an input in the same cycle.

    Parameters
    ----------
    config : Config

    Members
    -------
    bus : In(AxiLiteSignature)
        A write acts in the cycle after its address and data have been taken, as soon as the
        response to the write before has been taken; a read that is accepted later returns what the
        write left.
    irq : Out(1)
        Level: an enabled event has happened and was not cleared.
    running : Out(1)
    start : Out(1)
        Pulses at launch, unless the launch is itself an error.
    launch : Out(1)
        Pulses at launch: counters start from 0.
    stop : Out(1)
        A reset is under way: the core must ask for no more bursts.
    clear : Out(1)
        1 for the cycle that resets the core, once the bus is quiet.
    bus_quiet : In(1)
        Nothing is outstanding on the memory bus. Under `stop` it stays 1 once it is 1.
    done, halt : In(1)
        Pulses that end a run.
    verdict : In(HaltReport)
        With `halt`.
    insn_count : Out(32)
    watchdog : Out(32)
    insn_ptr, uop_ptr, ... : Out(addr_width)
    NAME : In(32)
        For each of `READ_FROM_CORE`.

    Source: docs/isa.md, "Registers".
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "bus": In(bus_signature()),
                "irq": Out(1),
                "running": Out(1),
                "start": Out(1),
                "launch": Out(1),
                "stop": Out(1),
                "clear": Out(1),
                "bus_quiet": In(1),
                "done": In(1),
                "halt": In(1),
                "verdict": In(HaltReport),
                "insn_count": Out(INDEX_BITS),
                "watchdog": Out(32),
                **{f"{name}_ptr": Out(config.addr_width) for name in POINTERS},
                **{name: In(32) for name in READ_FROM_CORE},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rests = Signal()
        write = self._write_channels(m)
        stored = self._host_registers(m, write, rests)
        m.d.comb += [
            self.insn_count.eq(stored["insn_count"]),
            self.watchdog.eq(stored["watchdog"]),
            *(
                getattr(self, f"{name}_ptr").eq(
                    Cat(stored[f"{name}_ptr"], stored[f"{name}_ptr_hi"])
                )
                for name in POINTERS
            ),
        ]
        state = self._run_state(m, write, rests)
        happened = state.pop("happened")
        irq_status = self._interrupt(m, write, stored["irq_enable"], happened)
        self._read_channels(
            m,
            write,
            {
                "id": Const(ID, 32),
                "version": Const(version_word(self._config), 32),
                **{
                    f"config_{index}": Const(word, 32)
                    for index, word in enumerate(config_words(self._config))
                },
                "irq_status": irq_status,
                **state,
                **stored,
                **{name: getattr(self, name) for name in READ_FROM_CORE},
            },
        )
        return m

    def _host_registers(self, m: Module, write: _Write, rests: Signal) -> dict[str, Signal]:
        """The ``rw`` registers, by name."""
        stored = {}
        for register in REGISTERS:
            if register.access != HostAccess.RW:
                continue
            value = Signal(
                register.bits(self._config), name=f"host_{register.name}", init=register.reset
            )
            allowed = Const(1) if register.always else rests
            with m.If(write.to(register.name) & allowed):
                m.d.sync += value.eq(write.merged(value))
            stored[register.name] = value
        return stored

    def _launch_errors(self, m: Module) -> tuple[Signal, Signal]:
        """What is wrong with a launch, worked out all the time: a misaligned pointer, no stream."""
        misaligned, empty = Signal(), Signal()
        alignment = {
            name: INSN_BYTES
            if name == "insn"
            else self._config.elem_bytes(MemoryType[name.upper()])
            for name in POINTERS
        }
        m.d.sync += [
            misaligned.eq(
                Cat(
                    getattr(self, f"{name}_ptr")[: unit.bit_length() - 1].any()
                    for name, unit in alignment.items()
                ).any()
            ),
            empty.eq(self.insn_count == 0),
        ]
        return misaligned, empty

    def _run_state(self, m: Module, write: _Write, rests: Signal) -> dict[str, Value]:
        """The state machine of a run; gives the values of its registers, and what `happened`.

        IDLE, until the host launches; LAUNCH for one cycle; RUNNING, until the monitor ends the
        run, back to IDLE or HALTED, where only a reset helps. A reset is taken in all of these:
        RESETTING, until the bus is quiet; CLEAR for one cycle; IDLE.
        """
        misaligned, empty = self._launch_errors(m)
        done, error, error_index = Signal(), Signal(HaltReport), Signal(INDEX_BITS)
        cycle_count = Signal(32)
        ends, halts = Signal(), Signal()
        resets, launches = Signal(), Signal()
        m.d.comb += [
            resets.eq(write.acts("control", "reset")),
            launches.eq(write.acts("control", "launch")),
        ]
        with m.FSM(name="run") as fsm:
            with m.State("IDLE"):
                with m.If(resets):
                    m.next = "RESETTING"
                with m.Elif(launches):
                    m.d.sync += [done.eq(0), cycle_count.eq(0)]
                    m.next = "LAUNCH"
            with m.State("LAUNCH"):
                with m.If(misaligned | empty):
                    m.d.comb += halts.eq(1)
                    m.d.sync += [
                        error.cause.eq(Mux(misaligned, Cause.MISALIGNED_BASE, Cause.NO_FINISH)),
                        error.module.eq(ModuleId.FETCH),
                        error_index.eq(0),
                    ]
                    m.next = "HALTED"
                with m.Else():
                    m.d.comb += self.start.eq(1)
                    m.next = "RUNNING"
            with m.State("RUNNING"):
                m.d.sync += cycle_count.eq(cycle_count + 1)
                with m.If(resets):
                    m.next = "RESETTING"
                with m.Elif(self.done):
                    m.d.comb += ends.eq(1)
                    m.d.sync += done.eq(1)
                    m.next = "IDLE"
                with m.Elif(self.halt):
                    m.d.comb += halts.eq(1)
                    m.d.sync += [error.eq(self.verdict), error_index.eq(self.verdict.index)]
                    m.next = "HALTED"
            with m.State("HALTED"):
                with m.If(resets):
                    m.next = "RESETTING"
            with m.State("RESETTING"):
                with m.If(self.bus_quiet):
                    m.d.sync += self.clear.eq(1)
                    m.next = "CLEAR"
            with m.State("CLEAR"):
                m.d.sync += [
                    self.clear.eq(0),
                    done.eq(0),
                    error.eq(0),
                    error_index.eq(0),
                    cycle_count.eq(0),
                ]
                m.next = "IDLE"
        m.d.comb += [
            rests.eq(fsm.ongoing("IDLE") | fsm.ongoing("HALTED")),
            self.launch.eq(fsm.ongoing("LAUNCH")),
            self.running.eq(fsm.ongoing("RUNNING")),
            self.stop.eq(fsm.ongoing("RESETTING") | fsm.ongoing("CLEAR")),
        ]
        return {
            "control": Cat(self.launch | self.running, done, self.stop),
            "cycle_count": cycle_count,
            "error": Cat(error.cause, error.module),
            "error_index": error_index,
            "happened": Cat(ends, halts),
        }

    def _interrupt(self, m: Module, write: _Write, enable: Signal, happened: Value) -> Signal:
        """`irq`, and the value of `irq_status`. An event in the cycle of its clearing is kept."""
        status, following = Signal(2), Signal(2)
        cleared = Cat(
            write.acts("irq_status", field.name) for field in BY_NAME["irq_status"].fields
        )
        m.d.comb += following.eq((status & ~cleared) | happened)
        m.d.sync += [status.eq(following), self.irq.eq((following & enable).any())]
        return status

    def _write_channels(self, m: Module) -> _Write:
        """Takes address and data in any order, then carries out the write and answers."""
        bus = self.bus
        write = _Write(
            en=Signal(name="write_en"),
            addr=Signal(ADDR_WIDTH, name="write_addr"),
            data=Signal(32, name="write_data"),
            mask=Signal(32, name="write_mask"),
        )
        has_addr, has_data = Signal(), Signal()
        m.d.comb += [
            bus.awready.eq(~has_addr),
            bus.wready.eq(~has_data),
            bus.bresp.eq(Response.OKAY),
            write.en.eq(has_addr & has_data & ~bus.bvalid),
        ]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [has_addr.eq(1), write.addr.eq(bus.awaddr)]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [
                has_data.eq(1),
                write.data.eq(bus.wdata),
                write.mask.eq(Cat(strobe.replicate(8) for strobe in bus.wstrb)),
            ]
        with m.If(write.en):
            m.d.sync += [has_addr.eq(0), has_data.eq(0), bus.bvalid.eq(1)]
        with m.Elif(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        return write

    def _read_channels(self, m: Module, write: _Write, values: dict[str, Value]) -> None:
        """Answers a read in the cycle after it is taken; none is taken while a write acts."""
        bus = self.bus
        m.d.comb += [bus.arready.eq(~bus.rvalid & ~write.en), bus.rresp.eq(Response.OKAY)]
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [bus.rvalid.eq(1), bus.rdata.eq(0)]
            with m.Switch(bus.araddr[2:]):
                for register in REGISTERS:
                    with m.Case(register.offset >> 2):
                        m.d.sync += bus.rdata.eq(values[register.name])
        with m.Elif(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
