"""Totals over runs, and the statistics of a stream without running it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from vta.isa import Isa, MemoryType, ModuleId, Opcode
from vta.program import STAT_KEYS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vta.config import Config
    from vta.isa import Insn
    from vta.program import RunReport

__all__ = ["Statistics", "count_stream"]

_TRANSFERS = {
    (Opcode.LOAD, MemoryType.UOP): "uop_load_nbytes",
    (Opcode.LOAD, MemoryType.WGT): "wgt_load_nbytes",
    (Opcode.LOAD, MemoryType.INP): "inp_load_nbytes",
    (Opcode.LOAD, MemoryType.ACC): "acc_load_nbytes",
    (Opcode.LOAD, MemoryType.ACC_8BIT): "acc_load_nbytes",
    (Opcode.STORE, MemoryType.OUT): "out_store_nbytes",
}


class Statistics:
    """Totals over runs, by the keys of `RunReport.stats`; `cycle_count` if there is a clock.

    Threads may share one: each run is added to the totals completely or not at all.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Starts from zero."""
        with self._lock:
            self._totals = dict.fromkeys(STAT_KEYS, 0)
            self._cycles: int | None = None

    def add(self, report: RunReport) -> None:
        """Counts a run."""
        with self._lock:
            for key in STAT_KEYS:
                self._totals[key] += report.stats[key]
            if report.cycles is not None:
                self._cycles = (self._cycles or 0) + report.cycles

    def totals(self) -> dict[str, int]:
        """The sums since `clear`."""
        with self._lock:
            totals = dict(self._totals)
            if self._cycles is not None:
                totals["cycle_count"] = self._cycles
            return totals


def count_stream(config: Config, insns: NDArray[np.uint64]) -> dict[str, int]:
    """The statistics of a stream without errors, up to its FINISH, by `STAT_KEYS`."""
    stats = dict.fromkeys(STAT_KEYS, 0)
    for insn in Isa(config).decode_stream(insns):
        stats[f"{ModuleId(insn.module).name.lower()}_insns"] += 1
        if insn.opcode == Opcode.FINISH:
            break
        _count(config, insn, stats)
    return stats


def _count(config: Config, insn: Insn, stats: dict[str, int]) -> None:
    if insn.opcode in (Opcode.LOAD, Opcode.STORE):
        # A memory type that is not in the table is illegal and moves nothing.
        for (opcode, memory), key in _TRANSFERS.items():
            if (opcode, memory) == (insn.opcode, insn.memory_type):
                stats[key] += insn.y_size * insn.x_size * config.elem_bytes(memory)
    elif insn.opcode in (Opcode.GEMM, Opcode.ALU):
        tiles = max(insn.uop_end - insn.uop_bgn, 0) * insn.iter_out * insn.iter_in
        if insn.opcode == Opcode.ALU:
            stats["alu_counter"] += tiles
        else:
            stats["reset_counter" if insn.reset else "gemm_counter"] += tiles
