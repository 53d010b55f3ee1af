"""Encoding 0.0.3 on the functional simulator: QNT, MOV and `pad_min`, against numpy's float32."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench import Bench
from vta.config import PRESETS
from vta.errors import EncodingError
from vta.isa import AluOp, Isa, MemoryType, Opcode, pack_qnt, unpack_qnt
from vta.sim.functional import alu
from vta.tools.fuzz.plain_interpreter import requantise

OLD = PRESETS["tiny"].replace(hw_ver="0.0.2")
NEW = PRESETS["tiny"].replace(hw_ver="0.0.3")
BATCH = PRESETS["batch4"].replace(hw_ver="0.0.3")
UOP, WGT, INP, ACC, ACC_8BIT = (
    MemoryType[name] for name in ("UOP", "WGT", "INP", "ACC", "ACC_8BIT")
)


def by_formula(acc, scale, zero_point=0, lower=-128):
    """``clip(rint(float32(acc) * float32(scale)) + zero_point)``, for scales that are numbers."""
    with np.errstate(over="ignore"):
        product = acc.astype(np.float32) * scale.astype(np.float32)
    return np.clip(np.rint(product.astype(np.float64)) + zero_point, lower, 127).astype(np.int32)


def bits(values):
    return np.asarray(values, np.float32).view(np.int32)


def qnt(acc, scale, zero_point=0, lower=-128):
    acc, scale = np.asarray(acc, np.int32), np.asarray(scale, np.int32)
    return alu.operate(AluOp.QNT, acc, scale, pack_qnt(zero_point, lower))


def test_random_numbers_follow_the_formula():
    rng = np.random.default_rng(1)
    acc = (rng.integers(-(2**31), 2**31, 200_000) >> rng.integers(0, 31, 200_000)).astype(np.int32)
    scale = np.float32(2.0) ** rng.integers(-40, 4, 200_000) * rng.uniform(1, 2, 200_000)
    scale = scale.astype(np.float32) * rng.choice([-1, 1], 200_000)
    for zero_point, lower in ((0, -128), (-128, -128), (127, 0), (3, 3), (-100, -5), (5, 127)):
        np.testing.assert_array_equal(
            qnt(acc, bits(scale), zero_point, lower), by_formula(acc, scale, zero_point, lower)
        )


def test_ties_of_the_second_rounding_go_to_even():
    acc = np.arange(-601, 602, 2, dtype=np.int32)
    np.testing.assert_array_equal(
        qnt(acc, bits(np.full(len(acc), 0.5))), np.clip(np.rint(acc / 2), -128, 127)
    )


def test_both_roundings_of_the_product_count():
    # 2^25 - 1 becomes 2^25 as a binary32 number.
    assert qnt([2**25 - 1], bits([2.0**-26])) == 0
    # 12582911 * 2^-23 = 1.5 - 2^-23; with the rounding to 24 bits nothing changes, and y = 1.
    assert qnt([12_582_911], bits([2.0**-23])) == 1
    # An exact product just below one half whose nearest binary32 number is one half: y = 0, even.
    for acc in (3, 5, 7, 2**24 - 1, 33_554_433):
        below = np.nextafter(np.float32(0.5 / np.float32(acc)), np.float32(0))
        for scale in (below, np.nextafter(below, np.float32(1))):
            np.testing.assert_array_equal(
                qnt([acc], bits([scale])), by_formula(np.array([acc], np.int32), np.array([scale]))
            )


def test_numbers_beyond_24_bits_are_rounded_first():
    acc = np.array([2**24 + 1, 2**24 + 3, 2**31 - 1, -(2**31), -(2**24) - 1], np.int32)
    scale = np.full(5, 2.0**-24, np.float32)
    np.testing.assert_array_equal(qnt(acc, bits(scale)), [1, 1, 127, -128, -1])
    np.testing.assert_array_equal(qnt(acc, bits(scale)), by_formula(acc, scale))


@pytest.mark.parametrize("zero_point", [-128, -1, 0, 127])
def test_exponents_0_and_255(zero_point):
    acc = np.array([-(2**31), -1, 0, 1, 2**31 - 1], np.int32)
    for pattern in (0, 1, 0x7F_FFFF, -(2**31), -(2**31) + 5):
        np.testing.assert_array_equal(qnt(acc, np.full(5, pattern), zero_point), zero_point)
    for pattern in (0x7F80_0000, 0x7FFF_FFFF, 0x7F80_0001):
        expected = [-128, -128, zero_point, 127, 127]
        np.testing.assert_array_equal(qnt(acc, np.full(5, pattern), zero_point), expected)
        negative = np.full(5, pattern - 2**31)
        np.testing.assert_array_equal(qnt(acc, negative, zero_point), expected[::-1])


def test_the_sum_with_the_zero_point_is_exact():
    # y = 200 must not become 127 before the zero point is added.
    assert qnt([200], bits([1.0]), -100) == 100
    assert qnt([-200], bits([1.0]), 100) == -100
    assert qnt([-1], bits([1.0]), 0, 0) == 0
    assert qnt([300], bits([1.0]), 0, 127) == 127


@given(
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-128, 127),
    st.integers(-128, 127),
)
def test_any_bits_against_exact_fractions(acc, scale, zero_point, lower):
    imm = pack_qnt(zero_point, lower)
    assert qnt([acc], [scale], zero_point, lower) == requantise(acc, scale, imm)


def test_imm_holds_zero_point_and_lower():
    for zero_point in (-128, -1, 0, 5, 127):
        for lower in (-128, -1, 0, 5, 127):
            imm = pack_qnt(zero_point, lower)
            assert -(2**15) <= imm < 2**15
            assert unpack_qnt(imm) == (zero_point, lower)
    with pytest.raises(EncodingError, match="lower of QNT must be -128 to 127, not 128"):
        pack_qnt(0, 128)


# -- instructions --------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [NEW, BATCH], ids=["tiny", "batch4"])
def test_qnt_uses_one_scale_for_each_lane_and_row(config):
    rng = np.random.default_rng(3)
    bench = Bench(config)
    acc = rng.integers(-(2**20), 2**20, (6, bench.lanes)).astype(np.int32)
    scale = rng.uniform(1e-5, 1e-3, bench.lanes).astype(np.float32)
    bench.put("acc", np.concatenate([acc, scale.view(np.int32)[None]]))
    bench.put_uops((0, 6, 0))
    bench.ok(bench.load(ACC, x=7), bench.qnt(iters=(1, 6), dst=(0, 1), zero_point=7, lower=-20))
    np.testing.assert_array_equal(bench.machine.datapath.acc[:6], by_formula(acc, scale, 7, -20))


def test_qnt_of_a_tile_by_itself_and_by_the_result_of_the_step_before():
    bench = Bench(NEW)
    first = np.full(bench.lanes, bits(0.5), np.int32)
    bench.put("acc", np.stack([first, np.full_like(first, 11)]))
    bench.put_uops((0, 0, 0), (1, 0, 0))
    bench.ok(
        bench.load(ACC, x=2),
        # Tile 0 becomes 127; as a scale that is a subnormal number, which counts as 0.
        bench.qnt(uops=(0, 2), zero_point=3),
    )
    np.testing.assert_array_equal(bench.machine.datapath.acc[0], 127)
    np.testing.assert_array_equal(bench.machine.datapath.acc[1], 3)


def test_mov_copies_a_tile_or_an_immediate():
    bench = Bench(NEW)
    tiles = np.arange(4 * bench.lanes, dtype=np.int32).reshape(4, -1) - 7
    bench.put("acc", tiles)
    bench.put_uops((1, 0, 0), (2, 1, 0), (3, 3, 0))
    bench.ok(
        bench.load(ACC, x=4),
        bench.alu(AluOp.MOV, uops=(0, 3)),  # a chain, and a tile onto itself
        bench.alu(AluOp.MOV, iters=(1, 1), imm=-9),
    )
    np.testing.assert_array_equal(
        bench.machine.datapath.acc[:4], [tiles[0], np.full(bench.lanes, -9), tiles[0], tiles[3]]
    )


def test_mov_onto_one_tile_repeatedly_keeps_the_last():
    bench = Bench(NEW)
    tiles = np.arange(4 * bench.lanes, dtype=np.int32).reshape(4, -1)
    bench.put("acc", tiles)
    bench.put_uops((3, 0, 0))
    bench.ok(bench.load(ACC, x=4), bench.alu(AluOp.MOV, iters=(1, 3), src=(0, 1)))
    np.testing.assert_array_equal(bench.machine.datapath.acc[3], tiles[2])


@pytest.mark.parametrize(
    ("memory", "least"), [(INP, -128), (WGT, -128), (ACC_8BIT, -128), (ACC, -(2**31)), (UOP, 0)]
)
@pytest.mark.parametrize("pad_min", [0, 1])
def test_pad_min_fills_padding_with_the_least_number(memory, least, pad_min):
    bench = Bench(NEW)
    datapath = bench.machine.datapath
    buffer = {UOP: datapath.uop, INP: datapath.inp, WGT: datapath.wgt}.get(memory, datapath.acc)
    buffer[:9] = 77
    bench.ok(bench.load(memory, x=1, y=1, pads=(1, 1, 1, 1), pad_min=pad_min))
    expected = np.full(9, least if pad_min else 0, np.int64)
    expected[4] = 0  # the tile from memory
    assert (buffer[:9].reshape(9, -1) == expected[:, None]).all()


def test_the_old_encoding_has_neither():
    bench = Bench(OLD)
    for op in (AluOp.QNT, AluOp.MOV):
        fault = bench.fault(bench.alu(op), bench.finish())
        assert (fault.cause, fault.module, fault.insn_index) == ("illegal_alu_opcode", "compute", 0)
        assert "needs HW_VER 0.0.3" in fault.detail
        bench.machine.reset()
    with pytest.raises(EncodingError, match="no field 'pad_min'"):
        bench.load(INP, pad_min=1)
    # The bit is ignored, as before.
    word = Isa(NEW).mem.pack(
        opcode=Opcode.LOAD, memory_type=INP, x_size=1, y_pad_0=1, pad_min=1, y_size=1
    )
    bench.machine.datapath.inp[:2] = 5
    bench.ok(word)
    assert not bench.machine.datapath.inp[:2].any()


def test_qnt_with_an_immediate_is_illegal():
    bench = Bench(NEW)
    fault = bench.fault(bench.alu(AluOp.QNT, imm=1), bench.finish())
    assert (fault.cause, fault.detail) == ("illegal_alu_opcode", "QNT takes no immediate operand")
    bench.machine.reset()
    assert bench.fault(bench.alu(7), bench.finish()).detail == "ALU opcode 7 does not exist"


def test_text():
    isa = Isa(NEW)
    word = isa.alu.pack(opcode=Opcode.ALU, alu_opcode=AluOp.QNT, imm=pack_qnt(-3, 4), uop_end=1)
    assert str(isa.decode(word)).endswith("zero_point=-3 lower=4")
    assert str(isa.decode(word)).startswith("ALU QNT uop=0:1")
    word = isa.mem.pack(opcode=Opcode.LOAD, memory_type=INP, x_size=1, y_pad_0=1, pad_min=1)
    assert str(isa.decode(word)).endswith("pad=y1+0,x0+0 pad_min")
    assert isa.mem.offset("pad_min") == 58
