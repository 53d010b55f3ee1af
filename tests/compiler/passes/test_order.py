"""The order of instructions: another one, in which what touches the same tiles keeps its own."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vta.compiler.ir.insn_ir import Finish, InsnProgram, Kernel, MicroOp, Transfer, UopLoop
from vta.compiler.ir.loop_ir import Buffer
from vta.compiler.passes.order import order
from vta.config import PRESETS
from vta.isa import AluOp, MemoryType, Opcode

TINY = PRESETS["tiny"]
TILES = 12


def reset(first, count=1):
    return Kernel(Opcode.GEMM, (UopLoop(count, 1, 0, 0),), (MicroOp(first, 0, 0),), reset=True)


def add(first, source, count=1):
    return Kernel(
        Opcode.ALU, (UopLoop(count, 1, 1, 0),), (MicroOp(first, source, 0),), alu_opcode=AluOp.ADD
    )


def load(first, count=1, dram=0):
    return Transfer(Opcode.LOAD, MemoryType.ACC, "A", dram, first, count)


def store(first, count=1, dram=0):
    return Transfer(Opcode.STORE, MemoryType.OUT, "C", dram, first, count)


def touched(op):
    """The places that an instruction reads and writes, one by one."""
    if isinstance(op, Transfer):
        chip = {("acc", op.sram_base + n) for n in range(op.x_size)}
        memory = {(op.buffer, op.dram_base + n) for n in range(op.x_size)}
        return (memory, chip) if op.opcode == Opcode.LOAD else (chip, memory)
    places = [
        {("acc", getattr(op.uops[0], side) + n) for n in range(op.loops[0].extent)}
        for side in ("dst", "src")
    ]
    return (set(), places[0]) if op.reset else (places[0] | places[1], places[0])


def conflict(a, b):
    if isinstance(a, Kernel) and isinstance(b, Kernel) and a.reset and b.reset:
        return False  # zeros either way
    (a_reads, a_writes), (b_reads, b_writes) = touched(a), touched(b)
    return bool(a_writes & (b_reads | b_writes) or a_reads & b_writes)


def ordered(ops):
    buffers = (
        Buffer("A", (64, 1, 8), "int32", "global"),
        Buffer("C", (64, 1, 8), "int8", "global"),
    )
    program = order(InsnProgram("main", buffers, (), ("C",), (*ops, Finish())), TINY)
    assert isinstance(program.ops[-1], Finish)
    return list(program.ops[:-1])


first, counts = st.integers(0, TILES), st.integers(1, 4)
instructions = st.one_of(
    st.builds(reset, first, counts),
    st.builds(add, first, first, counts),
    st.builds(load, first, counts, st.integers(0, 8)),
    st.builds(store, first, counts, st.integers(0, 8)),
)


@settings(max_examples=300)
@given(ops=st.lists(instructions, min_size=1, max_size=14))
def test_what_touches_the_same_stays_in_order(ops):
    found = ordered(ops)
    left = list(ops)
    for op in found:
        # Nothing that is still to come may have been before it, and touch the same.
        place = next(place for place, item in enumerate(left) if item is op)
        assert not any(conflict(before, op) for before in left[:place])
        del left[place]
    assert not left


def test_a_reset_waits_for_who_needs_it():
    """Another thread's work comes before the reset, which would wait for a store."""
    ops = [add(0, 4), store(0), reset(0), add(8, 9), add(0, 5)]
    assert ordered(ops) == [ops[0], ops[1], ops[3], ops[2], ops[4]]


def test_a_load_runs_beside_computation():
    ops = [add(0, 4), add(0, 5), load(8), add(8, 0)]
    found = ordered(ops)
    assert found.index(ops[2]) < 2
    assert [op for op in found if op is not ops[2]] == [ops[0], ops[1], ops[3]]


@pytest.mark.parametrize("ops", [[reset(0)], [load(0), store(0)], [reset(0), reset(0)], []])
def test_short_programs(ops):
    assert ordered(ops) == ops
