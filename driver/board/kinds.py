"""The boards, as data: addresses, part, and what must be set before the machine may run.

The addresses are those of the boards' device trees and manuals; only the emulated boards have been
tried (docs/boards.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from vta.driver.board.clock import ClockControl
from vta.errors import DeviceError

__all__ = ["KINDS", "BoardKind", "PortWidth", "kind_named"]


@dataclass(frozen=True)
class PortWidth:
    """Bits of a register of the processor system that set a port's width: 64 bits, as ours is."""

    address: int
    mask: int
    value: int


@dataclass(frozen=True)
class BoardKind:
    """One kind of board.

    Attributes
    ----------
    name : str
        The configuration's TARGET.
    part : str
        The FPGA, as bitstreams name it, or "" where they do not.
    registers : int
        The physical address of the machine's registers.
    memory : int
        Where the emulated board's memory starts; a real board says it itself.
    swapped : bool
        Whether the FPGA manager wants the bytes of each 32-bit word of a bitstream reversed.
    widths : tuple of PortWidth
    clock_hz : int
        The machine's clock that bitstreams are made for by default.
    clock : ClockControl, optional
        Where that clock is set; None where it cannot be.
    """

    name: str
    part: str
    registers: int
    memory: int
    clock_hz: int
    widths: tuple[PortWidth, ...] = ()
    clock: ClockControl | None = None
    swapped: bool = True


# Zynq-7000, HP0: bit 0 of the read and of the write channel's control; 1 means 32 bits.
_HP0 = (PortWidth(0xF800_8000, 1, 0), PortWidth(0xF800_8014, 1, 0))
# Zynq UltraScale+: HP0 is the third AFI (1 means 64 bits), and HPM0 has 32 bits (0).
_SAXIGP2 = (
    PortWidth(0xFD38_0000, 3, 1),
    PortWidth(0xFD38_0014, 3, 1),
    PortWidth(0xFD61_5000, 3 << 8, 0),
)

# FCLK0 of the IO PLL, by a crystal of 50 MHz.
_FCLK0 = ClockControl(0xF800_0170, (8, 20), 0x20, 0xF800_0108, 12, 0, 50_000_000, 0xF800_0008)
# PL0 of the IO PLL, by a crystal of 33.333 MHz.
_PL0 = ClockControl(0xFF5E_00C0, (8, 16), 7, 0xFF5E_0020, 8, 1 << 16, 33_333_333)

_MHZ = 1_000_000

KINDS: dict[str, BoardKind] = {
    kind.name: kind
    for kind in (
        BoardKind("pynq", "7z020clg400", 0x4000_0000, 0x1680_0000, 100 * _MHZ, _HP0, _FCLK0),
        BoardKind("ultra96", "xczu3eg", 0xA000_0000, 0x7000_0000, 200 * _MHZ, _SAXIGP2, _PL0),
        BoardKind("zcu104", "xczu7ev", 0xA000_0000, 0x6000_0000, 200 * _MHZ, _SAXIGP2, _PL0),
        BoardKind("de10nano", "", 0xFF20_0000, 0x3000_0000, 100 * _MHZ, swapped=False),
        BoardKind("intelfocl", "", 0x8000_0000, 0x2000_0000, 200 * _MHZ, swapped=False),
    )
}


def kind_named(name: str) -> BoardKind:
    """The board of a name.

    Raises
    ------
    DeviceError
        If there is none.
    """
    if name not in KINDS:
        raise DeviceError(f"the board must be one of {', '.join(KINDS)}, not {name!r}")
    return KINDS[name]
