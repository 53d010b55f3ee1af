"""Every kind of conflict between two modules is a race without tokens, and none with them.

The streams are encoded by hand, so that no pass of the compiler has a part in them.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from vta.compiler.check.proof import VerifyError, verify_program
from vta.config import PRESETS
from vta.isa import MAX_TOKENS, AluOp, Isa, MemoryType, Opcode
from vta.program import DramBuffer, Program

TINY = PRESETS["tiny"]
ISA = Isa(TINY)
UOPS = ISA.uop.pack_array(dst_idx=[0, 1], src_idx=[0, 1], wgt_idx=[0, 0])
BUFFERS = (
    DramBuffer(name="inputs", role="input", shape=(8, 1, 8), dtype="int8"),
    DramBuffer(name="weights", role="input", shape=(8, 8, 8), dtype="int8"),
    DramBuffer(name="sums", role="input", shape=(8, 1, 8), dtype="int32"),
    DramBuffer(name="between", role="temp", shape=(8, 1, 8), dtype="int8"),
    DramBuffer(
        name="uops",
        role="const",
        shape=(2,),
        dtype="uint32",
        data=np.frombuffer(UOPS.tobytes(), np.uint8),
    ),
)
LOAD, COMPUTE, STORE = range(3)


def move(module, kind, buffer, opcode=Opcode.LOAD, tiles=1, **fields):
    fields = {"y_size": 1, "x_size": tiles, "x_stride": tiles, **fields}
    reference = next(n for n, item in enumerate(BUFFERS) if item.name == buffer)
    return module, ISA.mem, {"opcode": opcode, "memory_type": kind, **fields}, reference


def kernel(opcode, **fields):
    fields = {"uop_bgn": 0, "uop_end": 1, "iter_out": 1, "iter_in": 1, **fields}
    return COMPUTE, ISA.alu if opcode == Opcode.ALU else ISA.gemm, {"opcode": opcode, **fields}, -1


INP = move(LOAD, MemoryType.INP, "inputs")
WGT = move(LOAD, MemoryType.WGT, "weights")
INP_AGAIN = move(LOAD, MemoryType.INP, "between", sram_base=1)
ACC = move(COMPUTE, MemoryType.ACC, "sums")
ACC_AGAIN = move(COMPUTE, MemoryType.ACC_8BIT, "between", sram_base=1)
UOP = move(COMPUTE, MemoryType.UOP, "uops", tiles=2)
RESET, GEMM = kernel(Opcode.GEMM, reset=1), kernel(Opcode.GEMM)
ADD = kernel(Opcode.ALU, alu_opcode=2, use_imm=1, imm=1)
OUT = move(STORE, MemoryType.OUT, "between", Opcode.STORE)
NOP = COMPUTE, ISA.mem, {"opcode": Opcode.LOAD}, -1

ALL = (INP, WGT, UOP, RESET)
CONFLICTS = {  # what runs before, and the two that conflict
    "inp: read after write": ((WGT, UOP, RESET), INP, GEMM),
    "wgt: read after write": ((INP, UOP, RESET), WGT, GEMM),
    "inp: write after read": (ALL, GEMM, INP),
    "wgt: write after read": (ALL, GEMM, WGT),
    "acc: store after GEMM": (ALL, GEMM, OUT),
    "acc: store after reset": ((UOP,), RESET, OUT),
    "acc: store after ALU": ((UOP, RESET), ADD, OUT),
    "acc: store after LOAD": ((), ACC, OUT),
    "acc: GEMM after store": (ALL, OUT, GEMM),
    "acc: reset after store": ((UOP, RESET), OUT, RESET),
    "acc: ALU after store": ((UOP, RESET), OUT, ADD),
    "acc: LOAD after store": ((UOP, RESET), OUT, ACC),
    "memory: INP after store": ((UOP, RESET), OUT, INP_AGAIN),
    "memory: ACC after store": ((UOP, RESET), OUT, ACC_AGAIN),
    "memory: store after INP": ((UOP, RESET, OUT), INP_AGAIN, OUT),
    "memory: store after ACC": ((UOP, RESET, OUT), ACC_AGAIN, OUT),
}


def stream(steps, apart=None):
    """The program of `steps`, each ended before the next one starts; not so after step `apart`."""
    insns = []
    for number, step in enumerate(steps):
        if insns and number - 1 != apart:
            if abs(insns[-1][0] - step[0]) == 2:
                insns.append(link(insns, NOP))
            step = link(insns, step)
        insns.append(step)
    words = [form.pack(**fields) for _, form, fields, _ in insns]
    words.append(ISA.common.pack(opcode=Opcode.FINISH))
    refs = [reference for _, _, _, reference in insns] + [-1]
    return Program(
        name="races",
        config=TINY,
        insns=ISA.words(words).astype(np.uint64),
        refs=np.array(refs, np.int32),
        buffers=BUFFERS,
    )


def link(insns, step):
    """`step`, waiting for the last of `insns` if that is a neighbour's."""
    module, form, fields, reference = insns[-1]
    if module == step[0]:
        return step
    push, pop = ("next", "prev") if step[0] > module else ("prev", "next")
    insns[-1] = module, form, {**fields, f"push_{push}": 1}, reference
    return step[0], step[1], {**step[2], f"pop_{pop}": 1}, step[3]


