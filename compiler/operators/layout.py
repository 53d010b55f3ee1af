"""Packing and unpacking: conversion between numpy arrays and the tiles of programs.

A tile of data is BATCH images by BLOCK channels. A tile of weights is BLOCK output channels by
BLOCK input channels. Packing fills up the last tile with zeros, and unpacking cuts them off.

Grouped convolutions keep the groups separate: `ChannelBlocking` says how the channels of a group
become blocks. Groups smaller than a block share one, as many as fit completely. A tile of weights
then has the weights of its groups on the diagonal and zeros elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vta.config import Config
from vta.errors import ArgumentError

__all__ = [
    "ChannelBlocking",
    "flat_tiles",
    "pack_bias",
    "pack_data",
    "pack_weight",
    "pad_images",
    "unpack_data",
    "windows_as_channels",
]


def flat_tiles(array: NDArray[Any], config: Config) -> NDArray[Any]:
    """The values in order, in whole tiles, for operators to which the channel does not matter."""
    tile = config.batch * config.block
    flat = np.zeros(-(-array.size // tile) * tile, array.dtype)
    flat[: array.size] = array.reshape(-1)
    return flat


@dataclass(frozen=True, kw_only=True)
class ChannelBlocking:
    """How channels become blocks.

    Parameters
    ----------
    block : int
        Channels in a block: BLOCK of the configuration.
    groups : int
        Groups of the convolution; 1 for other operators.
    inputs, outputs : int
        Input and output channels of one group.
    """

    block: int
    groups: int = 1
    inputs: int
    outputs: int

    @property
    def shared(self) -> int:
        """How many groups share a block; 1 if a group fills a block or more."""
        return max(1, min(self.groups, self.block // max(self.inputs, self.outputs)))

    @property
    def parts(self) -> int:
        """The number of parts: runs of blocks that are computed independently."""
        return -(-self.groups // self.shared)

    @property
    def input_chunk(self) -> int:
        """Input channels of a part, before it is padded to whole blocks."""
        return self.shared * self.inputs

    @property
    def output_chunk(self) -> int:
        """Output channels that are stored together."""
        return self.shared * self.outputs

    @property
    def input_blocks(self) -> int:
        """Blocks of a part."""
        return -(-self.input_chunk // self.block)

    @property
    def output_blocks(self) -> int:
        """Tiles that hold `output_chunk` channels; the last may be partly filled."""
        return -(-self.output_chunk // self.block)


def pack_data(data: NDArray[Any], config: Config, chunk: int | None = None) -> NDArray[Any]:
    """(N, C, H, W) as (N / BATCH, C / BLOCK, H, W, BATCH, BLOCK), sizes rounded up.

    Parameters
    ----------
    data : (N, C, H, W)
    config : Config
    chunk : int, optional
        Each run of this many channels starts a new block (`ChannelBlocking.input_chunk`);
        default C.
    """
    images, channels, height, width = _sizes(data, "data", 4)
    batch, block = config.batch, config.block
    chunk = channels if chunk is None else chunk
    parts, blocks, rows = -(-channels // chunk), -(-chunk // block), -(-images // batch)
    padded = _padded(data, (rows * batch, parts * chunk, height, width))
    padded = padded.reshape(rows * batch, parts, chunk, height, width)
    padded = _padded(padded, (rows * batch, parts, blocks * block, height, width))
    tiles = padded.reshape(rows, batch, parts * blocks, block, height, width)
    return np.ascontiguousarray(tiles.transpose(0, 2, 4, 5, 1, 3))


def unpack_data(
    tiles: NDArray[Any], shape: tuple[int, ...], chunk: int | None = None
) -> NDArray[Any]:
    """The reverse of `pack_data`: tiles as (N, C, H, W).

    Parameters
    ----------
    tiles : (N / BATCH, C / BLOCK, H, W, BATCH, BLOCK)
    shape : (N, C, H, W)
    chunk : int, optional
        As for `pack_data` (`ChannelBlocking.output_chunk`).
    """
    rows, blocks, height, width, batch, block = _sizes(tiles, "tiles", 6)
    images, channels = shape[:2]
    chunk = channels if chunk is None else chunk
    parts = -(-channels // chunk)
    if (
        blocks % parts
        or (rows * batch < images)
        or parts * chunk < channels
        or (blocks // parts * block < chunk)
        or (height, width) != tuple(shape[2:])
    ):
        raise ArgumentError(f"tiles of {list(tiles.shape)} cannot be data of {list(shape)}")
    data = tiles.transpose(0, 4, 1, 5, 2, 3).reshape(rows * batch, parts, -1, height, width)
    data = data[:images, :, :chunk].reshape(images, parts * chunk, height, width)
    return np.ascontiguousarray(data[:, :channels])


def pack_weight(weight: NDArray[Any], blocking: ChannelBlocking) -> NDArray[Any]:
    """(O, I, KH, KW) as (parts, O, I, KH, KW, BLOCK, BLOCK), the latter's O and I in blocks.

    I is the number of input channels of one group.
    """
    outputs, inputs, height, width = _sizes(weight, "weight", 4)
    if (outputs, inputs) != (blocking.groups * blocking.outputs, blocking.inputs):
        raise ArgumentError(
            f"weight must be {blocking.groups} x {blocking.outputs} output channels by "
            f"{blocking.inputs} input channels, not {list(weight.shape)}"
        )
    parts, shared, block = blocking.parts, blocking.shared, blocking.block
    grouped = _padded(
        weight.reshape(blocking.groups, -1, inputs, height, width),
        (parts * shared, blocking.outputs, inputs, height, width),
    )
    grouped = grouped.reshape(parts, shared, blocking.outputs, inputs, height, width)
    dense = np.zeros((parts, shared, blocking.outputs, shared, inputs, height, width), weight.dtype)
    for index in range(shared):
        dense[:, index, :, index] = grouped[:, index]
    rows, cols = blocking.output_blocks, blocking.input_blocks
    padded = _padded(
        dense.reshape(parts, blocking.output_chunk, blocking.input_chunk, height, width),
        (parts, rows * block, cols * block, height, width),
    )
    tiles = padded.reshape(parts, rows, block, cols, block, height, width)
    return np.ascontiguousarray(tiles.transpose(0, 1, 3, 5, 6, 2, 4))


def pack_bias(bias: NDArray[Any], blocking: ChannelBlocking, batch: int) -> NDArray[Any]:
    """(O,) as (parts, O / BLOCK, BATCH, BLOCK), the same for each row of a tile."""
    if not isinstance(blocking, ChannelBlocking):
        raise ArgumentError(f"blocking must be a ChannelBlocking, not {blocking!r}")
    (outputs,) = _sizes(bias, "bias", 1)
    if outputs != blocking.groups * blocking.outputs:
        raise ArgumentError(
            f"bias must be ({blocking.groups * blocking.outputs},), not {list(bias.shape)}"
        )
    parts, chunk, blocks = blocking.parts, blocking.output_chunk, blocking.output_blocks
    padded = _padded(bias, (parts * chunk,)).reshape(parts, chunk)
    padded = _padded(padded, (parts, blocks * blocking.block))
    tiles = padded.reshape(parts, blocks, 1, blocking.block)
    return np.ascontiguousarray(np.broadcast_to(tiles, (parts, blocks, batch, blocking.block)))


def pad_images(
    data: NDArray[Any], padding: tuple[int, int, int, int], value: int = 0
) -> NDArray[Any]:
    """(N, C, H, W) with `value` around each image: top, left, bottom, right."""
    top, left, bottom, right = padding
    if not any(padding):
        return data
    return np.pad(data, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)


def windows_as_channels(
    data: NDArray[Any], taps: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> NDArray[Any]:
    """(N, C, H, W) as (N, C * taps, OH, OW): what each window sees, one channel for each tap.

    `taps`, `stride` and `dilation` are (y, x), and the last index of a window counts fastest.
    """
    rows, columns = (
        (size - (count - 1) * dilation[dim] - 1) // stride[dim] + 1
        for dim, (size, count) in enumerate(zip(data.shape[2:], taps, strict=True))
    )
    seen = np.empty((*data.shape[:2], *taps, rows, columns), data.dtype)
    for y, x in np.ndindex(*taps):
        first = data[:, :, y * dilation[0] :, x * dilation[1] :]
        seen[:, :, y, x] = first[:, :, :: stride[0], :: stride[1]][:, :, :rows, :columns]
    return seen.reshape(data.shape[0], -1, rows, columns)


def _padded(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """`array` with zeros after it in each dimension."""
    if array.shape == shape:
        return array
    result = np.zeros(shape, array.dtype)
    result[tuple(slice(size) for size in array.shape)] = array
    return result


def _sizes(array: NDArray[Any], what: str, ndim: int) -> tuple[int, ...]:
    if array.ndim != ndim:
        raise ArgumentError(f"{what} must have {ndim} dimensions, not {list(array.shape)}")
    return array.shape
