"""The top: registers in front of the core, AXI on both sides."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from vta.config import Config
from vta.hw.bus.answer_check import AnswerCheck
from vta.hw.bus.payloads import Events
from vta.hw.bus.read_dma import bus_signature
from vta.hw.control import register_file as registers
from vta.hw.core import READERS, Core
from vta.registers import POINTERS

__all__ = ["Top"]


class Top(wiring.Component):
    """The accelerator, in one clock domain.

    Parameters
    ----------
    config : Config
    cache : int, optional
        ARCACHE and AWCACHE on the memory port, 4 bits. The default is 0b0011, normal memory that is
        not cached; a coherent port wants 0b1111.

    Members
    -------
    m_axi : Out(AxiSignature)
        To memory.
    s_axi : In(AxiLiteSignature)
        From the host.
    irq : Out(1)
        Level.
    events : Out(Events)
        For profilers; a board leaves it open.
    """

    def __init__(self, config: Config, *, cache: int | None = None) -> None:
        self._config, self._cache = config, cache
        super().__init__(
            {
                "m_axi": Out(bus_signature(config)),
                "s_axi": In(registers.bus_signature()),
                "irq": Out(1),
                "events": Out(Events),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.control = control = registers.RegisterFile(self._config)
        core = Core(self._config)
        # The reset bit of the control register resets all of the core; memories keep their data.
        m.submodules.core = ResetInserter(control.clear)(core)
        connect(m, flipped(self.m_axi), core.bus)
        if self._cache is not None:
            m.d.comb += [self.m_axi.arcache.eq(self._cache), self.m_axi.awcache.eq(self._cache)]
        connect(m, flipped(self.s_axi), control.bus)
        if getattr(platform, "assertions", False):
            m.submodules.answers = check = AnswerCheck(self._config, READERS)
            for name in check.bus.signature.members:
                m.d.comb += getattr(check.bus, name).eq(getattr(self.m_axi, name))
        m.d.comb += [
            self.irq.eq(control.irq),
            self.events.eq(core.events),
            core.start.eq(control.start),
            core.running.eq(control.running),
            core.stop.eq(control.stop),
            core.clear_counters.eq(control.launch),
            core.insn_count.eq(control.insn_count),
            core.watchdog.eq(control.watchdog),
            control.bus_quiet.eq(core.bus_quiet),
            control.done.eq(core.done),
            control.halt.eq(core.halt),
            control.verdict.eq(core.verdict),
        ]
        for name in POINTERS:
            m.d.comb += getattr(core, f"{name}_ptr").eq(getattr(control, f"{name}_ptr"))
        for name in registers.READ_FROM_CORE:
            m.d.comb += getattr(control, name).eq(getattr(core, name))
        return m
