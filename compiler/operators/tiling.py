"""`Tiling`: the free choices in the schedule of a nest, and the search for legal ones."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vta.compiler.operators.gemm_nest import AXES, GemmNest
from vta.config import Config
from vta.errors import CompileError
from vta.isa import MAX_ITER

__all__ = ["THREADS", "Tiling", "Tilings", "flat_tilings", "likely_sizes"]

THREADS = (1, 2, 4)
"""How many virtual threads a tiling may have."""

FIELDS = (*AXES, "inputs", "taps_y", "taps_x", "threads", "axis")
"""Of a `Tiling`."""

Column = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How much of a nest is on chip at a time.

    Parameters
    ----------
    images, parts, outputs, rows, columns : int
        Sizes of a block: the part that one virtual thread computes before it stores.
    inputs, taps_y, taps_x : int
        Sizes of a step: the part summed before the next data and weights are loaded.
    threads : int
        Virtual threads, which take turns: one loads while another computes.
    axis : str
        The axis of the output along which the threads share blocks; one of `AXES`.
    """

    images: int = 1
    parts: int = 1
    outputs: int = 1
    rows: int = 1
    columns: int = 1
    inputs: int = 1
    taps_y: int = 1
    taps_x: int = 1
    threads: int = 1
    axis: str = "outputs"

    def __post_init__(self) -> None:
        for name in FIELDS[:-1]:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise CompileError(
                    f"{name} of a tiling must be a whole number of 1 or more, not {value!r}"
                )
        if self.axis not in AXES:
            raise CompileError(
                f"axis of a tiling must be one of {', '.join(AXES)}, not {self.axis!r}"
            )

    def __str__(self) -> str:
        sizes = " ".join(
            f"{name}={getattr(self, name)}"
            for name in (*AXES, "inputs", "taps_y", "taps_x")
            if getattr(self, name) > 1
        )
        threads = f", {self.threads} threads over {self.axis}" if self.threads > 1 else ""
        return (sizes or "one tile") + threads


