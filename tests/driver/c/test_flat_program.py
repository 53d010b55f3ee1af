"""The flat form, to the byte."""

from __future__ import annotations

import dataclasses
import struct
import zlib

import numpy as np
import pytest

from tests.driver.conftest import add_seven
from vta.config import PRESETS
from vta.driver.c.flat_program import to_flat
from vta.errors import ProgramError
from vta.isa import AluOp, Isa, Opcode
from vta.program import DramBuffer

TINY = PRESETS["tiny"]


def words(data, offset, count):
    return struct.unpack_from(f"<{count}I", data, offset)


def text(data, offset):
    return data[offset : data.index(b"\0", offset)].decode()


def test_every_byte_has_its_place(addition):
    flat = to_flat(addition)
    assert flat[:4] == b"VTAF"
    assert words(flat, 4, 3) == (1, len(flat), zlib.crc32(flat[16:]))
    # LOG_BUS_WIDTH 6, LOG_BLOCK 3, LOG_BATCH 0, widths 5, 3, 3; sizes 8, 9, 11, 11; bursts of 64,
    # queues of 2^9, addresses of 32 bits. The largest tile is WGT's, of 8 x 8 bytes.
    assert words(flat, 16, 5) == (0x200, 0x630533, 0x0B0B0908, 0x400920, 64)
    insn_count, insns, reloc_count, relocs, buffer_count, buffers, name = words(flat, 36, 7)
    assert (insn_count, reloc_count, buffer_count) == (7, 4, 4)
    assert text(flat, name) == "add_seven"
    assert flat[insns : insns + 7 * 16] == addition.insns.astype("<u8").tobytes()
    # ACC tiles have 32 bytes, OUT tiles 8, micro-ops 4.
    assert words(flat, relocs, 8) == (
        0,
        0 | 5 << 24,
        1,
        1 | 5 << 24,
        2,
        3 | 2 << 24,
        5,
        2 | 3 << 24,
    )
    found = []
    for index in range(buffer_count):
        name, role, kind, dims, shape, size, data = words(flat, buffers + 28 * index, 7)
        found.append(
            (text(flat, name), role, chr(kind & 255), kind >> 8, words(flat, shape, dims), size)
        )
        if role == 3:
            assert flat[data : data + size] == addition.buffers[index].data.tobytes()
        else:
            assert data == 0
    assert found == [
        ("A", 0, "i", 4, (5, 1, 8), 160),
        ("B", 0, "i", 4, (5, 1, 8), 160),
        ("C", 1, "i", 1, (5, 1, 8), 40),
        ("uops", 3, "u", 4, (2,), 8),
    ]
    assert all(offset % 16 == 0 for offset in (insns, relocs, buffers, len(flat)))


def test_the_version_is_that_of_the_instructions():
    newer = TINY.replace(hw_ver="0.0.3")
    program = add_seven(newer)
    assert words(to_flat(program), 16, 1) == (0x200,)
    isa = Isa(newer)
    insns = program.insns.copy()
    insns[3] = Isa.words(
        [isa.alu.pack(opcode=Opcode.ALU, alu_opcode=AluOp.MOV, uop_end=1, iter_out=1, iter_in=1)]
    )[0]
    assert words(to_flat(dataclasses.replace(program, insns=insns)), 16, 1) == (0x300,)


def test_the_alignment_is_that_of_the_largest_tile():
    assert words(to_flat(add_seven(PRESETS["default"])), 32, 1) == (256,)


def test_what_it_cannot_say(addition):
    def buffers(**changes):
        return (dataclasses.replace(addition.buffers[0], **changes), *addition.buffers[1:])

    with pytest.raises(ProgramError, match="a name must not contain a zero byte, unlike 'A.x00'"):
        to_flat(dataclasses.replace(addition, buffers=buffers(name="A\0")))
    with pytest.raises(ProgramError, match="buffer A: the flat form has no type bool"):
        to_flat(dataclasses.replace(addition, buffers=buffers(dtype="bool")))
    with pytest.raises(ProgramError, match="add_seven is too large for the flat form"):
        to_flat(dataclasses.replace(addition, buffers=buffers(shape=(1 << 30, 2))))
    with pytest.raises(ProgramError, match="add_seven has no instructions"):
        to_flat(
            dataclasses.replace(
                addition, insns=np.zeros((0, 2), np.uint64), refs=np.zeros(0, np.int32)
            )
        )
    refs = addition.refs.copy()
    refs[6] = 0
    with pytest.raises(ProgramError, match=r"instruction 6 \(FINISH.*\) cannot refer to a buffer"):
        to_flat(dataclasses.replace(addition, refs=refs))


def test_temporary_and_empty_arrays(addition):
    """They have no bytes in the file."""
    extra = (
        DramBuffer(name="t", role="temp", shape=(3, 5), dtype="int16"),
        DramBuffer(name="none", role="input", shape=(0, 4), dtype="float32"),
    )
    flat = to_flat(dataclasses.replace(addition, buffers=(*addition.buffers, *extra)))
    buffers = words(flat, 56, 1)[0]
    assert words(flat, buffers + 28 * 4, 7)[1:4] == (2, ord("i") | 2 << 8, 2)
    assert words(flat, buffers + 28 * 4, 7)[5:] == (30, 0)
    assert words(flat, buffers + 28 * 5, 7)[5:] == (0, 0)
