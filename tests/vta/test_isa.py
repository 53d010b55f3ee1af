"""The encoding, to the bit: by hand from docs/isa.md, by a C compiler's rules, by round trips."""

import ctypes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vta.config import PRESETS
from vta.errors import EncodingError
from vta.isa import TOKEN_LINKS, TOKEN_QUEUES, AluOp, Cause, Isa, MemoryType, ModuleId, Opcode

DEFAULT, TINY = Isa(PRESETS["default"]), Isa(PRESETS["tiny"])
# INP deeper than ACC: src_idx is wider than ACC's index.
DEEP_INP = Isa(PRESETS["default"].replace(log_acc_buff_size=15))


def words(word):
    return word & (1 << 64) - 1, word >> 64


# -- golden patterns, worked out by hand from docs/isa.md, "Encoding" ----------------------------


def test_load():
    # Word 0: opcode 0; pop_next bit 4; push_next bit 6; memory_type 2 << 7 = 0x100;
    #   sram_base 0x1234 << 10 = 0x48d000; dram_base 0x89abcdef << 26 = 0x0226af37bc000000.
    # Word 1: y_size 3; x_size 5 << 16; x_stride 7 << 32; pads 1 << 48, 2 << 52, 3 << 56, 4 << 60.
    # Nothing in it depends on the configuration.
    for isa in (DEFAULT, TINY, DEEP_INP):
        assert words(
            isa.mem.pack(
                opcode=0,
                pop_next=1,
                push_next=1,
                memory_type=2,
                sram_base=0x1234,
                dram_base=0x89ABCDEF,
                y_size=3,
                x_size=5,
                x_stride=7,
                y_pad_0=1,
                y_pad_1=2,
                x_pad_0=3,
                x_pad_1=4,
            )
        ) == (0x0226_AF37_BC48_D150, 0x4321_0007_0005_0003)


def test_store():
    # Opcode 1; pop_prev bit 3; push_prev bit 5; memory_type 4 << 7 = 0x200; sram_base 1 << 10;
    # dram_base 1 << 26.
    assert words(
        DEFAULT.mem.pack(
            opcode=1,
            pop_prev=1,
            push_prev=1,
            memory_type=4,
            sram_base=1,
            dram_base=1,
            y_size=1,
            x_size=0xFFFF,
        )
    ) == (0x0000_0000_0400_0629, 0x0000_0000_FFFF_0001)


def test_gemm_default():
    # LOG_UOP_DEPTH 13, A 11, I 11, W 10.
    # Word 0: opcode 2; pop_prev 8; push_prev 0x20; reset 0x80; uop_bgn 1 << 8;
    #   uop_end 0x2000 << 21 = 2^34; iter_out 14 << 35 = 0x7000000000; iter_in 3 << 49.
    # Word 1: 1; 2 << 11 = 0x1000; 3 << 22 = 0xc00000; 4 << 33 = 0x800000000; 5 << 44; 6 << 54.
    assert words(
        DEFAULT.gemm.pack(
            opcode=2,
            pop_prev=1,
            push_prev=1,
            reset=1,
            uop_bgn=1,
            uop_end=0x2000,
            iter_out=14,
            iter_in=3,
            dst_factor_out=1,
            dst_factor_in=2,
            src_factor_out=3,
            src_factor_in=4,
            wgt_factor_out=5,
            wgt_factor_in=6,
        )
    ) == (0x0006_0074_0000_01AA, 0x0180_5008_00C0_1001)


