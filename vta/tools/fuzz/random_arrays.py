"""The numbers of random programs' inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vta.tools.fuzz.choices import Choices

__all__ = ["SPECIAL", "draw_array"]

SPECIAL = [0, 1, -1, 2, 7, 8, 31, 32, 33, -31, -32, 127, 128, -128, 255, 32767, 32768, -32769]
SPECIAL += [(1 << 31) - 1, -(1 << 31), (1 << 31) - 128, 1 << 24]
"""At the ends of ranges."""

SCALE_BITS = [0, 1, 0x7FFFFF, 0x800000, 0x3F000000, 0x3F800000, 0x7F800000, 0x7FC12345]
SCALE_BITS += [bits | 0x80000000 for bits in SCALE_BITS]
"""Of scales at the ends of binary32: zeros, subnormals, and what is infinite or no number there."""


def draw_array(choices: Choices, shape: Sequence[int], dtype: str) -> np.ndarray:
    """Numbers of a dtype: of any size, small ones, and those at the ends of ranges."""
    rng = np.random.default_rng(choices.number(0, 1 << 16))
    if dtype == "float32":
        scales = 2.0 ** rng.uniform(-34, 4, tuple(shape)) * rng.choice([-1, 1, 1, 1], shape)
        bits = rng.choice(np.array(SCALE_BITS, np.int64), shape).astype(np.uint32)
        special = rng.integers(0, 10, tuple(shape)) == 0
        return np.where(special, bits.view(np.float32), scales.astype(np.float32))
    limits = np.iinfo(dtype)
    kinds = [
        rng.integers(limits.min, limits.max, tuple(shape), np.int64, endpoint=True),
        rng.integers(-40, 40, tuple(shape), np.int64, endpoint=True),
        rng.choice(np.array(SPECIAL), tuple(shape)),
    ]
    weight = choices.number(0, 9)  # some arrays are all numbers of any size
    pick = np.where(rng.integers(0, 10, tuple(shape)) < weight, rng.integers(0, 3), 0)
    return np.choose(pick, kinds).astype(np.int64).astype(dtype)
