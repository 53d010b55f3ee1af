"""Tokens of programs with virtual threads: each one is needed, and where it is."""

from __future__ import annotations

import dataclasses

import pytest

from tests.compiler.known import conv2d, threaded_matmul
from vta.compiler.check.proof import VerifyError, verify_program
from vta.compiler.pipeline import build
from vta.config import PRESETS
from vta.isa import Isa

TINY = PRESETS["tiny"]
FLAGS = ("pop_prev", "pop_next", "push_prev", "push_next")
ACROSS = {  # queue: who gives, with which flag; who takes, with which
    "l2g": ("LOAD", "push_next", "COMPUTE", "pop_prev"),
    "g2l": ("COMPUTE", "push_prev", "LOAD", "pop_next"),
    "g2s": ("COMPUTE", "push_next", "STORE", "pop_prev"),
    "s2g": ("STORE", "push_prev", "COMPUTE", "pop_next"),
}


PROGRAMS = {
    "matmul": lambda: build(*threaded_matmul(TINY), TINY),
    "conv2d": lambda: build(*conv2d(TINY, size=4, channels=(2, 4), rows=2, outputs=1), TINY),
}


def flags(program):
    """The token flags of every instruction, and its module."""
    insns = Isa(program.config).decode_stream(program.insns)
    return [(insn.module.name, insn.values) for insn in insns]


def changed(program, changes):
    """The program with some fields of instructions changed: {index: {field: value}}."""
    isa, words = Isa(program.config), program.insns.copy()
    for index, values in changes.items():
        insn = isa.decode(int(words[index, 0]) | int(words[index, 1]) << 64)
        word = isa.format_of(insn.opcode).pack(**{**insn.values, **values})
        words[index] = isa.words([word])[0]
    return dataclasses.replace(program, insns=words)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("queue", ACROSS)
def test_each_pair_of_tokens_is_needed(name, queue):
    """Without the n-th push and the n-th pop of a queue there is a race."""
    program = PROGRAMS[name]()
    giver, push, taker, pop = ACROSS[queue]
    found = flags(program)
    pushes = [
        index for index, (module, values) in enumerate(found) if module == giver and values[push]
    ]
    pops = [
        index for index, (module, values) in enumerate(found) if module == taker and values[pop]
    ]
    assert len(pushes) == len(pops) >= 2
    for first, second in zip(pushes, pops, strict=True):
        changes = {first: {push: 0}}
        changes.setdefault(second, {}).update({pop: 0})
        with pytest.raises(VerifyError, match="races with instruction"):
            verify_program(changed(program, changes))


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_flag_is_needed(name):
    """Without any one push or pop, a queue starves or is left full, or there is a race."""
    program = PROGRAMS[name]()
    for index, (_, values) in enumerate(flags(program)):
        for flag in FLAGS:
            if values[flag]:
                with pytest.raises(
                    VerifyError, match="no earlier instruction pushes|are left in|races with"
                ):
                    verify_program(changed(program, {index: {flag: 0}}))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_push_too_early(name):
    """A token that is given one instruction of its module sooner does not cover the last one."""
    program = PROGRAMS[name]()
    found = flags(program)
    moved = 0
    for giver, push, _, _ in ACROSS.values():
        own = [index for index, (module, _) in enumerate(found) if module == giver]
        for before, index in zip(own, own[1:], strict=False):
            if found[index][1][push] and not found[before][1][push]:
                moved += 1
                with pytest.raises(VerifyError, match="races with instruction"):
                    verify_program(changed(program, {before: {push: 1}, index: {push: 0}}))
    assert moved >= 4


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_pop_too_late(name):
    """A token that is waited for one instruction of its module later comes too late."""
    program = PROGRAMS[name]()
    found = flags(program)
    moved = 0
    for _, _, taker, pop in ACROSS.values():
        own = [index for index, (module, _) in enumerate(found) if module == taker]
        for index, after in zip(own, own[1:], strict=False):
            if found[index][1][pop] and not found[after][1][pop]:
                moved += 1
                with pytest.raises(VerifyError, match="races with instruction"):
                    verify_program(changed(program, {index: {pop: 0}, after: {pop: 1}}))
    assert moved >= 4
