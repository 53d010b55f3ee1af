"""The well-known schedules: matrix multiply, and convolution with virtual threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vta import te
from vta.compiler.te.gemm_intrinsic import gemm
from vta.compiler.te.padding import pad
from vta.compiler.te.schedule import Schedule
from vta.compiler.te.tensor import Tensor
from vta.config import Config

__all__ = [
    "ACC",
    "INP",
    "WGT",
    "conv2d",
    "conv2d_numpy",
    "matmul",
    "matmul_numpy",
    "numbers",
    "products",
    "threaded_matmul",
]

INP, WGT, ACC = (f"local.{name}_buffer" for name in ("inp", "wgt", "acc"))
Scheduled = tuple[Schedule, list[Tensor]]


def numbers(args: Sequence[Tensor], seed: int = 0) -> list[np.ndarray]:
    """Random numbers for all arguments but the last, the output."""
    rng = np.random.default_rng(seed)
    return [
        rng.integers(np.iinfo(t.dtype).min, np.iinfo(t.dtype).max, t.shape, t.dtype, endpoint=True)
        for t in args[:-1]
    ]


class Products:
    """``C = A * B`` in tiles as stages: copies, the product, the store of its low bits."""

    def __init__(self, config: Config, o: int, n: int, m: int) -> None:
        rows, cols = config.batch, config.block
        self.a = te.placeholder((o, n, rows, cols), name="A", dtype="int8")
        self.b = te.placeholder((m, n, cols, cols), name="B", dtype="int8")
        self.a_buf = te.compute(self.a.shape, lambda *i: self.a(*i), "A_buf")
        self.b_buf = te.compute(self.b.shape, lambda *i: self.b(*i), "B_buf")
        self.ko, self.ki = te.reduce_axis((0, n), "ko"), te.reduce_axis((0, cols), "ki")
        self.c_buf = te.compute(
            (o, m, rows, cols),
            lambda bo, co, bi, ci: te.sum(
                self.a_buf(bo, self.ko, bi, self.ki).astype("int32")
                * self.b_buf(co, self.ko, ci, self.ki).astype("int32"),
                axis=[self.ko, self.ki],
            ),
            "C_buf",
        )
        self.c = te.compute(self.c_buf.shape, lambda *i: self.c_buf(*i).astype("int8"), "C")
        self.s = te.create_schedule(self.c.op)
        self.args = [self.a, self.b, self.c]

    def scopes(self) -> None:
        for tensor, scope in ((self.a_buf, INP), (self.b_buf, WGT), (self.c_buf, ACC)):
            self.s[tensor].set_scope(scope)

    def copies(self) -> None:
        for tensor in (self.a_buf, self.b_buf, self.c):
            self.s[tensor].pragma(self.s[tensor].op.axis[0], "dma_copy")

    def product(self, *order: Any) -> None:
        """The product's loops in an order, a tile's inside."""
        *_, bi, ci = self.s[self.c_buf].op.axis
        self.s[self.c_buf].reorder(*order, bi, ci, self.ki)
        self.s[self.c_buf].tensorize(bi, gemm)


def products(config: Config, o: int = 1, n: int = 4, m: int = 3) -> Products:
    """The stages of a matrix multiply, in their buffers, with no loop scheduled."""
    made = Products(config, o, n, m)
    made.scopes()
    return made


def matmul(config: Config, o: int = 1, n: int = 16, m: int = 16) -> Scheduled:
    """All of ``C`` at once, a column of ``B``'s tiles at a time."""
    made = products(config, o, n, m)
    stage = made.s[made.c_buf]
    for tensor in (made.a_buf, made.b_buf):
        made.s[tensor].compute_at(stage, made.ko)
    made.copies()
    made.product(made.ko, *stage.op.axis[:2])
    return made.s, made.args


def threaded_matmul(config: Config) -> Scheduled:
    """Four columns of ``C`` by two virtual threads."""
    made = products(config, 1, 4, 4)
    s, stage = made.s, made.s[made.c]
    outer, inner = stage.split(stage.op.axis[1], nparts=2)
    thread, outer = outer, stage.split(inner, 1)[0]
    stage.reorder(thread, outer)
    stage.bind(thread, te.thread_axis("cthread"))
    s[made.c_buf].compute_at(stage, outer)
    for tensor in (made.a_buf, made.b_buf):
        s[tensor].compute_at(s[made.c_buf], made.ko).pragma(tensor.op.axis[0], "dma_copy")
    made.product(made.ko, *made.c_buf.op.axis[:2])
    stage.pragma(stage.leaf_iter_vars[-2], "dma_copy")
    return s, made.args


