"""The checks between passes find what a broken pass would leave."""

from __future__ import annotations

import dataclasses

import pytest

from vta.compiler.check.between_passes import check
from vta.compiler.check.proof import VerifyError
from vta.compiler.ir.loop_ir import Assign
from vta.compiler.ir.tile_ir import Alu, Load, Store
from vta.compiler.pipeline import trace
from vta.compiler.te.expr import Const, Read
from vta.config import PRESETS

CONFIG = PRESETS["default"]


@pytest.fixture
def stages(tutorial):
    return trace(*tutorial(CONFIG), CONFIG)


def with_ops(program, ops):
    return dataclasses.replace(program, body=tuple(ops))


@pytest.mark.parametrize("title", ["loops", "simplify"])
def test_loops(stages, title):
    program = stages[title]
    with pytest.raises(VerifyError, match="C_buf reads A_buf before it is computed"):
        check(dataclasses.replace(program, body=program.body[1:]), CONFIG)
    with pytest.raises(VerifyError, match="two buffers are named A"):
        check(dataclasses.replace(program, args=(*program.args, program.args[0])), CONFIG)
    with pytest.raises(VerifyError, match="A_buf is not declared"):
        check(dataclasses.replace(program, allocs=program.allocs[1:]), CONFIG)


def test_loop_dtypes_and_indices(stages):
    program = stages["simplify"]
    zeros = (Const("int32", 0),) * 4
    target = program.allocs[0]
    wrong = Assign(target, zeros, Read("int8", program.args[0], zeros))
    with pytest.raises(VerifyError, match="A_buf is int32, but its value is int8"):
        check(dataclasses.replace(program, body=(wrong,)), CONFIG)
    nest = program.body[0]
    while not isinstance(nest, Assign):
        nest = nest.body[0]
    with pytest.raises(VerifyError, match="A_buf uses i1 outside its loop"):
        check(dataclasses.replace(program, body=(nest,)), CONFIG)


@pytest.mark.parametrize("title", ["match", "inplace", "cut", "place"])
def test_tiles_are_defined_before_use(stages, title):
    program = stages[title]
    with pytest.raises(VerifyError, match="B_buf is read before it is computed"):
        check(
            with_ops(
                program,
                [op for op in program.body if not isinstance(op, Load) or op.dst.value != "B_buf"],
            ),
            CONFIG,
        )


def test_values_are_declared(stages):
    program = stages["match"]
    with pytest.raises(VerifyError, match="C_buf is not a value of the program"):
        check(
            dataclasses.replace(
                program,
                values={name: value for name, value in program.values.items() if name != "C_buf"},
            ),
            CONFIG,
        )


@pytest.mark.parametrize("number", [32768, -32769])
def test_immediates_fit(stages, number):
    program = stages["match"]
    ops = [dataclasses.replace(op, b=number) if isinstance(op, Alu) else op for op in program.body]
    with pytest.raises(VerifyError, match="does not fit an immediate"):
        check(with_ops(program, ops), CONFIG)


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        (0, {"sram_base": 2000}, r"touches acc\[2000:2064\] of 2048"),
        (0, {"dram_base": 1}, r"A\[1:65\] is beyond its 64 elements"),
        (0, {"buffer": "Z"}, "Z is not declared"),
        (0, {"buffer": "C"}, "C is int8, which ACC transfers cannot move"),
    ],
)
def test_instructions(stages, place, change, message):
    program = stages["tokens"]
    ops = list(program.ops)
    ops[place] = dataclasses.replace(ops[place], **change)
    with pytest.raises(VerifyError, match=message):
        check(dataclasses.replace(program, ops=tuple(ops)), CONFIG)


def test_the_end(stages):
    program = stages["tokens"]
    with pytest.raises(VerifyError, match="there is no FINISH"):
        check(dataclasses.replace(program, ops=program.ops[:-1]), CONFIG)
    with pytest.raises(VerifyError, match="FINISH is not last"):
        check(dataclasses.replace(program, ops=(program.ops[-1], *program.ops)), CONFIG)


def test_what_is_stored_was_computed(stages):
    program = stages["inplace"]
    store = program.body[-1]
    assert isinstance(store, Store)
    with pytest.raises(VerifyError, match="A_buf is read before it is computed"):
        check(with_ops(program, [store]), CONFIG)
