"""Averages without a division: the nearest whole number, ties upwards, from ALU immediates.

    average = floor((2 sum + count) / (2 count)) = floor(sum / count + 1/2)

The power of two in ``2 count`` is shifted out; the odd rest is divided by as
``(x * factor + offset) >> shift``, with numbers for which that is exact for every sum that there
can be. Where there are none, the rest is divided by two of its factors, one after the other, which
comes to the same.
"""

from __future__ import annotations

import functools

import numpy as np

from vta.compiler.operators.epilogue import IMM_MAX, INT8, Step
from vta.errors import CompileError

__all__ = ["average"]

ACC_MAX = (1 << 31) - 1


@functools.lru_cache(maxsize=64)
def average(count: int) -> tuple[Step, ...]:
    """The ALU's operations from the sum of `count` int8 numbers to their average.

    Raises
    ------
    CompileError
        So many numbers that no immediates are exact.
    """
    odd, twos = count, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    # (2 sum + count) >> (twos + 1), which is all of it if the count is a power of two.
    steps = [Step("+", count // 2), Step(">>", twos)]
    low, high = ((count * number + count // 2) >> twos for number in INT8)
    found = _quotient(odd, low, high)
    if found is None or count // 2 > IMM_MAX:
        raise CompileError(f"an average of {count} numbers is more than 32 bits can divide "
                           "exactly; pool in two steps")
    return tuple(step for step in [*steps, *found] if step.value)


def _quotient(divisor: int, low: int, high: int) -> list[Step] | None:
    """``floor(x / divisor)`` for every x of `low` to `high`; None if there is no way."""
    if divisor == 1:
        return []
    whole = _product(divisor, low, high)
    if whole is not None:
        return whole
    for first in range(int(divisor ** 0.5), 1, -1):
        if divisor % first == 0:
            head = _quotient(first, low, high)
            tail = _quotient(divisor // first, low // first, high // first)
            if head is not None and tail is not None:
                return head + tail
    return None


def _product(divisor: int, low: int, high: int) -> list[Step] | None:
    """The same by one factor, the smallest shift that is exact."""
    x = np.arange(low, high + 1, dtype=np.int64)
    exact = x // divisor
    for shift in range(1, 31):
        for factor in {(1 << shift) // divisor, -(-(1 << shift) // divisor)}:
            factors = _immediates(factor)
            if factors is None or max(-low, high) * factor > ACC_MAX - IMM_MAX:
                continue
            # x * factor + offset must lie within [exact, exact + 1) << shift.
            least = int(((exact << shift) - x * factor).max())
            most = int((((exact + 1) << shift) - x * factor).min()) - 1
            if least <= most and least <= IMM_MAX and most >= -IMM_MAX:
                offset = min(max(0, least), most)
                if abs(offset) <= IMM_MAX:
                    return [*(Step("*", each) for each in factors), Step("+", offset),
                            Step(">>", shift)]
    return None


def _immediates(factor: int) -> list[int] | None:
    """A factor as one immediate, or as the product of two."""
    if factor <= IMM_MAX:
        return [factor]
    for first in range(-(-factor // IMM_MAX), int(factor ** 0.5) + 1):
        if factor % first == 0:
            return [first, factor // first]
    return None
