"""Linking a program: addresses into instructions, against the encoding by hand."""

import numpy as np
import pytest

from tests.vta.test_program import make_program
from vta.config import PRESETS
from vta.errors import ProgramError
from vta.isa import Isa

CONFIG = PRESETS["default"]
ISA = Isa(CONFIG)


def mem_word(opcode, memory, dram_base, rest=0):
    """Word 0 of a LOAD or STORE: opcode in bits 0 to 2, tokens 3 to 6, memory_type 7 to 9,
    sram_base 10 to 25, dram_base 26 to 57; `rest` fills what is not named here."""
    named = 0b111 | 0b111 << 7 | ((1 << 32) - 1) << 26
    return opcode | memory << 7 | dram_base << 26 | rest & ~named & (1 << 64) - 1


ELEM_BYTES = {0: 4, 1: 256, 2: 16, 3: 64, 4: 16, 5: 16}
"""Of the default configuration, by memory type."""


def linked_by_hand(words, refs, addresses):
    """Each instruction on its own: dram_base plus the buffer's address in elements."""
    result = []
    for (low, high), ref in zip(words, refs, strict=True):
        if ref >= 0:
            memory = low >> 7 & 7
            dram_base = (low >> 26 & 0xFFFF_FFFF) + addresses[ref] // ELEM_BYTES[memory]
            assert dram_base < 1 << 32
            low = low & ~(0xFFFF_FFFF << 26) | dram_base << 26
        result.append([low, high])
    return result


@pytest.mark.parametrize("seed", range(20))
def test_link_equals_what_the_encoding_says(seed):
    """Random streams, whose sums reach both ends of dram_base and touch no other bit."""
    rng = np.random.default_rng(seed)
    addresses = [int(rng.integers(0, 1 << 20)) * 256 for _ in range(4)]
    words, refs = [], []
    for _ in range(300):
        ref = int(rng.integers(-1, 4))
        rest, high = (int(word) for word in rng.integers(0, 1 << 64, 2, np.uint64))
        if ref < 0:
            words.append([rest, high])
        else:
            opcode, memory = (1, 4) if rng.integers(3) == 0 else (0, int(rng.integers(6)))
            room = (1 << 32) - addresses[ref] // ELEM_BYTES[memory]
            dram = (0, 1, room - 1, int(rng.integers(room)))[rng.integers(4)]
            words.append([mem_word(opcode, memory, dram, rest), high])
        refs.append(ref)
    program = make_program(insns=np.array(words, np.uint64), refs=np.array(refs, np.int32))
    names = [buffer.name for buffer in program.buffers]
    linked = program.link(dict(zip(names, addresses, strict=True)))
    assert linked.dtype == np.uint64
    assert linked.tolist() == linked_by_hand(words, refs, addresses)
    assert program.insns.tolist() == words


@pytest.mark.parametrize(
    ("words", "addresses", "message"),
    [
        # The first instruction that is wrong is named, whatever else is wrong with later ones.
        (
            [mem_word(0, 3, 0), mem_word(0, 3, 0xFFFF_FFFF), 2],
            {"A": 64},
            "buffer A at 0x40 is out of reach",
        ),
        ([mem_word(0, 3, 0), 2, mem_word(0, 7, 0)], {"A": 64}, "instruction 1 .* cannot refer"),
        ([mem_word(0, 6, 0), 2], {"A": 0}, "instruction 0 .* is of a memory that does not exist"),
        ([mem_word(1, 4, 0), mem_word(0, 3, 0)], {"A": 16}, "a multiple of 64 bytes, not 0x10"),
        ([mem_word(0, 3, 0)], {"A": -64}, "buffer A at -0x40 is out of reach"),
        ([mem_word(0, 3, 5)], {"A": -64}, "buffer A at -0x40 is out of reach"),
        ([mem_word(0, 3, 0)], {"A": 1 << 70}, "buffer A at 0x4.* is out of reach"),
        ([mem_word(0, 3, 0)], {"B": 0}, "addresses must have buffer A"),
    ],
)
def test_link_names_the_first_fault(words, addresses, message):
    insns = np.array([[word, 0] for word in words], np.uint64)
    program = make_program(insns=insns, refs=np.zeros(len(words), np.int32))
    with pytest.raises(ProgramError, match=message):
        program.link(addresses)


def test_link_of_many_instructions_decodes_none(monkeypatch):
    """12,000 of them: what is done for each instruction in Python takes half a second."""
    words = np.array([[mem_word(0, 3, k), 0] for k in range(12_000)], np.uint64)
    program = make_program(insns=words, refs=np.zeros(12_000, np.int32))
    monkeypatch.setattr(Isa, "decode", None)
    linked = program.link({"A": 0x4000})
    assert (linked[:, 0] == words[:, 0] + np.uint64(0x100 << 26)).all()
