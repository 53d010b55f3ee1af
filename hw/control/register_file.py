"""RegisterFile registers behind AXI4-Lite: launch, reset, errors, interrupts and counters."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from vta.config import Config
from vta.hw.bus.axi import AxiLiteSignature, Response
from vta.hw.bus.payloads import INDEX_BITS
from vta.hw.control.run_monitor import HaltReport
from vta.isa import INSN_BYTES, Cause, ModuleId
from vta.registers import BY_NAME, ID, POINTERS, REGISTERS, VERSION, config_words

__all__ = ["ADDR_WIDTH", "READ_FROM_CORE", "RegisterFile", "bus_signature"]

ADDR_WIDTH = 12

_OWN = {
    "control",
    "cycle_count",
    "insn_count",
    "id",
    "version",
    "error",
    "error_index",
    "irq_enable",
    "irq_status",
    "watchdog",
    *(f"{name}_ptr" for name in POINTERS),
    *(f"{name}_ptr_hi" for name in POINTERS),
    *(name for name in BY_NAME if name.startswith("config_")),
}

READ_FROM_CORE = tuple(register.name for register in REGISTERS if register.name not in _OWN)
"""Registers whose value the core supplies."""


def bus_signature() -> AxiLiteSignature:
    """The accelerator's AXI4-Lite port, seen from the host."""
    return AxiLiteSignature(addr_width=ADDR_WIDTH)


