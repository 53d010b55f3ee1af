"""Shifts of arrays by arrays, as the instruction set has them: a negative amount the other way."""

from __future__ import annotations

import numpy as np

__all__ = ["shift_left", "shift_right"]


def shift_right(x: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """``x >> amount`` for amounts of any size, in the wider of both dtypes."""
    dtype = np.promote_types(x.dtype, amount.dtype)
    wide, by = x.astype(np.int64), amount.astype(np.int64)
    down, up = wide >> np.clip(by, 0, 32), wide << np.clip(-by, 0, 32)
    return np.where(by >= 0, down, up).astype(dtype)


def shift_left(x: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """``x << amount`` for amounts of any size, in the wider of both dtypes."""
    # In 64 bits the least int32 has an opposite.
    dtype = np.promote_types(x.dtype, amount.dtype)
    return shift_right(x, -amount.astype(np.int64)).astype(dtype)
