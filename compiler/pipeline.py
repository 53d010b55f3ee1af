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

from vta.compiler.check import verify
from vta.compiler.ir import LoopProgram, Program, VtaProgram
from vta.compiler.nests import Nested
from vta.compiler.passes.allocate import allocate
from vta.compiler.passes.inplace import inplace
from vta.compiler.passes.loops import loops
from vta.compiler.passes.match import match
from vta.compiler.passes.nest_inplace import nest_inplace
from vta.compiler.passes.nest_match import nest_match
from vta.compiler.passes.nest_place import nest_place
from vta.compiler.passes.nest_unroll import nest_unroll
from vta.compiler.passes.order import order
from vta.compiler.passes.place import place
from vta.compiler.passes.select import select
from vta.compiler.passes.simplify import simplify
from vta.compiler.schedule import Schedule
from vta.compiler.tensor import Tensor
from vta.compiler.tokens import insert_tokens
from vta.config import Config
from vta.errors import CompileError

__all__ = ["PASSES", "TILED_PASSES", "depth_checked", "run_all", "to_loops", "trace"]

Form = Program | Nested
Pass = Callable[[Any, Config], Form]

PASSES: tuple[tuple[str, Pass], ...] = (
    ("simplify", simplify),     # loops of one round are gone
    ("match", match),           # nests have become loads, computations and stores of tiles
    ("select", select),         # computations have become ALU operations
    ("inplace", inplace),       # which overwrite their first operand
    ("allocate", allocate),     # values have places
    ("place", place),           # instructions with addresses, in parts that fit
    ("tokens", insert_tokens),  # in order across modules
)
"""Every pass after `loops` for elementwise work on whole tensors, which is cut up by itself."""

TILED_PASSES: tuple[tuple[str, Pass], ...] = (
    ("simplify", simplify),
    ("nest_match", nest_match),      # loops around operations on tiles
    ("nest_inplace", nest_inplace),  # ALU operations overwrite their first operand
    ("nest_place", nest_place),      # values have places
    ("nest_unroll", nest_unroll),    # instructions with addresses
    ("order", order),                # which wait less in this order
    ("tokens", insert_tokens),       # in order across modules
)
"""Every pass after `loops` for what a schedule tiles."""


def to_loops(schedule: Schedule, args: Sequence[Tensor], name: str) -> LoopProgram:
    """The program as the schedule states it."""
    with depth_checked():
        program = loops(schedule, args, name)
        verify(program, None)
    _dump("loops", program)
    return program


def trace(schedule: Schedule, args: Sequence[Tensor], config: Config,
          name: str = "main") -> dict[str, Form]:
    """The program after each pass, by the pass's name."""
    program: Form = to_loops(schedule, args, name)
    stages: dict[str, Form] = {"loops": program}
    for title, run in TILED_PASSES if schedule.tiled else PASSES:
        with depth_checked():
            was, program = program, run(program, config)
            # Instructions in another order are proved as a whole, once they are encoded.
            if not isinstance(was, VtaProgram):
                verify(program, config)
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


def run_all(schedule: Schedule, args: Sequence[Tensor], config: Config,
            name: str = "main") -> VtaProgram:
    """The program after all passes."""
    program = trace(schedule, args, config, name)["tokens"]
    assert isinstance(program, VtaProgram)
    return program


def _dump(title: str, program: Form) -> None:
    wanted = os.environ.get("VTA_DUMP", "").split(",")
    if "all" in wanted or title in wanted:
        sys.stderr.write(f"# after {title}\n{program}\n\n")
