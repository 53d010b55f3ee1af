"""Averages without a division, by ALU immediates: the nearest whole number, ties upwards.

    average = floor((2 sum + count) / (2 count)) = floor(sum / count + 1/2)

A shift divides by the power of two in ``2 count``. The odd rest becomes
``(x * factor + offset) >> shift``, with constants that make this exact for every possible sum.
Beyond about 200 numbers there may be no such constants in 32 bits. Then the same formula on fewer
bits of the sum estimates the quotient, at most one too low, and the remainder tells which it is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vta.compiler.operators.epilogue import Division, EpilogueStep
from vta.compiler.te.dtypes import INT8
from vta.errors import CompileError
from vta.isa import MAX_IMM

__all__ = ["average"]

ACC_MAX = (1 << 31) - 1
COUNT_MAX = 1 << 23
"""The sum of this many int8 numbers leaves one bit of the accumulator unused."""

Numbers = NDArray[np.int64]


def average(count: int) -> tuple[EpilogueStep, ...]:
    """The ALU's operations from the sum of `count` int8 numbers to their average.

    Raises
    ------
    CompileError
        If `count` is less than 1, or too large for the immediates.
    """
    if count < 1:
        raise CompileError(f"an average must be of 1 number or more, not {count}")
    twos = (count & -count).bit_length() - 1
    odd = count >> twos
    if odd > MAX_IMM or count > COUNT_MAX:
        raise CompileError(
            f"an average of {count} numbers does not fit 32-bit sums and 16-bit "
            "immediates; pool in two steps"
        )
    # (2 sum + count) >> (twos + 1): this is the average if the count is a power of two.
    if count // 2 <= MAX_IMM:
        steps = [EpilogueStep("+", count // 2), EpilogueStep(">>", twos)]
    else:
        steps = [EpilogueStep(">>", twos - 1), EpilogueStep("+", odd), EpilogueStep(">>", 1)]
    if odd > 1:
        low, high = ((count * number + count // 2) >> twos for number in INT8)
        steps += _quotient(odd, low, high)
    return tuple(step for step in steps if step.value)


def _quotient(divisor: int, low: int, high: int) -> tuple[EpilogueStep, ...]:
    """``floor(x / divisor)`` for every x of `low` to `high`."""
    # Every step is monotone, so it is enough to check the first and last x of each quotient.
    first = np.arange(low // divisor, high // divisor + 1, dtype=np.int64) * divisor
    x = np.concatenate([np.maximum(first, low), np.minimum(first + divisor - 1, high)])
    exact = x // divisor
    found = _scaled(divisor, x, exact, exact)
    if found is not None:
        return found
    for cut in range(1, divisor.bit_length()):
        found = _scaled(divisor / (1 << cut), x >> cut, exact - 1, exact)
        if found is not None:
            return (EpilogueStep("/", divisor, Division((EpilogueStep(">>", cut), *found))),)
    raise AssertionError(f"no estimate of a division by {divisor}")


def _scaled(
    divisor: float, x: Numbers, least: Numbers, most: Numbers
) -> tuple[EpilogueStep, ...] | None:
    """A ``(x * factor + offset) >> shift`` between `least` and `most`, or None if there is none.

    If there are several, the one with the smallest shift is returned.
    """
    reach = int(np.abs(x).max())
    for shift in range(1, 31):
        factor = round((1 << shift) / divisor)
        if factor > MAX_IMM or reach * factor > ACC_MAX - MAX_IMM:
            return None
        low = int(((least << shift) - x * factor).max())
        high = int((((most + 1) << shift) - x * factor).min()) - 1
        offset = min(max(0, low), high)
        if low <= high and abs(offset) <= MAX_IMM:
            return EpilogueStep("*", factor), EpilogueStep("+", offset), EpilogueStep(">>", shift)
    return None