@pytest.mark.parametrize("name", CONFLICTS)
def test_a_conflict_needs_a_chain_of_tokens(name):
    before, first, second = CONFLICTS[name]
    steps = (*before, first, second)
    verify_program(stream(steps))
    with pytest.raises(VerifyError, match="races with instruction") as error:
        verify_program(stream(steps, apart=len(before)))
    place = len(stream(steps, apart=len(before)).insns) - 3
    assert f"instruction {place + 1} (" in str(error.value)
    assert f"races with instruction {place} of" in str(error.value)


@pytest.mark.parametrize(
    ("fields", "touched"),
    [
        ({"iter_in": 3, "dst_factor_in": 2}, {0, 2, 4}),
        ({"iter_out": 2, "dst_factor_out": 5, "iter_in": 2, "dst_factor_in": 2}, {0, 2, 5, 7}),
        ({"uop_end": 2, "iter_in": 3, "dst_factor_in": 3}, {0, 1, 3, 4, 6, 7}),
        ({"uop_end": 2, "iter_in": 4, "dst_factor_in": 1}, {0, 1, 2, 3, 4}),
        ({"uop_bgn": 1, "uop_end": 2, "iter_in": 3, "dst_factor_in": 0}, {1}),
    ],
)
def test_elements_between_those_of_a_kernel_are_free(fields, touched):
    """A store of an element races with a kernel exactly if the kernel writes that element."""
    everything = kernel(Opcode.GEMM, reset=1, iter_in=8, dst_factor_in=1)
    for tile in range(8):
        store = move(STORE, MemoryType.OUT, "between", Opcode.STORE, sram_base=tile)
        nothing = move(STORE, MemoryType.OUT, "between", Opcode.STORE, tiles=0)
        steps = (UOP, everything, nothing, kernel(Opcode.GEMM, reset=1, **fields), store)
        program = stream(steps, apart=3)
        if tile in touched:
            with pytest.raises(VerifyError, match="races with instruction 3"):
                verify_program(program)
        else:
            verify_program(program)


@pytest.mark.parametrize(("pad", "races"), [({"x_pad_1": 1}, True), ({}, False)])
def test_padding_is_written_too(pad, races):
    read = kernel(Opcode.GEMM, uop_bgn=1, uop_end=2)
    both = move(LOAD, MemoryType.INP, "inputs", tiles=2)
    steps = (both, WGT, UOP, kernel(Opcode.GEMM, reset=1, uop_end=2), read)
    again = move(LOAD, MemoryType.INP, "inputs", **pad)
    program = stream((*steps, again), apart=4)
    if races:
        with pytest.raises(VerifyError, match="races with instruction 4"):
            verify_program(program)
    else:
        verify_program(program)


