"""The machine in an ULX3S: SDRAM behind LiteDRAM, and a host at the serial port."""

from __future__ import annotations

from typing import Any

from amaranth import *
from amaranth.build import Platform
from amaranth.hdl import IOPort
from amaranth.lib import io, wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In, Out, connect

from vta.config import Config
from vta.hw.boards.uart_bridge import UartBridge
from vta.hw.boards.word_bus import LiteMaster
from vta.hw.top import Top

__all__ = ["BAUD", "CLOCK_HZ", "CONTROL", "MEMORY_BYTES", "REGISTERS", "Ulx3s", "Ulx3sSystem"]

CLOCK_HZ = 45_000_000
"""Of the machine and of the SDRAM: what the board's 25 MHz and the serial line's rate divide."""

BAUD = 3_000_000

MEMORY_BYTES = 32 << 20
"""Bytes of memory, from address 0."""

REGISTERS, CONTROL = 0x8000_0000, 0x9000_0000
"""Where the host finds the machine's registers, and those of LiteDRAM."""

SDRAM_OUTPUTS = {"a": 13, "ba": 2, "cas_n": 1, "cke": 1, "cs_n": 1, "dm": 2, "ras_n": 1, "we_n": 1}
"""The SDRAM's pins that are outputs, but for its clock."""

PINS = {
    "a": "a",
    "ba": "ba",
    "cas_n": "cas",
    "cke": "clk_en",
    "cs_n": "cs",
    "dm": "dqm",
    "ras_n": "ras",
    "we_n": "we",
}
"""The names of these pins in the board's definition."""

# 25 MHz / 5 x 9 = 45 MHz; the oscillator runs at 12 times that. A quarter of a cycle later the
# second output clocks the SDRAM, so that its inputs are stable at its edges.
_PLL_DIVIDER = 12