class RegisterFile(wiring.Component):
    """The register file of `vta/registers.py`, and what starts and ends a run.

    Parameters
    ----------
    config : Config

    Members
    -------
    bus : In(AxiLiteSignature)
    irq : Out(1)
        Level: an enabled event has happened and was not cleared.
    running : Out(1)
    start : Out(1)
        Pulses at launch, unless launch is itself an error.
    launch : Out(1)
        Pulses at launch: counters start anew.
    stop, clear : Out(1)
        A reset is under way: ask for no more bursts; forget everything (one cycle, when the bus
        is quiet).
    bus_quiet : In(1)
    done, halt, verdict
        From the monitor.
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
                "watchdog": Out(32, init=BY_NAME["watchdog"].reset),
                **{f"{name}_ptr": Out(config.addr_width) for name in POINTERS},
                **{name: In(32) for name in READ_FROM_CORE},
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        done, error, error_index = Signal(), Signal(HaltReport), Signal(INDEX_BITS)
        resetting = Signal()
        cycle_count = Signal(32)
        irq_enable, irq_status = Signal(2), Signal(2)
        halted = error.cause != Cause.NONE

        write_en, write_addr = Signal(), Signal(ADDR_WIDTH)
        write_data, write_mask = Signal(32), Signal(32)
        self._bus(
            m,
            write_en,
            write_addr,
            write_data,
            write_mask,
            {
                "control": Cat(self.running, done, resetting),
                "cycle_count": cycle_count,
                "insn_count": self.insn_count,
                "id": Const(ID, 32),
                "version": Const(VERSION, 32),
                "error": Cat(error.cause, error.module),
                "error_index": error_index,
                "irq_enable": irq_enable,
                "irq_status": irq_status,
                "watchdog": self.watchdog,
                **{
                    f"config_{index}": Const(word, 32)
                    for index, word in enumerate(config_words(config))
                },
                **{f"{name}_ptr": getattr(self, f"{name}_ptr")[:32] for name in POINTERS},
                **{f"{name}_ptr_hi": getattr(self, f"{name}_ptr")[32:] for name in POINTERS},
                **{name: getattr(self, name) for name in READ_FROM_CORE},
            },
        )

        def written(name: str) -> Value:
            return write_en & (write_addr == BY_NAME[name].offset)

        # Plain registers: the host's, as long as the machine rests.
        def merge(old: Value) -> Value:
            return (old & ~write_mask[: len(old)]) | (write_data & write_mask)[: len(old)]

        plain = {"insn_count": self.insn_count, "watchdog": self.watchdog}
        for name in POINTERS:
            pointer = getattr(self, f"{name}_ptr")
            plain[f"{name}_ptr"] = pointer[:32]
            if config.addr_width > 32:
                plain[f"{name}_ptr_hi"] = pointer[32:]
        for name, value in plain.items():
            with m.If(written(name) & ~self.running & ~resetting):
                m.d.sync += value.eq(merge(value))
        with m.If(written("irq_enable")):
            m.d.sync += irq_enable.eq(merge(irq_enable))

        # Launch. What can be wrong with it is worked out all the time.
        alignment = {
            "insn": INSN_BYTES,
            **{name: getattr(config, f"{name}_elem_bytes") for name in POINTERS if name != "insn"},
        }
        misaligned, empty = Signal(), Signal()
        m.d.sync += [
            misaligned.eq(
                Cat(
                    getattr(self, f"{name}_ptr")[: unit.bit_length() - 1].any()
                    for name, unit in alignment.items()
                ).any()
            ),
            empty.eq(self.insn_count == 0),
        ]
        control = written("control") & write_mask[0]
        launch = self.launch
        m.d.sync += launch.eq(
            control
            & write_data[0]
            & ~write_data[2]
            & ~self.running
            & ~launch
            & ~resetting
            & ~halted
        )
        m.d.comb += self.start.eq(launch & ~misaligned & ~empty)
        with m.If(launch):
            m.d.sync += [done.eq(0), cycle_count.eq(0)]
            with m.If(misaligned | empty):
                m.d.sync += [
                    error.cause.eq(Mux(misaligned, Cause.MISALIGNED_BASE, Cause.NO_FINISH)),
                    error.module.eq(ModuleId.FETCH),
                    error_index.eq(0),
                ]
            with m.Else():
                m.d.sync += self.running.eq(1)
        with m.If(self.running):
            m.d.sync += cycle_count.eq(cycle_count + 1)
            with m.If(self.done):
                m.d.sync += [self.running.eq(0), done.eq(1)]
            with m.Elif(self.halt):
                m.d.sync += [
                    self.running.eq(0),
                    error.eq(self.verdict),
                    error_index.eq(self.verdict.index),
                ]

        # Reset: stop asking, wait for what is outstanding, forget.
        m.d.comb += [self.stop.eq(resetting), self.clear.eq(resetting & self.bus_quiet)]
        with m.If(control & write_data[2]):
            m.d.sync += resetting.eq(1)
        with m.Elif(self.clear):
            m.d.sync += [
                resetting.eq(0),
                self.running.eq(0),
                done.eq(0),
                error.eq(0),
                error_index.eq(0),
                cycle_count.eq(0),
            ]

        # Interrupts: what happens in the cycle in which the host clears is not lost.
        was_halted = Signal()
        m.d.sync += was_halted.eq(halted)
        happened = Cat(self.running & self.done, halted & ~was_halted)
        cleared = Mux(written("irq_status"), write_data & write_mask, 0)[:2]
        m.d.sync += irq_status.eq((irq_status & ~cleared) | happened)
        m.d.comb += self.irq.eq((irq_status & irq_enable).any())
        return m

    def _bus(self, m: Module, write_en, write_addr, write_data, write_mask, values) -> None:
        """AXI4-Lite: a write takes address and data together; a read answers a cycle later."""
        bus = self.bus
        accepts = bus.awvalid & bus.wvalid & ~bus.bvalid
        m.d.comb += [
            bus.awready.eq(accepts),
            bus.wready.eq(accepts),
            bus.bresp.eq(Response.OKAY),
            bus.rresp.eq(Response.OKAY),
            bus.arready.eq(~bus.rvalid),
        ]
        m.d.sync += [
            write_en.eq(accepts),
            write_addr.eq(bus.awaddr & ~0b11),
            write_data.eq(bus.wdata),
            write_mask.eq(Cat(strobe.replicate(8) for strobe in bus.wstrb)),
        ]
        with m.If(accepts):
            m.d.sync += bus.bvalid.eq(1)
        with m.Elif(bus.bready):
            m.d.sync += bus.bvalid.eq(0)

        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [bus.rvalid.eq(1), bus.rdata.eq(0)]
            with m.Switch(bus.araddr[2:]):
                for register in REGISTERS:
                    with m.Case(register.offset >> 2):
                        m.d.sync += bus.rdata.eq(values[register.name])
        with m.Elif(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