class Tilings:
    """Many tilings at once: one array for each field, and for each of their costs.

    Attributes
    ----------
    fields : dict of (n,) int64
        Keys are the field names of `Tiling`; `axis` is a position in `AXES`.
    """

    def __init__(self, nest: GemmNest, config: Config, fields: dict[str, Column]) -> None:
        self.nest, self.config, self.fields = nest, config, fields

    @classmethod
    def every(cls, nest: GemmNest, config: Config) -> Tilings:
        """All tilings of a nest with likely sizes, including those that do not fit."""
        blocks = np.array(list(_blocks(nest)), np.int64)
        steps = np.array(list(_steps(nest)), np.int64)
        threads = [(1, 0)] + [
            (count, place)
            for count in THREADS
            if count > 1
            for place, size in enumerate(nest.out_shape)
            if size >= count
        ]
        choices = np.array(threads, np.int64)
        pick = np.indices((len(blocks), len(steps), len(choices))).reshape(3, -1)
        rows = np.hstack([blocks[pick[0]], steps[pick[1]], choices[pick[2]]])
        return cls(nest, config, {name: rows[:, place] for place, name in enumerate(FIELDS)})

    @classmethod
    def legal(cls, nest: GemmNest, config: Config) -> Tilings:
        """The tilings that fit, for GEMM; at least one does: a single tile fits all buffers."""
        every = cls.every(nest, config)
        return every.where(every._fitting())

    @classmethod
    def of(cls, nest: GemmNest, config: Config, tiling: Tiling) -> Tilings:
        """The same for a single tiling."""
        values = [getattr(tiling, name) for name in FIELDS[:-1]] + [AXES.index(tiling.axis)]
        return cls(
            nest,
            config,
            {name: np.array([value]) for name, value in zip(FIELDS, values, strict=True)},
        )

    def __len__(self) -> int:
        return len(self.fields["threads"])

    def where(self, chosen: Column | NDArray[np.bool_]) -> Tilings:
        """The tilings that a mask or an array of positions selects."""
        return Tilings(
            self.nest, self.config, {name: column[chosen] for name, column in self.fields.items()}
        )

    def __getitem__(self, place: int) -> Tiling:
        values = {name: int(column[place]) for name, column in self.fields.items()}
        return Tiling(**values | {"axis": AXES[values["axis"]]})  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Column:
        try:
            return self.fields[name]
        except KeyError:
            raise AttributeError(name) from None

    # -- sizes of a block and a step, in tiles ---------------------------------------------------

    @functools.cached_property
    def blocks(self) -> Column:
        """Blocks of the whole output, for all threads together."""
        counts = [
            -(-size // self.fields[name])
            for name, size in zip(AXES, self.nest.out_shape, strict=True)
        ]
        return functools.reduce(np.multiply, counts)

    @functools.cached_property
    def turns(self) -> Column:
        """Steps of a block."""
        nest = self.nest
        return (
            -(-nest.inputs // self.inputs)
            * -(-nest.taps_y // self.taps_y)
            * -(-nest.taps_x // self.taps_x)
        )

    @functools.cached_property
    def out_tiles(self) -> Column:
        """Of a block."""
        return functools.reduce(np.multiply, [self.fields[name] for name in AXES])

    @functools.cached_property
    def taps(self) -> Column:
        """GEMM operations of a step for each tile of the output."""
        return self.inputs * self.taps_y * self.taps_x

    @functools.cached_property
    def data_rows(self) -> Column:
        """Rows of the input that a block's step reads, padding included."""
        nest = self.nest
        return (self.rows - 1) * nest.row_step + (self.taps_y - 1) * nest.dilation[0] + 1

    @functools.cached_property
    def data_columns(self) -> Column:
        """Columns of the input that a block's step reads, padding included."""
        nest = self.nest
        return (self.columns - 1) * nest.stride[1] + (self.taps_x - 1) * nest.dilation[1] + 1

    @functools.cached_property
    def data_planes(self) -> Column:
        """Planes of rows and columns that a step loads."""
        return self.images * self.parts * self.inputs

    @functools.cached_property
    def weight_tiles(self) -> Column:
        """Tiles of weights that a step loads."""
        if self.nest.one_weight:
            return np.ones(len(self), np.int64)
        return self.parts * self.outputs * self.taps

    @functools.cached_property
    def channel_tiles(self) -> Column:
        """Tiles of bias and scales that a block loads."""
        return self.parts * self.outputs * (self.nest.biased + self.nest.scaled)

    @functools.cached_property
    def data_loads(self) -> Column:
        """LOADs of data of a step: one for each plane, or one for all if a plane is one row.

        A plane is one row in memory if it has a single row of pixels, or all columns. If it is one
        pixel, the planes of an image are a row too, and one LOAD brings those of all images.
        """
        if self.nest.height == self.nest.width == 1:
            return self.parts
        flat = (self.data_rows == 1) | (self.data_columns == self.nest.width)
        return np.where(flat, self.images, self.data_planes)

    @functools.cached_property
    def fresh_weights(self) -> NDArray[np.float64]:
        """The share of blocks that must load weights, bias and scales; the others keep theirs.

        The compiler leaves out a LOAD of what is there already (`compiler/passes/reuse.py`).
        """
        if not self.config.requantises:
            return np.ones(len(self))
        counts = self._counts_of_a_thread()
        images, parts, outputs = (counts[:, place] for place in range(3))
        kept = self.turns == 1
        runs = np.where(parts * outputs == 1, 1, images * parts * outputs)
        return np.where(kept, runs / counts.prod(1), 1.0)

    @functools.cached_property
    def fresh_data(self) -> NDArray[np.float64]:
        """The share of blocks that must load data; the others use that of the block before."""
        if not self.config.requantises:
            return np.ones(len(self))
        counts = self._counts_of_a_thread()
        kept = (self.turns == 1) & (counts[:, 3] * counts[:, 4] == 1)
        return np.where(kept, 1 / counts[:, 2], 1.0)

    def _counts_of_a_thread(self) -> Column:
        """Blocks of a thread along each axis; one row for each tiling."""
        counts = np.stack(
            [
                -(-size // self.fields[name])
                for name, size in zip(AXES, self.nest.out_shape, strict=True)
            ],
            axis=1,
        )
        place = np.arange(len(self)), self.axis
        counts[place] = -(-counts[place] // self.threads)
        return counts

    def beats(self, nbytes: Column | int) -> Column:
        """Cycles of the bus."""
        return np.asarray(-(-nbytes // self.config.bus_bytes))

    @property
    def countable(self) -> NDArray[np.bool_]:
        """Whether no loop has more rounds than the hardware can count."""
        return self.out_tiles <= MAX_ITER

    @property
    def dealt(self) -> NDArray[np.bool_]:
        """Whether every thread has at least one block; the last may have fewer than the first."""
        place = np.arange(len(self))
        sizes = np.array(self.nest.out_shape)[self.axis]
        rounds = -sizes // np.stack([self.fields[name] for name in AXES])[self.axis, place]
        rounds = -rounds
        each = -(-rounds // self.threads)
        enough: NDArray[np.bool_] = (self.threads - 1) * each < rounds
        return enough

    def _fitting(self) -> NDArray[np.bool_]:
        config, threads = self.config, self.threads
        data = self.data_planes * self.data_rows * self.data_columns
        results = self.nest.live * self.out_tiles + self.channel_tiles
        return (
            (threads * data <= config.inp_depth)
            & (threads * self.weight_tiles <= config.wgt_depth)
            & (threads * results + self.nest.constants <= config.acc_depth)
            & (threads * (self.uops + 2) <= config.uop_depth)
            & self.countable
            & self.dealt
        )

    @functools.cached_property
    def uops(self) -> Column:
        """Micro-ops of a step: its loops, except the two that the hardware runs."""
        loops = np.stack([self.fields[name] for name in (*AXES, "inputs", "taps_y", "taps_x")])
        loops.sort(axis=0)
        uops: Column = np.prod(loops[:-2], axis=0)
        return uops


def likely_sizes(number: int) -> list[int]:
    """Sizes to cut `number` into: its divisors, with more sizes between distant ones."""
    sizes = [size for size in range(1, number + 1) if number % size == 0]
    if any(larger > 4 * smaller for smaller, larger in itertools.pairwise(sizes)):
        sizes += [-(-number // (1 << log)) for log in range(1, number.bit_length())]
    return sorted(set(sizes))


def _blocks(nest: GemmNest) -> Iterator[tuple[int, ...]]:
    """Sizes of blocks, in the order of `AXES`."""
    for outputs, rows, columns in itertools.product(
        likely_sizes(nest.outputs), likely_sizes(nest.rows), likely_sizes(nest.columns)
    ):
        yield 1, 1, outputs, rows, columns
        # Blocks of several images or parts pay off only if one is small.
        if (outputs, rows, columns) == (nest.outputs, nest.rows, nest.columns):
            for parts in likely_sizes(nest.parts)[1:]:
                yield 1, parts, outputs, rows, columns
        if (rows, columns) == (nest.rows, nest.columns):
            for images in likely_sizes(nest.images)[1:]:
                yield images, 1, outputs, rows, columns


def _steps(nest: GemmNest) -> Iterator[tuple[int, ...]]:
    """Inputs and taps of a step."""
    for inputs in likely_sizes(nest.inputs):
        yield inputs, nest.taps_y, nest.taps_x
    # A large kernel for small buffers goes row by row, or tap by tap.
    taps = {(rows, nest.taps_x) for rows in likely_sizes(nest.taps_y)} | {
        (1, columns) for columns in likely_sizes(nest.taps_x)
    }
    yield from ((1, *each) for each in sorted(taps - {(nest.taps_y, nest.taps_x)}))


def flat_tilings(tiles: int, fitting: int, threads: int) -> Iterator[Tiling]:
    """Tilings of a row of tiles, of which `fitting` fit on chip for each thread."""
    # Rounded up, because padding tiles may follow the last.
    counts = {-(-tiles // number) for number in range(1, min(tiles, 512) + 1)}
    for count in sorted({min(count, fitting) for count in counts} - {0}):
        if threads == 1 or count < tiles:
            yield Tiling(columns=count, threads=threads, axis="columns")
