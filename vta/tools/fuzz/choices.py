"""Where random programs get their choices from: a seed, or a list of choices made before."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

__all__ = ["Choices"]

T = TypeVar("T")


class Choices:
    """Whole numbers drawn from a seed; `made` lists them, and `given` ones come first.

    After the `given` ones every choice is the least, so that a shorter list is a simpler program.
    """

    def __init__(self, seed: int, given: Sequence[int] | None = None) -> None:
        self.random = random.Random(seed)
        self.given = None if given is None else list(given)
        self.made: list[int] = []

    def number(self, low: int, high: int) -> int:
        """One of `low` to `high`, both included."""
        if self.given is None:
            chosen = self.random.randint(low, high)
        elif len(self.made) < len(self.given):
            chosen = min(max(self.given[len(self.made)] + low, low), high)
        else:
            chosen = low
        self.made.append(chosen - low)
        return chosen

    def chance(self, percent: int) -> bool:
        return self.number(0, 99) >= 100 - percent

    def pick(self, items: Sequence[T]) -> T:
        return items[self.number(0, len(items) - 1)]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        rest = list(items)
        return [rest.pop(self.number(0, len(rest) - 1)) for _ in items]
