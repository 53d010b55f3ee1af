"""Token insertion for all three modules, on matrix products put together by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from vta.compiler.check.between_passes import check
from vta.compiler.check.proof import VerifyError, verify_program
from vta.compiler.encode.emit import emit
from vta.compiler.ir.insn_ir import (
    Finish,
    InsnProgram,
    Kernel,
    MicroOp,
    Nop,
    Tokens,
    Transfer,
    UopLoop,
)
from vta.compiler.ir.loop_ir import Buffer
from vta.compiler.passes.tokens.access_history import History
from vta.compiler.passes.tokens.insert_tokens import insert_tokens
from vta.isa import MemoryType, ModuleId, Opcode

ROUNDS, DEPTH = 5, 3


def products(config):
    """`ROUNDS` times OUT[n] = sum over k of INP[n, k] times WGT[n, k], on two sets of buffers."""
    inp = Buffer("I", (ROUNDS, DEPTH, config.batch, config.block), "int8", "global")
    wgt = Buffer("W", (ROUNDS, DEPTH, config.block, config.block), "int8", "global")
    out = Buffer("O", (ROUNDS, config.batch, config.block), "int8", "global")
    ops = []
    for n in range(ROUNDS):
        half = n % 2
        ops += [
            Transfer(
                Opcode.LOAD, MemoryType.INP, "I", n * DEPTH, half * DEPTH, DEPTH, x_stride=DEPTH
            ),
            Transfer(
                Opcode.LOAD, MemoryType.WGT, "W", n * DEPTH, half * DEPTH, DEPTH, x_stride=DEPTH
            ),
            Kernel(Opcode.GEMM, (UopLoop(1, 0, 0),), (MicroOp(half, 0),), reset=True),
            Kernel(
                Opcode.GEMM,
                (UopLoop(1, 0, 0, 0), UopLoop(DEPTH, 0, 1, 1)),
                (MicroOp(half, half * DEPTH, half * DEPTH),),
            ),
            Transfer(Opcode.STORE, MemoryType.OUT, "O", n, half, 1, x_stride=1),
        ]
    return InsnProgram("products", (inp, wgt, out), (), ("O",), (*ops, Finish()))


def tokens_of(program):
    return [
        (op.module.name, [name for name, flag in vars(op.tokens).items() if flag])
        for op in program.ops
    ]


@pytest.mark.parametrize("seed", range(4))
def test_products_are_right(kit, config, seed):
    ordered = insert_tokens(products(config), config)
    check(ordered, config)
    program = emit(ordered, config)
    verify_program(program)
    rng = np.random.default_rng(seed)
    i, w = (rng.integers(-128, 128, buffer.shape, np.int8) for buffer in ordered.args[:2])
    expected = np.einsum("nkbi,nkoi->nbo", i.astype(np.int32), w.astype(np.int32)).astype(np.int8)
    (found,), _ = kit.run(program, [i, w], seed)
    np.testing.assert_array_equal(found, expected)


def test_no_more_tokens_than_needed(config):
    """One pair for each of: loaded, free to load again, ready to store, free to reset again."""
    found = tokens_of(insert_tokens(products(config), config))
    first = [
        ("LOAD", []),
        ("LOAD", ["push_next"]),
        ("COMPUTE", []),
        ("COMPUTE", ["pop_prev", "push_prev", "push_next"]),
        ("STORE", ["pop_prev", "push_prev"]),
    ]
    assert found[:5] == first
    assert found[10:15] == [
        ("LOAD", ["pop_next"]),
        ("LOAD", ["push_next"]),
        ("COMPUTE", ["pop_next"]),
        ("COMPUTE", ["pop_prev", "push_prev", "push_next"]),
        ("STORE", ["pop_prev", "push_prev"]),
    ]
    assert found[20:] == [
        ("LOAD", ["pop_next"]),
        ("LOAD", ["push_next"]),
        ("COMPUTE", ["pop_next"]),
        ("COMPUTE", ["pop_prev", "push_next"]),
        ("STORE", ["pop_prev"]),
        ("COMPUTE", []),
    ]


def test_without_any_one_token_there_is_a_race(config):
    ordered = insert_tokens(products(config), config)
    pairs = [
        (ModuleId.LOAD, "push_next", ModuleId.COMPUTE, "pop_prev"),
        (ModuleId.COMPUTE, "push_prev", ModuleId.LOAD, "pop_next"),
        (ModuleId.COMPUTE, "push_next", ModuleId.STORE, "pop_prev"),
        (ModuleId.STORE, "push_prev", ModuleId.COMPUTE, "pop_next"),
    ]
    for giver, push, taker, pop in pairs:
        pushes = [
            n for n, op in enumerate(ordered.ops) if op.module == giver and getattr(op.tokens, push)
        ]
        pops = [
            n for n, op in enumerate(ordered.ops) if op.module == taker and getattr(op.tokens, pop)
        ]
        assert len(pushes) == len(pops) >= 3
        for first, second in zip(pushes, pops, strict=True):
            ops = list(ordered.ops)
            for place, name in ((first, push), (second, pop)):
                kept = dataclasses.replace(ops[place].tokens, **{name: False})
                ops[place] = dataclasses.replace(ops[place], tokens=kept)
            with pytest.raises(VerifyError, match="races with"):
                verify_program(emit(dataclasses.replace(ordered, ops=tuple(ops)), config))


def test_a_program_within_one_module_needs_none(config):
    program = products(config)
    only = dataclasses.replace(program, ops=(program.ops[2], program.ops[-1]))
    assert all(op.tokens == Tokens() for op in insert_tokens(only, config).ops)


def test_padding_counts_as_written(config):
    """What a padded LOAD fills with zeros is as dangerous to touch as what it copies."""
    program = products(config)
    padded = dataclasses.replace(program.ops[0], pads=(0, 0, 0, 1), x_size=2, sram_base=0)
    late = dataclasses.replace(padded, x_size=1, sram_base=1, pads=(0, 0, 0, 2))
    ops = (padded, *program.ops[1:4], late, *program.ops[4:5], Finish())
    ordered = insert_tokens(dataclasses.replace(program, ops=ops), config)
    assert ordered.ops[4].tokens.pop_next
    whole = dataclasses.replace(
        ordered,
        args=(
            *program.args[:2],
            dataclasses.replace(program.args[2], shape=(1, config.batch, config.block)),
        ),
    )
    verify_program(emit(whole, config))


def through_memory(config, *, loads):
    """A tile that is reset and stored, then loaded as INP `loads` times."""
    between = Buffer("T", (1, config.batch, config.block), "int8", "global")
    ops = (
        Kernel(Opcode.GEMM, (), (MicroOp(0, 0),), reset=True),
        Transfer(Opcode.STORE, MemoryType.OUT, "T", 0, 0, 1, x_stride=1),
        *(
            Transfer(Opcode.LOAD, MemoryType.INP, "T", 0, place, 1, x_stride=1)
            for place in range(loads)
        ),
        Finish(),
    )
    return InsnProgram("memory", (), (between,), (), ops)


@pytest.mark.parametrize("loads", [1, 2, 3])
def test_what_a_token_tells_is_passed_on(config, loads):
    """Compute tells load that the store has ended; the loads after the first know it too."""
    ordered = insert_tokens(through_memory(config, loads=loads), config)
    assert tokens_of(ordered) == [
        ("COMPUTE", ["push_next"]),
        ("STORE", ["pop_prev", "push_prev"]),
        ("COMPUTE", ["pop_next", "push_prev"]),  # moves nothing
        ("LOAD", ["pop_next"]),
        *[("LOAD", [])] * (loads - 1),
        ("COMPUTE", []),
    ]
    assert [type(op) for op in ordered.ops].count(Nop) == 1
    verify_program(emit(ordered, config))


PLANTED = {  # the module that must wait, whom it forgets, and in which memory
    "a GEMM before its INP": (ModuleId.COMPUTE, ModuleId.LOAD, "inp"),
    "a GEMM before its WGT": (ModuleId.COMPUTE, ModuleId.LOAD, "wgt"),
    "an INP over what is read": (ModuleId.LOAD, ModuleId.COMPUTE, "inp"),
    "a WGT over what is read": (ModuleId.LOAD, ModuleId.COMPUTE, "wgt"),
    "a store of what is not computed": (ModuleId.STORE, ModuleId.COMPUTE, "acc"),
    "a sum over what is not stored": (ModuleId.COMPUTE, ModuleId.STORE, "acc"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_the_proof_sees_what_the_pass_forgets(config, monkeypatch, name):
    """With one kind of conflict planted away, the program is refused."""
    module, other, space = PLANTED[name]
    conflicts = History.conflicts

    def forgetful(self, own, accesses):
        kept = [access for access in accesses if own != module or access.space != space]
        found = conflicts(self, own, accesses)
        if other in found:
            found[other] = conflicts(self, own, kept).get(other, 0)
        return found

    monkeypatch.setattr(History, "conflicts", forgetful)
    # Half of a round's operands at a time: a token for the other memory would hide the fault.
    program = products(config)
    ops = tuple(
        op
        for op in program.ops
        if space not in ("inp", "wgt")
        or not isinstance(op, Transfer)
        or op.module != ModuleId.LOAD
        or op.memory_type.name.lower() == space
    )
    with pytest.raises(VerifyError, match="races with"):
        verify_program(
            emit(insert_tokens(dataclasses.replace(program, ops=ops), config), config), whole=False
        )


def test_the_proof_sees_a_load_that_forgets_the_store(config, monkeypatch):
    conflicts = History.conflicts
    monkeypatch.setattr(
        History,
        "conflicts",
        lambda self, own, accesses: {
            other: position
            for other, position in conflicts(self, own, accesses).items()
            if (own, other) != (ModuleId.LOAD, ModuleId.STORE)
        },
    )
    ordered = insert_tokens(through_memory(config, loads=1), config)
    with pytest.raises(VerifyError, match="races with instruction 2 of the store module"):
        verify_program(emit(ordered, config))
