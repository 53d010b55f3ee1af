"""GEMM regrouped into matrix products equals its iterations one by one, exactly."""

import numpy as np
import pytest

from vta.sim.functional import gemm

SHAPES = [(1, 8), (1, 16), (1, 32), (1, 64), (2, 8), (4, 16)]


def by_iteration(acc, inp, wgt, indices):
    """The definition in 64-bit whole numbers, wrapped at 32 bits at the end."""
    total = acc.astype(np.int64)
    inp, wgt = inp.astype(np.int64), wgt.astype(np.int64)
    for dst, src, weight in zip(*indices, strict=True):
        total[dst] += (inp[src] @ wgt[weight].T).reshape(-1)
    return total.astype(np.int32)


def buffers(rng, batch, block, depth=32):
    acc = rng.integers(-(2**31), 2**31, (depth, batch * block)).astype(np.int32)
    inp = rng.integers(-128, 128, (depth, batch, block)).astype(np.float32)
    wgt = rng.integers(-128, 128, (depth, block, block)).astype(np.float32)
    return acc, inp, wgt


def grid(*axes):
    return [part.reshape(-1) for part in np.meshgrid(*axes, indexing="ij")]


def convolution(rng):
    pixel, tap = grid(np.arange(12), np.arange(9))
    return [pixel, pixel + tap, tap]


def channels_last(rng):
    pixel, channel, tap = grid(np.arange(10), np.arange(3), np.arange(5))
    return [pixel * 3 + channel, pixel + tap, channel * 5 + tap]


def vector_by_matrix(rng):
    row, column = grid(np.arange(5), np.arange(6))
    return [row, column, row * 6 + column]


def first_weight_alike(rng):
    tile, tap = grid(np.arange(16), np.arange(3))
    return [tile, tile + tap, np.where(tap == 0, 0, tap + 2 * (tile // 8))]


def scattered(rng):
    return [rng.integers(0, 32, 200) for _ in range(3)]


def few_weights(rng):
    return [rng.integers(0, 32, 200), rng.integers(0, 32, 200), rng.integers(0, 3, 200)]


def same_destination(rng):
    return [np.full(50, 7), rng.integers(0, 32, 50), rng.integers(0, 32, 50)]


def one(rng):
    return [np.array([3]), np.array([4]), np.array([5])]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "pattern",
    [
        convolution,
        channels_last,
        vector_by_matrix,
        first_weight_alike,
        scattered,
        few_weights,
        same_destination,
        one,
    ],
)
def test_patterns(shape, pattern):
    rng = np.random.default_rng(1)
    acc, inp, wgt = buffers(rng, *shape)
    indices = pattern(rng)
    expected = by_iteration(acc, inp, wgt, indices)
    gemm.accumulate(acc, inp, wgt, gemm.plan(indices))
    assert np.array_equal(acc, expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spread", [1, 16])
def test_long_sums_of_the_largest_products_are_exact(shape, spread):
    """About 2^14 a product: a float32 sum of more than 2^10 of them would lose bits."""
    rng = np.random.default_rng(2)
    acc, inp, wgt = buffers(rng, *shape)
    inp[...] = rng.integers(-128, -119, inp.shape)
    wgt[...] = rng.integers(-128, -119, wgt.shape)
    dst, repeat = grid(np.arange(spread), np.arange(600))
    indices = [dst, repeat % 32, repeat % 31]
    expected = by_iteration(acc, inp, wgt, indices)
    gemm.accumulate(acc, inp, wgt, gemm.plan(indices))
    assert np.array_equal(acc, expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_one_iteration(shape):
    acc, inp, wgt = buffers(np.random.default_rng(3), *shape)
    expected = by_iteration(acc, inp, wgt, [[3], [4], [5]])
    gemm.accumulate_one(acc, inp, wgt, 3, 4, 5)
    assert np.array_equal(acc, expected)
