"""The checks between passes find what a broken pass would leave."""

from __future__ import annotations

import dataclasses

import pytest

from vta.compiler.check import verify
from vta.compiler.expr import Const, Read
from vta.compiler.ir import Alu, Assign, Constant, Put
from vta.compiler.pipeline import trace
from vta.compiler.verify import VerifyError
from vta.config import PRESETS
from vta.isa import AluOp

CONFIG = PRESETS["default"]


@pytest.fixture
def stages(tutorial):
    return trace(*tutorial(CONFIG), CONFIG)


def first_group(program, change):
    group = program.groups[0]
    return dataclasses.replace(program, groups=(change(group), *program.groups[1:]))


def with_ops(program, ops):
    return first_group(program, lambda group: dataclasses.replace(group, ops=tuple(ops)))


@pytest.mark.parametrize("title", ["loops", "simplify"])
def test_loops(stages, title):
    program = stages[title]
    with pytest.raises(VerifyError, match="C_buf reads A_buf before it is computed"):
        verify(dataclasses.replace(program, body=program.body[1:]), CONFIG)
    with pytest.raises(VerifyError, match="two buffers are named A"):
        verify(dataclasses.replace(program, args=(*program.args, program.args[0])), CONFIG)
    with pytest.raises(VerifyError, match="A_buf is not declared"):
        verify(dataclasses.replace(program, allocs=program.allocs[1:]), CONFIG)


def test_loop_dtypes_and_indices(stages):
    program = stages["simplify"]
    zeros = (Const("int32", 0),) * 4
    target = program.allocs[0]
    wrong = Assign(target, zeros, Read("int8", program.args[0], zeros))
    with pytest.raises(VerifyError, match="A_buf is int32, what it is given int8"):
        verify(dataclasses.replace(program, body=(wrong,)), CONFIG)
    nest = program.body[0]
    while not isinstance(nest, Assign):
        nest = nest.body[0]
    with pytest.raises(VerifyError, match="A_buf uses i1 outside its loop"):
        verify(dataclasses.replace(program, body=(nest,)), CONFIG)


@pytest.mark.parametrize("title", ["match", "select", "inplace", "allocate"])
def test_tiles_are_defined_before_use(stages, title):
    program = stages[title]
    with pytest.raises(VerifyError, match="B_buf is read before it is computed"):
        verify(with_ops(program, [op for op in program.groups[0].ops
                                  if getattr(op, "dst", "") != "B_buf"]), CONFIG)


def test_operations_are_in_place(stages):
    program = stages["allocate"]
    ops = list(program.groups[0].ops)
    ops[2] = dataclasses.replace(ops[2], dst="B_buf")
    with pytest.raises(VerifyError, match="B_buf does not overwrite A_buf"):
        verify(with_ops(program, ops), CONFIG)


def test_values_do_not_share_a_slot(stages):
    program = first_group(stages["allocate"], lambda group: dataclasses.replace(
        group, slots=(("A_buf", 0), ("B_buf", 0))))
    with pytest.raises(VerifyError, match="A_buf is overwritten while it is alive"):
        verify(program, CONFIG)
    program = first_group(stages["allocate"], lambda group: dataclasses.replace(
        group, slots=(("A_buf", 0),)))
    with pytest.raises(VerifyError, match="B_buf has no slot"):
        verify(program, CONFIG)


@pytest.mark.parametrize("number", [32768, -32769])
def test_immediates_fit(stages, number):
    program = stages["select"]
    ops = list(program.groups[0].ops)
    ops[2] = dataclasses.replace(ops[2], b=number)
    with pytest.raises(VerifyError, match="does not fit an immediate"):
        verify(with_ops(program, ops), CONFIG)


def test_constants_are_constant(stages):
    program = dataclasses.replace(stages["select"], constants=(Constant("k", 1 << 20),))
    ops = [*program.groups[0].ops[:-1], Alu(AluOp.ADD, "k", "A_buf", 1, 64),
           program.groups[0].ops[-1]]
    with pytest.raises(VerifyError, match="k is a constant"):
        verify(with_ops(program, ops), CONFIG)


@pytest.mark.parametrize(("place", "change", "message"), [
    (0, {"sram_base": 2000}, r"touches acc\[2000:2064\] of 2048"),
    (0, {"dram_base": 1}, r"A\[1:65\] is beyond its 64 elements"),
    (0, {"buffer": "Z"}, "Z is not declared"),
    (0, {"buffer": "C"}, "C is int8, which ACC does not move"),
])
def test_instructions(stages, place, change, message):
    program = stages["tokens"]
    ops = list(program.ops)
    ops[place] = dataclasses.replace(ops[place], **change)
    with pytest.raises(VerifyError, match=message):
        verify(dataclasses.replace(program, ops=tuple(ops)), CONFIG)


def test_the_end(stages):
    program = stages["tokens"]
    with pytest.raises(VerifyError, match="there is no FINISH"):
        verify(dataclasses.replace(program, ops=program.ops[:-1]), CONFIG)
    with pytest.raises(VerifyError, match="FINISH is not last"):
        verify(dataclasses.replace(program, ops=(program.ops[-1], *program.ops)), CONFIG)


def test_what_is_stored_was_computed(stages):
    program = stages["inplace"]
    put = program.groups[0].ops[-1]
    assert isinstance(put, Put)
    with pytest.raises(VerifyError, match="nobody is read before it is computed"):
        verify(with_ops(program, [*program.groups[0].ops[:-1],
                                  dataclasses.replace(put, src="nobody")]), CONFIG)
