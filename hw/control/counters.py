"""The performance counters."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from vta.config import Config
from vta.hw.bus.payloads import COUNT_BITS
from vta.hw.issue.sequencer import Retired
from vta.isa import MemoryType
from vta.registers import MEMORIES, MODULES

__all__ = ["EVENTS", "Counters"]

EVENTS = (
    *(f"{module}_{event}" for module in MODULES for event in ("busy", "wait_token", "wait_memory")),
    "gemm_ops",
    "reset_ops",
    "alu_ops",
    "tile_count",
    "load_insns",
    "compute_insns",
    "store_insns",
)
"""Counters that go up by one in a cycle in which their event holds."""

EXECUTORS = ("load", "compute", "store")


class Counters(wiring.Component):
    """Counts events, and the bytes of LOADs and STOREs that retire.

    Parameters
    ----------
    config : Config

    Members
    -------
    clear : In(1)
    on_EVENT : In(1)
        For each of `EVENTS`.
    retired_MODULE : In(Retired), retire_MODULE : In(1)
        For load, compute and store.
    EVENT, MEMORY_bytes : Out(32)
        The counts, two cycles late at most; they wrap.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "clear": In(1),
                **{f"on_{event}": In(1) for event in EVENTS},
                **{f"retire_{module}": In(1) for module in EXECUTORS},
                **{f"retired_{module}": In(Retired) for module in EXECUTORS},
                **{event: Out(32) for event in EVENTS},
                **{f"{memory}_bytes": Out(32) for memory in MEMORIES},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for event in EVENTS:
            count, happens = getattr(self, event), Signal(name=f"{event}_happens")
            m.d.sync += happens.eq(getattr(self, f"on_{event}"))
            m.d.sync += count.eq(Mux(self.clear, 0, count + happens))

        movers = {"load": ("inp", "wgt"), "compute": ("uop", "acc", "acc_8bit"), "store": ("out",)}
        for module, memories in movers.items():
            retired = getattr(self, f"retired_{module}")
            for memory in memories:
                kind = MemoryType[memory.upper()]
                total = getattr(self, f"{memory}_bytes")
                moved = Signal(COUNT_BITS, name=f"{memory}_moved")
                counts = Signal(name=f"{memory}_counts")
                m.d.sync += [
                    moved.eq(retired.moved),
                    counts.eq(getattr(self, f"retire_{module}") & (retired.kind == kind)),
                ]
                shift = self._config.log_elem_bytes(kind)
                more = Mux(counts, moved << shift, 0)
                m.d.sync += total.eq(Mux(self.clear, 0, total + more))
        return m
