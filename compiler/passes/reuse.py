"""Leaves out LOADs of what is on chip already: a block often needs the weights of the last one.

Only for HW_VER 0.0.3. Nothing in the hardware requires that; it keeps the programs of older
configurations, and their measured cycles, unchanged.
"""

from __future__ import annotations

import dataclasses

from vta.compiler.ir.accesses import accesses
from vta.compiler.ir.insn_ir import InsnProgram, Op, Transfer
from vta.config import Config
from vta.isa import Opcode

__all__ = ["reuse"]

SPACES = ("inp", "wgt", "acc")


def reuse(program: InsnProgram, config: Config) -> InsnProgram:
    """The program without LOADs that would write what their tiles hold already."""
    if not config.requantises:
        return program
    stored = {
        op.buffer for op in program.ops if isinstance(op, Transfer) and op.opcode == Opcode.STORE
    }
    kept: list[Op] = []
    # What each memory holds: LOADs, with the first tile and the one after the last.
    held: dict[str, dict[Transfer, tuple[int, int]]] = {space: {} for space in SPACES}
    for op in program.ops:
        load = None
        # A buffer that the program itself stores may hold something else each time.
        if isinstance(op, Transfer) and op.opcode == Opcode.LOAD and op.buffer not in stored:
            load = dataclasses.replace(op, note="")
            if any(load in loads for loads in held.values()):
                continue
        kept.append(op)
        for access in accesses(op, config):
            if access.write and access.space in held:
                low, high = access.reach
                loads = held[access.space]
                over = [item for item, (begin, end) in loads.items() if begin < high and low < end]
                for item in over:
                    del loads[item]
                if load is not None:
                    loads[load] = low, high
    return dataclasses.replace(program, ops=tuple(kept))
