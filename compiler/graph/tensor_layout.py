"""`TensorLayout`: how a network's tensor lies in a device's memory, as tiles.

An image's channels become lanes. Each block of lanes is a plane of tiles: BATCH images by BLOCK
lanes for each pixel. Lanes without a channel may hold anything once the accelerator has written
them, because no operator lets them reach a lane with one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["TensorLayout", "Windows", "as_image"]

MAX_WINDOW = 4096
"""The largest size of windows in a file."""

Runs = tuple[tuple[int, int], ...]


def as_image(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The shape of the same values as images (N, C, H, W)."""
    sizes = (*shape, 1, 1, 1, 1)
    if len(shape) <= 4:
        return sizes[0], sizes[1], sizes[2], sizes[3]
    return shape[0], shape[1], shape[2], math.prod(shape[3:])


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The values that each window sees as channels of one pixel.

    Parameters
    ----------
    padding : (top, left, bottom, right)
    zero : int
        What the padding holds.
    taps, stride, dilation : (y, x)
    """

    padding: tuple[int, int, int, int]
    zero: int
    taps: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]

    def check(self, image: tuple[int, ...]) -> None:
        """Raises a ValueError unless there are windows on images (N, C, H, W)."""
        sizes = (*self.padding, self.zero, *self.taps, *self.stride, *self.dilation)
        shape = all(len(each) == 2 for each in (self.taps, self.stride, self.dilation))
        if not shape or len(self.padding) != 4 or not all(isinstance(n, int) for n in sizes):
            raise ValueError("windows must be whole numbers in pairs")
        if min(*self.taps, *self.stride, *self.dilation) < 1 or min(self.padding) < 0:
            raise ValueError("windows must have sizes of 1 or more")
        if max(sizes) > MAX_WINDOW or not -128 <= self.zero <= 127:
            raise ValueError("windows are too large")
        if min(self.shape(image)) < 1:
            raise ValueError("windows are larger than the image")

    def shape(self, image: tuple[int, ...]) -> tuple[int, int, int, int]:
        """The shape of the result for images (N, C, H, W)."""
        rows, columns = (
            (image[2 + dim] + sum(self.padding[dim::2]) - (count - 1) * self.dilation[dim] - 1)
            // self.stride[dim]
            + 1
            for dim, count in enumerate(self.taps)
        )
        return image[0], image[1] * math.prod(self.taps), rows, columns

    def apply(self, data: NDArray[Any]) -> NDArray[Any]:
        """(N, C, H, W) as (N, C * taps, OH, OW); the last index of a window counts fastest."""
        top, left, bottom, right = self.padding
        if any(self.padding):
            sides = ((0, 0), (0, 0), (top, bottom), (left, right))
            padded = np.pad(data, sides, constant_values=self.zero)
        else:
            padded = data
        shape = self.shape(data.shape)
        rows, columns = shape[2:]
        seen = np.empty((*data.shape[:2], *self.taps, rows, columns), data.dtype)
        for y, x in np.ndindex(*self.taps):
            first = padded[:, :, y * self.dilation[0] :, x * self.dilation[1] :]
            seen[:, :, y, x] = first[:, :, :: self.stride[0], :: self.stride[1]][
                :, :, :rows, :columns
            ]
        return seen.reshape(shape)


@dataclass(frozen=True, kw_only=True)
class TensorLayout:
    """Where the values of images (N, C, H, W) lie.

    Parameters
    ----------
    shape : (N, C, H, W)
    runs : tuple of (int, int)
        The first lane and the number of channels of each run of channels, in their order.
    blocks : int
        Blocks of lanes.
    batch, block : int
        The size of a tile, BATCH by BLOCK.
    border : (top, left, bottom, right)
        Rows and columns around each image that hold `zero`.
    zero : int
    """

    shape: tuple[int, int, int, int]
    runs: Runs
    blocks: int
    batch: int
    block: int
    border: tuple[int, int, int, int] = (0, 0, 0, 0)
    zero: int = 0

    def __post_init__(self) -> None:
        if len(self.shape) != 4 or len(self.border) != 4 or min(*self.shape, *self.border) < 0:
            raise ValueError(f"a layout's shape {self.shape} or border {self.border} is wrong")
        if self.batch < 1 or self.block < 1 or not -128 <= self.zero <= 127:
            raise ValueError("a layout's tile or zero is wrong")
        wrong = any(first < 0 or count < 1 for first, count in self.runs)
        ends = [first + count for first, count in self.runs]
        if wrong or max(ends, default=0) > self.blocks * self.block:
            raise ValueError(f"a layout's runs must lie in {self.blocks} blocks, not {self.runs}")
        if sum(count for _, count in self.runs) != self.shape[1]:
            raise ValueError(f"a layout's runs must have {self.shape[1]} channels")

    @property
    def lanes(self) -> NDArray[np.int64]:
        """The lane of each channel."""
        runs = [np.arange(first, first + count) for first, count in self.runs]
        return np.concatenate(runs) if runs else np.zeros(0, np.int64)

    def _pieces(self) -> Iterator[tuple[int, int, int, int]]:
        """Channels of one block: the first, its block and its lane there, and their number."""
        channel = 0
        for first, count in self.runs:
            end = first + count
            while first < end:
                place, lane = divmod(first, self.block)
                size = min(self.block - lane, end - first)
                yield channel, place, lane, size
                channel, first = channel + size, first + size

    @property
    def rows(self) -> int:
        """Rows of a plane, the border's included."""
        return self.shape[2] + self.border[0] + self.border[2]

    @property
    def columns(self) -> int:
        """Columns of a plane, the border's included."""
        return self.shape[3] + self.border[1] + self.border[3]

    @property
    def planes(self) -> int:
        """Planes of all images."""
        return -(-self.shape[0] // self.batch) * self.blocks

    @property
    def packed_shape(self) -> tuple[int, ...]:
        """Of the array of tiles: (N / BATCH, blocks, rows, columns, BATCH, BLOCK)."""
        images = -(-self.shape[0] // self.batch)
        return images, self.blocks, self.rows, self.columns, self.batch, self.block

    @property
    def nbytes(self) -> int:
        """Bytes of the tiles."""
        return math.prod(self.packed_shape)

    def pack(self, data: NDArray[Any]) -> NDArray[np.int8]:
        """(N, C, H, W) int8 as tiles; lanes without a channel hold zeros."""
        _, _, height, width = self.shape
        top, left, _, _ = self.border
        fill = self.zero if any(self.border) else 0
        tiles = np.full(self.packed_shape, fill, np.int8)
        inside = tiles[:, :, top : top + height, left : left + width]
        for channel, place, lane, count in self._pieces():
            for row in range(self.packed_shape[0]):
                some = data[row * self.batch : (row + 1) * self.batch, channel : channel + count]
                target = inside[row, place, :, :, : len(some), lane : lane + count]
                target[:] = some.transpose(2, 3, 0, 1)
        return tiles

    def unpack(self, tiles: NDArray[Any]) -> NDArray[np.int8]:
        """The reverse of `pack`."""
        images, _, height, width = self.shape
        top, left, _, _ = self.border
        inside = tiles.reshape(self.packed_shape)[:, :, top : top + height, left : left + width]
        flat = inside.transpose(0, 4, 1, 5, 2, 3)
        count = self.packed_shape[0] * self.batch
        data = flat.reshape(count, self.blocks * self.block, height, width)
        return np.ascontiguousarray(data[:images][:, self.lanes])
