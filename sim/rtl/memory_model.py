"""`MemoryModel`: the timing of the memory in the RTL simulation."""

from __future__ import annotations

from dataclasses import dataclass

from vta.errors import ConfigError

__all__ = ["MemoryModel"]

MAX_CYCLES = (1 << 31) - 1
MAX_SEED = (1 << 32) - 1


@dataclass(frozen=True)
class MemoryModel:
    """Timing parameters of the memory on the AXI bus. They affect only cycles, never data.

    Parameters
    ----------
    latency : int
        Cycles from a read burst's address to its first beat, at least 1. The other beats follow
        at one a cycle; bursts are answered in order unless `order_seed` is given.
    write_response : int
        Cycles from a write burst's last beat to its response, at least 1.
    outstanding : int or None
        How many read bursts, and how many write bursts, may be in flight; None for no limit.
    stall_seed : int or None
        Seed of random stalls on every channel; None for no stalls.
    order_seed : int or None
        Seed of the order of read data, as an interconnect with several memories behind it gives
        it: bursts of different identifiers come out of order and interleaved, each up to 63 cycles
        later than `latency`. None for the order of the addresses.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    latency: int = 20
    write_response: int = 1
    outstanding: int | None = None
    stall_seed: int | None = None
    order_seed: int | None = None

    def __post_init__(self) -> None:
        _check("latency", self.latency, 1, MAX_CYCLES)
        _check("write_response", self.write_response, 1, MAX_CYCLES)
        if self.outstanding is not None:
            _check("outstanding", self.outstanding, 1, MAX_CYCLES)
        if self.stall_seed is not None:
            _check("stall_seed", self.stall_seed, 0, MAX_SEED)
        if self.order_seed is not None:
            _check("order_seed", self.order_seed, 0, MAX_SEED)


def _check(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{name} must be a whole number from {low} to {high}, not {value!r}")
