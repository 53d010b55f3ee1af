"""Connects AXI interfaces to the ports of a processor system's primitive."""

from __future__ import annotations

from typing import Any

from amaranth import *
from amaranth.lib.wiring import Out

__all__ = ["axi_ports"]


def axi_ports(prefix: str, bus: Any, *, driven: bool, widths: dict[str, int]) -> dict[str, Any]:
    """Arguments of an `Instance` that connect one AXI port.

    Parameters
    ----------
    prefix : str
        Of the primitive's ports, such as ``MAXIGP0``; the channel's signals follow in capitals.
        Without a prefix they are in small letters.
    bus : interface
        Seen as a master's.
    driven : bool
        Whether the primitive is the master.
    widths : dict
        Bits of the primitive's ports that are not as wide as the signal, by the signal's name.
        The lowest bits are connected; the others are 0.

    Returns
    -------
    dict
        ``i_`` and ``o_`` arguments.
    """
    ports: dict[str, Any] = {}
    for name, member in bus.signature.members.items():
        value = Value.cast(getattr(bus, name))
        direction = "o" if (member.flow == Out) == driven else "i"
        wide = widths.get(name, len(value))
        spare = max(0, wide - len(value))
        more = Signal(spare, name=f"{name}_spare") if direction == "o" else C(0, spare)
        ports[f"{direction}_{prefix}{name.upper() if prefix else name}"] = Cat(value[:wide], more)
    return ports
