"""Shapes, strides and paddings as users write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from vta.compiler.operators.gemm_nest import Pair
from vta.compiler.te.dtypes import items_of
from vta.errors import CompileError
from vta.isa import MAX_SIZE

__all__ = [
    "Padding",
    "Size",
    "Window",
    "as_padding",
    "as_pair",
    "as_shape",
    "first_blind",
    "out_size",
]

Padding = tuple[int, int, int, int]
"""Top, left, bottom, right."""

Size = int | Sequence[int]
"""One number, or one for each dimension."""


@dataclass(frozen=True)
class Window:
    """The base class of specs with windows that move over images.

    Parameters
    ----------
    stride, dilation : int or (y, x)
    padding : int, (y, x) or (top, left, bottom, right)
    """

    stride: Size = field(default=1, kw_only=True)
    padding: Size = field(default=0, kw_only=True)
    dilation: Size = field(default=1, kw_only=True)

    def _normalise(self) -> None:
        """Checks the fields and normalises them, so that equal specs compare equal."""
        object.__setattr__(self, "stride", as_pair(self.stride, "stride"))
        object.__setattr__(self, "padding", as_padding(self.padding))
        object.__setattr__(self, "dilation", as_pair(self.dilation, "dilation"))

    @property
    def strides(self) -> Pair:
        """(y, x)."""
        return as_pair(self.stride, "stride")

    @property
    def dilations(self) -> Pair:
        """(y, x)."""
        return as_pair(self.dilation, "dilation")

    @property
    def pads(self) -> Padding:
        """Top, left, bottom, right."""
        return as_padding(self.padding)


def as_pair(value: int | Sequence[int], what: str, least: int = 1) -> Pair:
    """A number for both, or (y, x)."""
    numbers = _numbers(value, what, least, (1, 2))
    return numbers[0], numbers[-1]


def as_padding(value: int | Sequence[int]) -> Padding:
    """A number for all sides, (y, x), or (top, left, bottom, right)."""
    numbers = _numbers(value, "padding", 0, (1, 2, 4))
    top, left = numbers[0], numbers[min(1, len(numbers) - 1)]
    bottom, right = numbers[2:] if len(numbers) == 4 else (top, left)
    return top, left, bottom, right


def as_shape(value: Sequence[int], what: str, ndim: int | None = None) -> tuple[int, ...]:
    """A shape of `ndim` dimensions, or of any number of them."""
    allowed = (ndim,) if ndim is not None else None
    return _numbers(value, what, 1, allowed)


def out_size(size: int, taps: int, stride: int, dilation: int, padding: int, what: str) -> int:
    """Number of positions of a window of `taps` over `size` numbers plus `padding`."""
    reach = (taps - 1) * dilation + 1
    if reach > size + padding:
        raise CompileError(
            f"{what}: the window reaches over {reach}, but there are only "
            f"{size} and {padding} of padding"
        )
    return (size + padding - reach) // stride + 1


def first_blind(
    size: int, positions: int, *, taps: int, stride: int, dilation: int, before: int
) -> int | None:
    """The first window position where no tap falls on any of `size` numbers, or None."""
    # A window that starts on a number sees that number. Windows that start before all numbers:
    starts = np.arange(min(positions, -(-before // stride))) * stride - before
    reached = -(starts // dilation)  # the first tap that is not before the numbers
    blind = np.flatnonzero((reached >= taps) | (starts + reached * dilation >= size))
    if blind.size:
        return int(blind[0])
    # Windows that start behind all numbers see nothing.
    behind = -(-(size + before) // stride)
    return behind if behind < positions else None


def _numbers(
    value: int | Sequence[int], what: str, least: int, counts: Sequence[int] | None
) -> tuple[int, ...]:
    numbers: tuple[int, ...] = items_of(value)
    most = MAX_SIZE if counts is not None and counts[0] == 1 else 1 << 31
    wrong = any(
        isinstance(n, bool) or not isinstance(n, (int, np.integer)) or not least <= n <= most
        for n in numbers
    )
    if wrong or not numbers or (counts is not None and len(numbers) not in counts):
        wanted = (
            "whole numbers"
            if counts is None
            else f"{' or '.join(map(str, counts))} whole number{'s' if counts[-1] > 1 else ''}"
        )
        raise CompileError(f"{what} must be {wanted} of {least} to {most}, not {value!r}")
    return tuple(map(int, numbers))
