"""Programs: saved and loaded unchanged, refused when damaged or foreign, linked to addresses."""

import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest

from vta.config import PRESETS
from vta.errors import ProgramError
from vta.isa import Isa
from vta.program import DramBuffer, Program

CONFIG = PRESETS["default"]
ISA = Isa(CONFIG)


def make_program(**changes):
    """A LOAD of micro-ops, one of ACC, a STORE, FINISH."""
    insns = Isa.words(
        [
            ISA.mem.pack(opcode=0, memory_type=0, dram_base=1, x_size=3, y_size=1, x_stride=3),
            ISA.mem.pack(opcode=0, memory_type=3, dram_base=5, x_size=1, y_size=1, push_next=1),
            ISA.mem.pack(opcode=1, memory_type=4, sram_base=9, x_size=1, y_size=1, pop_prev=1),
            ISA.common.pack(opcode=3),
        ]
    )
    values = {
        "name": "main",
        "config": CONFIG,
        "insns": insns,
        "refs": np.array([2, 0, 1, -1], np.int32),
        "buffers": (
            DramBuffer(name="A", role="input", shape=(2, 16), dtype="int32"),
            DramBuffer(name="C", role="output", shape=(2, 16), dtype="int8"),
            DramBuffer(
                name="uops",
                role="const",
                shape=(4,),
                dtype="uint32",
                data=np.arange(16, dtype=np.uint8),
            ),
            DramBuffer(name="scratch", role="temp", shape=(3, 5), dtype="int16"),
        ),
    }
    return Program(**(values | changes))


def assert_same(one, other):
    for item in dataclasses.fields(Program):
        mine, theirs = getattr(one, item.name), getattr(other, item.name)
        if item.name == "buffers":
            for left, right in zip(mine, theirs, strict=True):
                assert dataclasses.replace(left, data=None) == dataclasses.replace(right, data=None)
                assert (left.data is None) == (right.data is None)
                assert left.data is None or np.array_equal(left.data, right.data)
        elif isinstance(mine, np.ndarray):
            assert mine.dtype == theirs.dtype
            assert np.array_equal(mine, theirs)
        else:
            assert mine == theirs


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "program.o"
    make_program().save(path)
    return path


def rewrite(path, **changes):
    """The file with some arrays replaced (None: left out)."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays.update(changes)
    with open(path, "wb") as file:
        np.savez(file, **{name: array for name, array in arrays.items() if array is not None})


def manifest(path, **changes):
    """The file with some of the manifest's values changed (None: left out)."""
    with np.load(path) as archive:
        values = json.loads(bytes(archive["manifest"])) | changes
    text = json.dumps({key: value for key, value in values.items() if value is not None})
    rewrite(path, manifest=np.frombuffer(text.encode(), np.uint8))


# -- what a program is ---------------------------------------------------------------------------


def test_save_and_load(saved):
    assert saved.name == "program.o"
    loaded = Program.load(saved)
    assert_same(loaded, make_program())
    assert loaded.digest == make_program().digest


def test_arguments_are_inputs_and_outputs():
    program = make_program()
    assert [buffer.name for buffer in program.args] == ["A", "C"]
    assert [buffer.nbytes for buffer in program.buffers] == [128, 32, 16, 30]
    assert program.nbytes == 4 * 16


