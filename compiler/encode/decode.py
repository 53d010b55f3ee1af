"""The reverse of `emit`: a finished program's operations, each kernel with its micro-ops."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vta.compiler.ir.insn_ir import Kernel, MicroOp, Op, Transfer, UopLoop
from vta.isa import AluOp, Isa, MemoryType, Opcode
from vta.program import Program

__all__ = ["decode"]


def decode(program: Program, note: str = "") -> tuple[Op, ...]:
    """What a program of our compiler does, in order.

    What `insert_tokens` and `emit` add is left out: tokens, what only passes them on, LOADs of
    micro-ops, and FINISH. Each operation gets the `note`.
    """
    isa = Isa(program.config)
    uops = np.zeros(program.config.uop_depth, "<u4")
    known: dict[bytes, tuple[MicroOp, ...]] = {}
    found: list[Op] = []

    def kernel_uops(begin: int, end: int) -> tuple[MicroOp, ...]:
        words = uops[begin:end]
        key = words.tobytes()
        if key not in known:
            fields = isa.uop.unpack_array(words)
            columns = (fields[name].tolist() for name in ("dst_idx", "src_idx", "wgt_idx"))
            known[key] = tuple(MicroOp(*each) for each in zip(*columns, strict=True))
        return known[key]

    for insn, ref in zip(isa.decode_stream(program.insns), program.refs.tolist(), strict=True):
        value = insn.values
        if insn.opcode in (Opcode.LOAD, Opcode.STORE):
            kind = MemoryType(value["memory_type"])
            if not value["x_size"]:
                continue
            if kind == MemoryType.UOP:
                data = program.buffers[ref].data
                assert data is not None, "`emit` loads micro-ops from constants"
                assert value["y_size"] == 1, "`emit` loads micro-ops in one row"
                first, count = value["dram_base"], value["x_size"]
                words = data.view("<u4")[first : first + count]
                uops[value["sram_base"] : value["sram_base"] + count] = words
                continue
            found.append(_transfer(program, insn.opcode, kind, value, ref, note))
        elif insn.opcode in (Opcode.GEMM, Opcode.ALU):
            found.append(
                _kernel(insn.opcode, value, kernel_uops(value["uop_bgn"], value["uop_end"]), note)
            )
    return tuple(found)


def _transfer(
    program: Program, opcode: int, kind: MemoryType, value: Mapping[str, int], ref: int, note: str
) -> Transfer:
    pads = (value["y_pad_0"], value["y_pad_1"], value["x_pad_0"], value["x_pad_1"])
    return Transfer(
        opcode=Opcode(opcode),
        memory_type=kind,
        buffer=program.buffers[ref].name if ref >= 0 else "",
        dram_base=value["dram_base"],
        sram_base=value["sram_base"],
        x_size=value["x_size"],
        y_size=value["y_size"],
        x_stride=value["x_stride"],
        pads=pads,
        pad_min=bool(value.get("pad_min")),
        note=note,
    )


def _kernel(opcode: int, value: Mapping[str, int], uops: tuple[MicroOp, ...], note: str) -> Kernel:
    loops = tuple(
        UopLoop(
            value[f"iter_{side}"],
            value[f"dst_factor_{side}"],
            value[f"src_factor_{side}"],
            value.get(f"wgt_factor_{side}", 0),
        )
        for side in ("out", "in")
    )
    if opcode == Opcode.GEMM:
        return Kernel(Opcode.GEMM, loops, uops, reset=bool(value["reset"]), note=note)
    operation = AluOp(value["alu_opcode"])
    qnt = operation == AluOp.QNT
    return Kernel(
        Opcode.ALU,
        loops,
        uops,
        alu_opcode=operation,
        imm=value["imm"] if value["use_imm"] else None,
        offsets=value["imm"] if qnt else 0,
        note=note,
    )
