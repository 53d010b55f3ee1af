"""From the machine's AXI4 port to an AXI3 port of a processor system."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from vta.config import Config
from vta.errors import ConfigError
from vta.hw.bus.axi import Axi3Signature
from vta.hw.bus.read_dma import bus_signature

__all__ = ["Axi3Master", "require_axi3"]

LONGEST = 16
"""The most beats of a burst in AXI3."""


def require_axi3(config: Config, data_width: int = 64) -> None:
    """Checks that a machine's memory port fits an AXI3 port.

    Raises
    ------
    ConfigError
        If its bursts are too long or its width is another.
    """
    if config.max_burst > LONGEST:
        raise ConfigError(
            f"MAX_BURST must be at most {LONGEST} for a memory port with AXI3, not "
            f"{config.max_burst}"
        )
    if config.bus_width != data_width:
        raise ConfigError(
            f"LOG_BUS_WIDTH must be {data_width.bit_length() - 1} for this memory port, not "
            f"{config.log_bus_width}"
        )


class Axi3Master(wiring.Component):
    """Connects the machine's memory port to an AXI3 port; there is no logic and no delay in it.

    The machine sends all writes with identifier 0 and their data in order, so the identifier of
    the data is 0.

    Parameters
    ----------
    config : Config
        Bursts of at most 16 beats.
    id_width : int
        Bits of the port's identifiers.
    addr_width : int

    Members
    -------
    machine : In(AxiSignature)
    memory : Out(Axi3Signature)

    Raises
    ------
    ConfigError
        If the configuration has longer bursts.
    """

    def __init__(self, config: Config, *, id_width: int, addr_width: int = 32) -> None:
        require_axi3(config, config.bus_width)
        super().__init__(
            {
                "machine": In(bus_signature(config)),
                "memory": Out(
                    Axi3Signature(
                        addr_width=addr_width, data_width=config.bus_width, id_width=id_width
                    )
                ),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, member in self.memory.signature.members.items():
            if name == "wid":
                continue
            memory, machine = getattr(self.memory, name), getattr(self.machine, name)
            if member.flow == Out:
                m.d.comb += memory.eq(machine)
            else:
                m.d.comb += machine.eq(memory)
        return m
