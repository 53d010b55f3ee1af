"""What follows the sums: rounding up to and beyond what an immediate holds."""

from __future__ import annotations

import numpy as np
import pytest

from vta import te
from vta.compiler.operators.epilogue import Epilogue, EpilogueStep, apply_steps
from vta.config import PRESETS
from vta.isa import Isa, Opcode

TINY = PRESETS["tiny"]
SHAPE = (8, TINY.batch, TINY.block)


@pytest.mark.parametrize(
    ("shift", "steps"),
    [(15, [("+", 1 << 14), (">>", 15)]), (16, [(">>", 15), ("+", 1), (">>", 1)])],
)
def test_rounding_at_the_limit_of_an_immediate(kit, shift, steps):
    """Half of 2^15 is an immediate, half of 2^16 is not; no constant of a tile is needed."""
    epilogue = Epilogue(shift=shift, rounding=True, clip=False)
    assert epilogue.steps == tuple(EpilogueStep(*step) for step in steps)
    a = te.placeholder(SHAPE, name="A", dtype="int32")
    load = te.compute(SHAPE, lambda *i: a(*i), "L")
    stages = apply_steps(load, epilogue.steps, None, None, (), "step")
    out = te.compute(SHAPE, lambda *i: stages[-1](*i).astype("int8"), "O")
    s = te.create_schedule(out.op)
    for tensor in (load, *stages):
        key = "dma_copy" if tensor is load else "alu"
        s[tensor].set_scope("local.acc_buffer").pragma(tensor.op.axis[0], key)
    s[out].pragma(out.op.axis[0], "dma_copy")
    # Around every half: one less, the half itself, one more.
    halves = (np.arange(-32, 32) * 2 + 1) << (shift - 1)
    x = (halves + np.arange(64) % 3 - 1).astype(np.int32).reshape(SHAPE)
    expected = np.floor(x / 2.0**shift + 0.5).astype(np.int8)
    program = kit.check(s, [a, out], TINY, [x], [expected])
    alu = [insn for insn in Isa(TINY).decode_stream(program.insns) if insn.opcode == Opcode.ALU]
    assert len(alu) == len(steps)
    assert all(insn.use_imm for insn in alu)