def test_gemm_tiny():
    # LOG_UOP_DEPTH 6, A 6, I 6, W 5.
    # Word 0: opcode 2; push_next 0x40; uop_bgn 5 << 8; uop_end 64 << 14 = 0x100000;
    #   iter_out 0x3fff << 21 = 0x7ffe00000; iter_in 2 << 35 = 0x1000000000.
    # Word 1: 63; 1 << 6; 2 << 12; 3 << 18 = 0xc0000; 31 << 24 = 0x1f000000; 4 << 29 = 0x80000000.
    assert words(
        TINY.gemm.pack(
            opcode=2,
            push_next=1,
            uop_bgn=5,
            uop_end=64,
            iter_out=0x3FFF,
            iter_in=2,
            dst_factor_out=63,
            dst_factor_in=1,
            src_factor_out=2,
            src_factor_in=3,
            wgt_factor_out=31,
            wgt_factor_in=4,
        )
    ) == (0x0000_0017_FFF0_0542, 0x0000_0000_9F0C_207F)


def test_alu_default():
    # Word 0: opcode 4; push_next 0x40; uop_bgn 2 << 8; uop_end 5 << 21 = 0xa00000;
    #   iter_out 1 << 35; iter_in 64 << 49 = 2^55.
    # Word 1: dst_factor_in 1 << 11; src_factor_in 1 << 33; alu_opcode 3 << 44; use_imm 1 << 47;
    #   imm -3 = 0xfffd << 48.
    assert words(
        DEFAULT.alu.pack(
            opcode=4,
            push_next=1,
            uop_bgn=2,
            uop_end=5,
            iter_out=1,
            iter_in=64,
            dst_factor_in=1,
            src_factor_in=1,
            alu_opcode=3,
            use_imm=1,
            imm=-3,
        )
    ) == (0x0080_0008_00A0_0244, 0xFFFD_B002_0000_0800)


def test_alu_tiny():
    # Word 1: dst_factor_out 1; alu_opcode 4 << 24; use_imm 1 << 27; imm -32768 = 0x8000 << 28.
    assert words(
        TINY.alu.pack(opcode=4, alu_opcode=4, use_imm=1, imm=-32_768, dst_factor_out=1)
    ) == (4, 0x0000_0800_0C00_0001)


def test_alu_factors_are_as_wide_as_acc():
    # A 9: dst 0 and 9, src 18 and 27, alu_opcode 36, use_imm 39, imm 40.
    assert words(
        DEEP_INP.alu.pack(opcode=4, src_factor_out=1, src_factor_in=1, alu_opcode=1, imm=1)
    ) == (4, 1 << 18 | 1 << 27 | 1 << 36 | 1 << 40)


def test_finish():
    # Opcode 3; pop_next bit 4.
    assert DEFAULT.common.pack(opcode=3, pop_next=1) == 0x13


def test_micro_ops():
    # Default: dst 11 bits, src 11 bits from 11, wgt 10 bits from 22: 2 << 22 = 0x800000.
    assert DEFAULT.uop.pack(dst_idx=0x7FF, src_idx=1, wgt_idx=2) == 0x0080_0FFF
    # Tiny: src from 6, wgt from 12.
    assert TINY.uop.pack(dst_idx=1, src_idx=2, wgt_idx=3) == 0x3081
    # A 9, I 11: src has 11 bits from 9, wgt starts at 20.
    assert DEEP_INP.uop.pack(dst_idx=0x1FF, src_idx=0x7FF, wgt_idx=1) == 0x001F_FFFF


def test_numbers_of_the_isa():
    assert [member.name for member in Opcode] == ["LOAD", "STORE", "GEMM", "FINISH", "ALU"]
    assert [int(member) for member in Opcode] == [0, 1, 2, 3, 4]
    assert {member.name: int(member) for member in MemoryType} == {
        "UOP": 0,
        "WGT": 1,
        "INP": 2,
        "ACC": 3,
        "OUT": 4,
        "ACC_8BIT": 5,
    }
    assert {member.name: int(member) for member in AluOp} == {
        "MIN": 0,
        "MAX": 1,
        "ADD": 2,
        "SHR": 3,
        "MUL": 4,
        "QNT": 5,
        "MOV": 6,
    }
    assert [member.name.lower() for member in Cause][1:] == [
        "illegal_opcode",
        "illegal_token",
        "illegal_memory_type",
        "illegal_alu_opcode",
        "illegal_padding",
        "sram_range",
        "memory_response",
        "no_finish",
        "misaligned_base",
        "deadlock",
        "timeout",
    ]


