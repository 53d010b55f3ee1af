"""The ALU's operations and their sequential meaning, against plain Python numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench import alu_reference
from vta.sim.functional import alu

EXTREMES = [
    0,
    1,
    -1,
    2,
    -2,
    7,
    30,
    31,
    32,
    33,
    -30,
    -31,
    -32,
    -33,
    255,
    2**15,
    -(2**15),
    0x1234567,
    2**30,
    2**31 - 1,
    -(2**31),
    -(2**31) + 1,
    65_537,
    46_341,
    -46_341,
]


@pytest.mark.parametrize("op", range(5))
def test_every_pair_of_extremes(op):
    left, right = (grid.reshape(-1) for grid in np.meshgrid(EXTREMES, EXTREMES))
    expected = [alu_reference(op, int(a), int(b)) for a, b in zip(left, right, strict=True)]
    result = alu.operate(op, left.astype(np.int32), right.astype(np.int32))
    assert result.dtype == np.int32
    assert result.tolist() == expected


@pytest.mark.parametrize("op", range(5))
@pytest.mark.parametrize("imm", [value for value in EXTREMES if -(2**15) <= value < 2**15])
def test_immediates(op, imm):
    left = np.array(EXTREMES, np.int32)
    expected = [alu_reference(op, a, imm) for a in EXTREMES]
    assert alu.operate(op, left, np.array([imm], np.int32)).tolist() == expected


TILES = 6
numbers = st.sampled_from(EXTREMES)
indices = st.lists(st.integers(0, TILES - 1), min_size=1, max_size=24)


@settings(max_examples=400, deadline=None)
@given(
    op=st.integers(0, 4),
    start=st.lists(numbers, min_size=TILES, max_size=TILES),
    dst=indices,
    data=st.data(),
)
def test_registers_are_read_and_written_one_iteration_after_the_other(op, start, dst, data):
    src = data.draw(st.lists(st.integers(0, TILES - 1), min_size=len(dst), max_size=len(dst)))
    acc = np.array([[value, -1 - value] for value in start], np.int32)
    expected = acc.tolist()
    for to, source in zip(dst, src, strict=True):
        expected[to] = [
            alu_reference(op, a, b) for a, b in zip(expected[to], expected[source], strict=True)
        ]
    alu.execute(acc, op, np.array(dst), np.array(src), np.zeros(1, np.int32))
    assert acc.tolist() == expected


@settings(max_examples=200, deadline=None)
@given(
    op=st.integers(0, 4),
    start=st.lists(numbers, min_size=TILES, max_size=TILES),
    dst=indices,
    imm=st.sampled_from([0, 1, -1, 3, -5, 31, 32, -31, -32, 20_000, -(2**15)]),
)
def test_immediates_on_repeated_destinations(op, start, dst, imm):
    acc = np.array(start, np.int32)[:, None]
    expected = list(start)
    for to in dst:
        expected[to] = alu_reference(op, expected[to], imm)
    alu.execute(acc, op, np.array(dst), None, np.array([imm], np.int32))
    assert acc[:, 0].tolist() == expected


@pytest.mark.parametrize("op", range(5))
def test_repeated_destinations_with_sources_of_their_own(op):
    rng = np.random.default_rng(op)
    acc = rng.integers(-(2**31), 2**31, (32, 4)).astype(np.int32)
    if op == 3:
        acc[16:] = rng.integers(-3, 4, (16, 4))
    dst, src = rng.integers(0, 16, 100), rng.integers(16, 32, 100)
    expected = acc.tolist()
    for to, source in zip(dst, src, strict=True):
        expected[to] = [
            alu_reference(op, a, b) for a, b in zip(expected[to], expected[source], strict=True)
        ]
    alu.execute(acc, op, dst, src, np.zeros(1, np.int32))
    assert acc.tolist() == expected