def matmul_numpy(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("onbk,mnck->ombc", a.astype(np.int32), b.astype(np.int32)).astype(np.int8)


def conv2d(
    config: Config,
    *,
    size: int = 14,
    channels: tuple[int, int] = (16, 16),
    kernel: int = 3,
    padding: int = 1,
    stride: int = 1,
    threads: int = 2,
    rows: int = 7,
    outputs: int = 8,
) -> Scheduled:
    """A convolution of (in, out) `channels`, in tiles: shifted by 8 and clipped to 0 ... 127.

    A round of the output's outer loops does `rows` rows of `outputs` channels; the reduction goes
    through a tile of input channels at a time.
    """
    batch, block = config.batch, config.block
    after = (size + 2 * padding - kernel) // stride + 1
    shape = (1, channels[1], after, after, batch, block)
    data = te.placeholder((1, channels[0], size, size, batch, block), name="data", dtype="int8")
    weights = te.placeholder(
        (channels[1], channels[0], kernel, kernel, block, block), name="kernel", dtype="int8"
    )
    data_buf = pad(data, [0, 0, padding, padding, 0, 0], name="data_buf")
    kernel_buf = te.compute(weights.shape, lambda *i: weights(*i), "kernel_buf")
    ic, dy, dx, ki = (
        te.reduce_axis((0, extent), name)
        for extent, name in ((channels[0], "ic"), (kernel, "dy"), (kernel, "dx"), (block, "ki"))
    )
    conv = te.compute(
        shape,
        lambda bo, co, i, j, bi, ci: te.sum(
            data_buf(bo, ic, i * stride + dy, j * stride + dx, bi, ki).astype("int32")
            * kernel_buf(co, ic, dy, dx, ci, ki).astype("int32"),
            axis=[ic, dy, dx, ki],
        ),
        "conv",
    )
    shifted = te.compute(shape, lambda *i: conv(*i) >> 8, "shifted")
    positive = te.compute(shape, lambda *i: te.max(shifted(*i), 0), "positive")
    clipped = te.compute(shape, lambda *i: te.min(positive(*i), 127), "clipped")
    res = te.compute(shape, lambda *i: clipped(*i).astype("int8"), "res")

    s = te.create_schedule(res.op)
    s[data_buf].set_scope(INP)
    s[kernel_buf].set_scope(WGT)
    bo, co, i, j, bi, ci = s[res].op.axis
    co_out, co_in = s[res].split(co, factor=outputs)
    i_out, i_in = s[res].split(i, factor=rows)
    s[res].reorder(bo, co_out, i_out, co_in, i_in, j, bi, ci)
    if threads > 1:
        co_out, thread = s[res].split(co_out, factor=threads)
        s[res].reorder(thread, bo, co_out, i_out)
        s[res].bind(thread, te.thread_axis("cthread"))
    for tensor in (conv, shifted, positive, clipped):
        s[tensor].set_scope(ACC).compute_at(s[res], i_out)
    bo, co, i, j, bi, ci = s[conv].op.axis
    s[conv].reorder(ic, bo, co, i, dy, dx, j, bi, ci, ki)
    s[conv].tensorize(bi, gemm)
    for tensor in (data_buf, kernel_buf):
        s[tensor].compute_at(s[conv], ic).pragma(s[tensor].op.axis[0], "dma_copy")
    for tensor in (shifted, positive, clipped):
        s[tensor].pragma(s[tensor].op.axis[0], "alu")
    s[res].pragma(co_in, "dma_copy")
    return s, [data, weights, res]


def conv2d_numpy(
    data: np.ndarray,
    weights: np.ndarray,
    padding: int = 1,
    stride: int = 1,
    finish: Callable[[np.ndarray], np.ndarray] = lambda x: np.clip(x >> 8, 0, 127),
) -> np.ndarray:
    """What `conv2d` computes, as tiles."""
    kernel = weights.shape[2]
    image = np.pad(
        data.astype(np.int32),
        [(0, 0), (0, 0), (padding, padding), (padding, padding), (0, 0), (0, 0)],
    )
    after = (image.shape[2] - kernel) // stride + 1
    total = np.zeros((1, weights.shape[0], after, after, *data.shape[4:]), np.int32)
    for y in range(kernel):
        for x in range(kernel):
            part = image[
                :,
                :,
                y : y + (after - 1) * stride + 1 : stride,
                x : x + (after - 1) * stride + 1 : stride,
            ]
            total += np.einsum(
                "nihwbk,oick->nohwbc", part, weights[:, :, y, x].astype(np.int32), optimize=True
            )
    return finish(total).astype(np.int8)
