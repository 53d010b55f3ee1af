"""Statistics of the simulated devices in this process: bytes moved, tiles computed, cycles."""

from __future__ import annotations

from vta.calls import check_calls
from vta.config import SIMULATED_TARGETS
from vta.driver.simulated import PROFILE
from vta.environment import get_env
from vta.errors import ArgumentError

__all__ = ["DEBUG_SKIP_EXEC", "clear_stats", "debug_mode", "enabled", "stats"]

DEBUG_SKIP_EXEC = 1
"""A flag for `debug_mode`: only count, do not execute."""


def stats() -> dict[str, int]:
    """Sums over all runs since `clear_stats`.

    Bytes moved: ``uop_load_nbytes``, ``inp_load_nbytes``, ``wgt_load_nbytes``,
    ``acc_load_nbytes``, ``out_store_nbytes``. Tiles: ``gemm_counter`` (multiplied, without
    resets), ``reset_counter``, ``alu_counter``. Instructions: ``load_insns``, ``compute_insns``,
    ``store_insns``. If the RTL has run, also ``cycle_count``.
    """
    return PROFILE.totals()


def clear_stats() -> None:
    """Resets all counters to zero."""
    PROFILE.clear()


def enabled() -> bool:
    """Whether the current environment's target is a simulator."""
    return get_env().TARGET in SIMULATED_TARGETS


def debug_mode(flag: int) -> None:
    """Sets the mode of later runs: the sum of `DEBUG_SKIP_EXEC` (1) and 2 (log the
    instructions); 0 for neither."""
    if flag not in range(4):
        raise ArgumentError(f"flag must be 0 to 3, not {flag!r}")
    PROFILE.debug_flag = flag


check_calls("testing.simulator.", globals(), __all__)
