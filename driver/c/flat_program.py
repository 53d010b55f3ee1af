"""The flat form of a program, which the C runtime loads in place (docs/c_runtime.md).

The tables here are the only description of the form. The constants in `vta.h` and the tables in the
documentation are generated from them.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vta.config import Config
from vta.errors import ProgramError
from vta.isa import Isa, MemoryType
from vta.program import ROLES
from vta.registers import config_words, version_word

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vta.program import DramBuffer, Program

__all__ = [
    "ALIGNMENT",
    "BUFFER",
    "FLAT_VERSION",
    "HEADER",
    "KINDS_OF_NUMBERS",
    "MAGIC",
    "RELOCATION",
    "FlatWord",
    "to_flat",
]

MAGIC = b"VTAF"
FLAT_VERSION = 1

ALIGNMENT = 64
"""The least alignment of buffers: no processor's cache line is longer on the boards we know."""

KINDS_OF_NUMBERS = {"i": "signed integer", "u": "unsigned integer", "f": "floating point"}

_SECTION = 16
"""Each section of the file starts at a multiple of this."""


class FlatWord(NamedTuple):
    """One 32-bit word, little-endian."""

    name: str
    doc: str


HEADER = (
    FlatWord("magic", "the bytes `VTAF`"),
    FlatWord("format", f"{FLAT_VERSION}, the version of this form"),
    FlatWord("file_bytes", "bytes of the whole file"),
    FlatWord("checksum", "CRC-32 (IEEE 802.3, as zlib computes it) of all bytes from 16 on"),
    FlatWord("version", "the least value of the register `version` that the program needs"),
    FlatWord("config_0", "the configuration, as in the register `config_0`"),
    FlatWord("config_1", "as in the register `config_1`"),
    FlatWord("config_2", "as in the register `config_2`"),
    FlatWord("alignment", "the address of each buffer is a multiple of it; a power of two"),
    FlatWord("insn_count", "number of instructions"),
    FlatWord("insns", "offset of the instructions, 16 bytes each"),
    FlatWord("relocation_count", "number of relocations"),
    FlatWord("relocations", "offset of the relocations"),
    FlatWord("buffer_count", "number of buffers"),
    FlatWord("buffers", "offset of the buffers' records"),
    FlatWord("name", "offset of the program's name"),
)

BUFFER = (
    FlatWord("name", "offset of the buffer's name"),
    FlatWord("role", ", ".join(f"{number} {role}" for number, role in enumerate(ROLES))),
    FlatWord(
        "type",
        "of a number: bits 7:0 are the character "
        + ", ".join(f"`{kind}` ({what})" for kind, what in KINDS_OF_NUMBERS.items())
        + "; bits 31:8 are its bytes: 1, 2, 4 or 8",
    ),
    FlatWord("dims", "number of dimensions"),
    FlatWord("shape", "offset of the dimensions, one word each"),
    FlatWord("bytes", "bytes of the array"),
    FlatWord("data", "offset of a constant's bytes; 0 for other roles"),
)

RELOCATION = (
    FlatWord("insn", "index of an instruction, LOAD or STORE; ascending"),
    FlatWord("buffer", "bits 23:0 are the index of its buffer, bits 31:24 log2 of element bytes"),
)

_LIMIT = 1 << 32


def to_flat(program: Program) -> bytes:
    """The flat form of a program.

    Raises
    ------
    ProgramError
        If the program is too large for 32-bit offsets, or uses an instruction or an array that the
        form cannot describe.
    """
    config = program.config
    if not len(program.insns):
        raise ProgramError(f"{program.name} has no instructions")
    # The header's own words come last, when all offsets are known.
    body = _Body(len(HEADER) * 4)
    insns = body.add(program.insns.astype("<u8").tobytes())
    relocations = list(_relocations(program))
    relocation_offset = body.add_words(word for entry in relocations for word in entry)
    records = [_record(body, buffer) for buffer in program.buffers]
    buffer_offset = body.add_words(word for record in records for word in record)
    name = body.add_text(program.name)
    words = [
        _needed_version(program),
        *config_words(config),
        max(ALIGNMENT, *(config.elem_bytes(kind) for kind in MemoryType)),
        *(len(program.insns), insns),
        *(len(relocations), relocation_offset),
        *(len(records), buffer_offset),
        name,
    ]
    size = body.offset
    if size >= _LIMIT or any(word >= _LIMIT for record in records for word in record):
        raise ProgramError(f"{program.name} is too large for the flat form, which ends at 4 GiB")
    checked = struct.pack(f"<{len(words)}I", *words) + body.bytes()
    return MAGIC + struct.pack("<3I", FLAT_VERSION, size, zlib.crc32(checked)) + checked


class _Body:
    """The sections after the header, and the offset of the next one."""

    def __init__(self, start: int) -> None:
        self.offset = start
        self._parts: list[bytes] = []

    def add(self, data: bytes) -> int:
        """Appends a section; its offset in the file."""
        begin = self.offset
        padded = data + bytes(-len(data) % _SECTION)
        self._parts.append(padded)
        self.offset += len(padded)
        return begin

    def add_words(self, words: Iterable[int]) -> int:
        return self.add(b"".join(min(word, _LIMIT - 1).to_bytes(4, "little") for word in words))

    def add_text(self, text: str) -> int:
        if "\0" in text:
            raise ProgramError(f"a name must not contain a zero byte, unlike {text!r}")
        return self.add(text.encode() + b"\0")

    def bytes(self) -> bytes:
        return b"".join(self._parts)


def _relocations(program: Program) -> Iterable[tuple[int, int]]:
    """The words of each relocation."""
    where = np.flatnonzero(program.refs >= 0)
    if len(program.buffers) >= 1 << 24:
        raise ProgramError(f"{program.name} has too many buffers for the flat form")
    # Link it anywhere: this refuses instructions that cannot refer to a buffer.
    program.link({buffer.name: 0 for buffer in program.buffers})
    fields = Isa(program.config).mem.unpack_array(program.insns[where])
    for index, memory in zip(where.tolist(), fields["memory_type"].tolist(), strict=True):
        shift = program.config.log_elem_bytes(MemoryType(memory))
        yield index, int(program.refs[index]) | shift << 24


def _record(body: _Body, buffer: DramBuffer) -> Sequence[int]:
    """The words of a buffer's record; adds what they refer to."""
    dtype = np.dtype(buffer.dtype)
    if dtype.kind not in KINDS_OF_NUMBERS or dtype.itemsize > 8:
        raise ProgramError(f"buffer {buffer.name}: the flat form has no type {buffer.dtype}")
    return (
        body.add_text(buffer.name),
        ROLES.index(buffer.role),
        ord(dtype.kind) | dtype.itemsize << 8,
        len(buffer.shape),
        body.add_words(buffer.shape),
        buffer.nbytes,
        body.add(buffer.data.tobytes())
        if buffer.role == "const" and buffer.data is not None
        else 0,
    )


def _needed_version(program: Program) -> int:
    """The encoding that the instructions need, which may be older than the configuration's."""
    config: Config = program.config
    if config.requantises and Isa(config).first_new(program.insns) is None:
        config = config.replace(hw_ver="0.0.2")
    return version_word(config)