# -- a C compiler's bit-fields -------------------------------------------------------------------

COMMON = [("opcode", 3), ("pop_prev", 1), ("pop_next", 1), ("push_prev", 1), ("push_next", 1)]


def c_words(config):
    """The two words (docs/isa.md) of each instruction, and the micro-op, as (name, width)."""
    acc, inp, wgt = config.log_acc_depth, config.log_inp_depth, config.log_wgt_depth
    uop = config.log_uop_depth
    pad_min = [] if config.hw_ver == "0.0.2" else [("pad_min", 1)]
    loops = [
        *COMMON,
        ("reset", 1),
        ("uop_bgn", uop),
        ("uop_end", uop + 1),
        ("iter_out", 14),
        ("iter_in", 14),
    ]
    return {
        "mem": (
            [*COMMON, ("memory_type", 3), ("sram_base", 16), ("dram_base", 32), *pad_min],
            [
                ("y_size", 16),
                ("x_size", 16),
                ("x_stride", 16),
                ("y_pad_0", 4),
                ("y_pad_1", 4),
                ("x_pad_0", 4),
                ("x_pad_1", 4),
            ],
        ),
        "gemm": (
            loops,
            [
                ("dst_factor_out", acc),
                ("dst_factor_in", acc),
                ("src_factor_out", inp),
                ("src_factor_in", inp),
                ("wgt_factor_out", wgt),
                ("wgt_factor_in", wgt),
            ],
        ),
        "alu": (
            loops,
            [
                ("dst_factor_out", acc),
                ("dst_factor_in", acc),
                ("src_factor_out", acc),
                ("src_factor_in", acc),
                ("alu_opcode", 3),
                ("use_imm", 1),
                ("imm", 16),
            ],
        ),
        "uop": ([("dst_idx", acc), ("src_idx", max(acc, inp)), ("wgt_idx", wgt)],),
    }


def c_pack(parts, values, unit):
    """What C makes of structs of bit-fields, one after the other."""
    raw = b""
    for part in parts:
        struct = type(
            "Struct",
            (ctypes.LittleEndianStructure,),
            {"_fields_": [(name, unit, width) for name, width in part]},
        )
        raw += bytes(struct(**{name: values[name] for name, _ in part}))
    return int.from_bytes(raw, "little")


def random_values(form, rng):
    return {
        field.name: int(rng.integers(field.min, field.max, endpoint=True)) for field in form.fields
    }


@pytest.mark.parametrize("kind", ["mem", "gemm", "alu", "uop"])
def test_layout_is_that_of_c_bit_fields(configs, kind):
    isa, rng = Isa(configs), np.random.default_rng(0)
    form, parts = getattr(isa, kind), c_words(configs)[kind]
    unit = ctypes.c_uint32 if kind == "uop" else ctypes.c_uint64
    assert [field.name for field in form.fields] == [name for part in parts for name, _ in part]
    for _ in range(20):
        values = random_values(form, rng)
        assert form.pack(**values) == c_pack(parts, values, unit)


@pytest.mark.parametrize("hw_ver", ["0.0.2", "0.0.3"])
@pytest.mark.parametrize("kind", ["mem", "gemm", "alu"])
def test_default_layout_is_that_of_one_c_struct(kind, hw_ver):
    """At the default configuration C itself starts the second word where docs/isa.md does."""
    isa = Isa(DEFAULT.config.replace(hw_ver=hw_ver))
    form, rng = getattr(isa, kind), np.random.default_rng(1)
    whole = sum(c_words(isa.config)[kind], [])
    for _ in range(20):
        values = random_values(form, rng)
        assert form.pack(**values) == c_pack([whole], values, ctypes.c_uint64)


