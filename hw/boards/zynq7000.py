"""The machine in a Zynq-7000: a bare PS7, no block design and no vendor's IP."""

from __future__ import annotations

from amaranth import *
from amaranth.build import Platform
from amaranth.hdl import IOPort
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import connect, flipped

from vta.config import Config
from vta.hw.boards.axi3_master import Axi3Master
from vta.hw.boards.primitive import axi_ports
from vta.hw.boards.register_bridge import RegisterBridge
from vta.hw.bus.axi import Axi3Signature
from vta.hw.top import Top

__all__ = ["REGISTERS", "Zynq7000"]

REGISTERS = 0x4000_0000
"""Where the processor sees the machine's registers: the start of port GP0."""

_PADS = {
    "DDRA": 15,
    "DDRBA": 3,
    "DDRDM": 4,
    "DDRDQ": 32,
    "DDRDQSN": 4,
    "DDRDQSP": 4,
    "MIO": 54,
    **dict.fromkeys(
        (
            "DDRCASB",
            "DDRCKE",
            "DDRCKN",
            "DDRCKP",
            "DDRCSB",
            "DDRDRSTB",
            "DDRODT",
            "DDRRASB",
            "DDRVRN",
            "DDRVRP",
            "DDRWEB",
            "PSCLK",
            "PSPORB",
            "PSSRSTB",
        ),
        1,
    ),
}
"""The processor system's own pads, and their bits. They have fixed places."""

_SIZE = {"arsize": 2, "awsize": 2}
"""The primitive leaves the upper bit of sizes out, because no beat has more than 8 bytes."""


class Zynq7000(wiring.Component):
    """The machine, its clock and its reset, around the processor system.

    The processor reaches the registers through GP0 at `REGISTERS`, and interrupt IRQ_F2P[0] is the
    machine's. Memory is reached through HP0, which the driver sets to 64 bits. FCLK0 is the clock;
    its rate is set by the processor. The design has no pins: all of them belong to the processor.

    Parameters
    ----------
    config : Config
        With bursts of at most 16 beats and a bus of 64 bits.
    clock_hz : int
        What the tools are asked for.
    ps_pads : bool
        Adds the pads of the processor system as ports of the design. Whether Vivado wants them is
        not known; the primitive alone is enough for one other project.

    Raises
    ------
    ConfigError
        If the memory port does not fit HP0.
    """

    def __init__(
        self, config: Config, *, clock_hz: int = 100_000_000, ps_pads: bool = False
    ) -> None:
        self._config, self._clock_hz = config, clock_hz
        super().__init__({})
        self._hp0 = Axi3Master(config, id_width=6)
        self._pads = {name: IOPort(width, name=name) for name, width in _PADS.items() if ps_pads}

    @property
    def ports(self) -> tuple[IOPort, ...]:
        """The ports of the design, for a conversion without a platform."""
        return tuple(self._pads.values())

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = ClockDomain()
        m.submodules.hp0 = hp0 = self._hp0
        m.submodules.top = top = Top(self._config)
        gp0 = Axi3Signature(addr_width=32, data_width=32, id_width=12)
        m.submodules.gp0 = bridge = RegisterBridge(gp0, REGISTERS)
        connect(m, top.m_axi, hp0.machine)
        connect(m, bridge.registers, top.s_axi)

        clocks = Signal(4)
        resets = Signal(4)
        fclk = Signal()
        m.d.comb += fclk.eq(clocks[0])
        m.submodules.clock = Instance("BUFG", i_I=fclk, o_O=ClockSignal())
        if isinstance(platform, Platform):
            platform.add_clock_constraint(fclk, self._clock_hz)
        # The processor's reset, which knows nothing of the clock's edges.
        m.submodules.reset = FFSynchronizer(~resets[0], ResetSignal(), init=1, stages=3)

        m.submodules.ps7 = Instance(
            "PS7",
            # No pin of the design depends on it.
            a_keep=1,
            o_FCLKCLK=clocks,
            o_FCLKRESETN=resets,
            i_FCLKCLKTRIGN=C(0, 4),
            # Whether the FPGA is idle: without it the clocks would have to be stopped first.
            i_FPGAIDLEN=C(1),
            i_IRQF2P=Cat(top.irq, C(0, 19)),
            i_MAXIGP0ACLK=ClockSignal(),
            i_SAXIHP0ACLK=ClockSignal(),
            i_SAXIHP0RDISSUECAP1EN=C(0),
            i_SAXIHP0WRISSUECAP1EN=C(0),
            **axi_ports("MAXIGP0", flipped(bridge.bus), driven=True, widths=_SIZE),
            **axi_ports("SAXIHP0", hp0.memory, driven=False, widths=_SIZE),
            **{f"io_{name}": port for name, port in self._pads.items()},
        )
        return m