def test_digest_sees_everything():
    program = make_program()
    insns = program.insns.copy()
    insns[2, 0] ^= np.uint64(1 << 40)
    other_data = dataclasses.replace(program.buffers[2], data=np.ones(16, np.uint8))
    variants = [
        program,
        make_program(insns=insns),
        make_program(refs=np.array([2, 0, 3, -1], np.int32)),
        make_program(name="other"),
        make_program(config=CONFIG.replace(addr_width=33)),
        make_program(buffers=(*program.buffers[:2], other_data, program.buffers[3])),
    ]
    assert len({variant.digest for variant in variants}) == len(variants)
    assert make_program().digest == program.digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"insns": np.zeros((4, 3), np.uint64)}, r"insns must be \(n, 2\) uint64, not \(4, 3\)"),
        ({"insns": np.zeros((4, 2), np.int64)}, "insns must be .* int64"),
        ({"refs": np.zeros(3, np.int32)}, "one number for each of 4 instructions"),
        ({"refs": np.array([0, 0, 0, 4], np.int32)}, "refs must be -1 to 3"),
        ({"refs": np.array([0, 0, 0, -2], np.int32)}, "refs must be -1 to 3"),
        (
            {"buffers": (DramBuffer(name="A", role="both", shape=(), dtype="int8"),) * 4},
            "buffer A: role must be one of input, output, temp, const, not 'both'",
        ),
        (
            {"buffers": (DramBuffer(name="u", role="const", shape=(2,), dtype="int16"),) * 4},
            "buffer u: data must be 4 bytes",
        ),
        (
            {
                "buffers": (
                    DramBuffer(
                        name="u",
                        role="const",
                        shape=(2,),
                        dtype="int16",
                        data=np.zeros(3, np.uint8),
                    ),
                )
                * 4
            },
            "buffer u: data must be 4 bytes",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(changes, message):
    with pytest.raises(ProgramError, match=message):
        make_program(**changes)


# -- linking -------------------------------------------------------------------------------------

ADDRESSES = {"A": 0x1000, "C": 0x2010, "uops": 0x3004, "scratch": 0}


def test_link_adds_each_buffers_address_in_elements():
    program = make_program()
    linked = [ISA.decode(int(low) | int(high) << 64) for low, high in program.link(ADDRESSES)]
    # Elements of 4, 64 and 16 bytes.
    assert [insn.dram_base for insn in linked[:3]] == [
        0x3004 // 4 + 1,
        0x1000 // 64 + 5,
        0x2010 // 16,
    ]
    assert [insn.x_size for insn in linked[:3]] == [3, 1, 1]
    assert linked[2].sram_base == 9
    assert np.array_equal(program.insns, make_program().insns)


def test_link_of_a_quarter_element():
    insns = Isa.words([ISA.mem.pack(opcode=0, memory_type=5, dram_base=1)])
    linked = make_program(insns=insns, refs=np.array([0], np.int32)).link({"A": 0x30})
    assert ISA.decode(int(linked[0, 0])).dram_base == 4


def test_link_refuses_misaligned_buffers():
    with pytest.raises(
        ProgramError, match="buffer A must lie at a multiple of 64 bytes, not 0x1010"
    ):
        make_program().link(ADDRESSES | {"A": 0x1010})


def test_link_refuses_what_dram_base_cannot_reach():
    with pytest.raises(ProgramError, match="buffer A at .* is out of reach of dram_base's 32 bits"):
        make_program().link(ADDRESSES | {"A": (2**32 - 5) * 64})
    make_program().link(ADDRESSES | {"A": (2**32 - 6) * 64})


def test_link_refuses_references_of_other_instructions():
    with pytest.raises(ProgramError, match=r"instruction 3 \(FINISH\) cannot refer to a buffer"):
        make_program(refs=np.array([2, 0, 1, 0], np.int32)).link(ADDRESSES)


# -- files that are not programs -----------------------------------------------------------------


def test_a_missing_file(tmp_path):
    with pytest.raises(ProgramError, match=r"none\.o: cannot be read \(No such file"):
        Program.load(tmp_path / "none.o")
    with pytest.raises(ProgramError, match="cannot be read"):
        Program.load(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", b"\x7fELF" + bytes(100), b"{}", b"PK\3\4" * 30],
    ids=["empty", "start", "elf", "json", "zip"],
)
def test_a_foreign_file(tmp_path, content):
    path = tmp_path / "x.o"
    path.write_bytes(content)
    with pytest.raises(ProgramError, match=r"x\.o: not a vta-program file"):
        Program.load(path)


def test_a_plain_array(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(3))
    with pytest.raises(ProgramError, match="not a vta-program file"):
        Program.load(tmp_path / "x.npy")


def test_an_archive_of_something_else(tmp_path):
    np.savez(tmp_path / "x.npz", weights=np.zeros(3))
    with pytest.raises(ProgramError, match=r"not a vta-program file \(no manifest\)"):
        Program.load(tmp_path / "x.npz")
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ProgramError, match="not a vta-program file"):
        Program.load(tmp_path / "y.npz")


def test_pickles_are_never_loaded(saved, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "trap"), "w"))

    raw = io.BytesIO()
    np.save(raw, np.array([Trap()], object), allow_pickle=True)
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr("extra.npy", raw.getvalue())
    with pytest.raises(ProgramError, match="pickle"):
        Program.load(saved)
    assert not (tmp_path / "trap").exists()


def test_another_kind_and_another_version(saved):
    manifest(saved, version=2)
    with pytest.raises(ProgramError, match="must be version 1 of vta-program, not 2"):
        Program.load(saved)
    manifest(saved, format="vta-image", version=1)
    with pytest.raises(ProgramError, match="must be a vta-program file, not 'vta-image'"):
        Program.load(saved)


