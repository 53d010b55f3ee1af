"""Work that a schedule leaves out, to time the rest: what stays is as it was."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

import vta
from vta import nd, te
from vta.compiler.ir.insn_ir import InsnProgram, Kernel, Tokens, Transfer
from vta.compiler.pipeline import build, trace
from vta.config import PRESETS
from vta.driver.module import LoadedModule
from vta.driver.session import Session
from vta.isa import Opcode

ENV = vta.Environment(PRESETS["tiny"])
PARTS = ("load", "gemm", "alu", "store")
TILES = 2


def product(left_out=()):
    """int8((x @ w.T) * 100000 >> 3), of which parts are left out; the factor is a constant tile."""
    real, mock = ENV, ENV.mock
    key = {part: mock if part in left_out else real for part in PARTS}
    x = te.placeholder((TILES, ENV.BATCH, ENV.BLOCK_IN), "int8", "x")
    w = te.placeholder((TILES, TILES, ENV.BLOCK_OUT, ENV.BLOCK_IN), "int8", "w")
    x_buf = te.compute(x.shape, lambda *i: x(*i), "x_buf")
    w_buf = te.compute(w.shape, lambda *i: w(*i), "w_buf")
    ko, ki = te.reduce_axis((0, TILES), "ko"), te.reduce_axis((0, ENV.BLOCK_IN), "ki")
    y = te.compute(
        (TILES, ENV.BATCH, ENV.BLOCK_OUT),
        lambda o, b, i: te.sum(
            x_buf(ko, b, ki).astype("int32") * w_buf(o, ko, i, ki).astype("int32"), axis=[ko, ki]
        ),
        "y",
    )
    scaled = te.compute(y.shape, lambda *i: y(*i) * 100000, "scaled")
    shifted = te.compute(y.shape, lambda *i: scaled(*i) >> 3, "shifted")
    out = te.compute(y.shape, lambda *i: shifted(*i).astype("int8"), "out")
    s = te.create_schedule(out.op)
    for tensor, scope in ((x_buf, ENV.inp_scope), (w_buf, ENV.wgt_scope)):
        s[tensor].set_scope(scope).pragma(tensor.op.axis[0], key["load"].dma_copy)
    o, b, i = y.op.axis
    s[y].set_scope(ENV.acc_scope).reorder(ko, o, b, i, ki).tensorize(b, key["gemm"].gemm)
    for tensor in (scaled, shifted):
        s[tensor].set_scope(ENV.acc_scope).pragma(tensor.op.axis[0], key["alu"].alu)
    s[out].pragma(out.op.axis[0], key["store"].dma_copy)
    return s, [x, w, out]


def part(op):
    """Which of `PARTS` an instruction belongs to; a constant tile is the ALU's, who reads it."""
    if isinstance(op, Transfer):
        return "store" if op.opcode == Opcode.STORE else "load"
    return "gemm" if op.note.startswith("y ") else "alu"


def work(left_out=()):
    """The instructions without their tokens, and without those that only pass tokens on."""
    program = trace(*product(left_out), ENV.config)["tokens"]
    assert isinstance(program, InsnProgram)
    return [
        dataclasses.replace(op, tokens=Tokens())
        for op in program.ops
        if isinstance(op, (Transfer, Kernel))
    ]


@pytest.mark.parametrize(
    "left_out",
    [parts for count in range(5) for parts in itertools.combinations(PARTS, count)],
    ids=lambda parts: "-".join(parts) or "nothing",
)
def test_what_is_left_is_as_it_was(left_out):
    whole = work()
    assert [len([op for op in whole if part(op) == name]) for name in PARTS] == [2, 2, 5, 1]
    assert work(left_out) == [op for op in whole if part(op) not in left_out]
    build(*product(left_out), ENV.config)  # proved, as far as it goes


def test_an_output_that_is_not_stored_keeps_its_numbers():
    with Session(ENV.config) as remote:
        dev = remote.ext_dev(0)
        arrays = [nd.array(np.full(tensor.shape, 7, tensor.dtype), dev) for tensor in product()[1]]
        for left_out, kept in (((), False), (("store",), True), (PARTS, True)):
            LoadedModule(build(*product(left_out), ENV.config), dev.device)(*arrays)
            assert (arrays[2].numpy() == 7).all() == kept
            arrays[2].copyfrom(np.full(arrays[2].shape, 7, np.int8))


def test_a_schedule_says_what_it_leaves_out():
    text = str(product(PARTS)[0])
    assert "tensorize(b, env.mock.gemm)" in text
    assert text.count("'skip_dma_copy'") == 3
    assert text.count("'skip_alu'") == 2


def test_the_last_call_counts():
    s, _ = product(("alu",))
    stage = next(stage for stage in s.stages if stage.name == "scaled")
    assert stage.left_out
    stage.pragma(stage.axes[0], ENV.alu)
    assert not stage.left_out
