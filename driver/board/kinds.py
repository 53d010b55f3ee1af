"""The boards, as data: addresses, part, and what must be set before the machine may run.

The addresses are those of the boards' device trees and manuals; only the emulated boards have been
tried (docs/boards.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from vta.driver.board.clock import ClockControl
from vta.errors import DeviceError

__all__ = ["KINDS", "SERVED", "BoardKind", "PortWidth", "kind_named"]


@dataclass(frozen=True)
class PortWidth:
    """Bits of a processor-system register that set the width of a port: 64 bits for memory, 32 for
    registers."""

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
    longest_burst : int
        The most beats of a burst that its memory port takes: 16 where that is AXI3.
    """

    name: str
    part: str
    registers: int
    memory: int
    clock_hz: int
    widths: tuple[PortWidth, ...] = ()
    clock: ClockControl | None = None
    swapped: bool = True
    longest_burst: int = 256


# Zynq-7000, HP0: bit 0 of the read and of the write channel's control; 1 means 32 bits.
_HP0 = (PortWidth(0xF800_8000, 1, 0), PortWidth(0xF800_8014, 1, 0))
# Zynq UltraScale+: HP0 is the third AFI (1 means 64 bits), and HPM0 has 32 bits (0).
_SAXIGP2 = (
    PortWidth(0xFD38_0000, 3, 1),
    PortWidth(0xFD38_0014, 3, 1),
    PortWidth(0xFD61_5000, 3 << 8, 0),
)

# FCLK0 of the IO PLL, by a crystal of 50 MHz.
_FCLK0 = ClockControl(
    control=0xF800_0170,
    dividers=(8, 20),
    source=0x20,
    pll=0xF800_0108,
    factor=12,
    half=0,
    reference_hz=50_000_000,
    unlock=0xF800_0008,
)
# PL0 of the IO PLL, by a crystal of 33.333 MHz.
_PL0 = ClockControl(
    control=0xFF5E_00C0,
    dividers=(8, 16),
    source=7,
    pll=0xFF5E_0020,
    factor=8,
    half=1 << 16,
    reference_hz=33_333_333,
)

_MHZ = 1_000_000

KINDS: dict[str, BoardKind] = {
    kind.name: kind
    for kind in (
        BoardKind(
            name="pynq",
            part="7z020clg400",
            registers=0x4000_0000,
            memory=0x1680_0000,
            clock_hz=100 * _MHZ,
            widths=_HP0,
            clock=_FCLK0,
            longest_burst=16,
        ),
        BoardKind(
            name="ultra96",
            part="xczu3eg",
            registers=0xA000_0000,
            memory=0x7000_0000,
            clock_hz=200 * _MHZ,
            widths=_SAXIGP2,
            clock=_PL0,
        ),
        BoardKind(
            name="zcu104",
            part="xczu7ev",
            registers=0xA000_0000,
            memory=0x6000_0000,
            clock_hz=200 * _MHZ,
            widths=_SAXIGP2,
            clock=_PL0,
        ),
        BoardKind(
            name="de10nano",
            part="",
            registers=0xFF20_0000,
            memory=0x3000_0000,
            clock_hz=100 * _MHZ,
            swapped=False,
            longest_burst=16,
        ),
        BoardKind(
            name="intelfocl",
            part="",
            registers=0x8000_0000,
            memory=0x2000_0000,
            clock_hz=200 * _MHZ,
            swapped=False,
        ),
    )
}

SERVED = tuple(name for name in KINDS if name != "intelfocl")
"""The boards that are computers, on which a daemon can run; the other is a card in one."""


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
