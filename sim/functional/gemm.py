"""GEMM on arrays of tile indices.

Within one GEMM, INP and WGT do not change and sums wrap, so that the order of its iterations does
not matter: they may be regrouped into few large matrix products. Products are taken in 32-bit
floating point, by far the fastest that numpy has, in pieces so short that every sum is exact.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EXACT_TERMS", "GemmPlan", "accumulate", "accumulate_one", "plan"]

EXACT_TERMS = 1 << (24 - 14)
"""Products of two int8 (at most 2^14 each) whose float32 sums are exact in any order (2^24)."""

FEW = 8
"""With at least this many iterations per weight tile, one product per weight tile is faster."""

GATHERED = 1 << 20
"""How many numbers of WGT are copied at a time."""


def accumulate_one(
    acc: NDArray[np.int32],
    inp: NDArray[np.float32],
    wgt: NDArray[np.float32],
    dst: int,
    src: int,
    wgt_index: int,
) -> None:
    """`accumulate` for a single iteration."""
    acc[dst] += (inp[src] @ wgt[wgt_index].T).astype(np.int32).reshape(-1)


@dataclass(frozen=True, eq=False)
class GemmPlan:
    """Iterations regrouped.

    Attributes
    ----------
    shared : tuple of (dst, src, weights)
        Destinations (t,) that sum over src (t, k) with the same weights (k,).
    dst, src, weights, starts : arrays
        The other iterations: each destination's begin at its number in `starts`.
    """

    shared: tuple[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], ...]
    dst: NDArray[np.int64]
    src: NDArray[np.int64]
    weights: NDArray[np.int64]
    starts: NDArray[np.int64]

    @property
    def size(self) -> int:
        """How many numbers it keeps."""
        parts = sum(src.size + dst.size for dst, src, _ in self.shared)
        return parts + self.dst.size + 2 * self.src.size


def accumulate(
    acc: NDArray[np.int32], inp: NDArray[np.float32], wgt: NDArray[np.float32], planned: GemmPlan
) -> None:
    """``acc[dst] += inp[src] @ wgt[w].T`` for all iterations of a plan, modulo 2^32.

    Parameters
    ----------
    acc : (acc_depth, batch * block) int32
        Changed in place.
    inp : (inp_depth, batch, block) float32
        Whole numbers of 8 bits; so are those of `wgt`.
    wgt : (wgt_depth, block, block) float32
        Output-major.
    planned : GemmPlan
    """
    for part in planned.shared:
        _shared(acc, inp, wgt, *part)
    if len(planned.dst):
        products = _products(inp, wgt, planned.src, planned.weights)
        acc[planned.dst] += np.add.reduceat(products, planned.starts, axis=0, dtype=np.int32)


def plan(indices: list[NDArray[np.int64]]) -> GemmPlan:
    """The plan for iterations with these dst, src and w, each (n,) int64."""
    dst, src, weights = indices
    # Group the iterations by destination and keep their order. (numpy sorts 16-bit numbers, which
    # are enough for a depth, in linear time.)
    order = np.argsort(dst.astype(np.uint16), kind="stable")
    dst, src, weights = dst[order], src[order], weights[order]
    starts = _starts(dst)
    tiles, terms = len(starts), len(dst) // len(starts)
    if np.array_equal(starts, np.arange(tiles) * terms) and tiles * terms == len(dst):
        # Sums of equal length, as compilers make them. Find those that use the same weights.
        dst, src, weights = dst[starts], src.reshape(tiles, terms), weights.reshape(tiles, terms)
        by_weight = np.argsort(weights[:, 0].astype(np.uint16), kind="stable")
        dst, src, weights = dst[by_weight], src[by_weight], weights[by_weight]
        changes = (weights[1:] != weights[:-1]).any(axis=1).nonzero()[0] + 1
        if (len(changes) + 1) * FEW <= tiles:
            runs = itertools.pairwise((0, *changes.tolist(), tiles))
            shared = tuple((dst[a:b], src[a:b], weights[a]) for a, b in runs)
            none = np.zeros(0, np.int64)
            return GemmPlan(shared, none, none, none, none)
        src, weights = src.reshape(-1), weights.reshape(-1)
    else:
        dst = dst[starts]
    return GemmPlan((), dst, src, weights, starts)


def _starts(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where runs of equal values begin."""
    return np.concatenate(([0], np.flatnonzero(values[1:] != values[:-1]) + 1))


def _shared(
    acc: NDArray[np.int32],
    inp: NDArray[np.float32],
    wgt: NDArray[np.float32],
    dst: NDArray[np.int64],
    src: NDArray[np.int64],
    weights: NDArray[np.int64],
) -> None:
    """Every one of `dst` (t,) sums over `src` (t, k) with the same `weights` (k,): convolutions,
    and matrices of more than one row of tiles."""
    _, batch, block = inp.shape
    step = EXACT_TERMS // block
    for begin in range(0, len(weights), step):
        rows = inp.take(src[:, begin : begin + step], axis=0)
        if batch > 1:
            rows = rows.swapaxes(1, 2)
        rows = rows.reshape(len(dst) * batch, -1)
        columns = wgt[weights[begin : begin + step]].swapaxes(0, 1).reshape(block, -1)
        acc[dst] += (rows @ columns.T).astype(np.int32).reshape(len(dst), -1)


def _products(
    inp: NDArray[np.float32],
    wgt: NDArray[np.float32],
    src: NDArray[np.int64],
    weights: NDArray[np.int64],
) -> NDArray[np.int32]:
    """Each iteration's product, (n, batch * block)."""
    _, batch, block = inp.shape
    products = np.empty((len(src), batch, block), np.int32)
    order = np.argsort(weights.astype(np.uint16), kind="stable")
    starts = _starts(weights[order])
    if len(starts) * FEW > len(src):
        step = max(1, GATHERED // block**2)
        for begin in range(0, len(src), step):
            part = slice(begin, begin + step)
            products[part] = np.matmul(inp[src[part]], wgt[weights[part]].swapaxes(1, 2))
    else:
        for where in np.split(order, starts[1:]):
            rows = inp[src[where]].reshape(-1, block)
            products[where] = (rows @ wgt[weights[where[0]]].T).reshape(-1, batch, block)
    return products.reshape(len(src), -1)
