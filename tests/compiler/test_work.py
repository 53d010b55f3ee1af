"""The work of compiling grows with the instructions, and no faster.

Work is counted in calls of Python functions, which a machine's load does not change.
"""

from __future__ import annotations

import sys

import pytest

from vta.compiler.check.between_passes import check
from vta.compiler.check.proof import verify_program
from vta.compiler.encode.emit import emit
from vta.compiler.ir.insn_ir import Finish, InsnProgram, Kernel, MicroOp, Transfer, UopLoop
from vta.compiler.ir.loop_ir import Buffer
from vta.compiler.operators import Dense
from vta.compiler.passes.order import order
from vta.compiler.passes.tokens.insert_tokens import insert_tokens
from vta.compiler.passes.unroll.unroll import unroll
from vta.compiler.pipeline import trace
from vta.config import PRESETS
from vta.isa import AluOp, MemoryType, Opcode

TINY = PRESETS["tiny"]


def calls(run, *args):
    """How many Python functions `run` calls."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        run(*args)
    finally:
        sys.setprofile(before)
    return count


@pytest.fixture(scope="module")
def programs():
    """A matrix product of 128 columns, and one four times as long, after every pass."""
    found = []
    for rows in (32, 128):
        plan = Dense((rows, 128), (128, 128)).plan(TINY)
        stages = trace(plan.schedule, plan.args, TINY)
        stages["program"] = emit(stages["tokens"], TINY)
        found.append(stages)
    return found


@pytest.mark.parametrize(
    ("before", "run"),
    [
        ("place", unroll),
        ("unroll", check),
        ("unroll", order),
        ("order", insert_tokens),
        ("tokens", emit),
        ("program", lambda program, config: verify_program(program)),
    ],
    ids=["unroll", "check", "order", "tokens", "emit", "verify"],
)
def test_work_for_an_instruction(programs, before, run):
    short, long = programs
    growth = len(long["tokens"].ops) / len(short["tokens"].ops)
    assert growth > 3.5
    run(short[before], TINY)  # what is kept from one call to the next is there for both
    assert calls(run, long[before], TINY) < 1.1 * growth * calls(run, short[before], TINY)


def scattered(number):
    """Loads of ACC whose tiles nothing else touches, each behind a long computation."""
    ops = []
    for place in range(number):
        add = MicroOp(0, 1)
        ops += [
            Transfer(Opcode.LOAD, MemoryType.ACC, "A", place, 2 + place, 1),
            Kernel(Opcode.ALU, (UopLoop(300, 0, 0),), (add,), alu_opcode=AluOp.ADD),
            Transfer(Opcode.STORE, MemoryType.OUT, "C", 0, 0, 1),
        ]
    buffers = (
        Buffer("A", (number, 1, 16), "int32", "global"),
        Buffer("C", (1, 1, 16), "int8", "global"),
    )
    return InsnProgram("scattered", buffers, (), ("C",), (*ops, Finish()))


def test_a_load_that_nothing_holds_back():
    """`order` looks no further back than the longest store takes."""
    short, long = (calls(order, scattered(number), PRESETS["default"]) for number in (200, 800))
    assert long < 4.4 * short
