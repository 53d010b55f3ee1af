"""The benchmark streams that come with the project, each with numpy's result as expectation.

What matters is which resource each of them presses on: the multipliers (`matmul`), the bus while it
reads (`dense`, `vadd`) or writes (`fill`), the ALU (`requantise`).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vta.isa import AluOp, MemoryType
from vta.tools.bench.stream import Stream

if TYPE_CHECKING:
    from vta.config import Config
    from vta.image import Image

__all__ = ["MatmulBlocking", "BenchKernel", "fill", "kernels", "matmul", "speed_kernel"]


@dataclass(frozen=True)
class BenchKernel:
    """A stream that can be built: building takes a while, so it waits until it is needed.

    `product` is (M, K, N) of the matrix product that the stream is, if it is one; `predicted` the
    cycles that the compiler's model foresees, where it has one.
    """

    name: str
    build: Callable[[], Image]
    product: tuple[int, int, int] | None = None
    predicted: Callable[[], int] | None = None


def kernels(config: Config) -> list[BenchKernel]:
    """All of them for one configuration."""
    return [
        *(
            BenchKernel(f"vadd_{tiles}", functools.partial(_compiled, "vector_add", config, tiles))
            for tiles in (64, 1024, 4096)
        ),
        BenchKernel("requantise_1024", functools.partial(_compiled, "requantise", config, 1024)),
        BenchKernel("fill_32", functools.partial(fill, config, 32)),
        _product(config, "dense", config.batch, 1024, 512),
        _product(config, "matmul", 256, 1024, 128),
    ]


def speed_kernel(config: Config) -> BenchKernel:
    """A stream of GEMM that is long enough to be timed; its instructions are as long as those of
    a convolution."""
    return _product(config, "matmul", 512, 1024, 256, least=4096)


def _product(config: Config, name: str, m: int, k: int, n: int, least: int = 1024) -> BenchKernel:
    return BenchKernel(
        f"{name}_{m}x{k}x{n}", functools.partial(matmul, config, m, k, n, least=least), (m, k, n)
    )


def _compiled(name: str, config: Config, tiles: int) -> Image:
    # The compiler and the driver are loaded only for what they make.
    from vta.tools.bench import compiled

    image: Image = getattr(compiled, name)(config, tiles)
    return image


# -- stores ----------------------------------------------------------------------------------------


def fill(config: Config, passes: int) -> Image:
    """Pass after pass adds 1 to half of ACC and stores it, while the other half is added to."""
    stream, half = Stream(config), config.acc_depth // 2
    values = np.arange(1, passes + 1).astype(np.int8)
    tiles = np.repeat(values, half * config.batch * config.block)
    first = stream.expect(MemoryType.OUT, tiles)
    # The first half begins at 0 and the second at 1; both then grow by 2 each time.
    stream.uops([(0, 0, 0), (half, 0, 0)])
    loops = {"iter_in": half, "dst_factor_in": 1, "use_imm": 1, "alu_opcode": AluOp.ADD}
    for number in range(passes):
        side, begins = number % 2, number < 2
        imm = (1 + side) if begins else 2
        stream.alu(
            uop_bgn=side, uop_end=side + 1, imm=imm, pop_next=int(not begins), push_next=1, **loops
        )
        stream.store(
            sram=side * half,
            cols=half,
            dram=first + number * half,
            pop_prev=1,
            push_prev=int(number + 2 < passes),
        )
    return stream.image("tiles that grow by 1")


# -- matrix products -------------------------------------------------------------------------------


@dataclass(frozen=True)
class MatmulBlocking:
    """How many tiles of M, K and N are on chip at a time, in each of two halves."""

    m: int
    k: int
    n: int

    @classmethod
    def best(cls, config: Config, m: int, k: int, n: int, least: int) -> MatmulBlocking:
        """The blocking that reads least, for powers of two `m`, `k`, `n` (tiles).

        Of several the one whose GEMM instructions are shortest, but have `least` iterations if
        that is possible: the first ones' loads cannot overlap, the others' latency is hidden.
        """
        beats = [
            -(-size // config.bus_bytes) for size in (config.inp_elem_bytes, config.wgt_elem_bytes)
        ]

        def cost(blocking: MatmulBlocking) -> tuple[float, bool, int]:
            reading = beats[0] / blocking.n + beats[1] / blocking.m
            iterations = blocking.m * blocking.k * blocking.n
            enough = iterations >= least
            return max(1.0, reading), not enough, iterations if enough else -iterations

        fitting = [cls(*sizes) for sizes in itertools.product(*map(_powers, (m, k, n)))]
        return min((blocking for blocking in fitting if blocking.fits(config)), key=cost)

    def fits(self, config: Config) -> bool:
        return (
            2 * self.m * self.n <= config.acc_depth
            and 2 * self.m * self.k <= config.inp_depth
            and 2 * self.n * self.k <= config.wgt_depth
            and 4 * self.k <= config.uop_depth
        )


def _powers(limit: int) -> list[int]:
    return [1 << log for log in range(limit.bit_length())]


def matmul(config: Config, m: int, k: int, n: int, *, least: int = 1024) -> Image:
    """int8(clip((A B^T) >> 8)) of A (m, k) int8 and B (n, k) int8, in tiles.

    Loads, products and stores overlap: each buffer has two halves, and tokens say which is free.
    Sizes are numbers, powers of two and at least a tile; `least` as in `MatmulBlocking.best`.
    """
    batch, block = config.batch, config.block
    tiles = MatmulBlocking(m // batch, k // block, n // block)
    rng = np.random.default_rng(1)
    a, b = (rng.integers(-128, 128, (rows, k)).astype(np.int8) for rows in (m, n))
    # Exact: float64 holds every sum.
    sums = (a.astype(np.float64) @ b.T.astype(np.float64)).astype(np.int64)
    result = np.clip(sums >> 8, -128, 127).astype(np.int8)
    stream = Stream(config)
    places = {
        "inp": stream.place(MemoryType.INP, _tiled(a, batch, block)),
        "wgt": stream.place(MemoryType.WGT, _tiled(b, block, block)),
        "out": stream.expect(MemoryType.OUT, _tiled(result, batch, block)),
    }
    blocking = MatmulBlocking.best(config, tiles.m, tiles.k, tiles.n, least)
    _Product(stream, tiles, blocking, places).emit()
    return stream.image(f"({m}, {k}) times ({k}, {n})")


def _tiled(matrix: NDArray[np.int8], rows: int, cols: int) -> NDArray[np.int8]:
    """(M, N) as (M / rows, N / cols, rows, cols)."""
    height, width = matrix.shape
    return matrix.reshape(height // rows, rows, width // cols, cols).transpose(0, 2, 1, 3)


class _Product:
    """Emits one product, output block after output block."""

    def __init__(
        self,
        stream: Stream,
        tiles: MatmulBlocking,
        blocking: MatmulBlocking,
        places: dict[str, int],
    ) -> None:
        self._stream, self._tiles, self._block, self._places = stream, tiles, blocking, places
        self._half = {
            name: stream.config.depth(MemoryType[name.upper()]) // 2
            for name in ("inp", "wgt", "acc")
        }
        self._steps = tiles.k // blocking.k
        self._blocks = (tiles.m // blocking.m) * (tiles.n // blocking.n)

    def emit(self) -> None:
        tiles, block, half = self._tiles, self._block, self._half
        # A set of micro-ops for each half of ACC and each half of INP and WGT.
        self._stream.uops(
            [
                (out * half["acc"], side * half["inp"] + k, side * half["wgt"] + k)
                for out in range(2)
                for side in range(2)
                for k in range(block.k)
            ]
        )
        places = itertools.product(range(0, tiles.m, block.m), range(0, tiles.n, block.n))
        for number, (row, col) in enumerate(places):
            self._multiply(number, row, col)
            self._finish(number, row, col)

    def _multiply(self, number: int, row: int, col: int) -> None:
        stream, block, half, width = self._stream, self._block, self._half, self._tiles.k
        out = number % 2
        loops = {
            "iter_out": block.m,
            "iter_in": block.n,
            "dst_factor_out": block.n,
            "dst_factor_in": 1,
        }
        total = self._blocks * self._steps
        for step in range(self._steps):
            turn = number * self._steps + step
            side = turn % 2
            # The load waits for the product before last, the product for its load.
            stream.load(
                MemoryType.INP,
                sram=side * half["inp"],
                rows=block.m,
                cols=block.k,
                stride=width,
                pop_next=int(turn >= 2),
                dram=self._places["inp"] + row * width + step * block.k,
            )
            stream.load(
                MemoryType.WGT,
                sram=side * half["wgt"],
                rows=block.n,
                cols=block.k,
                stride=width,
                push_next=1,
                dram=self._places["wgt"] + col * width + step * block.k,
            )
            if step == 0:
                stream.gemm(
                    reset=1,
                    uop_bgn=2 * out * block.k,
                    uop_end=2 * out * block.k + 1,
                    pop_next=int(number >= 2),
                    **loops,
                )
            first = (2 * out + side) * block.k
            stream.gemm(
                uop_bgn=first,
                uop_end=first + block.k,
                src_factor_out=block.k,
                wgt_factor_in=block.k,
                pop_prev=1,
                push_prev=int(turn + 2 < total),
                **loops,
            )

    def _finish(self, number: int, row: int, col: int) -> None:
        stream, block, width = self._stream, self._block, self._tiles.n
        out = number % 2
        operations = ((AluOp.SHR, 8), (AluOp.MAX, -128), (AluOp.MIN, 127))
        for place, (operation, imm) in enumerate(operations):
            stream.alu(
                alu_opcode=operation,
                use_imm=1,
                imm=imm,
                iter_out=block.m * block.n,
                dst_factor_out=1,
                uop_bgn=2 * out * block.k,
                uop_end=2 * out * block.k + 1,
                push_next=int(place == len(operations) - 1),
            )
        stream.store(
            sram=out * self._half["acc"],
            rows=block.m,
            cols=block.n,
            stride=width,
            dram=self._places["out"] + row * width + col,
            pop_prev=1,
            push_prev=int(number + 2 < self._blocks),
        )
