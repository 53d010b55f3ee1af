"""Places for tensors in one buffer, so that those that are needed at the same time do not meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Lifetime", "aligned", "plan_arena"]


@dataclass(frozen=True)
class Lifetime:
    """A block of `nbytes` bytes that is needed from step `first` to step `last`, both included."""

    name: str
    nbytes: int
    first: int
    last: int


def aligned(nbytes: int, alignment: int) -> int:
    """The next multiple of `alignment`."""
    return -(-nbytes // alignment) * alignment


def plan_arena(blocks: Sequence[Lifetime], alignment: int) -> tuple[dict[str, int], int]:
    """The offset of each block, and the bytes of the whole.

    Large blocks are placed first, each at the lowest place that is free during its life.
    """
    placed: list[tuple[int, int, Lifetime]] = []
    offsets: dict[str, int] = {}
    for block in sorted(blocks, key=lambda item: (-item.nbytes, item.first, item.name)):
        size = aligned(block.nbytes, alignment)
        taken = sorted(
            (begin, end)
            for begin, end, other in placed
            if other.first <= block.last and block.first <= other.last
        )
        at = 0
        for begin, end in taken:
            if at + size <= begin:
                break
            at = max(at, end)
        placed.append((at, at + size, block))
        offsets[block.name] = at
    return offsets, max((end for _, end, _ in placed), default=0)
