"""Memory images for the default configuration, each with what memory must become after it.

Those of `OWN` are made here: by the compiler, or instruction by instruction. What is expected of
them is computed by NumPy. `REFERENCE` are the files of ../shared, where that folder is.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vta.config import PRESETS
from vta.image import Image
from vta.isa import AluOp, MemoryType
from vta.tools.bench import compiled
from vta.tools.bench.kernels import fill, matmul
from vta.tools.bench.layers import Layer, layer_kernel
from vta.tools.bench.stream import Stream

CONFIG = PRESETS["default"]
TILE = CONFIG.batch * CONFIG.block

_VECTORS = Path(__file__).resolve().parents[2] / "shared" / "vectors"


def alu(op: AluOp, imm: int | None, expected: Callable[..., np.ndarray]) -> Image:
    """One operation on 32 tiles, with an immediate or with 32 others."""
    tiles, rng = 32, np.random.default_rng(op * 8 + (imm is None))
    stream = Stream(CONFIG)
    left = rng.integers(-(2**31), 2**31, (tiles, TILE)).astype(np.int32)
    # Amounts of shifts, among others.
    right = rng.integers(-40, 40, (tiles, TILE)).astype(np.int32)
    values = np.concatenate([left, right])
    stream.load(MemoryType.ACC, cols=2 * tiles, dram=stream.place(MemoryType.ACC, values))
    stream.uops([(0, tiles, 0)])
    other = np.full_like(right, imm) if imm is not None else right
    result = expected(left.astype(np.int64), other.astype(np.int64))
    stream.alu(
        alu_opcode=op,
        use_imm=int(imm is not None),
        imm=imm or 0,
        iter_in=tiles,
        dst_factor_in=1,
        src_factor_in=1,
        push_next=1,
    )
    out = stream.expect(MemoryType.OUT, result.astype(np.int8))
    stream.store(cols=tiles, dram=out, pop_prev=1)
    return stream.image(f"{op.name} of {tiles} tiles")


def padded(y_pad: tuple[int, int], x_pad: tuple[int, int]) -> Image:
    """A LOAD of 5 rows of 7 tiles out of rows of 9, with zeros around, stored as it is in ACC."""
    rows, cols, stride = 5, 7, 9
    rng = np.random.default_rng(0)
    values = rng.integers(-128, 128, (rows, stride, TILE)).astype(np.int32)
    expected = np.pad(values[:, :cols], (y_pad, x_pad, (0, 0))).astype(np.int8)
    stream = Stream(CONFIG)
    # Every tile of ACC holds 99 first, so that padding is seen to write.
    count = expected.shape[0] * expected.shape[1]
    full = np.full((count, TILE), 99, np.int32)
    stream.load(MemoryType.ACC, cols=count, dram=stream.place(MemoryType.ACC, full))
    stream.load(
        MemoryType.ACC,
        rows=rows,
        cols=cols,
        stride=stride,
        dram=stream.place(MemoryType.ACC, values),
        x_pad=x_pad,
        y_pad_0=y_pad[0],
        y_pad_1=y_pad[1],
        push_next=1,
    )
    stream.store(cols=count, dram=stream.expect(MemoryType.OUT, expected), pop_prev=1)
    return stream.image(f"padding {y_pad} and {x_pad}")


def second_call() -> Image:
    """A stream that waits for a token which a stream before has left."""
    stream, values = Stream(CONFIG), np.arange(4 * TILE, dtype=np.int32)
    dram = stream.place(MemoryType.ACC, values)
    stream.load(MemoryType.ACC, cols=4, dram=dram, pop_next=1, push_next=1)
    stream.store(cols=4, dram=stream.expect(MemoryType.OUT, values.astype(np.int8)), pop_prev=1)
    image = stream.image("waits for the store of a stream before")
    return dataclasses.replace(image, tokens_before={**image.tokens_before, "s2g": 1})


def _shift_right(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """By a negative amount to the left, by one beyond 31 until nothing is left but signs."""
    shifted_left = np.where(right <= -32, 0, left << np.clip(-right, 0, 31))
    return np.where(right >= 0, left >> np.clip(right, 0, 31), shifted_left)


def _layer(layer: Layer) -> Callable[[], Image]:
    return lambda: layer_kernel(layer, CONFIG).build()


OWN: dict[str, Callable[[], Image]] = {
    "own_vector_add": functools.partial(compiled.vector_add, CONFIG, 64),
    "own_requantise": functools.partial(compiled.requantise, CONFIG, 64),
    "own_fill": functools.partial(fill, CONFIG, 3),
    "own_matrix_multiply": functools.partial(matmul, CONFIG, 64, 256, 64),
    "own_gemm": functools.partial(matmul, CONFIG, 16, 64, 32, least=4),
    "own_dense": functools.partial(matmul, CONFIG, 1, 512, 128),
    "own_conv2d": _layer(Layer("conv2d", 14, 32, 32, 3)),
    "own_conv2d_stride": _layer(Layer("conv2d_stride", 14, 32, 64, 3, 2)),
    "own_conv2d_1x1": _layer(Layer("conv2d_1x1", 7, 64, 32, 1)),
    "own_depthwise": _layer(Layer("depthwise", 7, 32, 32, 3, 1, 32)),
    "own_alu_add": functools.partial(alu, AluOp.ADD, None, np.add),
    "own_alu_add_imm": functools.partial(alu, AluOp.ADD, -77, np.add),
    "own_alu_max": functools.partial(alu, AluOp.MAX, None, np.maximum),
    "own_alu_max_imm": functools.partial(alu, AluOp.MAX, 5, np.maximum),
    "own_alu_min_imm": functools.partial(alu, AluOp.MIN, -6, np.minimum),
    "own_alu_mul": functools.partial(alu, AluOp.MUL, None, np.multiply),
    "own_alu_shr": functools.partial(alu, AluOp.SHR, None, _shift_right),
    "own_alu_shr_imm": functools.partial(alu, AluOp.SHR, 24, np.right_shift),
    "own_alu_shl_imm": functools.partial(alu, AluOp.SHR, -3, lambda a, b: a << -b),
    "own_padded_y0": functools.partial(padded, (2, 0), (0, 0)),
    "own_padded_y1": functools.partial(padded, (0, 3), (0, 0)),
    "own_padded_x0": functools.partial(padded, (0, 0), (1, 0)),
    "own_padded_x1": functools.partial(padded, (0, 0), (0, 4)),
    "own_padded_all": functools.partial(padded, (1, 2), (3, 1)),
    "own_second_call": second_call,
}


def outside(*, alu_too_far: bool) -> Image:
    """The third instruction leaves ACC: an operation on its last tile and the next, or a LOAD."""
    stream = Stream(CONFIG)
    stream.uops([(0, 0, 0)])
    stream.load(MemoryType.ACC)
    last = CONFIG.acc_depth - 1
    if alu_too_far:
        stream.alu(use_imm=1, iter_out=2, dst_factor_out=last, iter_in=2, dst_factor_in=1)
    else:
        stream.load(MemoryType.ACC, sram=last, cols=2)
    return stream.image("ends in an error")


FAULTY = {
    "own_load_outside": functools.partial(outside, alu_too_far=False),
    "own_alu_outside": functools.partial(outside, alu_too_far=True),
}
"""Each ends in sram_range, in compute, at instruction 2."""

REFERENCE: dict[str, Callable[[], Image]] = {
    path.stem: functools.partial(Image.load, path) for path in sorted(_VECTORS.glob("*.npz"))
}

NAMES = (*OWN, *REFERENCE)


@functools.cache
def image(name: str) -> Image:
    """One of them; it is made or read only once."""
    return {**OWN, **FAULTY, **REFERENCE}[name]()
