"""Files that are damaged, by accident or on purpose: a status, and no byte is read beyond the end.

`walk.c` is compiled with sanitizers, gives each file memory of exactly its size, and runs what
loads.
"""

from __future__ import annotations

import dataclasses
import struct
import subprocess
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.driver.c.bridge import STATUSES
from tests.driver.c.toolchains import HERE, SANITIZED
from tests.driver.conftest import add_seven
from vta.config import PRESETS
from vta.driver.c.flat_program import to_flat
from vta.program import DramBuffer

PROGRAM = add_seven(PRESETS["tiny"])
FLAT = to_flat(
    dataclasses.replace(
        PROGRAM,
        buffers=(
            *PROGRAM.buffers,
            DramBuffer(name="t", role="temp", shape=(3, 5), dtype="int16"),
            DramBuffer(name="none", role="input", shape=(0, 4), dtype="float32"),
        ),
    )
)
HEADER_WORDS = 16


class Walker:
    def __init__(self, process):
        self.process = process
        self.seen = set()

    def status(self, data):
        """What `vta_load`, or what came after it, said of a file."""
        self.process.stdin.write(struct.pack("<I", len(data)) + data)
        self.process.stdin.flush()
        answer = self.process.stdout.read(1)
        assert answer, self.process.stderr.read().decode()
        self.seen.add(STATUSES[answer[0]])
        return STATUSES[answer[0]]


@pytest.fixture(scope="module")
def walker(tmp_path_factory):
    command = SANITIZED.build(tmp_path_factory.mktemp("walk"), HERE / "walk.c")
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        yield Walker(process)
        process.stdin.write(b"\xff" * 4)
        process.stdin.close()
        assert process.wait() == 0, process.stderr.read().decode()


def resealed(data):
    """The file with a size and a checksum that are right."""
    data = bytearray(data)
    if len(data) >= 16:
        struct.pack_into("<I", data, 8, len(data))
        struct.pack_into("<I", data, 12, zlib.crc32(data[16:]))
    return bytes(data)


def test_a_sound_file_runs(walker):
    assert walker.status(FLAT) == "OK"
    assert walker.status(FLAT + b"whatever follows") == "OK"
    assert resealed(FLAT) == FLAT


def test_more_buffers_than_there_is_room_for(walker):
    more = (DramBuffer(name=f"t{n}", role="temp", shape=(1,), dtype="int8") for n in range(5))
    flat = to_flat(dataclasses.replace(PROGRAM, buffers=(*PROGRAM.buffers, *more)))
    assert walker.status(flat) == "TOO_MANY_BUFFERS"


def test_truncation_at_every_length(walker):
    assert {walker.status(FLAT[:size]) for size in range(len(FLAT))} == {"TRUNCATED"}


def test_truncation_with_a_right_checksum(walker):
    """The sections do not fit any longer, whatever the header says of the size."""
    statuses = {walker.status(resealed(FLAT[:size])) for size in range(64, len(FLAT))}
    assert statuses <= {"DAMAGED", "OK"}
    # Only the zeros after the program's name may be missing.
    last = FLAT.rindex(b"add_seven\0") + len(b"add_seven\0")
    assert walker.status(resealed(FLAT[:last])) == "OK"
    assert walker.status(resealed(FLAT[: last - 1])) == "DAMAGED"


def test_every_bit(walker):
    """One wrong bit never goes unnoticed."""
    for place in range(8 * len(FLAT)):
        data = bytearray(FLAT)
        data[place // 8] ^= 1 << place % 8
        assert walker.status(bytes(data)) in (
            "NOT_A_PROGRAM",
            "WRONG_FORMAT",
            "TRUNCATED",
            "BAD_CHECKSUM",
            "DAMAGED",
        ), place


EXTREMES = (
    0,
    1,
    3,
    4,
    0x7F,
    1 << 24,
    1 << 30,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 16,
    (1 << 32) - 1,
)


def test_every_word_at_its_extremes(walker):
    """With a checksum that is right: the parser's own checks must hold."""
    for offset in range(16, len(FLAT), 4):
        (word,) = struct.unpack_from("<I", FLAT, offset)
        for value in {*EXTREMES, word + 1 & 0xFFFFFFFF, word - 1 & 0xFFFFFFFF, len(FLAT)}:
            data = bytearray(FLAT)
            struct.pack_into("<I", data, offset, value)
            walker.status(resealed(data))
    assert {"OK", "DAMAGED", "WRONG_VERSION", "OUT_OF_REACH"} <= walker.seen


@pytest.mark.parametrize(
    ("buffer", "changes"),
    [
        (0, {0: len(FLAT)}),  # a name beyond the end
        (0, {4: 4}),  # a role that does not exist
        (0, {8: ord("x") | 4 << 8}),
        (0, {8: ord("i") | 3 << 8}),
        (0, {8: ord("i")}),
        (0, {12: len(FLAT)}),  # more dimensions than there are words
        (0, {20: 164}),  # not the bytes of the shape
        (3, {24: len(FLAT) - 7}),  # a constant of 8 bytes that does not end inside
    ],
    ids=str,
)
def test_wrong_records(walker, buffer, changes):
    (records,) = struct.unpack_from("<I", FLAT, 56)
    data = bytearray(FLAT)
    for offset, value in changes.items():
        struct.pack_into("<I", data, records + 28 * buffer + offset, value)
    assert walker.status(resealed(data)) == "DAMAGED"


def test_a_shape_whose_product_overflows(walker):
    """4 bytes times 2^31 times 2^31 is 0 in 64 bits, and 0 bytes is what the record says."""
    records = struct.unpack_from("<I", FLAT, 56)[0]
    (shape,) = struct.unpack_from("<I", FLAT, records + 28 * 5 + 16)
    data = bytearray(FLAT)
    struct.pack_into("<2I", data, shape, 1 << 31, 1 << 31)
    assert walker.status(resealed(data)) == "DAMAGED"


# A position, and bytes to put there.
EDITS = st.lists(
    st.tuples(st.integers(0, len(FLAT) - 1), st.binary(min_size=1, max_size=8)), max_size=6
)


@given(edits=EDITS, size=st.integers(0, len(FLAT) + 40), sealed=st.booleans())
def test_random_damage(walker, edits, size, sealed):
    data = bytearray((FLAT + bytes(40))[:size])
    for place, new in edits:
        data[place : place + len(new)] = new
    walker.status(resealed(data) if sealed else bytes(data))


@pytest.mark.full
@settings(max_examples=10_000)
@given(edits=EDITS, size=st.integers(0, len(FLAT) + 40))
def test_much_random_damage(walker, edits, size):
    test_random_damage.hypothesis.inner_test(walker, edits, size, True)


@given(st.binary(max_size=300))
def test_junk(walker, data):
    assert walker.status(data) in ("TRUNCATED", "NOT_A_PROGRAM", "WRONG_FORMAT")
    walker.status(resealed(b"VTAF\1\0\0\0" + data))
