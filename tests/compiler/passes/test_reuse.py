"""LOADs of what is on chip already are left out, on machines with encoding 0.0.3."""

from __future__ import annotations

import collections
import dataclasses

import numpy as np
import pytest

from vta import te
from vta.compiler.ir.insn_ir import Finish, InsnProgram, Kernel, MicroOp, Transfer
from vta.compiler.operators import Conv2d, Epilogue, Tiling
from vta.compiler.passes.reuse import reuse
from vta.config import PRESETS
from vta.isa import AluOp, Isa, MemoryType, Opcode

NEW = PRESETS["tiny"].replace(hw_ver="0.0.3")
OLD = NEW.replace(hw_ver="0.0.2")


def load(kind=MemoryType.WGT, buffer="W", dram=0, sram=0, size=2, **more):
    return Transfer(Opcode.LOAD, kind, buffer, dram, sram, size, 1, size, **more)


def kept(*ops, config=NEW):
    program = InsnProgram("main", (), (), (), (*ops, Finish()))
    return list(reuse(program, config).ops[:-1])


def test_a_load_of_the_same_tiles_to_the_same_place_is_left_out():
    again = load(note="again")
    assert kept(load(), load(sram=2), again) == [load(), load(sram=2)]
    assert kept(load(), again, config=OLD) == [load(), again]


@pytest.mark.parametrize("between", [load(dram=4), load(dram=4, sram=1, size=1), load(buffer="V")])
def test_what_was_overwritten_is_loaded_again(between):
    assert kept(load(), between, load()) == [load(), between, load()]


def test_every_field_counts():
    padded = load(pads=(0, 0, 1, 0))
    ops = [
        load(),
        load(MemoryType.INP),
        load(dram=1),
        padded,
        dataclasses.replace(padded, pad_min=True),
    ]
    assert kept(*ops) == ops


def test_operations_overwrite_tiles_of_acc():
    bias = load(MemoryType.ACC, "B", sram=4)
    reads = Kernel(Opcode.ALU, (), (MicroOp(0, 4), MicroOp(1, 5)), alu_opcode=AluOp.ADD)
    writes = Kernel(Opcode.ALU, (), (MicroOp(5, 0),), alu_opcode=AluOp.MOV)
    assert kept(bias, reads, bias) == [bias, reads]
    assert kept(bias, writes, bias) == [bias, writes, bias]


def test_a_buffer_that_the_program_stores_is_loaded_each_time():
    out = Transfer(Opcode.STORE, MemoryType.OUT, "W", 0, 0, 1)
    assert kept(load(), out, load()) == [load(), out, load()]


def test_blocks_that_share_weights_load_them_once(sim_result):
    """Two threads share the rows: each keeps its weights, bias and scales for all of its blocks."""
    spec = Conv2d((1, 16, 6, 4), (8, 16, 1, 1), epilogue=Epilogue(bias=True, scale=True))
    tiling = Tiling(inputs=2, rows=1, columns=4, threads=2, axis="rows")
    operator = spec.compile(NEW, tiling)
    stream = Isa(NEW).decode_stream(operator.program.insns)
    found = collections.Counter(insn.operation for insn in stream)
    assert (found["LOAD WGT"], found["LOAD ACC"], found["LOAD INP"]) == (2, 4, 6)
    rng = np.random.default_rng(1)
    data = rng.integers(-128, 128, (1, 16, 6, 4)).astype(np.int8)
    weight = rng.integers(-128, 128, (8, 16, 1, 1)).astype(np.int8)
    bias = rng.integers(-9000, 9000, 8).astype(np.int32)
    scale = rng.uniform(0.001, 0.005, 8).astype(np.float32)
    sums = np.einsum("nchw,oc->nohw", data.astype(np.int64), weight[:, :, 0, 0].astype(np.int64))
    sums += bias.reshape(-1, 1, 1)
    product = sums.astype(np.float32) * scale.reshape(-1, 1, 1)
    expected = np.clip(np.rint(product), -128, 127).astype(np.int8)
    np.testing.assert_array_equal(sim_result(operator, data, weight, bias, scale), expected)


@pytest.fixture
def sim_result(kit):
    def result(operator, *arrays):
        outputs, _ = kit.run(operator.program, operator.pack(*arrays))
        return operator.unpack(*outputs)

    return result


def test_an_intermediate_tensor_in_memory_is_not_kept(kit):
    """What is stored and loaded again has another content each time."""
    shape = (3, NEW.batch, NEW.block)
    a = te.placeholder(shape, name="A", dtype="int8")
    buf = te.compute(shape, lambda *i: a(*i), "A_buf")
    c = te.compute(shape, lambda *i: buf(*i).astype("int32") * 3, "C")
    mid = te.compute(shape, lambda *i: c(*i).astype("int8"), "mid")
    back = te.compute(shape, lambda *i: mid(*i), "back")
    d = te.compute(shape, lambda *i: back(*i).astype("int32") + 1, "D")
    out = te.compute(shape, lambda *i: d(*i).astype("int8"), "out")
    s = te.create_schedule(out.op)
    for tensor, key in ((buf, "dma_copy"), (c, "alu"), (back, "dma_copy"), (d, "alu")):
        s[tensor].set_scope("local.acc_buffer").pragma(s[tensor].op.axis[0], key)
    for tensor in (mid, out):
        s[tensor].pragma(s[tensor].op.axis[0], "dma_copy")
    data = np.random.default_rng(2).integers(-128, 128, shape).astype(np.int8)
    kit.check(s, [a, out], NEW, [data], [(data * np.int8(3) + np.int8(1)).astype(np.int8)])
