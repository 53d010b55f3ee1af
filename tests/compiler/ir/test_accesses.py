"""The elements that loops around micro-ops touch, counted one by one."""

from __future__ import annotations

import numpy as np
import pytest

from vta.compiler.ir.accesses import Access, accesses
from vta.compiler.ir.insn_ir import Finish, Kernel, MicroOp, Nop, Transfer, UopLoop
from vta.config import PRESETS
from vta.isa import AluOp, MemoryType, Opcode

CONFIG = PRESETS["default"]


@pytest.mark.parametrize(
    ("starts", "loops"),
    [
        ((3,), ((4, 1),)),
        ((3,), ((4, 0),)),
        ((3,), ((2, 8), (4, 2))),
        ((0, 5), ((3, 1),)),
        ((0,), ((3, 4), (4, 1))),
        (range(2, 6), ((3, 4),)),
        (range(2, 6), ((3, 7),)),
        ((7,), ()),
        ((4, 5), ((2, 2),)),
        ((9,), ((1, 3), (5, 1))),
        ((9, 4), ((3, -2),)),
        ((4, 4), ((3, 0), (2, 1))),
        (range(5, 5), ((3, 1),)),
        (range(5, 8), ((0, 3),)),
        (range(5, 8), ((0, 0), (2, 1))),
    ],
)
def test_elements_and_reach(starts, loops):
    touched = list(starts)
    for extent, step in loops:
        touched = [n * step + start for n in range(extent) for start in touched]
    expected = sorted(set(touched))
    access = Access("acc", starts, loops, False)
    assert np.arange(100)[access.elements].tolist() == expected
    low, high = access.reach
    if expected:
        assert (low, high) == (expected[0], expected[-1] + 1)
        assert isinstance(access.elements, slice) == (len(expected) == high - low)
    else:
        assert low == high


def touched(op):
    """What `accesses` says of an instruction, as sets: {(space, write): elements}."""
    found = {}
    for access in accesses(op, CONFIG):
        elements = np.arange(4096)[access.elements].tolist()
        found.setdefault((access.space, access.write), set()).update(elements)
    return found


LOOPS = (UopLoop(3, 4, 1, 2), UopLoop(2, 20, 7, 50))
UOPS = (MicroOp(1, 2, 3), MicroOp(2, 5, 9))


def expected(side):
    """The elements that the loops lead to, one round after the other."""
    return {
        getattr(uop, side) + i * getattr(LOOPS[0], side) + j * getattr(LOOPS[1], side)
        for uop in UOPS
        for i in range(3)
        for j in range(2)
    }


def test_kernels():
    dst, src, wgt = (expected(side) for side in ("dst", "src", "wgt"))
    writes = {("acc", True): dst}
    assert touched(Kernel(Opcode.GEMM, LOOPS, UOPS, reset=True)) == writes
    assert touched(Kernel(Opcode.GEMM, LOOPS, UOPS)) == {
        **writes,
        ("acc", False): dst,
        ("inp", False): src,
        ("wgt", False): wgt,
    }
    add = Kernel(Opcode.ALU, LOOPS, UOPS, alu_opcode=AluOp.ADD)
    assert touched(add) == {**writes, ("acc", False): dst | src}
    add = Kernel(Opcode.ALU, LOOPS, UOPS, alu_opcode=AluOp.ADD, imm=1)
    assert touched(add) == {**writes, ("acc", False): dst}


@pytest.mark.parametrize(
    ("kind", "space", "parts"),
    [
        (MemoryType.INP, "inp", 1),
        (MemoryType.WGT, "wgt", 16),
        (MemoryType.ACC, "acc", 4),
        (MemoryType.ACC_8BIT, "acc", 1),
    ],
)
def test_loads(kind, space, parts):
    """Padding is written too; main memory counts in parts of the size of an output tile."""
    load = Transfer(Opcode.LOAD, kind, "A", 5, 30, 2, 3, 4, pads=(1, 2, 3, 4))
    tiles = {5, 6, 9, 10, 13, 14}
    assert touched(load) == {
        ("dram:A", False): {tile * parts + part for tile in tiles for part in range(parts)},
        (space, True): set(range(30, 30 + (1 + 3 + 2) * (3 + 2 + 4))),
    }


def test_a_load_of_padding_alone():
    load = Transfer(Opcode.LOAD, MemoryType.INP, "A", 0, 3, 5, 0, 5, pads=(1, 0, 0, 0))
    assert touched(load) == {("dram:A", False): set(), ("inp", True): {3, 4, 5, 6, 7}}


def test_stores():
    store = Transfer(Opcode.STORE, MemoryType.OUT, "C", 5, 30, 2, 3, 4)
    assert touched(store) == {
        ("acc", False): {30, 31, 32, 33, 34, 35},
        ("dram:C", True): {5, 6, 9, 10, 13, 14},
    }


def test_what_touches_nothing():
    assert accesses(Nop(), CONFIG) == accesses(Finish(), CONFIG) == ()
