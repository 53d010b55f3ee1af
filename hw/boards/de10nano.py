"""The machine in a DE10-Nano: bare bridges of the Cyclone V's processor system."""

from __future__ import annotations

from amaranth import *
from amaranth.build import Platform
from amaranth.lib import io, wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import connect, flipped

from vta.config import Config
from vta.hw.boards.axi3_master import Axi3Master
from vta.hw.boards.primitive import axi_ports
from vta.hw.boards.register_bridge import RegisterBridge
from vta.hw.bus.axi import Axi3Signature
from vta.hw.top import Top

__all__ = ["De10Nano"]

_64_BITS = 1
"""The configuration of the memory bridge's width."""


class De10Nano(wiring.Component):
    """The machine, its clock and its reset, behind the processor system's bridges.

    The processor reaches the registers through the lightweight bridge (0xFF200000), and interrupt 0
    of the FPGA is the machine's. Memory is reached through the bridge to the processor's
    interconnect, which is not coherent; boot code or Linux must have enabled both bridges. The
    clock comes from the board's 50 MHz.

    Parameters
    ----------
    config : Config
        With bursts of at most 16 beats and a bus of 64 bits.
    clock_hz : int
    """

    def __init__(self, config: Config, *, clock_hz: int = 100_000_000) -> None:
        self._config, self._clock_hz = config, clock_hz
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._clocks(m, platform)
        m.submodules.top = top = Top(self._config)
        m.submodules.memory = memory = Axi3Master(self._config, id_width=8)
        light = Axi3Signature(addr_width=21, data_width=32, id_width=12)
        m.submodules.bridge = bridge = RegisterBridge(light, 0)
        connect(m, top.m_axi, memory.machine)
        connect(m, bridge.registers, top.s_axi)

        m.submodules.hps_registers = Instance(
            "cyclonev_hps_interface_hps2fpga_light_weight",
            a_keep=1,
            i_clk=ClockSignal(),
            **_without_qos(axi_ports("", flipped(bridge.bus), driven=True, widths={})),
        )
        m.submodules.hps_memory = Instance(
            "cyclonev_hps_interface_fpga2hps",
            a_keep=1,
            i_clk=ClockSignal(),
            i_port_size_config=C(_64_BITS, 2),
            **_without_qos(axi_ports("", memory.memory, driven=False, widths={})),
        )
        m.submodules.hps_interrupts = Instance(
            "cyclonev_hps_interface_interrupts", a_keep=1, i_irq=Cat(top.irq, C(0, 63))
        )
        return m

    def _clocks(self, m: Module, platform: object) -> None:
        if not isinstance(platform, Platform):
            return  # a simulation drives the clock and the reset
        m.domains.sync = ClockDomain()
        m.submodules.clk50 = clk50 = io.Buffer("i", platform.request("clk50", 0, dir="-"))
        clock = Signal()
        locked = Signal()
        m.submodules.pll = Instance(
            "altera_pll",
            p_fractional_vco_multiplier="false",
            p_reference_clock_frequency="50.0 MHz",
            p_operation_mode="direct",
            p_number_of_clocks=1,
            p_output_clock_frequency0=f"{self._clock_hz / 1e6:.6f} MHz",
            p_phase_shift0="0 ps",
            p_duty_cycle0=50,
            p_pll_type="General",
            p_pll_subtype="General",
            i_refclk=clk50.i,
            i_rst=C(0),
            i_fbclk=C(0),
            o_outclk=clock,
            o_locked=locked,
        )
        m.d.comb += ClockSignal().eq(clock)
        m.submodules.reset = ResetSynchronizer(~locked)
        platform.add_clock_constraint(clock, self._clock_hz)


def _without_qos(ports: dict[str, object]) -> dict[str, object]:
    """These bridges have what AXI3 has."""
    return {name: value for name, value in ports.items() if not name.endswith("qos")}
