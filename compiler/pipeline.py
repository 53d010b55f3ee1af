"""The compiler: the passes in order, with a check after each, and what the public names call.

`build` gives the program that a device runs; `lower` and `lower_vta` give what it becomes on the
way, to look at; `trace` gives the program after every pass. ``VTA_DUMP=all`` in the environment
prints the program after every pass, to stderr; ``VTA_DUMP=place,tokens`` only after those.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vta.compiler.check.between_passes import Form, check
from vta.compiler.check.proof import verify_program
from vta.compiler.encode.emit import emit
from vta.compiler.ir.insn_ir import InsnProgram
from vta.compiler.ir.loop_ir import LoopProgram
from vta.compiler.ir.tile_ir import TileProgram, Value
from vta.compiler.passes.cut import cut
from vta.compiler.passes.divide import divide
from vta.compiler.passes.inplace import inplace
from vta.compiler.passes.leave_out import leave_out, left_out_stages
from vta.compiler.passes.loops.loop_nests import loops
from vta.compiler.passes.match.match import match
from vta.compiler.passes.order import order
from vta.compiler.passes.place import place
from vta.compiler.passes.reuse import reuse
from vta.compiler.passes.simplify import simplify
from vta.compiler.passes.tokens.insert_tokens import insert_tokens
from vta.compiler.passes.unroll.unroll import unroll
from vta.compiler.te.schedule import Schedule
from vta.compiler.te.tensor import Tensor
from vta.config import Config
from vta.errors import CompileError
from vta.program import Program

__all__ = ["PASSES", "LoweredModule", "build", "lower", "lower_vta", "trace"]

Pass = Callable[[Any, Config], Form]

PASSES: tuple[tuple[str, Pass], ...] = (
    ("simplify", simplify),  # loops of one round are gone
    ("divide", divide),  # operations divide none of their own loops in an index
    ("match", match),  # loops around operations on tiles: loads, GEMM, ALU, stores
    ("inplace", inplace),  # ALU operations overwrite their first operand
    ("cut", cut),  # elementwise work on whole tensors is in parts that fit
    ("place", place),  # values have places
    ("unroll", unroll),  # instructions with addresses
    ("reuse", reuse),  # without LOADs of what is there already
    ("order", order),  # which wait less in this order
    ("tokens", insert_tokens),  # in order across modules
)
"""Every pass after `loops`, which makes the first program."""


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
    program = emit(_run_all(schedule, args, config, name), config)
    verify_program(program, whole=not left_out_stages(schedule))
    return program


@dataclass(frozen=True)
class LoweredModule:
    """A lowered program; `str()` shows it."""

    program: LoopProgram | InsnProgram

    def __str__(self) -> str:
        return str(self.program)


def lower(
    schedule: Schedule, args: Sequence[Tensor], name: str = "main", *, simple_mode: bool = False
) -> LoweredModule:
    """The loop nests of a schedule, whatever machine they are for.

    `simple_mode` leaves out the loops of one round.
    """
    program = _to_loops(schedule, args, name)
    with _depth_checked():
        return LoweredModule(simplify(program) if simple_mode else program)


def lower_vta(
    schedule: Schedule,
    args: Sequence[Tensor],
    config: Config,
    name: str = "main",
    *,
    simple_mode: bool = False,
) -> LoweredModule:
    """The calls that VTA's instructions come from, with tokens.

    Without `simple_mode` a comment beside each says which tiles of which tensor it is about.
    """
    program = _run_all(schedule, args, config, name)
    return LoweredModule(dataclasses.replace(program, notes=not simple_mode))


def _to_loops(schedule: Schedule, args: Sequence[Tensor], name: str) -> LoopProgram:
    """The program as the schedule states it."""
    if not isinstance(name, str) or not name:
        raise CompileError(f"name must be text, not {name!r}")
    with _depth_checked():
        program = loops(schedule, args, name)
        check(program, None)
    _dump("loops", program)
    return program


def trace(
    schedule: Schedule, args: Sequence[Tensor], config: Config, name: str = "main"
) -> dict[str, Form]:
    """The program after each pass, by the pass's name."""
    program: Form = _to_loops(schedule, args, name)
    stages: dict[str, Form] = {"loops": program}
    values: dict[str, Value] = {}
    for title, run in PASSES:
        if title == "unroll" and isinstance(program, TileProgram):
            # Later passes do not ask which stage computes what is read.
            program = leave_out(program, left_out_stages(schedule), values)
        with _depth_checked():
            was, program = program, run(program, config)
            # Instructions in another order are proved as a whole, once they are encoded.
            if not isinstance(was, InsnProgram):
                check(program, config)
        _dump(title, program)
        stages[title] = program
        if title == "match" and isinstance(program, TileProgram):
            values = program.values
    return stages


@contextlib.contextmanager
def _depth_checked() -> Iterator[None]:
    """Turns Python's own limit on nesting into an error of ours."""
    try:
        yield
    except RecursionError:
        raise CompileError("an expression is nested too deeply; split it into stages") from None


def _run_all(
    schedule: Schedule, args: Sequence[Tensor], config: Config, name: str = "main"
) -> InsnProgram:
    """The program after all passes."""
    program = trace(schedule, args, config, name)["tokens"]
    assert isinstance(program, InsnProgram)
    return program


def _dump(title: str, program: Form) -> None:
    wanted = _wanted_dumps()
    if "all" in wanted or title in wanted:
        sys.stderr.write(f"# after {title}\n{program}\n\n")


def _wanted_dumps() -> set[str]:
    """The passes that ``VTA_DUMP`` names."""
    text = os.environ.get("VTA_DUMP", "")
    wanted, passes = set(text.split(",")), ("loops", *(title for title, _ in PASSES))
    if text and not wanted <= {"all", *passes}:
        raise CompileError(f"VTA_DUMP must be all or some of {', '.join(passes)}, not {text!r}")
    return wanted
