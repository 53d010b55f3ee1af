"""Micro-op kernels in the micro-op buffer: each is loaded once and kept until room is needed.

Kernels are loaded shortly before their first use. Small ones are loaded together with the next
ones, so that a load is worth its latency and the first kernels do not wait for all others. The
buffer is a ring; a kernel that was overwritten is loaded again when it is used again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vta.compiler.ir.insn_ir import Kernel, MicroOp
from vta.compiler.ir.timing import TIMING
from vta.config import Config
from vta.errors import CompileError

__all__ = ["UopLoad", "UopPlan", "plan_uops"]

AHEAD = 256
"""How many of the next instructions are searched for more kernels to load."""

Uops = tuple[MicroOp, ...]


@dataclass(frozen=True)
class UopLoad:
    """`count` micro-ops from place `start` in main memory to `base` in the buffer."""

    start: int
    base: int
    count: int


@dataclass(frozen=True)
class UopPlan:
    """The places of a program's micro-ops.

    Attributes
    ----------
    uops : list of MicroOp
        The micro-ops in main memory.
    loads : dict of int to UopLoad
        The load that an instruction needs, by the instruction's index.
    places : dict of int to int
        The start of an instruction's kernel in the buffer, by the instruction's index.
    """

    uops: list[MicroOp]
    loads: dict[int, UopLoad]
    places: dict[int, int]


def plan_uops(kernels: Sequence[tuple[int, Kernel]], config: Config) -> UopPlan:
    """The plan for (instruction index, kernel) pairs in stream order.

    Raises
    ------
    CompileError
        If a kernel has more micro-ops than the buffer holds.
    """
    depth = config.uop_depth
    plan = UopPlan([], {}, {})
    held: dict[Uops, int] = {}
    base = 0
    for number, (index, kernel) in enumerate(kernels):
        if len(kernel.uops) > depth:
            raise CompileError(
                f"a kernel of {len(kernel.uops)} micro-ops does not fit the "
                f"micro-op buffer's {depth}"
            )
        if kernel.uops not in held:
            group, count = _group(
                kernels[number : number + AHEAD], held, min(depth, TIMING.uops_together)
            )
            if base + count > depth:
                base = 0
            held = {
                uops: place
                for uops, place in held.items()
                if place + len(uops) <= base or base + count <= place
            }
            plan.loads[index] = UopLoad(len(plan.uops), base, count)
            for uops in group:
                held[uops] = base
                base += len(uops)
                plan.uops.extend(uops)
        plan.places[index] = held[kernel.uops]
    return plan


def _group(
    coming: Sequence[tuple[int, Kernel]], held: dict[Uops, int], most: int
) -> tuple[list[Uops], int]:
    """The kernels to load before the first kernel in `coming`, and their number of micro-ops."""
    group, count = [coming[0][1].uops], len(coming[0][1].uops)
    taken = {coming[0][1].uops}
    for _, kernel in coming[1:]:
        if kernel.uops in held or kernel.uops in taken:
            continue
        if count + len(kernel.uops) > most:
            break
        group.append(kernel.uops)
        taken.add(kernel.uops)
        count += len(kernel.uops)
    return group, count
