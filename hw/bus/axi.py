"""AXI4, AXI3 and AXI4-Lite as interface signatures (ARM IHI 0022), with the standard's names."""

from __future__ import annotations

from amaranth.lib import enum
from amaranth.lib.wiring import In, Out, Signature

__all__ = ["Axi3Signature", "AxiLiteSignature", "AxiSignature", "Burst", "Response"]

PAGE_BYTES = 4096
"""No burst crosses a multiple of this address (A3.4.1)."""


class Response(enum.Enum, shape=2):
    """`RRESP` and `BRESP`."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


class Burst(enum.Enum, shape=2):
    """`ARBURST` and `AWBURST`."""

    FIXED = 0
    INCR = 1
    WRAP = 2


def _address(
    prefix: str, addr_width: int, id_width: int, len_width: int, lock_width: int
) -> dict[str, Out | In]:
    return {
        f"{prefix}id": Out(id_width),
        f"{prefix}addr": Out(addr_width),
        f"{prefix}len": Out(len_width),
        f"{prefix}size": Out(3),
        f"{prefix}burst": Out(Burst),
        f"{prefix}lock": Out(lock_width),
        f"{prefix}cache": Out(4),
        f"{prefix}prot": Out(3),
        f"{prefix}qos": Out(4),
        f"{prefix}valid": Out(1),
        f"{prefix}ready": In(1),
    }


class AxiSignature(Signature):
    """An AXI4 master's five channels, flat.

    Parameters
    ----------
    addr_width, data_width, id_width : int
        Bits of addresses, of a beat, and of transaction identifiers.
    """

    def __init__(self, *, addr_width: int, data_width: int, id_width: int) -> None:
        self.addr_width, self.data_width, self.id_width = addr_width, data_width, id_width
        super().__init__(self._channels())

    def _channels(self, len_width: int = 8, lock_width: int = 1) -> dict[str, Out | In]:
        addr_width, data_width, id_width = self.addr_width, self.data_width, self.id_width
        return {
            **_address("aw", addr_width, id_width, len_width, lock_width),
            "wdata": Out(data_width),
            "wstrb": Out(data_width // 8),
            "wlast": Out(1),
            "wvalid": Out(1),
            "wready": In(1),
            "bid": In(id_width),
            "bresp": In(Response),
            "bvalid": In(1),
            "bready": Out(1),
            **_address("ar", addr_width, id_width, len_width, lock_width),
            "rid": In(id_width),
            "rdata": In(data_width),
            "rresp": In(Response),
            "rlast": In(1),
            "rvalid": In(1),
            "rready": Out(1),
        }

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and (self.addr_width, self.data_width, self.id_width) == (
            other.addr_width,
            other.data_width,
            other.id_width,
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(addr_width={self.addr_width}, data_width={self.data_width}, "
            f"id_width={self.id_width})"
        )


class Axi3Signature(AxiSignature):
    """An AXI3 master's five channels, flat: bursts of up to 16 beats, and an identifier of data.

    The quality of service is not part of AXI3, but the ports of Zynq-7000 have it.
    """

    def _channels(self, len_width: int = 4, lock_width: int = 2) -> dict[str, Out | In]:
        return {**super()._channels(len_width, lock_width), "wid": Out(self.id_width)}


class AxiLiteSignature(Signature):
    """An AXI4-Lite master's five channels, flat, 32 bits of data."""

    def __init__(self, *, addr_width: int) -> None:
        self.addr_width = addr_width
        super().__init__(
            {
                "awaddr": Out(addr_width),
                "awprot": Out(3),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(32),
                "wstrb": Out(4),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(Response),
                "bvalid": In(1),
                "bready": Out(1),
                "araddr": Out(addr_width),
                "arprot": Out(3),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(32),
                "rresp": In(Response),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AxiLiteSignature) and self.addr_width == other.addr_width

    def __repr__(self) -> str:
        return f"AxiLiteSignature(addr_width={self.addr_width})"
