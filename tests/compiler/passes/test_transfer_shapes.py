"""Transfers: together they move what loops over tiles would, with zeros where there is nothing."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vta.compiler.passes.unroll.transfer_shapes import Dim, transfers
from vta.isa import MemoryType, Opcode

ZERO = "zero"


def plain(rounds, chip, dram):
    return Dim(rounds, chip, dram, (0, rounds))


def moved(items):
    """What the instructions move, tile by tile, as a LOAD goes: rows, padded on four sides."""
    found = []
    for item in items:
        before_y, after_y, before_x, after_x = item.pads
        assert all(0 <= number <= 15 for number in item.pads)
        assert max(item.x_size, item.y_size, item.x_stride) < 1 << 16
        chip = item.sram_base
        for row in range(-before_y, item.y_size + after_y):
            for column in range(-before_x, item.x_size + after_x):
                inside = 0 <= row < item.y_size and 0 <= column < item.x_size
                found.append(
                    (chip, item.dram_base + row * item.x_stride + column if inside else ZERO)
                )
                chip += 1
    return found


def wanted(chip, dram, dims):
    found = []
    for rounds in itertools.product(*(range(dim.rounds) for dim in dims)):
        valid = all(
            dim.valid[0] <= number < dim.valid[1] for dim, number in zip(dims, rounds, strict=True)
        )
        found.append(
            (
                chip + sum(n * dim.chip for n, dim in zip(rounds, dims, strict=True)),
                dram + sum(n * dim.dram for n, dim in zip(rounds, dims, strict=True))
                if valid
                else ZERO,
            )
        )
    return found


@st.composite
def loads(draw):
    """Loops that cover what is on chip without gaps or with, and any steps in main memory."""
    dims, step = [], 1
    for _ in range(draw(st.integers(0, 4))):
        rounds = draw(st.integers(1, 5))
        begin = draw(st.integers(0, rounds)) if draw(st.booleans()) else 0
        end = draw(st.integers(begin, rounds)) if draw(st.booleans()) else rounds
        dims.append(
            Dim(rounds, step, draw(st.sampled_from([0, 1, step, step, 2, 7, 40])), (begin, end))
        )
        step *= rounds
        if draw(st.integers(0, 9)) == 0:
            step += draw(st.integers(1, 5))
    return draw(st.permutations(dims))


@settings(max_examples=300)
@example(dims=[Dim(3, 1, 1, (1, 3)), Dim(2, 3, 2, (0, 2))], chip=0, dram=0)
@example(dims=[Dim(3, 1, 1, (0, 2)), Dim(2, 3, 2, (0, 2)), Dim(4, 6, 9, (1, 3))], chip=0, dram=0)
@given(dims=loads(), chip=st.integers(0, 9), dram=st.integers(0, 9))
def test_loads_move_what_loops_would(dims, chip, dram):
    items = list(transfers(Opcode.LOAD, MemoryType.INP, "A", chip, dram, dims))
    assert sorted(moved(items), key=str) == sorted(wanted(chip, dram, dims), key=str)
    for item in items:
        assert (item.opcode, item.memory_type, item.buffer) == (Opcode.LOAD, MemoryType.INP, "A")
        assert item.dram_base >= 0


@given(dims=loads(), chip=st.integers(0, 9), dram=st.integers(0, 9))
def test_stores_have_no_padding(dims, chip, dram):
    dims = [plain(dim.rounds, dim.chip, dim.dram) for dim in dims]
    items = list(transfers(Opcode.STORE, MemoryType.OUT, "A", chip, dram, dims))
    assert sorted(moved(items)) == sorted(wanted(chip, dram, dims))
    assert all(item.pads == (0, 0, 0, 0) for item in items)


@pytest.mark.parametrize(
    ("dims", "count"),
    [
        ([plain(7, 1, 1)], 1),
        ([plain(5, 7, 20), plain(7, 1, 1)], 1),  # rows of a larger tensor
        ([plain(3, 35, 35), plain(5, 7, 7), plain(7, 1, 1)], 1),  # all in a row
        ([plain(3, 35, 100), plain(5, 7, 20), plain(7, 1, 1)], 1),  # rows of rows of a tensor
        ([plain(3, 35, 200), plain(5, 7, 20), plain(7, 1, 1)], 3),  # one loop too many
        ([plain(5, 1, 9)], 1),  # a column
        ([Dim(9, 16, 14, (1, 8)), Dim(16, 1, 1, (1, 15))], 1),  # padded on all sides
        ([Dim(20, 1, 1, (0, 0))], 1),  # zeros alone
    ],
)
def test_few_are_needed(dims, count):
    assert len(list(transfers(Opcode.LOAD, MemoryType.INP, "A", 0, 0, dims))) == count


@pytest.mark.parametrize(
    ("dims", "count"),
    [
        ([plain(65_535, 1, 1)], 1),
        ([plain(65_536, 1, 1)], 2),
        ([plain(140_000, 1, 1)], 3),
        ([plain(65_536, 1, 3)], 2),  # a column
        ([plain(65_535, 2, 2), plain(2, 1, 1)], 1),  # as many rows as an instruction has
        ([plain(70_000, 2, 5), plain(2, 1, 1)], 2),
        ([plain(3, 70_000, 70_000), plain(70_000, 1, 1)], 6),
    ],
)
def test_more_rounds_than_an_instruction_has(dims, count):
    """Fields have 16 bits: longer loops are several transfers, of all rounds and no more."""
    items = list(transfers(Opcode.LOAD, MemoryType.INP, "A", 3, 5, dims))
    assert len(items) == count
    assert sorted(moved(items)) == sorted(wanted(3, 5, dims))


@pytest.mark.parametrize(
    ("dims", "count"),
    [([Dim(65_535, 1, 1, (0, 0))], 1), ([Dim(3, 70_000, 1, (0, 0)), plain(30_000, 1, 1)], 3)],
)
def test_many_zeros(dims, count):
    items = list(transfers(Opcode.LOAD, MemoryType.INP, "A", 0, 0, dims))
    assert len(items) == count
    assert sorted(moved(items)) == sorted(wanted(0, 0, dims))
