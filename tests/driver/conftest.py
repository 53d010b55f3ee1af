"""A small program, put together by hand: no compiler is needed to test the driver."""

from __future__ import annotations

import numpy as np
import pytest

from vta.config import PRESETS, Config
from vta.isa import AluOp, Isa, MemoryType, Opcode
from vta.program import DramBuffer, Program

TILES = 5


def add_seven(config: Config, *, faulty: bool = False) -> Program:
    """C = int8(A + B + 7) over `TILES` tiles; `faulty` makes the addition leave ACC."""
    isa = Isa(config)
    loops = {
        "uop_bgn": 0,
        "uop_end": 1,
        "iter_out": 1,
        "iter_in": TILES,
        "dst_factor_in": 1,
        "src_factor_in": 1,
    }
    uop = isa.uop.pack_array(dst_idx=[0], src_idx=[TILES])
    start = config.acc_depth - 1 if faulty else 0
    second = isa.uop.pack_array(dst_idx=[start], src_idx=[start])
    rows = {"y_size": 1, "x_size": TILES, "x_stride": TILES}
    insns = [
        (isa.mem.pack(opcode=Opcode.LOAD, memory_type=MemoryType.ACC, **rows), 0),
        (isa.mem.pack(opcode=Opcode.LOAD, memory_type=MemoryType.ACC, sram_base=TILES, **rows), 1),
        (
            isa.mem.pack(
                opcode=Opcode.LOAD, memory_type=MemoryType.UOP, y_size=1, x_size=2, x_stride=2
            ),
            3,
        ),
        (isa.alu.pack(opcode=Opcode.ALU, alu_opcode=AluOp.ADD, **loops), -1),
        (
            isa.alu.pack(
                opcode=Opcode.ALU,
                alu_opcode=AluOp.ADD,
                use_imm=1,
                imm=7,
                push_next=1,
                **{**loops, "uop_bgn": 1, "uop_end": 2},
            ),
            -1,
        ),
        (
            isa.mem.pack(
                opcode=Opcode.STORE, memory_type=MemoryType.OUT, pop_prev=1, push_prev=1, **rows
            ),
            2,
        ),
        (isa.common.pack(opcode=Opcode.FINISH, pop_next=1), -1),
    ]
    shape = (TILES, config.batch, config.block)
    data = np.concatenate([uop, second]).view(np.uint8)
    return Program(
        name="add_seven",
        config=config,
        insns=Isa.words([word for word, _ in insns]),
        refs=np.array([ref for _, ref in insns], np.int32),
        buffers=(
            DramBuffer(name="A", role="input", shape=shape, dtype="int32"),
            DramBuffer(name="B", role="input", shape=shape, dtype="int32"),
            DramBuffer(name="C", role="output", shape=shape, dtype="int8"),
            DramBuffer(name="uops", role="const", shape=(2,), dtype="uint32", data=data),
        ),
    )


@pytest.fixture(params=["default", "tiny", "small", "wide", "batch4"])
def config(request: pytest.FixtureRequest) -> Config:
    return PRESETS[request.param]


@pytest.fixture
def make_program():
    return add_seven
