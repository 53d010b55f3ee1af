"""The ALU's operations on arrays of tiles, with the meaning of one iteration after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vta.isa import AluOp, unpack_qnt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["ACC_WIDTH", "execute", "independent", "operate"]

ACC_WIDTH = 32

REDUCIBLE: dict[int, Callable[..., Any]] = {
    AluOp.MIN: np.minimum.reduceat,
    AluOp.MAX: np.maximum.reduceat,
    AluOp.ADD: np.add.reduceat,
    AluOp.MUL: np.multiply.reduceat,
}
"""Operations for which a run of operands on one destination may first be combined: they are
associative, in arithmetic modulo 2^32 too."""


def operate(
    op: int, left: NDArray[np.int32], right: NDArray[np.int32], imm: int = 0
) -> NDArray[np.int32]:
    """`op` lane by lane; the shapes broadcast. Everything wraps at 32 bits.

    `imm` is the instruction's field, which QNT reads its zero point and lower bound from.
    """
    if op == AluOp.MIN:
        return np.minimum(left, right)
    if op == AluOp.MAX:
        return np.maximum(left, right)
    if op == AluOp.ADD:
        return np.add(left, right)
    if op == AluOp.MUL:
        return np.multiply(left, right)
    if op == AluOp.MOV:
        return np.broadcast_to(right, left.shape)
    if op == AluOp.QNT:
        return _requantise(left, right, *unpack_qnt(imm))
    return _shift(left, right)


def _requantise(
    acc: NDArray[np.int32], scale: NDArray[np.int32], zero_point: int, lower: int
) -> NDArray[np.int32]:
    """QNT (docs/isa.md, "Encoding 0.0.3"): `scale` holds the bits of binary32 numbers."""
    exponent = scale >> 23 & 0xFF
    # numpy rounds to binary32 as IEEE 754 does, both the conversion and the product.
    value = acc.astype(np.float32)
    factor = np.where(exponent == 0, np.int32(0), scale).view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        product = value * factor
    # An exponent of 255 counts as a number of at least 2^128: any product with it saturates.
    huge = np.sign(value) * np.where(scale < 0, np.float32(-256), np.float32(256))
    product = np.where(exponent == 255, huge, product)
    rounded = np.rint(np.clip(product, -256, 256)).astype(np.int32)
    result: NDArray[np.int32] = np.maximum(lower, np.minimum(127, rounded + np.int32(zero_point)))
    return result.astype(np.int32)


def _shift(value: NDArray[np.int32], by: NDArray[np.int32]) -> NDArray[np.int32]:
    # Shift every lane both ways, each by an amount for which numpy's shift is defined.
    right = value >> np.clip(by, 0, ACC_WIDTH - 1)
    if by.min() >= 0:
        return right
    amount = -np.clip(by, 1 - ACC_WIDTH, 0)
    left = (value.view(np.uint32) << amount.view(np.uint32)).view(np.int32)
    return np.where(by >= 0, right, np.where(by <= -ACC_WIDTH, np.int32(0), left))


def independent(depth: int, dst: NDArray[np.int64], src: NDArray[np.int64] | None) -> bool:
    """Whether no iteration reads or rewrites what an earlier one wrote."""
    order = np.arange(len(dst))
    first = _first_writes(depth, dst)
    return not (first[dst] < order).any() and (src is None or not (first[src] < order).any())


def _first_writes(depth: int, dst: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first iteration that writes each tile; their number for tiles that none writes."""
    # The last of several assignments to one place wins, so the assignment runs backwards.
    first = np.full(depth, len(dst))
    first[dst[::-1]] = np.arange(len(dst))[::-1]
    return first


def execute(
    acc: NDArray[np.int32],
    op: int,
    dst: NDArray[np.int64],
    src: NDArray[np.int64] | None,
    imm: NDArray[np.int32],
) -> None:
    """``acc[dst[k]] = op(acc[dst[k]], acc[src[k]])`` for k = 0, 1, ..., in this order.

    Parameters
    ----------
    acc : (depth, lanes) int32
        Changed in place.
    op : int
        A legal `AluOp`.
    dst, src : (n,) int64
        `src` is None where `imm`, a (1,) int32, is the second operand; QNT has both.
    """
    count = len(dst)
    order = np.arange(count)
    first = _first_writes(len(acc), dst)
    repeated = bool((first[dst] < order).any())
    if src is None:
        reads_writes = forwards = False
    else:
        reads_writes = bool((first[src] < count).any())
        forwards = reads_writes and bool((first[src] < order).any())
    if not repeated and not forwards:
        acc[dst] = operate(op, acc[dst], imm if src is None else acc[src], int(imm[0]))
    elif not reads_writes and op in REDUCIBLE:
        # Only repeated destinations: combine each one's operands.
        by_dst = np.argsort(dst, kind="stable")
        starts = np.flatnonzero(np.diff(dst[by_dst], prepend=-1))
        operands = np.broadcast_to(imm, (count, 1)) if src is None else acc[src[by_dst]]
        tiles = dst[by_dst[starts]]
        # numpy would sum 32-bit numbers in 64 bits by default.
        combined = REDUCIBLE[op](operands, starts, axis=0, dtype=np.int32)
        acc[tiles] = operate(op, acc[tiles], combined)
    else:
        for begin, end in _independent(dst, src):
            to = dst[begin:end]
            right = imm if src is None else acc[src[begin:end]]
            acc[to] = operate(op, acc[to], right, int(imm[0]))


def _independent(
    dst: NDArray[np.int64], src: NDArray[np.int64] | None
) -> Iterator[tuple[int, int]]:
    """Ranges of iterations, in order, none of which reads or rewrites what its own range wrote."""
    written: set[int] = set()
    begin = 0
    targets = dst.tolist()
    for k, (to, source) in enumerate(
        zip(targets, targets if src is None else src.tolist(), strict=True)
    ):
        if to in written or source in written:
            yield begin, k
            begin = k
            written.clear()
        written.add(to)
    yield begin, len(targets)
