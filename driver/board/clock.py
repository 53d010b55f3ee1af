"""`ClockControl`: reads and sets the machine's clock, which the processor system makes."""

from __future__ import annotations

from dataclasses import dataclass

from vta.driver.board.system import System
from vta.errors import DeviceError

__all__ = ["ClockControl"]

_DIVIDERS = range(1, 64)


@dataclass(frozen=True)
class ClockControl:
    """Where a processor system sets a clock of the FPGA, in its physical address space.

    The clock is a reference, times a PLL's factor (7 bits), by two dividers (6 bits each). Other
    sources than that PLL are refused.

    Attributes
    ----------
    control : int
        The register with both dividers and the choice of the source.
    dividers : tuple of int
        The lowest bit of each.
    source : int
        The bits of `control` that must be 0 for this PLL to be the source.
    pll : int
        The PLL's register.
    factor : int
        The lowest bit of its factor.
    half : int
        The bit of `pll` that halves the clock, or 0 for none.
    reference_hz : int
    unlock : int
        The register that must be written before, or 0 for none.
    """

    control: int
    dividers: tuple[int, int]
    source: int
    pll: int
    factor: int
    half: int
    reference_hz: int
    unlock: int = 0

    def limit(self, system: System, most_hz: int) -> float:
        """Slows the clock down to `most_hz`, if it is faster; returns its rate in Hz.

        Raises
        ------
        DeviceError
            If the rate cannot be known, or stays above `most_hz`.
        """
        source_hz = self._source_hz(system)
        word = system.peek(self.control)
        divider = self._divider(word)
        if divider and source_hz / divider <= most_hz:
            return source_hz / divider
        first, second = min(
            ((a, b) for a in _DIVIDERS for b in _DIVIDERS if source_hz <= most_hz * a * b),
            key=lambda pair: pair[0] * pair[1],
            default=(63, 63),
        )
        word &= ~(63 << self.dividers[0] | 63 << self.dividers[1])
        word |= first << self.dividers[0] | second << self.dividers[1]
        if self.unlock:
            system.poke(self.unlock, 0xDF0D)
        system.poke(self.control, word)
        divider = self._divider(system.peek(self.control))
        if not divider or source_hz / divider > most_hz:
            raise DeviceError(
                f"the machine's clock must be at most {most_hz / 1e6:g} MHz, for which the "
                f"bitstream was routed, and it is {source_hz / max(divider, 1) / 1e6:g} MHz"
            )
        return source_hz / divider

    def _source_hz(self, system: System) -> float:
        if system.peek(self.control) & self.source:
            raise DeviceError(
                f"the machine's clock does not come from the expected PLL (register "
                f"{self.control:#x}), so its rate is not known"
            )
        word = system.peek(self.pll)
        rate = self.reference_hz * (word >> self.factor & 127)
        return rate / 2 if word & self.half else float(rate)

    def _divider(self, word: int) -> int:
        return (word >> self.dividers[0] & 63) * (word >> self.dividers[1] & 63)
