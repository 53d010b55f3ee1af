"""The machine in a Zynq UltraScale+: a bare PS8, no block design and no vendor's IP."""

from __future__ import annotations

from amaranth import *
from amaranth.build import Platform
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

from vta.config import Config
from vta.hw.boards.primitive import axi_ports
from vta.hw.boards.register_bridge import RegisterBridge
from vta.hw.bus.axi import AxiSignature
from vta.hw.top import Top

__all__ = ["REGISTERS", "ZynqMP"]

REGISTERS = 0xA000_0000
"""Where the processor sees the machine's registers: the start of port HPM0 FPD."""

# The primitive's ports are as wide as they can be set; what is used are the lowest bits.
_DATA = {"wdata": 128, "rdata": 128, "wstrb": 16}
_HP0 = {
    **_DATA,
    **dict.fromkeys(("awaddr", "araddr"), 49),
    **dict.fromkeys(("awid", "arid", "bid", "rid"), 6),
}


class ZynqMP(wiring.Component):
    """The machine, its clock and its reset, around the processor system.

    The processor reaches the registers through HPM0 FPD at `REGISTERS`, which the driver sets to
    32 bits, and interrupt pl_ps_irq0[0] is the machine's. Memory is reached through HP0 FPD, which
    the driver sets to 64 bits. PL0 is the clock; its rate is set by the processor. The machine is
    reset when the FPGA is programmed, and then by its register alone.

    Parameters
    ----------
    config : Config
        With a bus of 64 bits.
    clock_hz : int
        What the tools are asked for.
    """

    def __init__(self, config: Config, *, clock_hz: int = 200_000_000) -> None:
        self._config, self._clock_hz = config, clock_hz
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = ClockDomain()
        m.submodules.top = top = Top(self._config)
        hpm0 = AxiSignature(addr_width=40, data_width=32, id_width=16)
        m.submodules.hpm0 = bridge = RegisterBridge(hpm0, REGISTERS)
        connect(m, bridge.registers, top.s_axi)

        clocks = Signal(4)
        pl0 = Signal()
        m.d.comb += pl0.eq(clocks[0])
        m.submodules.clock = Instance("BUFG_PS", i_I=pl0, o_O=ClockSignal())
        if isinstance(platform, Platform):
            platform.add_clock_constraint(pl0, self._clock_hz)
        held = Signal(3, init=-1, reset_less=True)
        m.d.sync += held.eq(held << 1)
        m.d.comb += ResetSignal().eq(held[2])

        m.submodules.ps8 = Instance(
            "PS8",
            # No pin of the design depends on it.
            a_keep=1,
            o_PLCLK=clocks,
            i_PLPSIRQ0=Cat(top.irq, C(0, 7)),
            i_MAXIGP0ACLK=ClockSignal(),
            i_SAXIGP2RCLK=ClockSignal(),
            i_SAXIGP2WCLK=ClockSignal(),
            **axi_ports("MAXIGP0", flipped(bridge.bus), driven=True, widths=_DATA),
            **axi_ports("SAXIGP2", top.m_axi, driven=False, widths=_HP0),
        )
        return m
