"""What a schedule becomes, to look at: loop nests, or VTA's instructions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from vta.compiler.ir.loop_ir import InsnProgram, LoopProgram
from vta.compiler.passes.simplify import simplify
from vta.compiler.pipeline import depth_checked, run_all, to_loops
from vta.compiler.te.schedule import Schedule
from vta.compiler.te.tensor import Tensor
from vta.config import Config

__all__ = ["LoweredModule", "lower", "lower_vta"]


@dataclass(frozen=True)
class LoweredModule:
    """A lowered program; `str()` shows it."""

    program: LoopProgram | InsnProgram

    def __str__(self) -> str:
        return str(self.program)


def lower(schedule: Schedule, args: Sequence[Tensor], simple_mode: bool = False) -> LoweredModule:
    """The loop nests of a schedule, whatever machine they are for.

    `simple_mode` leaves out the loops of one round.
    """
    program = to_loops(schedule, args, "main")
    with depth_checked():
        return LoweredModule(simplify(program) if simple_mode else program)


def lower_vta(
    schedule: Schedule, args: Sequence[Tensor], config: Config, simple_mode: bool = False
) -> LoweredModule:
    """The calls that VTA's instructions come from, with tokens.

    Without `simple_mode` a comment beside each says which tiles of which tensor it is about.
    """
    program = run_all(schedule, args, config)
    return LoweredModule(dataclasses.replace(program, notes=not simple_mode))