@pytest.mark.parametrize("rows", [1, 3])
def test_rows_of_a_strided_transfer(rows):
    """Rows of two tiles, four apart: what lies between two rows is not read."""
    wide = move(STORE, MemoryType.OUT, "between", Opcode.STORE, tiles=8, sram_base=8)
    fill = kernel(Opcode.GEMM, reset=1, iter_in=16, dst_factor_in=1)
    load = move(LOAD, MemoryType.INP, "between", tiles=2, y_size=min(rows, 2), x_stride=4)
    for tile in range(8):
        store = move(STORE, MemoryType.OUT, "between", Opcode.STORE, dram_base=tile)
        program = stream((UOP, fill, wide, load, store), apart=3)
        if tile in (0, 1) or (rows > 1 and tile in (4, 5)):
            with pytest.raises(VerifyError, match="races with"):
                verify_program(program)
        else:
            verify_program(program)


def test_padded_micro_ops_are_zeros():
    """Padding loads micro-ops of element 0, whatever was there before."""
    second = move(COMPUTE, MemoryType.UOP, "uops", dram_base=1, x_pad_0=1)
    reset = kernel(Opcode.GEMM, reset=1, uop_end=2)
    low = kernel(Opcode.GEMM, reset=1, iter_in=9, dst_factor_in=1)
    # The first micro-op is the padding, which resets element 0, the second resets element 1.
    for tile, races in ((0, True), (1, True), (2, False)):
        store = move(STORE, MemoryType.OUT, "between", Opcode.STORE, sram_base=tile)
        nothing = move(STORE, MemoryType.OUT, "between", Opcode.STORE, tiles=0)
        program = stream((UOP, low, nothing, second, reset, store), apart=4)
        if races:
            with pytest.raises(VerifyError, match="races with instruction 4"):
                verify_program(program)
        else:
            verify_program(program)


@pytest.mark.parametrize(
    ("step", "flag"), [(INP, "pop_prev"), (INP, "push_prev"), (OUT, "pop_next"), (OUT, "push_next")]
)
def test_load_and_store_have_one_neighbour(step, flag):
    module, form, fields, reference = step
    with pytest.raises(VerifyError, match="a token for a neighbour that does not exist"):
        verify_program(stream((UOP, RESET, (module, form, {**fields, flag: 1}, reference))))


def test_mov_does_not_read_its_destination():
    newer = TINY.replace(hw_ver="0.0.3")
    fields = {"use_imm": 1, "imm": 1}
    for operation, reads in ((AluOp.ADD, True), (AluOp.MOV, False)):
        steps = (UOP, kernel(Opcode.ALU, alu_opcode=operation, **fields))
        program = dataclasses.replace(stream(steps), config=newer)
        if reads:
            with pytest.raises(VerifyError, match=r"reads acc\[0:1\] before all of it is written"):
                verify_program(program)
        else:
            verify_program(program)


@pytest.mark.parametrize("operation", [AluOp.QNT, AluOp.MOV])
def test_operations_of_the_newer_encoding(operation):
    program = stream((UOP, RESET, kernel(Opcode.ALU, alu_opcode=operation)))
    older, newer = (TINY.replace(hw_ver=version) for version in ("0.0.2", "0.0.3"))
    with pytest.raises(VerifyError, match="no such ALU operation"):
        verify_program(dataclasses.replace(program, config=older))
    verify_program(dataclasses.replace(program, config=newer))


@pytest.mark.parametrize("count", [MAX_TOKENS, MAX_TOKENS + 1])
def test_a_queue_that_is_full(count):
    """`count` tokens from compute to load before the first is taken."""
    push = ISA.mem.pack(opcode=Opcode.LOAD, push_prev=1)
    pop = ISA.mem.pack(opcode=Opcode.LOAD, memory_type=MemoryType.INP, pop_next=1)
    words = ISA.words([push, pop, ISA.common.pack(opcode=Opcode.FINISH)]).astype(np.uint64)
    program = Program(
        name="full",
        config=TINY,
        insns=words[np.repeat([0, 1, 2], [count, count, 1])],
        refs=np.full(2 * count + 1, -1, np.int32),
        buffers=(),
    )
    if count > MAX_TOKENS:
        with pytest.raises(VerifyError, match="instruction 65535 .*g2l overflows"):
            verify_program(program)
    else:
        verify_program(program)