def test_amaranth_layout_agrees(configs):
    pytest.importorskip("amaranth")
    isa = Isa(configs)
    for form in (isa.mem, isa.gemm, isa.alu, isa.uop):
        assert form.layout.as_shape().width == form.bits
        for field in form.fields:
            assert form.layout[field.name].offset == form.offset(field.name)
            assert form.layout[field.name].width == field.bits
    assert isa.alu.layout["imm"].shape.signed


# -- packing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "value", "limits"),
    [
        ("mem", "opcode", 8, "0 to 7"),
        ("mem", "sram_base", 65_536, "0 to 65535"),
        ("mem", "dram_base", 2**32, "0 to 4294967295"),
        ("mem", "y_pad_0", 16, "0 to 15"),
        ("mem", "x_size", -1, "0 to 65535"),
        ("gemm", "uop_bgn", 8192, "0 to 8191"),
        ("gemm", "uop_end", 16_384, "0 to 16383"),
        ("gemm", "iter_in", 16_384, "0 to 16383"),
        ("gemm", "wgt_factor_in", 1024, "0 to 1023"),
        ("alu", "imm", 32_768, "-32768 to 32767"),
        ("alu", "imm", -32_769, "-32768 to 32767"),
        ("uop", "wgt_idx", 1024, "0 to 1023"),
    ],
)
def test_what_does_not_fit_is_refused(kind, name, value, limits):
    form = getattr(DEFAULT, kind)
    message = rf"{form.name}\.{name} must be {limits}, not {value}"
    with pytest.raises(EncodingError, match=message):
        form.pack(**{name: value})
    with pytest.raises(EncodingError, match=message):
        form.pack_array(**{name: np.array([0, value])})