@pytest.mark.parametrize("text", [b"", b"[]", b"3", b"\xff", b"null", b'"x"'])
def test_a_manifest_that_is_none(saved, text):
    rewrite(saved, manifest=np.frombuffer(text, np.uint8))
    with pytest.raises(ProgramError):
        Program.load(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": None}, "damaged program file"),
        ({"buffers": None}, "damaged program file"),
        ({"config": None}, "damaged program file"),
        ({"config": []}, "must be a JSON object, not list"),
        ({"config": {"LOG_BATCH": 0}}, "missing key TARGET"),
        ({"config": CONFIG.to_dict() | {"LOG_BLOCK": 9}}, "LOG_BLOCK must be 4 to 6, not 9"),
        ({"buffers": 3}, "damaged program file"),
        ({"buffers": [3]}, "damaged program file"),
        ({"buffers": []}, "refs must be -1 to -1"),
        (
            {"buffers": [{"name": "A", "role": "input", "shape": [1], "dtype": "int99"}] * 4},
            "damaged program file",
        ),
        (
            {"buffers": [{"name": "A", "role": "input", "shape": ["x"], "dtype": "int8"}] * 4},
            "damaged program file",
        ),
        (
            {"buffers": [{"name": "A", "role": "boss", "shape": [1], "dtype": "int8"}] * 4},
            "role must be one of",
        ),
    ],
)
def test_a_manifest_that_is_wrong(saved, changes, message):
    manifest(saved, **changes)
    with pytest.raises(ProgramError, match=rf"program\.o: .*{message}"):
        Program.load(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"insns": None}, "damaged program file"),
        ({"refs": None}, "damaged program file"),
        ({"buffer_2": None}, "buffer uops: data must be 16 bytes"),
        ({"buffer_2": np.zeros(3, np.uint8)}, "buffer uops: data must be 16 bytes"),
        ({"insns": np.zeros((4, 1), np.uint64)}, r"insns must be \(n, 2\)"),
        ({"refs": np.array([9, 9, 9, 9])}, "refs must be -1 to 3"),
    ],
)
def test_arrays_that_are_wrong(saved, changes, message):
    rewrite(saved, **changes)
    with pytest.raises(ProgramError, match=rf"program\.o: .*{message}"):
        Program.load(saved)


def test_truncated_at_any_length(saved):
    whole = saved.read_bytes()
    for length in range(0, len(whole), 7):
        saved.write_bytes(whole[:length])
        with pytest.raises(ProgramError, match=r"program\.o: "):
            Program.load(saved)


def test_any_damaged_byte_is_refused_or_harmless(saved):
    """Never another exception than ours, whatever happened to the file."""
    whole = saved.read_bytes()
    rng = np.random.default_rng(11)
    refused = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        saved.write_bytes(damaged)
        try:
            Program.load(saved)
        except ProgramError:
            refused += 1
    assert refused > len(whole) // 2


def test_any_damaged_manifest_is_refused_or_harmless(saved):
    """As above, with the archive's checksums right."""
    with np.load(saved) as archive:
        text = bytes(archive["manifest"])
    refused = 0
    rng = np.random.default_rng(12)
    for place in range(0, len(text), 2):
        damaged = bytearray(text)
        damaged[place] = int(rng.integers(32, 127))
        rewrite(saved, manifest=np.frombuffer(bytes(damaged), np.uint8))
        try:
            Program.load(saved)
        except ProgramError:
            refused += 1
    assert 0 < refused < len(text) // 2


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("insns", np.zeros((4, 2))),
        ("insns", np.full((4, 2), np.nan)),
        ("refs", np.full(4, 1j)),
        ("refs", np.array(["0"] * 4)),
    ],
)
def test_arrays_of_the_wrong_kind(saved, name, array):
    rewrite(saved, **{name: array})
    with pytest.raises(ProgramError, match=rf"program\.o: {name} must be whole numbers, not"):
        Program.load(saved)


@pytest.mark.parametrize("value", [10**30, -(10**30), -1, None, [1]])
def test_shapes_that_are_none(saved, value):
    manifest(saved, buffers=[{"name": "A", "role": "const", "shape": [value], "dtype": "int8"}] * 4)
    with pytest.raises(ProgramError, match=r"program\.o: "):
        Program.load(saved)


@pytest.mark.parametrize("dtype", [",", "{'a'}", "M8[X]", 10**30, [1]])
def test_dtypes_that_are_none(saved, dtype):
    manifest(saved, buffers=[{"name": "A", "role": "temp", "shape": [1], "dtype": dtype}] * 4)
    with pytest.raises(ProgramError, match="damaged program file"):
        Program.load(saved)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"{", "Expecting"),
        (b"{'format': 1}", "Expecting"),
        (b"", "Expecting"),
        (b"\xff", "decode"),
        (b"[" * 100_000, "nested"),
    ],
)
def test_a_manifest_that_is_not_json(saved, text, why):
    rewrite(saved, manifest=np.frombuffer(text, np.uint8))
    with pytest.raises(ProgramError, match=rf"damaged .* \(its manifest is not JSON: .*{why}"):
        Program.load(saved)


def test_link_refuses_memories_that_do_not_exist():
    insns = Isa.words([ISA.mem.pack(opcode=0, memory_type=7)])
    with pytest.raises(
        ProgramError,
        match=r"instruction 0 \(LOAD TYPE_7 .*\) is of a memory that "
        "does not exist",
    ):
        make_program(insns=insns, refs=np.array([0], np.int32)).link(ADDRESSES)
