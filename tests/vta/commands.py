"""For the tests of the command: what running it gave, and a small memory image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vta.config import PRESETS
from vta.image import Image, Segment
from vta.isa import AluOp, Isa, MemoryType, Opcode

TINY = PRESETS["tiny"]


@dataclass
class Result:
    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line on stderr that bad input gets."""
        assert self.out == ""
        assert self.err.startswith("vta: ")
        assert self.err.count("\n") == 1
        assert "Traceback" not in self.err
        return self.err


Run = Callable[..., Result]

DATA = 0x10000
OUT = 0x20000


def make_image(expect: str = "match", *, fault: bool = False) -> Image:
    """Loads four tiles, adds 100 to each number, stores them."""
    isa, tiles = Isa(TINY), 4
    uop = isa.uop.pack_array(dst_idx=[TINY.acc_depth - 1 if fault else 0])
    rows = {"y_size": 1, "x_size": tiles, "x_stride": tiles}
    insns = Isa.words(
        [
            isa.mem.pack(opcode=Opcode.LOAD, memory_type=MemoryType.ACC, **rows),
            isa.mem.pack(
                opcode=Opcode.LOAD, memory_type=MemoryType.UOP, y_size=1, x_size=1, x_stride=1
            ),
            isa.alu.pack(
                opcode=Opcode.ALU,
                alu_opcode=AluOp.ADD,
                uop_end=1,
                iter_out=1,
                iter_in=tiles,
                dst_factor_in=1,
                use_imm=1,
                imm=100,
                push_next=1,
            ),
            isa.mem.pack(opcode=Opcode.STORE, memory_type=MemoryType.OUT, pop_prev=1, **rows),
            isa.common.pack(opcode=Opcode.FINISH),
        ]
    )
    values = np.arange(tiles * TINY.block, dtype=np.int32) * 3 - 50
    stored = (values + 100).astype(np.int8).view(np.uint8)
    after = {
        "match": (Segment(OUT, stored),),
        "none": None,
        "differ": (Segment(OUT, np.concatenate([stored[:5], stored[5:] ^ 1])),),
    }[expect]
    return Image(
        config=TINY,
        insn_addr=0x1000,
        insn_count=len(insns),
        after=after,
        base={"uop": 0x2000, "inp": 0, "wgt": 0, "acc": DATA, "out": OUT},
        before=(
            Segment(0x1000, insns.reshape(-1).view(np.uint8)),
            Segment(0x2000, uop.view(np.uint8)),
            Segment(DATA, values.view(np.uint8)),
            Segment(OUT, ~stored),
        ),
    )
