"""Instructions that are wrong on purpose, for `random_launches`: one for each error of a stream."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vta.isa import AluOp, MemoryType, Opcode
from vta.tools.fuzz.token_order import (
    BITS,
    COMPUTE,
    LOAD,
    MODULES,
    QUEUES,
    STORE,
    DraftInsn,
    Touched,
)

if TYPE_CHECKING:
    from vta.tools.fuzz.random_transfers import TransferBuilder

__all__ = ["BASE_OF", "IN_STREAM", "LOADED", "make_wrong", "transfer"]

IN_STREAM = (
    "illegal_opcode",
    "illegal_token",
    "illegal_memory_type",
    "illegal_alu_opcode",
    "illegal_padding",
    "sram_range",
    "sram_range_loop",
    "memory_response",
    "deadlock",
)

LOADED = {"inp": LOAD, "wgt": LOAD, "acc": COMPUTE, "acc_8bit": COMPUTE, "uop": COMPUTE}
"""Who loads which memory."""

BASE_OF = {"uop": "uop", "inp": "inp", "wgt": "wgt", "acc": "acc", "acc_8bit": "acc", "out": "out"}


def make_wrong(
    builder: TransferBuilder, fault: str, rng: random.Random
) -> tuple[DraftInsn, str | None]:
    """An instruction with that error; for a deadlock, and the queue that it pops out of turn."""
    queue = None
    if fault == "illegal_opcode":
        item = DraftInsn(COMPUTE, "common", {"opcode": rng.randrange(5, 8)})
    elif fault == "illegal_token":
        item = builder.make_noop(rng, rng.choice((LOAD, STORE)))
        side = "prev" if item.module == LOAD else "next"
        item.values[f"{rng.choice(('pop', 'push'))}_{side}"] = 1
    elif fault == "illegal_memory_type":
        item = builder.make_noop(rng, rng.choice((COMPUTE, STORE)))
        item.values |= {
            "x_size": 1,
            "y_size": 1,
            "memory_type": rng.choice(
                (4, 6, 7) if item.module == COMPUTE else (0, 1, 2, 3, 5, 6, 7)
            ),
        }
    elif fault == "illegal_alu_opcode":
        item = DraftInsn(
            COMPUTE,
            "alu",
            {
                field.name: rng.randrange(field.max + 1)
                for field in builder.isa.alu.fields
                if field.name not in BITS.values()
            },
        )
        item.values |= {"opcode": Opcode.ALU, "alu_opcode": rng.randrange(5, 8)}
        if builder.config.requantises:
            # QNT takes no immediate operand.
            item.values |= rng.choice(({"alu_opcode": 7}, {"alu_opcode": AluOp.QNT, "use_imm": 1}))
    elif fault == "illegal_padding":
        item = builder.make_noop(rng, STORE)
        item.values |= {
            "x_size": 1,
            "y_size": 1,
            "memory_type": MemoryType.OUT,
            f"{rng.choice('xy')}_pad_{rng.randrange(2)}": rng.randrange(1, 16),
        }
    elif fault == "sram_range_loop":
        item = _loop(builder, rng)
    elif fault == "deadlock":
        item = builder.make_noop(rng, rng.choice(MODULES))
        queue = rng.choice(
            [queue for (_, consumer), queue in QUEUES.items() if consumer == item.module]
        )
    else:
        item = _transfer(builder, rng, fault)
    if item.module == COMPUTE:
        # It leaves ACC undefined, so no other instruction may use ACC meanwhile.
        every = {name: (1 << builder.depth[name]) - 1 for name in ("acc", "inp", "wgt")}
        item.reads, item.writes = Touched(every), Touched({"acc": every["acc"]})
    return item, queue


def transfer(
    sram: int, dram: int, rows: int, columns: int, stride: int, pads: Sequence[int]
) -> dict[str, int]:
    """The fields of a LOAD or STORE that say what it moves."""
    return {
        "sram_base": sram,
        "dram_base": dram,
        "y_size": rows,
        "x_size": columns,
        "x_stride": stride,
        "y_pad_0": pads[0],
        "y_pad_1": pads[1],
        "x_pad_0": pads[2],
        "x_pad_1": pads[3],
    }


def _transfer(builder: TransferBuilder, rng: random.Random, fault: str) -> DraftInsn:
    """A LOAD or STORE that ends beyond its buffer or, where that is possible, beyond memory."""
    name = rng.choice(("inp", "wgt", "acc", "acc_8bit", "uop", "out"))
    rows, columns, stride = rng.randrange(1, 4), rng.randrange(1, 3), rng.randrange(5)
    # One past the last element that memory has, from the base register on.
    nbytes = builder.nbytes[name]
    end = ((1 << builder.config.addr_width) - builder.base[BASE_OF[name]]) // nbytes
    dram = end - columns - (rows - 1) * stride + rng.choice((1, 2, 1000))
    if fault == "memory_response" and dram < 2**32:
        sram, pads = 0, [0] * 4
    else:
        dram = rng.randrange(2**32)
        pads = [0 if name == "out" else rng.randrange(3) for _ in range(4)]
        count = (pads[0] + rows + pads[1]) * (pads[2] + columns + pads[3])
        sram = rng.choice((max(0, builder.depth[name] - count + 1), 65_535))
        if sram + count <= builder.depth[name]:
            sram, rows, columns = 0, 65_535, 65_535
    return DraftInsn(
        STORE if name == "out" else LOADED[name],
        "mem",
        {
            "opcode": Opcode.STORE if name == "out" else Opcode.LOAD,
            "memory_type": MemoryType[name.upper()],
            **transfer(sram, dram, rows, columns, stride, pads),
        },
    )


def _loop(builder: TransferBuilder, rng: random.Random) -> DraftInsn:
    """A GEMM or ALU that goes on until some index, or the micro-ops, leave their buffer."""
    opcode = rng.choice((Opcode.GEMM, Opcode.ALU))
    uop_depth = builder.depth["uop"]
    first = rng.choice(builder.recent)
    values: dict[str, int] = {
        "opcode": opcode,
        "uop_bgn": first,
        "iter_out": 1,
        "iter_in": 1,
        "uop_end": min(first + rng.randrange(1, 4), uop_depth),
    }
    way = rng.choice(
        ("dst", "src", "wgt", "uop") if opcode == Opcode.GEMM else ("dst", "src", "uop")
    )
    if way == "uop":
        values |= {"uop_bgn": uop_depth - rng.randrange(1, 4), "uop_end": uop_depth + 1}
    else:
        depth = builder.depth[
            "acc" if way == "dst" or opcode == Opcode.ALU else "inp" if way == "src" else "wgt"
        ]
        loop = rng.choice(("out", "in"))
        values[f"iter_{loop}"] = depth + rng.randrange(2)
        values[f"{way}_factor_{loop}"] = rng.choice((1, 2, depth - 1))
    if opcode == Opcode.ALU:
        values |= {
            "alu_opcode": rng.randrange(5),
            "imm": rng.randrange(100),
            "use_imm": rng.randrange(2) if way != "src" else 0,
        }
        if builder.config.requantises and not values["use_imm"]:
            values["alu_opcode"] = rng.choice(builder.isa.alu_ops)
    elif way in ("dst", "uop"):
        values["reset"] = rng.randrange(2)
    return DraftInsn(COMPUTE, "gemm" if opcode == Opcode.GEMM else "alu", values)