def test_unknown_fields_and_fractions_are_refused():
    with pytest.raises(EncodingError, match="GEMM has no field 'imm'; it has opcode, pop_prev"):
        DEFAULT.gemm.pack(imm=1)
    with pytest.raises(EncodingError, match="GEMM has no field 'imm'"):
        DEFAULT.gemm.pack_array(imm=[1])
    with pytest.raises(EncodingError, match="must be whole numbers, not float64"):
        DEFAULT.gemm.pack_array(iter_in=[1.0])


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("kind", ["mem", "gemm", "alu", "uop", "common"])
@given(data=st.data())
def test_pack_array_is_pack_and_unpack_undoes_it(preset, kind, data):
    form = getattr(Isa(PRESETS[preset]), kind)
    rows = data.draw(
        st.lists(
            st.tuples(*(st.integers(field.min, field.max) for field in form.fields)),
            min_size=1,
            max_size=4,
        )
    )
    names = [field.name for field in form.fields]
    values = [dict(zip(names, row, strict=True)) for row in rows]
    packed = [form.pack(**value) for value in values]
    array = form.pack_array(**{name: [value[name] for value in values] for name in names})
    expected = b"".join(word.to_bytes(form.bits // 8, "little") for word in packed)
    assert array.tobytes() == expected
    assert [form.unpack(word) for word in packed] == values
    columns = form.unpack_array(array)
    assert [{name: int(columns[name][k]) for name in names} for k in range(len(rows))] == values


def test_pack_array_broadcasts():
    array = DEFAULT.mem.pack_array(opcode=1, sram_base=np.arange(3))
    assert array.tolist() == [[1, 0], [1 | 1 << 10, 0], [1 | 2 << 10, 0]]
    assert array.dtype == np.dtype("<u8")
    assert DEFAULT.uop.pack_array(dst_idx=[1, 2]).dtype == np.dtype("<u4")


# -- decoding ------------------------------------------------------------------------------------


@given(
    raw=st.lists(st.integers(0, 2**128 - 1), min_size=1, max_size=8), first=st.integers(0, 2**32)
)
def test_a_stream_decodes_as_its_instructions(raw, first):
    stream = DEFAULT.decode_stream(Isa.words(raw), first)
    assert stream == [DEFAULT.decode(word, first + k) for k, word in enumerate(raw)]
    for insn, word in zip(stream, raw, strict=True):
        assert insn.opcode == word & 7
        assert str(insn)


def test_words_are_little_endian():
    array = Isa.words([0x0102030405060708_1112131415161718])
    assert array.tolist() == [[0x1112131415161718, 0x0102030405060708]]
    assert Isa.words([]).shape == (0, 2)


@pytest.mark.parametrize(
    ("opcode", "memory", "module"),
    [
        (0, 0, "COMPUTE"),
        (0, 1, "LOAD"),
        (0, 2, "LOAD"),
        (0, 3, "COMPUTE"),
        (0, 4, "COMPUTE"),
        (0, 5, "COMPUTE"),
        (0, 6, "COMPUTE"),
        (0, 7, "COMPUTE"),
        (1, 4, "STORE"),
        (1, 2, "STORE"),
        (2, 2, "COMPUTE"),
        (3, 2, "COMPUTE"),
        (4, 1, "COMPUTE"),
        (5, 2, "COMPUTE"),
        (7, 1, "COMPUTE"),
    ],
)
def test_dispatch(opcode, memory, module):
    insn = DEFAULT.decode(DEFAULT.mem.pack(opcode=opcode, memory_type=memory))
    assert insn.module == ModuleId[module]


def test_text_names_operands_and_tokens():
    load = DEFAULT.decode(
        DEFAULT.mem.pack(
            opcode=0,
            memory_type=2,
            sram_base=4,
            dram_base=255,
            y_size=2,
            x_size=3,
            x_stride=5,
            y_pad_1=1,
            pop_next=1,
            push_next=1,
        )
    )
    assert str(load) == "LOAD INP sram=4 dram=0xff size=2x3 stride=5 pad=y0+1,x0+0 pop:g2l push:l2g"
    store = DEFAULT.decode(DEFAULT.mem.pack(opcode=1, memory_type=4, pop_prev=1, push_next=1))
    assert str(store).endswith("pop:g2s push:next?")
    assert str(DEFAULT.decode(3 | 0x78)) == "FINISH pop:l2g pop:s2g push:g2l push:g2s"
    alu = DEFAULT.decode(
        DEFAULT.alu.pack(
            opcode=4,
            alu_opcode=3,
            use_imm=1,
            imm=-2,
            uop_end=1,
            iter_out=1,
            iter_in=8,
            dst_factor_in=1,
        )
    )
    assert str(alu) == "ALU SHR uop=0:1 iter=1x8 dst=0,1 src=0,0 imm=-2"
    assert str(DEFAULT.decode(DEFAULT.gemm.pack(opcode=2, reset=1))).startswith("GEMM RESET uop=")
    assert str(DEFAULT.decode(6)) == "OPCODE_6"
    assert str(DEFAULT.decode(DEFAULT.alu.pack(opcode=4, alu_opcode=7))).startswith("ALU OPCODE_7")


def test_an_instruction_reads_as_attributes():
    insn = DEFAULT.decode(DEFAULT.mem.pack(opcode=0, x_size=9, pop_prev=1, push_next=1), 12)
    assert (insn.index, insn.x_size, insn.pops, insn.pushes) == (12, 9, ("prev",), ("next",))
    with pytest.raises(AttributeError, match="LOAD has no field 'imm'"):
        _ = insn.imm


def test_token_links():
    """Each queue is pushed by one module and popped by its neighbour on the other side."""
    names = {ModuleId.LOAD: "l", ModuleId.COMPUTE: "g", ModuleId.STORE: "s"}
    pushed = {link.pushes: (module, side) for (module, side), link in TOKEN_LINKS.items()}
    popped = {link.pops: (module, side) for (module, side), link in TOKEN_LINKS.items()}
    assert set(pushed) == set(popped) == set(TOKEN_QUEUES)
    for queue in TOKEN_QUEUES:
        (giver, give_side), (taker, take_side) = pushed[queue], popped[queue]
        assert queue == f"{names[giver]}2{names[taker]}"
        assert (give_side, take_side) == (("next", "prev") if giver < taker else ("prev", "next"))
