"""Micro-op kernels: together they do what the loops would, and fit the machine."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vta.compiler.passes.unroll.uop_kernels import Round, kernels

LIMITS = (64, 64, 32)


def done(found):
    """What instructions do: each micro-op in each round of the hardware's two loops."""
    steps = Counter()
    for loops, uops in found:
        assert len(loops) <= 2
        for rounds in itertools.product(*(range(loop.extent) for loop in loops)):
            for uop in uops:
                steps[
                    tuple(
                        getattr(uop, side)
                        + sum(
                            n * getattr(loop, side) for n, loop in zip(rounds, loops, strict=True)
                        )
                        for side in ("dst", "src", "wgt")
                    )
                ] += 1
    return steps


def wanted(rounds, base):
    return Counter(
        tuple(
            base[side] + sum(n * item.steps[side] for n, item in zip(numbers, rounds, strict=True))
            for side in range(3)
        )
        for numbers in itertools.product(*(range(item.extent) for item in rounds))
    )


steps = st.sampled_from([0, 0, 1, 2, 5, 31, 32, 63, 64, 90])
all_rounds = st.lists(
    st.builds(Round, st.integers(1, 5), steps, steps, steps, st.booleans()), max_size=5
).map(tuple)


@given(
    rounds=all_rounds,
    base=st.tuples(*[st.integers(0, 9)] * 3),
    depth=st.sampled_from([1, 2, 8, 64, 2048]),
    holds=st.booleans(),
)
def test_kernels_do_what_the_loops_would(rounds, base, depth, holds):
    found = kernels(rounds, base, LIMITS, depth, holds_source=holds)
    assert done(found) == wanted(rounds, base)
    for loops, uops in found:
        # So that one can be loaded while another is still in use.
        assert 1 <= len(uops) <= max(1, depth // 2)
        for loop in loops:
            assert 1 <= loop.extent < 1 << 14
            assert all(
                step < limit
                for step, limit in zip((loop.dst, loop.src, loop.wgt), LIMITS, strict=True)
            )


@pytest.mark.parametrize(
    ("rounds", "instructions", "uops"),
    [
        ((), 1, 1),
        ((Round(14, 1, 1, 0),), 1, 1),
        ((Round(7, 14, 16, 0), Round(14, 1, 1, 0)), 1, 1),
        # Three loops, none of which goes on where another ends: the shortest is micro-ops.
        ((Round(3, 0, 1, 1), Round(7, 14, 16, 0), Round(14, 1, 1, 0)), 1, 3),
        # Two that do are one loop to the machine.
        ((Round(3, 14, 0, 0), Round(7, 2, 0, 0), Round(2, 1, 0, 0)), 1, 1),
        # More micro-ops than half the buffer has: several instructions.
        ((Round(6, 40, 1, 1), Round(6, 3, 9, 0), Round(4, 1, 20, 0), Round(16, 0, 0, 7)), 6, 4),
    ],
)
def test_few_micro_ops(rounds, instructions, uops):
    found = kernels(rounds, (0, 0, 0), LIMITS, 32)
    assert len(found) == instructions
    assert {len(kernel) for _, kernel in found} == {uops}


def test_the_largest_loop():
    """16383 rounds are the most that a field holds."""
    for extent, count in ((16383, 1), (16384, 2)):
        found = kernels((Round(extent, 0, 0, 0),), (0, 0, 0), LIMITS, 1 << 15)
        assert done(found) == {(0, 0, 0): extent}
        assert all(loop.extent <= 16383 for loops, _ in found for loop in loops)
        assert len(found) <= count


def test_unrolled_rounds_are_micro_ops():
    ((loops, uops),) = kernels(
        (Round(3, 1, 0, 0, unrolled=True), Round(4, 3, 0, 0)), (0, 0, 0), LIMITS, 64
    )
    assert [loop.extent for loop in loops] == [4]
    assert [uop.dst for uop in uops] == [0, 1, 2]