class Ulx3sSystem(wiring.Component):
    """Everything but clocks and pins. LiteDRAM is a module of its own, `litedram_core`.

    Parameters
    ----------
    config : Config
    divisor : int
        Cycles of a bit on the serial line.
    dq : IOPort
        The SDRAM's data pins.

    Members
    -------
    rx : In(1)
    tx : Out(1)
    sdram_... : Out
        As `SDRAM_OUTPUTS` says.
    """

    def __init__(self, config: Config, *, divisor: int, dq: IOPort) -> None:
        self._config, self._divisor, self._dq = config, divisor, dq
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                **{f"sdram_{name}": Out(width) for name, width in SDRAM_OUTPUTS.items()},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.top = top = Top(self._config)
        m.submodules.bridge = bridge = UartBridge(self._divisor)
        m.submodules.registers = lite = LiteMaster()
        connect(m, lite.registers, top.s_axi)
        m.d.comb += [bridge.rx.eq(self.rx), self.tx.eq(bridge.tx)]
        m.submodules.litedram = Instance(
            "litedram_core",
            i_clk=ClockSignal(),
            i_rst=ResetSignal(),
            io_sdram_dq=self._dq,
            **{f"o_sdram_{name}": getattr(self, f"sdram_{name}") for name in SDRAM_OUTPUTS},
            **self._memory_ports(top),
            **self._host_ports(m, bridge.bus, lite.words),
        )
        return m

    @staticmethod
    def _memory_ports(top: Top) -> dict[str, Any]:
        """The machine's memory port on LiteDRAM's; LiteDRAM's sizes have a bit more."""
        ports = {}
        for name, member in top.m_axi.signature.members.items():
            if name.endswith(("lock", "cache", "prot", "qos")):
                continue
            value = Value.cast(getattr(top.m_axi, name))
            if name.endswith("addr"):
                value = value[: (MEMORY_BYTES - 1).bit_length()]
            elif name.endswith("size"):
                value = Cat(value, C(0, 1))
            ports[f"{'i' if member.flow == Out else 'o'}_user_port_machine_{name}"] = value
        return ports

    @staticmethod
    def _host_ports(m: Module, bus: Any, registers: Any) -> dict[str, Any]:
        """The host's words by their addresses: memory, LiteDRAM's control, the registers."""
        ports: dict[str, Any] = {}
        answers = []
        for prefix, chosen, width in (
            ("user_port_host", bus.addr < MEMORY_BYTES, (MEMORY_BYTES // 4 - 1).bit_length()),
            ("wb_ctrl", bus.addr[28:] == CONTROL >> 28, 30),
        ):
            ack = Signal(name=f"{prefix}_ack")
            err = Signal(name=f"{prefix}_err")
            data = Signal(32, name=f"{prefix}_data")
            word = bus.addr[2:28] if width == 30 else bus.addr[2 : 2 + width]
            asked = bus.valid & chosen
            ports |= {
                f"i_{prefix}_adr": Cat(word, C(0, width - len(word))),
                f"i_{prefix}_cyc": asked,
                f"i_{prefix}_stb": asked,
                f"i_{prefix}_we": bus.write,
                f"i_{prefix}_sel": C(0b1111, 4),
                f"i_{prefix}_dat_w": bus.data,
                f"o_{prefix}_dat_r": data,
                f"o_{prefix}_ack": ack,
                f"o_{prefix}_err": err,
            }
            answers.append((chosen, ack | err, data, err))
        ports |= {"i_wb_ctrl_bte": C(0, 2), "i_wb_ctrl_cti": C(0, 3)}
        chosen = bus.addr[28:] == REGISTERS >> 28
        m.d.comb += [
            registers.addr.eq(bus.addr),
            registers.write.eq(bus.write),
            registers.data.eq(bus.data),
            registers.valid.eq(bus.valid & chosen),
            # Nothing is anywhere else.
            bus.ready.eq(bus.valid),
            bus.error.eq(1),
        ]
        answers.append((chosen, registers.ready, registers.read_data, registers.error))
        for chosen, ready, data, error in answers:
            with m.If(chosen):
                m.d.comb += [bus.ready.eq(ready), bus.read_data.eq(data), bus.error.eq(error)]
        return ports


class Ulx3s(wiring.Component):
    """The board: clocks from its 25 MHz, pins, and the system.

    Parameters
    ----------
    config : Config
    litedram : str
        The Verilog of the module `litedram_core`.
    """

    def __init__(self, config: Config, litedram: str) -> None:
        self._config, self._litedram = config, litedram
        super().__init__({})

    def elaborate(self, platform: Platform) -> Module:
        m = Module()
        platform.add_file("litedram_core.v", self._litedram)
        m.submodules.clk25 = clk25 = io.Buffer("i", platform.request("clk25", 0, dir="-"))
        self._clocks(m, platform, clk25.i)

        bare = dict.fromkeys((*PINS.values(), "dq", "clk"), "-")
        sdram = platform.request("sdram", 0, dir=bare)
        uart = platform.request("uart", 0, dir=dict.fromkeys(("rx", "tx", "rts", "dtr"), "-"))
        m.submodules.system = system = Ulx3sSystem(
            self._config, divisor=CLOCK_HZ // BAUD, dq=sdram.dq.io
        )
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [system.rx.eq(rx.i), tx.o.eq(system.tx)]
        for name, pin in PINS.items():
            m.submodules[f"sdram_{name}"] = buffer = io.Buffer("o", getattr(sdram, pin))
            value = getattr(system, f"sdram_{name}")
            # The platform inverts what is active low, and LiteDRAM has done so already.
            m.d.comb += buffer.o.eq(~value if name.endswith("_n") else value)
        m.submodules.sdram_clk = buffer = io.Buffer("o", sdram.clk)
        m.submodules.sdram_clock = Instance(
            "ODDRX1F", i_D0=C(1), i_D1=C(0), i_SCLK=ClockSignal("sdram"), i_RST=C(0), o_Q=buffer.o
        )
        return m

    @staticmethod
    def _clocks(m: Module, platform: Platform, clk25: Value) -> None:
        m.domains.sync = ClockDomain()
        m.domains.sdram = ClockDomain(reset_less=True)
        locked = Signal()
        main = Signal()
        quarter = Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            p_CLKI_DIV=5,
            p_CLKFB_DIV=9,
            p_FEEDBK_PATH="CLKOP",
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=_PLL_DIVIDER,
            p_CLKOP_CPHASE=_PLL_DIVIDER // 2,
            p_CLKOP_FPHASE=0,
            p_CLKOS_ENABLE="ENABLED",
            p_CLKOS_DIV=_PLL_DIVIDER,
            p_CLKOS_CPHASE=_PLL_DIVIDER // 2 + _PLL_DIVIDER // 4,
            p_CLKOS_FPHASE=0,
            i_CLKI=clk25,
            i_CLKFB=main,
            i_RST=C(0),
            i_STDBY=C(0),
            i_PHASESEL0=C(0),
            i_PHASESEL1=C(0),
            i_PHASEDIR=C(1),
            i_PHASESTEP=C(1),
            i_PHASELOADREG=C(1),
            i_PLLWAKESYNC=C(0),
            i_ENCLKOP=C(0),
            o_CLKOP=main,
            o_CLKOS=quarter,
            o_LOCK=locked,
        )
        m.d.comb += [ClockSignal().eq(main), ClockSignal("sdram").eq(quarter)]
        m.submodules.reset = ResetSynchronizer(~locked)
        platform.add_clock_constraint(main, CLOCK_HZ)
