"""From a schedule to a program that a device runs."""

from __future__ import annotations

from collections.abc import Sequence

from vta.compiler.check.proof import verify_program
from vta.compiler.encode.emit import emit
from vta.compiler.pipeline import run_all
from vta.compiler.te.schedule import Schedule
from vta.compiler.te.tensor import Tensor
from vta.config import Config
from vta.program import Program

__all__ = ["build"]


def build(
    schedule: Schedule, args: Sequence[Tensor], config: Config, name: str = "main"
) -> Program:
    """The compiled program, proved sound; its arguments are `args` in their order.

    Raises
    ------
    ScheduleError
        A schedule that VTA cannot follow; the message names the stage and what to add.
    CompileError
        A computation that VTA cannot do; the message says what it can.
    """
    program = emit(run_all(schedule, args, config, name), config)
    verify_program(program)
    return program
