"""Packing and unpacking against NumPy, element by element."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vta.compiler.operators import ChannelBlocking, pack_bias, pack_data, pack_weight, unpack_data
from vta.config import PRESETS
from vta.errors import ArgumentError

PRESET = st.sampled_from(sorted(PRESETS))


def numbers(*shape):
    return np.random.default_rng(1).integers(-128, 128, shape).astype(np.int8)


@given(PRESET, st.integers(1, 9), st.integers(1, 40), st.integers(1, 4), st.integers(1, 4))
def test_data_in_tiles(preset, images, channels, height, width):
    config = PRESETS[preset]
    data = numbers(images, channels, height, width)
    tiles = pack_data(data, config)
    assert tiles.shape == (
        -(-images // config.batch),
        -(-channels // config.block),
        height,
        width,
        config.batch,
        config.block,
    )
    for index in np.ndindex(tiles.shape):
        rows, blocks, y, x, b, k = index
        n, c = rows * config.batch + b, blocks * config.block + k
        expected = data[n, c, y, x] if n < images and c < channels else 0
        assert tiles[index] == expected
    np.testing.assert_array_equal(unpack_data(tiles, data.shape), data)


@given(PRESET, st.integers(1, 5), st.integers(1, 40), st.integers(1, 20))
def test_chunks_begin_at_a_block(preset, images, channels, chunk):
    config = PRESETS[preset]
    data = numbers(images, channels, 2, 3)
    tiles = pack_data(data, config, chunk)
    blocks = -(-chunk // config.block)
    assert tiles.shape[1] == -(-channels // chunk) * blocks
    for channel in range(channels):
        part, inside = divmod(channel, chunk)
        block, lane = divmod(inside, config.block)
        np.testing.assert_array_equal(
            tiles[0, part * blocks + block, :, :, 0, lane], data[0, channel]
        )
    np.testing.assert_array_equal(unpack_data(tiles, data.shape, chunk), data)


@given(st.sampled_from([8, 16, 32]), st.integers(1, 12), st.integers(1, 20), st.integers(1, 20))
def test_weights_in_tiles(block, groups, inputs, outputs):
    blocking = ChannelBlocking(block=block, groups=groups, inputs=inputs, outputs=outputs)
    weight = numbers(groups * outputs, inputs, 1, 2)
    tiles = pack_weight(weight, blocking)
    assert tiles.shape == (
        blocking.parts,
        blocking.output_blocks,
        blocking.input_blocks,
        1,
        2,
        block,
        block,
    )
    expected = np.zeros_like(tiles)
    for output in range(groups * outputs):
        group, o = divmod(output, outputs)
        part, place = divmod(group, blocking.shared)
        for i in range(inputs):
            row, col = place * outputs + o, place * inputs + i
            expected[part, row // block, col // block, :, :, row % block, col % block] = weight[
                output, i
            ]
    np.testing.assert_array_equal(tiles, expected)


def test_groups_share_a_block_where_whole_ones_fit():
    def shared(groups, inputs, outputs):
        return ChannelBlocking(block=16, groups=groups, inputs=inputs, outputs=outputs).shared

    assert shared(32, 1, 1) == 16
    assert shared(3, 1, 1) == 3
    assert shared(8, 3, 5) == 3
    assert shared(4, 8, 8) == 2
    assert shared(4, 1, 9) == 1
    assert shared(2, 32, 16) == 1


@given(st.sampled_from([8, 16]), st.integers(1, 4), st.integers(1, 12), st.integers(1, 20))
def test_bias_in_tiles(block, batch, groups, outputs):
    blocking = ChannelBlocking(block=block, groups=groups, inputs=1, outputs=outputs)
    bias = np.arange(1, groups * outputs + 1, dtype=np.int32)
    tiles = pack_bias(bias, blocking, batch)
    assert tiles.shape == (blocking.parts, blocking.output_blocks, batch, block)
    for row in range(batch):
        flat = tiles[:, :, row].reshape(blocking.parts, -1)[:, : blocking.output_chunk].reshape(-1)
        np.testing.assert_array_equal(flat[: bias.size], bias)
    assert np.count_nonzero(tiles) == batch * bias.size


def test_wrong_shapes_are_named():
    config = PRESETS["default"]
    blocking = ChannelBlocking(block=16, inputs=8, outputs=4)
    with pytest.raises(ArgumentError, match=r"data must have 4 dimensions, not \[3, 4\]"):
        pack_data(numbers(3, 4), config)
    with pytest.raises(ArgumentError, match=r"1 x 4 output channels by 8 .* not \[4, 9, 1, 1\]"):
        pack_weight(numbers(4, 9, 1, 1), blocking)
    with pytest.raises(ArgumentError, match=r"bias must be \(4,\), not \[5\]"):
        pack_bias(np.zeros(5, np.int32), blocking, 1)
    with pytest.raises(ArgumentError, match=r"cannot be data of \[1, 40, 2, 2\]"):
        unpack_data(np.zeros((1, 2, 2, 2, 1, 16), np.int8), (1, 40, 2, 2))
