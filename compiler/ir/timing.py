"""How many cycles the machine takes where no tile is moved or computed: each figure once.

Passes and operators choose by these figures; no result depends on them. They were fitted to cycle
counts of the simulated RTL, of all operators on several configurations, with a memory that answers
after 20 cycles.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TIMING", "MachineTiming"]


@dataclass(frozen=True)
class MachineTiming:
    """Cycles between the parts of a program.

    Attributes
    ----------
    latency : int
        From a read's address to its first beat, in memory.
    handover : int
        From the last operation of an instruction to the first of one in another module: the token's
        way, the decoding, and the pipeline of the one that starts.
    gap : int
        Between two instructions of one module.
    drain : int
        From the last operation of a QNT to the first of the next instruction: its pipeline is
        longer than that of the other operations, and empties first.
    stored : int
        From a store's last beat to the instruction that waited for it: the write response and the
        token. It does not depend on the latency of reads.
    store_margin : int
        What a store takes beside its tiles, before and after them, with as much again to spare: a
        LOAD of ACC that is put so far behind it never waits for it.
    uops_together : int
        Micro-ops that one LOAD brings, unless a kernel alone has more: on a 64-bit bus they take 32
        cycles, so that the load is worth its latency and what comes first does not wait for all.
    exposed : int
        In elementwise operators of two threads, one in so many cycles of loads finds nothing to
        hide behind.
    """

    latency: int = 20
    handover: int = 12
    gap: int = 3
    drain: int = 8
    stored: int = 20
    store_margin: int = 200
    uops_together: int = 64
    exposed: int = 4

    @property
    def first(self) -> int:
        """From launch to the first LOAD's address: the first instructions are read and decoded."""
        return self.latency + 10

    @property
    def start(self) -> int:
        """From launch to the address of the LOAD that the ALU waits for."""
        return self.latency + 40

    @property
    def load(self) -> int:
        """From a LOAD's address to the GEMM that waits for its last tile, beats aside."""
        return self.latency + 20


TIMING = MachineTiming()
"""What the compiler reckons with."""
