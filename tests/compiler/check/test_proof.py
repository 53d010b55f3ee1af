"""The verifier finds what is planted, and every token is there for a reason."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from vta.compiler.check.proof import VerifyError, verify_program
from vta.compiler.pipeline import build
from vta.config import PRESETS
from vta.isa import Isa, MemoryType, Opcode

QUEUES = {
    "g2s": (("COMPUTE", "push_next"), ("STORE", "pop_prev")),
    "s2g": (("STORE", "push_prev"), ("COMPUTE", "pop_next")),
}


@pytest.fixture
def program(tutorial):
    """A vector add in ten parts, on two halves of ACC."""
    config = PRESETS["tiny"]
    program = build(*tutorial(config, 1, 160), config)
    verify_program(program)
    return program


def where(program, module, flag):
    """The instructions of a module that have a token flag, in order."""
    return [
        insn.index
        for insn in Isa(program.config).decode_stream(program.insns)
        if insn.module.name == module and insn.values[flag]
    ]


def changed(program, index, **values):
    """The program with some fields of one instruction changed."""
    isa, words = Isa(program.config), program.insns.copy()
    insn = isa.decode(int(words[index, 0]) | int(words[index, 1]) << 64)
    word = isa.format_of(insn.opcode).pack(**{**insn.values, **values})
    words[index] = isa.words([word])[0]
    return dataclasses.replace(program, insns=words)


def test_each_token_is_needed(program):
    """Without any one pair of push and pop there is a race, and the verifier sees it."""
    for (giver, push), (taker, pop) in QUEUES.values():
        pushes, pops = where(program, giver, push), where(program, taker, pop)
        assert len(pushes) == len(pops) >= 8
        for first, second in zip(pushes, pops, strict=True):
            broken = changed(changed(program, first, **{push: 0}), second, **{pop: 0})
            with pytest.raises(VerifyError, match="races with instruction"):
                verify_program(broken)


def test_a_race_names_both_instructions(tutorial):
    config = PRESETS["default"]
    program = build(*tutorial(config), config)
    broken = changed(changed(program, 3, push_next=0), 4, pop_prev=0)
    with pytest.raises(
        VerifyError,
        match=r"instruction 4 \(STORE OUT .*races with instruction 3 "
        "of the compute module",
    ):
        verify_program(broken)


@pytest.mark.parametrize("queue", QUEUES)
def test_a_missing_push(program, queue):
    (giver, push), _ = QUEUES[queue]
    for index in where(program, giver, push):
        with pytest.raises(VerifyError, match="no earlier instruction pushes|races"):
            verify_program(changed(program, index, **{push: 0}))


@pytest.mark.parametrize("queue", QUEUES)
def test_a_missing_pop(program, queue):
    _, (taker, pop) = QUEUES[queue]
    for index in where(program, taker, pop):
        with pytest.raises(VerifyError, match=f"races|left in {queue}"):
            verify_program(changed(program, index, **{pop: 0}))


def test_a_token_left_over(program):
    last = where(program, "STORE", "pop_prev")[-1]
    with pytest.raises(VerifyError, match="1 tokens are left in s2g"):
        verify_program(changed(program, last, push_prev=1))


def test_a_neighbour_that_is_not_there(program):
    last = where(program, "STORE", "pop_prev")[-1]
    with pytest.raises(VerifyError, match="neighbour that does not exist"):
        verify_program(changed(program, last, push_next=1))


def found(program, what):
    """The first instruction with an opcode; or, by its number, a LOAD of ACC."""
    insns = Isa(program.config).decode_stream(program.insns)
    if isinstance(what, Opcode):
        return next(insn.index for insn in insns if insn.opcode == what)
    return [
        insn.index
        for insn in insns
        if insn.opcode == Opcode.LOAD and insn.memory_type == MemoryType.ACC
    ][what]


@pytest.mark.parametrize(
    ("what", "values", "message"),
    [
        (0, {"sram_base": 60}, r"acc\[60:76\] is beyond its 64 elements"),
        (0, {"sram_base": 49}, r"acc\[49:65\] is beyond its 64 elements"),
        (0, {"memory_type": 4}, "cannot move OUT"),
        (0, {"memory_type": 7}, "no such memory"),
        (0, {"dram_base": 150}, "reaches beyond buffer A"),
        (0, {"dram_base": 145}, "reaches beyond buffer A"),
        (1, {"x_size": 15}, r"reads acc\[16:32\] before all of it is written"),
        (Opcode.ALU, {"uop_end": 50}, r"reads uop\[0:50\] before all of it is written"),
        (Opcode.ALU, {"iter_out": 5, "dst_factor_out": 14}, r"acc\[0:72\] is beyond"),
        (Opcode.ALU, {"iter_out": 2, "dst_factor_out": 49}, r"acc\[0:65\] is beyond"),
        (Opcode.ALU, {"alu_opcode": 7}, "no such ALU operation"),
        (Opcode.STORE, {"x_size": 15}, r"C is not written in full \(318 of 320 parts\)"),
        *(
            (Opcode.STORE, {f"{axis}_pad_{end}": 1}, "a store has no padding")
            for axis in "xy"
            for end in range(2)
        ),
    ],
)
def test_what_is_out_of_range(program, what, values, message):
    with pytest.raises(VerifyError, match=message):
        verify_program(changed(program, found(program, what), **values))


def test_an_input_is_not_overwritten(program):
    refs = program.refs.copy()
    refs[found(program, Opcode.STORE)] = 0
    with pytest.raises(VerifyError, match="overwrites the input A"):
        verify_program(dataclasses.replace(program, refs=refs))


def test_a_transfer_needs_a_buffer(program):
    refs = program.refs.copy()
    refs[0] = -1
    with pytest.raises(VerifyError, match="refers to no buffer"):
        verify_program(dataclasses.replace(program, refs=refs))


def test_finish_is_last_and_only_there(program):
    with pytest.raises(VerifyError, match="must end with FINISH"):
        verify_program(
            dataclasses.replace(program, insns=program.insns[:-1], refs=program.refs[:-1])
        )
    twice = np.concatenate([program.insns, program.insns[-1:]])
    with pytest.raises(VerifyError, match="FINISH comes before the end"):
        verify_program(
            dataclasses.replace(program, insns=twice, refs=np.append(program.refs, np.int32(-1)))
        )


def test_an_illegal_opcode(program):
    words = program.insns.copy()
    words[-1, 0] = 6
    with pytest.raises(VerifyError, match="no such opcode"):
        verify_program(dataclasses.replace(program, insns=words))


def test_what_goes_through_memory_waits_for_the_store(kit):
    """A tensor that is stored and loaded again needs a token between the two."""
    from vta import te

    shape, config = (4, 16), PRESETS["default"]
    a = te.placeholder(shape, name="A")
    a_buf = te.compute(shape, lambda *i: a(*i), "A_buf")
    t = te.compute(shape, lambda *i: a_buf(*i).astype("int8"), "T")
    t_buf = te.compute(shape, lambda *i: t(*i).astype("int32"), "T_buf")
    c = te.compute(shape, lambda *i: t_buf(*i).astype("int8"), "C")
    s = te.create_schedule(c.op)
    for tensor in (a_buf, t_buf):
        s[tensor].set_scope("local.acc_buffer")
    for tensor in (a_buf, t, t_buf, c):
        s[tensor].pragma(tensor.op.axis[0], "dma_copy")
    program = build(s, [a, c], config)
    insns = Isa(config).decode_stream(program.insns)
    again = [insn for insn in insns if insn.opcode == Opcode.LOAD and insn.memory_type == 5]
    assert [insn.pops for insn in again] == [("next",)]
    store = next(insn.index for insn in insns if insn.opcode == Opcode.STORE)
    broken = changed(changed(program, store, push_prev=0), again[0].index, pop_next=0)
    with pytest.raises(VerifyError, match="races"):
        verify_program(broken)
