"""What the simulated devices of this process did: bytes moved, tiles computed, cycles."""

from __future__ import annotations

from vta.calls import check_calls
from vta.config import SIMULATED_TARGETS
from vta.driver.simulated import PROFILE
from vta.environment import get_env
from vta.errors import ArgumentError

__all__ = ["DEBUG_SKIP_EXEC", "clear_stats", "debug_mode", "enabled", "stats"]

DEBUG_SKIP_EXEC = 1
"""For `debug_mode`: don't execute, only count."""


def stats() -> dict[str, int]:
    """Sums over all runs since `clear_stats`.

    Bytes that were moved: ``uop_load_nbytes``, ``inp_load_nbytes``, ``wgt_load_nbytes``,
    ``acc_load_nbytes``, ``out_store_nbytes``; tiles: ``gemm_counter`` (multiplied, resets not
    counted), ``reset_counter``, ``alu_counter``; instructions: ``load_insns``, ``compute_insns``,
    ``store_insns``; and ``cycle_count`` once the RTL has run.
    """
    return PROFILE.totals()


def clear_stats() -> None:
    """Starts counting from zero."""
    PROFILE.clear()


def enabled() -> bool:
    """Whether the current environment's target is a simulator."""
    return get_env().TARGET in SIMULATED_TARGETS


def debug_mode(flag: int) -> None:
    """What later runs do beside running: the sum of `DEBUG_SKIP_EXEC` (1) and 2 (log the
    instructions); 0 for neither."""
    if flag not in range(4):
        raise ArgumentError(f"flag must be 0 to 3, not {flag!r}")
    PROFILE.debug_flag = flag


check_calls("testing.simulator.", globals(), __all__)
