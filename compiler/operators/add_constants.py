"""Whole numbers for an addition of int8 numbers with real scales, checked for all pairs.

    rint(float32(ra * (a - za)) + float32(rb * (b - zb)) + zy)        ra = a_scale / y_scale, ...

becomes ``QNT(ka * a + kb * b + offset)``. Only ``kb / ka`` must be close to ``rb / ra``, because
the scale of QNT is a float32 of its own; so factors of 16 bits are precise enough.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["AddConstants", "find_constants"]

LIMB = 127
"""The greatest factor of one product, an int8 weight."""
TWO_LIMBS = 127 * 256 + 127
RATIOS = 64
"""How many pairs of factors are tried at most, of each size."""
ULPS = (0, 1, -1, 2, -2, 3, -3)
"""Scales of QNT that are tried: the nearest, and its neighbours."""

Table = NDArray[np.int64]


@dataclass(frozen=True)
class AddConstants:
    """``max(lower, rint(float32(a * factors[0] + b * factors[1] + offset) * scale) + zero_point)``.

    `differences` is the number of pairs of int8 for which this is not the formula's result.
    """

    factors: tuple[int, int]
    offset: int
    scale: float
    zero_point: int
    differences: int = 0

    @property
    def limbs(self) -> int:
        """How many int8 weights a factor takes."""
        return 1 if max(self.factors) <= LIMB else 2


@functools.lru_cache(maxsize=256)
def find_constants(ratios: tuple[float, float], zero_points: tuple[int, int, int]) -> AddConstants:
    """The smallest constants that equal the formula for all 65,536 pairs, or differ least.

    Parameters
    ----------
    ratios : (float, float)
        Scale of each operand by that of the result, as float32.
    zero_points : (int, int, int)
        Of the operands and the result.
    """
    wanted = _formula(ratios, zero_points)
    best: AddConstants | None = None
    for factors in _factors(ratios[1] / ratios[0]):
        for constants in _constants(ratios, zero_points, factors):
            found = _evaluated(constants)
            differences = int((found != wanted).sum())
            if best is None or differences < best.differences:
                best = dataclasses.replace(constants, differences=differences)
            if not differences:
                return best
    assert best is not None
    return best


def _numbers() -> tuple[Table, Table]:
    numbers = np.arange(-128, 128, dtype=np.int64)
    return numbers[:, None], numbers[None, :]


def _formula(ratios: tuple[float, float], zero_points: tuple[int, int, int]) -> Table:
    """The result for all pairs, before `lower`."""
    (a, b), (za, zb, zy) = _numbers(), zero_points
    left = np.float32(ratios[0]) * (a - za).astype(np.float32)
    right = np.float32(ratios[1]) * (b - zb).astype(np.float32)
    total = left + right + np.float32(zy)
    return np.clip(np.rint(np.clip(total, -1000, 1000)), -128, 127).astype(np.int64)


def _evaluated(constants: AddConstants) -> Table:
    """What the machine computes for all pairs."""
    a, b = _numbers()
    acc = a * constants.factors[0] + b * constants.factors[1] + constants.offset
    product = acc.astype(np.float32) * np.float32(constants.scale)
    rounded = np.rint(np.clip(product, -1000, 1000)).astype(np.int64)
    result: Table = np.clip(rounded + constants.zero_point, -128, 127)
    return result


def _factors(ratio: float) -> Iterator[tuple[int, int]]:
    """Pairs of factors whose quotient is close to `ratio`, those of one limb first."""
    for most, least_error in ((LIMB, 1e-6), (TWO_LIMBS, 1.0)):
        smaller = min(ratio, 1 / ratio)
        greater = np.arange(1, most + 1)
        other = np.rint(greater * smaller).astype(np.int64)
        errors = np.abs(other / greater - smaller) / smaller
        # Exact ones are found at once; larger factors give finer scales.
        order = np.lexsort((-greater, np.round(errors, 12)))[:RATIOS]
        for place in order:
            if errors[place] <= least_error and other[place]:
                pair = int(greater[place]), int(other[place])
                yield pair if ratio <= 1 else pair[::-1]


def _constants(
    ratios: tuple[float, float], zero_points: tuple[int, int, int], factors: tuple[int, int]
) -> Iterator[AddConstants]:
    za, zb, zy = zero_points
    offset = -(factors[0] * za + factors[1] * zb)
    exact = np.float32((ratios[0] + ratios[1]) / (factors[0] + factors[1]))
    for ulps in ULPS:
        scale = float((exact.view(np.int32) + np.int32(ulps)).astype(np.int32).view(np.float32))
        yield AddConstants(factors, offset, scale, zy)
        if zy % 2:
            # At ties it matters whether the zero point is added before or after rounding.
            yield AddConstants(factors, offset + round(1 / scale), scale, zy - 1)
