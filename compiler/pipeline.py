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
from vta.compiler.passes.allocate import allocate
from vta.compiler.passes.inplace import inplace
from vta.compiler.passes.loops import loops
from vta.compiler.passes.match import match
from vta.compiler.passes.place import place
from vta.compiler.passes.select import select
from vta.compiler.passes.simplify import simplify
from vta.compiler.schedule import Schedule
from vta.compiler.tensor import Tensor
from vta.compiler.tokens import insert_tokens
from vta.config import Config
from vta.errors import CompileError

__all__ = ["PASSES", "depth_checked", "run_all", "to_loops", "trace"]

Pass = Callable[[Any, Config], Program]

PASSES: tuple[tuple[str, Pass], ...] = (
    ("simplify", simplify),     # loops of one round are gone
    ("match", match),           # nests have become loads, computations and stores of tiles
    ("select", select),         # computations have become ALU operations
    ("inplace", inplace),       # which overwrite their first operand
    ("allocate", allocate),     # values have places
    ("place", place),           # instructions with addresses, in parts that fit
    ("tokens", insert_tokens),  # in order across modules
)
"""Every pass after `loops`, which makes the first program."""


def to_loops(schedule: Schedule, args: Sequence[Tensor], name: str) -> LoopProgram:
    """The program as the schedule states it."""
    with depth_checked():
        program = loops(schedule, args, name)
        verify(program, None)
    _dump("loops", program)
    return program


def trace(schedule: Schedule, args: Sequence[Tensor], config: Config,
          name: str = "main") -> dict[str, Program]:
    """The program after each pass, by the pass's name."""
    program: Program = to_loops(schedule, args, name)
    stages: dict[str, Program] = {"loops": program}
    for title, run in PASSES:
        with depth_checked():
            program = run(program, config)
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
    program = trace(schedule, args, config, name)[PASSES[-1][0]]
    assert isinstance(program, VtaProgram)
    return program


def _dump(title: str, program: Program) -> None:
    wanted = os.environ.get("VTA_DUMP", "").split(",")
    if "all" in wanted or title in wanted:
        sys.stderr.write(f"# after {title}\n{program}\n\n")
