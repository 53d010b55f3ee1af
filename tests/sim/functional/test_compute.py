"""GEMM and ALU on the functional simulator; expectations from numpy and plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench import Bench, alu_reference
from vta.config import PRESETS
from vta.isa import AluOp, MemoryType

INP, WGT = MemoryType.INP, MemoryType.WGT

OPERATIONS = [op for op in AluOp if op <= AluOp.MUL]
"""Of encoding 0.0.2; `functional/test_encoding_0_0_3.py` has the others."""


@pytest.fixture
def bench():
    return Bench()


def random_acc(rng, *shape):
    return rng.integers(-(2**31), 2**31, shape).astype(np.int32)


# -- GEMM ----------------------------------------------------------------------------------------


def test_gemm_of_tiles(configs):
    bench = Bench(configs)
    batch, block = configs.batch, configs.block
    rng = np.random.default_rng(7)
    inp = rng.integers(-128, 128, (4, batch, block), np.int8)
    wgt = rng.integers(-128, 128, (6, block, block), np.int8)
    bench.put("inp", inp)
    bench.put("wgt", wgt)
    bench.put_uops((0, 0, 0), (4, 1, 1))
    start = random_acc(rng, *bench.acc.shape)
    bench.acc[...] = start
    expected = start.astype(np.int64).reshape(-1, batch, block)
    for outer in range(2):
        for inner in range(2):
            for dst, src, weight in ((0, 0, 0), (4, 1, 1)):
                expected[dst + outer + 2 * inner] += (
                    inp[src + outer + inner].astype(np.int64)
                    @ wgt[weight + 3 * outer + inner].astype(np.int64).T
                )
    report = bench.ok(
        bench.load(INP, x=4),
        bench.load(WGT, x=6, push_next=1),
        bench.gemm(uops=(0, 2), iters=(2, 2), dst=(1, 2), src=(1, 1), wgt=(3, 1), pop_prev=1),
    )
    assert np.array_equal(bench.acc, expected.astype(np.int32).reshape(bench.acc.shape))
    assert report.stats["gemm_counter"] == 8
    assert report.stats["reset_counter"] == 0


def test_gemm_wraps_at_acc_width(bench):
    bench.inp[0] = -128
    bench.wgt[0] = -128
    bench.acc[0] = 2**31 - 1
    bench.put_uops((0, 0, 0))
    bench.ok(bench.gemm())
    assert (bench.acc[0] == 2**31 - 1 + 16 * 2**14 - 2**32).all()


@pytest.mark.parametrize("insns", ["one", "consecutive", "far apart"])
def test_gemm_sums_on_one_destination_see_each_other(bench, insns):
    """In consecutive iterations, at a distance, and from one instruction to the next."""
    bench.inp[0:3] = np.array([1, 10, 100])[:, None, None]
    bench.wgt[0] = 1
    bench.put_uops((5, 0, 0), (5, 1, 0), (6, 2, 0), (5, 2, 0))
    program = {
        "one": [bench.gemm(uops=(0, 4), iters=(1, 3))],
        "consecutive": [bench.gemm(uops=(u, u + 1), iters=(3, 1)) for u in range(4)],
        "far apart": [bench.gemm(uops=(0, 4)), bench.gemm(uops=(0, 4)), bench.gemm(uops=(0, 4))],
    }[insns]
    report = bench.ok(*program)
    assert (bench.acc[5] == 3 * 16 * 111).all()
    assert (bench.acc[6] == 3 * 16 * 100).all()
    assert report.stats["gemm_counter"] == 12


def test_reset_writes_zeros_and_counts_apart(bench):
    bench.acc[...] = 7
    bench.put_uops((3, 0, 0), (8, 0, 0))
    report = bench.ok(bench.gemm(uops=(0, 2), iters=(2, 1), dst=(1, 0), reset=1))
    assert np.flatnonzero(bench.acc[:, 0] == 0).tolist() == [3, 4, 8, 9]
    assert report.stats["reset_counter"] == 4
    assert report.stats["gemm_counter"] == report.stats["alu_counter"] == 0


@pytest.mark.parametrize(
    ("uops", "iters"),
    [((0, 0), (1, 1)), ((5, 2), (1, 1)), ((0, 1), (0, 1)), ((0, 1), (1, 0)), ((8191, 3), (3, 3))],
)
def test_empty_loops_execute_nothing(bench, uops, iters):
    bench.acc[...] = 7
    report = bench.ok(
        bench.gemm(uops=uops, iters=iters, reset=1),
        bench.gemm(uops=uops, iters=iters),
        bench.alu(AluOp.ADD, uops=uops, iters=iters, imm=1),
    )
    assert (bench.acc == 7).all()
    assert report.stats["gemm_counter"] == report.stats["alu_counter"] == 0
    assert report.stats["compute_insns"] == 4


# -- ALU -----------------------------------------------------------------------------------------


SHIFTS = [0, 1, 5, 30, 31, 32, 33, 1000, 32_767, -1, -5, -31, -32, -33, -1000, -32_768]
VALUES = [
    0,
    1,
    -1,
    5,
    -5,
    2**31 - 1,
    -(2**31),
    0x12345678,
    -0x12345678,
    2**30,
    -(2**30),
    3,
    -3,
    255,
    -256,
    65_536,
]


@pytest.mark.parametrize("shift", SHIFTS)
def test_shr_by_immediates_goes_both_ways(bench, shift):
    bench.acc[0] = VALUES
    bench.put_uops((0, 0, 0))
    bench.ok(bench.alu(AluOp.SHR, imm=shift))
    assert bench.acc[0].tolist() == [alu_reference(3, value, shift) for value in VALUES]


@pytest.mark.parametrize("shift", [*SHIFTS, 2**31 - 1, -(2**31), -(2**31) + 1, 2**16, -(2**16)])
def test_shr_by_registers_goes_both_ways(bench, shift):
    bench.acc[0], bench.acc[1] = VALUES, shift
    bench.acc[2:4] = bench.acc[0:2]
    bench.put_uops((0, 1, 0), (2, 3, 0))
    expected = [alu_reference(3, value, shift) for value in VALUES]
    bench.ok(bench.alu(AluOp.SHR), bench.alu(AluOp.SHR, uops=(1, 2), iters=(1, 1)))
    assert bench.acc[0].tolist() == expected
    assert bench.acc[2].tolist() == expected


def test_shr_by_a_register_of_mixed_signs(bench):
    bench.acc[0] = -0x1234567
    bench.acc[1] = SHIFTS
    bench.put_uops((0, 1, 0))
    bench.ok(bench.alu(AluOp.SHR))
    assert bench.acc[0].tolist() == [alu_reference(3, -0x1234567, shift) for shift in SHIFTS]


@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.parametrize("imm", [0, 1, -1, 1000, -1000, 32_767, -32_768])
def test_immediates_are_sign_extended(bench, op, imm):
    bench.acc[0] = VALUES
    bench.put_uops((0, 0, 0))
    bench.ok(bench.alu(op, imm=imm))
    assert bench.acc[0].tolist() == [alu_reference(op, value, imm) for value in VALUES]


def test_mul_keeps_the_low_bits(bench):
    bench.acc[0], bench.acc[1] = VALUES, VALUES[::-1]
    bench.put_uops((0, 1, 0))
    bench.ok(bench.alu(AluOp.MUL))
    assert bench.acc[0].tolist() == [
        alu_reference(4, a, b) for a, b in zip(VALUES, VALUES[::-1], strict=True)
    ]


@pytest.mark.parametrize("op", OPERATIONS)
def test_source_is_what_the_iteration_before_wrote(bench, op):
    """acc[k + 1] = op(acc[k + 1], acc[k]): each tile takes in all those before."""
    rng = np.random.default_rng(8)
    start = random_acc(rng, 20, 16) if op != AluOp.SHR else rng.integers(-4, 5, (20, 16))
    bench.acc[:20] = start
    bench.put_uops((1, 0, 0))
    expected = start.tolist()
    for k in range(19):
        expected[k + 1] = [
            alu_reference(op, a, b) for a, b in zip(expected[k + 1], expected[k], strict=True)
        ]
    report = bench.ok(bench.alu(op, iters=(1, 19), dst=(0, 1), src=(0, 1)))
    assert bench.acc[:20].tolist() == expected
    assert report.stats["alu_counter"] == 19


@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.parametrize("imm", [None, 3, -3])
def test_repeated_destination(bench, op, imm):
    rng = np.random.default_rng(9)
    start = random_acc(rng, 20, 16) if op != AluOp.SHR else rng.integers(-4, 5, (20, 16))
    bench.acc[:20] = start
    bench.put_uops((2, 3, 0))
    expected = start.tolist()
    for k in range(10):
        right = [imm] * 16 if imm is not None else expected[3 + k]
        expected[2] = [alu_reference(op, a, b) for a, b in zip(expected[2], right, strict=True)]
    bench.ok(bench.alu(op, iters=(10, 1), src=(1, 0), imm=imm))
    assert bench.acc[:20].tolist() == expected


def test_alu_ignores_reset(bench):
    bench.acc[0] = VALUES
    bench.put_uops((0, 0, 0))
    bench.ok(bench.alu(AluOp.ADD, imm=1, reset=1))
    assert bench.acc[0].tolist() == [alu_reference(2, value, 1) for value in VALUES]


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    op=st.sampled_from(OPERATIONS),
    use_imm=st.booleans(),
    kind=st.sampled_from(["gemm", "reset", "alu"]),
)
def test_loops_mean_one_iteration_after_the_other(data, op, use_imm, kind):
    """Any micro-ops and factors in range, on a small configuration, against three nested loops."""
    config = PRESETS["tiny"]
    bench = Bench(config)
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    inp = rng.integers(-128, 128, bench.inp.shape)
    wgt = rng.integers(-128, 128, bench.wgt.shape)
    acc = (
        random_acc(rng, *bench.acc.shape)
        if draw(st.booleans())
        else rng.integers(-40, 40, bench.acc.shape)
    )
    bench.inp[...], bench.wgt[...], bench.acc[...] = inp, wgt, acc
    index = st.integers(0, 7)
    uops = draw(st.lists(st.tuples(index, index, index), min_size=1, max_size=6))
    bench.put_uops(*uops)
    first = draw(st.integers(0, len(uops) - 1))
    iters = draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
    factor = st.tuples(st.integers(0, 2), st.integers(0, 2))
    dst, src, weight = draw(factor), draw(factor), draw(factor)
    imm = draw(st.integers(-40, 40)) if use_imm else None

    expected = [list(map(int, tile)) for tile in acc]
    for outer in range(iters[0]):
        for inner in range(iters[1]):
            for u in range(first, len(uops)):
                d, s, w = (
                    uops[u][k] + outer * f[0] + inner * f[1]
                    for k, f in enumerate((dst, src, weight))
                )
                if kind == "reset":
                    expected[d] = [0] * bench.lanes
                elif kind == "gemm":
                    total = inp[s] @ wgt[w].T
                    expected[d] = [
                        alu_reference(2, a, int(b))
                        for a, b in zip(expected[d], total.reshape(-1), strict=True)
                    ]
                else:
                    right = [imm] * bench.lanes if use_imm else expected[s]
                    expected[d] = [
                        alu_reference(op, a, b) for a, b in zip(expected[d], right, strict=True)
                    ]
    span = (first, len(uops))
    if kind == "alu":
        bench.ok(bench.alu(op, uops=span, iters=iters, dst=dst, src=src, imm=imm))
    else:
        bench.ok(
            bench.gemm(
                uops=span, iters=iters, dst=dst, src=src, wgt=weight, reset=int(kind == "reset")
            )
        )
    assert bench.acc.tolist() == expected
