"""Places in one buffer: what lives at the same time never meets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vta.compiler.graph.arena import Lifetime, plan_arena

LIVES = st.lists(
    st.tuples(st.integers(1, 500), st.integers(0, 9), st.integers(0, 4)), min_size=1, max_size=12
)


@given(LIVES)
def test_no_two_meet(lives: list[tuple[int, int, int]]) -> None:
    blocks = [
        Lifetime(f"b{number}", nbytes, first, first + length)
        for number, (nbytes, first, length) in enumerate(lives)
    ]
    offsets, total = plan_arena(blocks, 16)
    for step in range(15):
        used = [b for b in blocks if b.first <= step <= b.last]
        ranges = sorted((offsets[b.name], offsets[b.name] + b.nbytes) for b in used)
        assert all(end <= begin for (_, end), (begin, _) in zip(ranges, ranges[1:], strict=False))
        assert all(begin % 16 == 0 and end <= total for begin, end in ranges)


def test_memory_is_reused() -> None:
    blocks = [Lifetime(f"b{number}", 64, number, number + 1) for number in range(6)]
    _, total = plan_arena(blocks, 64)
    assert total == 128
