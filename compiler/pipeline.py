"""The compiler's passes in order, with a check of the program after each.

``VTA_DUMP=all`` in the environment prints the program after every pass, to stderr;
``VTA_DUMP=place,tokens`` only after those.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vta.compiler.check.between_passes import check
from vta.compiler.ir.loop_ir import InsnProgram, LoopProgram
from vta.compiler.ir.tile_ir import Form
from vta.compiler.passes.cut import cut
from vta.compiler.passes.inplace import inplace
from vta.compiler.passes.insert_tokens import insert_tokens
from vta.compiler.passes.loops.loop_nests import loops
from vta.compiler.passes.match.match import match
from vta.compiler.passes.order import order
from vta.compiler.passes.place import place
from vta.compiler.passes.simplify import simplify
from vta.compiler.passes.unroll.unroll import unroll
from vta.compiler.te.schedule import Schedule
from vta.compiler.te.tensor import Tensor
from vta.config import Config
from vta.errors import CompileError

__all__ = ["PASSES", "depth_checked", "run_all", "to_loops", "trace"]

Pass = Callable[[Any, Config], Form]

PASSES: tuple[tuple[str, Pass], ...] = (
    ("simplify", simplify),  # loops of one round are gone
    ("match", match),  # loops around operations on tiles: loads, GEMM, ALU, stores
    ("inplace", inplace),  # ALU operations overwrite their first operand
    ("cut", cut),  # elementwise work on whole tensors is in parts that fit
    ("place", place),  # values have places
    ("unroll", unroll),  # instructions with addresses
    ("order", order),  # which wait less in this order
    ("tokens", insert_tokens),  # in order across modules
)
"""Every pass after `loops`, which makes the first program."""


def to_loops(schedule: Schedule, args: Sequence[Tensor], name: str) -> LoopProgram:
    """The program as the schedule states it."""
    with depth_checked():
        program = loops(schedule, args, name)
        check(program, None)
    _dump("loops", program)
    return program


def trace(
    schedule: Schedule, args: Sequence[Tensor], config: Config, name: str = "main"
) -> dict[str, Form]:
    """The program after each pass, by the pass's name."""
    program: Form = to_loops(schedule, args, name)
    stages: dict[str, Form] = {"loops": program}
    for title, run in PASSES:
        with depth_checked():
            was, program = program, run(program, config)
            # Instructions in another order are proved as a whole, once they are encoded.
            if not isinstance(was, InsnProgram):
                check(program, config)
        _dump(title, program)
        stages[title] = program
    return stages


@contextlib.contextmanager
def depth_checked() -> Iterator[None]:
    """Turns Python's own limit on nesting into an error of ours."""
    try:
        yield
    except RecursionError:
        raise CompileError("an expression is nested too deeply; split it into stages") from None


def run_all(
    schedule: Schedule, args: Sequence[Tensor], config: Config, name: str = "main"
) -> InsnProgram:
    """The program after all passes."""
    program = trace(schedule, args, config, name)["tokens"]
    assert isinstance(program, InsnProgram)
    return program


def _dump(title: str, program: Form) -> None:
    wanted = os.environ.get("VTA_DUMP", "").split(",")
    if "all" in wanted or title in wanted:
        sys.stderr.write(f"# after {title}\n{program}\n\n")
