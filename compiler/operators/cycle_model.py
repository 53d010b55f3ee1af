"""The cycle model: how many cycles a tiling takes, as a rough and as a precise estimate.

`rough` is a formula that handles all tilings at once. `simulate` follows the three modules block
by block: loads and stores move one beat a cycle and GEMM does one operation a cycle. An instruction
starts when the previous one in its module has finished, and so has everything that it waits for.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vta.compiler.ir.timing import TIMING, MachineTiming
from vta.compiler.operators.gemm_nest import AXES, GemmNest
from vta.compiler.operators.tiling import THREADS, Tiling, Tilings
from vta.config import Config

__all__ = ["choose", "rough", "simulate"]

FINALISTS = 32
"""How many of the roughly best tilings are simulated, at most."""
SIMULATED = 40_000
"""How many steps are simulated in total, at most; this takes a fraction of a second."""


@functools.lru_cache(maxsize=256)
def choose(nest: GemmNest, config: Config, timing: MachineTiming = TIMING) -> tuple[Tiling, int]:
    """The best tiling and its cycles."""
    tilings = Tilings.legal(nest, config)
    expected = rough(tilings, timing)
    order = np.argsort(expected, kind="stable")
    order = _finalists(tilings, expected, order) if config.requantises else order[:FINALISTS]
    # The roughly best tiling is always simulated, the others while steps are left.
    work = np.cumsum((tilings.blocks * tilings.turns)[order])
    budget = SIMULATED // 2 if config.requantises else SIMULATED
    finalists = [
        tilings[int(place)] for place in order[: max(1, int(np.searchsorted(work, budget)))]
    ]
    cycles = [simulate(nest, tiling, config, timing) for tiling in finalists]
    best = min(range(len(cycles)), key=cycles.__getitem__)
    if not config.requantises:
        return finalists[best], simulate(nest, finalists[best], config, timing, exact=True)
    return finalists[best], cycles[best]


def _finalists(
    tilings: Tilings, expected: NDArray[np.float64], order: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Tilings to simulate: equally many for each number of threads.

    The formula is least accurate between different numbers of threads.

    Of tilings that it finds equal, such as those with rows and columns exchanged, two are taken,
    and only the best ones if they have many steps, which take long to simulate.
    """
    found = []
    few = (tilings.blocks * tilings.turns)[order] <= SIMULATED // FINALISTS
    order = order[few | (np.arange(len(order)) < FINALISTS // 4)]
    for count in THREADS:
        group = order[tilings.threads[order] == count]
        cycles = expected[group]
        differs = np.ones(len(group), bool)
        differs[2:] = cycles[2:] > cycles[:-2]
        found.append(group[differs][: 2 * FINALISTS])
    best = np.concatenate(found)
    return best[np.argsort(expected[best], kind="stable")]


def rough(tilings: Tilings, timing: MachineTiming = TIMING) -> NDArray[np.float64]:
    """Cycles of each tiling, by a formula that treats blocks at the edges like all others."""
    nest, config = tilings.nest, tilings.config
    rows = np.minimum(tilings.data_rows, nest.height)
    columns = np.minimum(tilings.data_columns, nest.width)
    load = tilings.fresh_data * (
        tilings.data_planes
        * rows
        * np.maximum(columns, tilings.beats(columns * config.inp_elem_bytes))
        + TIMING.gap * (tilings.data_loads if config.requantises else tilings.data_planes)
    ) + tilings.fresh_weights * (
        tilings.weight_tiles * tilings.beats(config.wgt_elem_bytes)
        + TIMING.gap * tilings.parts * tilings.outputs
    )
    gemm = tilings.out_tiles * tilings.taps + TIMING.gap
    alu = tilings.out_tiles * (1 + sum(step.cycles for step in nest.steps)) + TIMING.gap * (
        1 + len(nest.steps)
    )
    alu += sum(step.drain for step in nest.steps)
    bias = tilings.fresh_weights * tilings.channel_tiles * tilings.beats(config.acc_elem_bytes)
    store = tilings.beats(tilings.out_tiles * config.out_elem_bytes)
    blocks, turns = tilings.blocks, tilings.turns
    # A thread's next step is loaded between two of its own GEMMs.
    wait = timing.load + TIMING.handover
    turn = np.maximum(np.maximum(gemm, load), (gemm + load + wait) / tilings.threads)
    busy = turns * turn + np.maximum(alu, load - turn)
    if config.requantises:
        # The first of the threads waits for its store while the others end their blocks.
        stored = TIMING.handover + TIMING.gap + store + TIMING.stored
        others = (tilings.threads - 1) * (alu + np.where(turns == 1, gemm, 0))
        busy = busy + np.maximum(0, stored - others) / tilings.threads
    ends = load + timing.load + store
    alone = blocks * (
        turns * (load + timing.load + gemm) + bias + alu + np.maximum(0, store - load)
    )
    together = ends + blocks * np.maximum(np.maximum(busy, turns * load + bias), store)
    cycles: NDArray[np.float64] = np.where(tilings.threads > 1, together, alone)
    return cycles


@dataclass
class _Thread:
    """When the on-chip buffers of a virtual thread are free, or filled."""

    loaded: int = 0
    used: int = 0
    stored: int = 0
    weights: tuple[int, ...] = ()
    data: tuple[int, ...] = ()
    """The blocks whose weights and data are still there."""


def simulate(
    nest: GemmNest,
    tiling: Tiling,
    config: Config,
    timing: MachineTiming = TIMING,
    *,
    exact: bool = False,
) -> int:
    """Cycles of one tiling, with the padding and the size of each block.

    Without `exact` the figures for encoding 0.0.2 are those that its tilings have always been
    chosen by, so that its programs stay as they are: each plane of data is a LOAD, and all threads
    load before one of them ends its block.
    """
    machine = _Machine(nest, tiling, config, timing, exact or config.requantises)
    counts = [
        -(-size // getattr(tiling, name)) for name, size in zip(AXES, nest.out_shape, strict=True)
    ]
    dealt = AXES.index(tiling.axis)
    rounds = counts[dealt]
    counts[dealt] = each = -(-rounds // tiling.threads)
    threads = [_Thread() for _ in range(tiling.threads)]
    for place in itertools.product(*map(range, counts)):
        starts = range(place[dealt], rounds, each)
        machine.blocks(
            list(
                zip(
                    threads,
                    ((*place[:dealt], start, *place[dealt + 1 :]) for start in starts),
                    strict=False,
                )
            )
        )
    return machine.end


Place = tuple[int, ...]
"""Which block it is along each axis."""


class _Machine:
    """The clocks of load, compute and store."""

    def __init__(
        self, nest: GemmNest, tiling: Tiling, config: Config, timing: MachineTiming, exact: bool
    ) -> None:
        self.nest, self.tiling, self.config, self.timing = nest, tiling, config, timing
        self.exact = exact
        self.load = self.compute = self.store = timing.first
        one = Tilings.of(nest, config, tiling)
        self.alu = sum(step.cycles for step in nest.steps)
        self.weights = int((one.weight_tiles * one.beats(config.wgt_elem_bytes))[0])
        self.drain = sum(step.drain for step in nest.steps)
        self.bias = int((one.channel_tiles * one.beats(config.acc_elem_bytes))[0])
        self.planes = int(one.data_planes[0])
        self.loads = int(one.data_loads[0]) if exact else self.planes
        self.rows_of_weights = tiling.parts * tiling.outputs
        self.loading = functools.cache(self._loading)
        self.tiles = functools.cache(self._tiles)
        self.steps = list(
            itertools.product(
                *(
                    [min(part, size - start) for start in range(0, size, part)]
                    for size, part in (
                        (nest.inputs, tiling.inputs),
                        (nest.taps_y, tiling.taps_y),
                        (nest.taps_x, tiling.taps_x),
                    )
                )
            )
        )
        self.taps = list(
            itertools.product(
                range(-(-nest.inputs // tiling.inputs)),
                range(-(-nest.taps_y // tiling.taps_y)),
                range(-(-nest.taps_x // tiling.taps_x)),
            )
        )

    @property
    def end(self) -> int:
        return max(self.load, self.compute, self.store) + TIMING.handover

    def blocks(self, turns: list[tuple[_Thread, Place]]) -> None:
        """One block of each thread, interleaved as in the program."""
        for thread, place in turns:
            if not self._kept(thread.weights, place[1:3], always=True):
                self.load += self.bias
        if self.exact and len(self.taps) == 1:
            # There is no loop of steps, so a thread ends its block before the next one begins.
            for turn in turns:
                self._step(0, [turn])
                self._end([turn])
            return
        for number in range(len(self.taps)):
            self._step(number, turns)
        self._end(turns)

    def _step(self, number: int, turns: list[tuple[_Thread, Place]]) -> None:
        """The loads and the GEMM of one step of each thread."""
        _, tap_y, tap_x = self.taps[number]
        for thread, place in turns:
            fresh = (
                not self._kept(thread.data, (*place[:2], *place[3:])),
                not self._kept(thread.weights, place[1:3]),
            )
            if any(fresh):
                self.load = max(self.load, thread.used) + self.loading(
                    place[3], place[4], tap_y, tap_x, fresh
                )
                thread.loaded = self.load + self.timing.load
            thread.data, thread.weights = (*place[:2], *place[3:]), place[1:3]
        for thread, place in turns:
            tiles = self.tiles(place)
            if number == 0:
                # The reset of the sums waits for the store of the previous block.
                self.compute = max(self.compute, thread.stored) + tiles + TIMING.gap
            self.compute = (
                max(self.compute, thread.loaded)
                + TIMING.gap
                + tiles * math.prod(self.steps[number])
            )
            thread.used = self.compute + TIMING.handover

    def _end(self, turns: list[tuple[_Thread, Place]]) -> None:
        """The epilogue and the store of each thread's block."""
        for thread, place in turns:
            tiles = self.tiles(place)
            self.compute += tiles * self.alu + TIMING.gap * len(self.nest.steps) + self.drain
            self.store = (
                max(self.store, self.compute + TIMING.handover)
                + TIMING.gap
                + _cycles(tiles, self.config.out_elem_bytes, self.config)
            )
            thread.stored = self.store + TIMING.stored

    def _kept(self, last: Place, now: Place, *, always: bool = False) -> bool:
        """Whether what a block loads is still there, from the `last` block of the same thread.

        If not `always`, it must be loaded in one step.
        """
        return self.config.requantises and last == now and (always or len(self.taps) == 1)

    def _tiles(self, place: Place) -> int:
        """Tiles of the output in a block; those at the ends may be smaller."""
        return math.prod(
            min(getattr(self.tiling, name), size - at * getattr(self.tiling, name))
            for name, size, at in zip(AXES, self.nest.out_shape, place, strict=True)
        )

    def _loading(
        self, row: int, column: int, tap_y: int, tap_x: int, fresh: tuple[bool, bool]
    ) -> int:
        """Cycles of the loads of one step, in the block at `row`, `column`.

        `fresh` tells whether its data and its weights are loaded.
        """
        nest, tiling = self.nest, self.tiling
        rows, _ = _clipped(
            row * tiling.rows * nest.row_step
            + tap_y * tiling.taps_y * nest.dilation[0]
            - nest.pad[0],
            (tiling.rows - 1) * nest.row_step + (tiling.taps_y - 1) * nest.dilation[0] + 1,
            nest.height,
        )
        columns, padding = _clipped(
            column * tiling.columns * nest.stride[1]
            + tap_x * tiling.taps_x * nest.dilation[1]
            - nest.pad[1],
            (tiling.columns - 1) * nest.stride[1] + (tiling.taps_x - 1) * nest.dilation[1] + 1,
            nest.width,
        )
        row_cycles = _cycles(columns, self.config.inp_elem_bytes, self.config) + padding
        data = self.planes * rows * row_cycles + TIMING.gap * self.loads
        return fresh[0] * data + fresh[1] * (self.weights + TIMING.gap * self.rows_of_weights)


def _cycles(tiles: int, nbytes: int, config: Config) -> int:
    """Cycles of a row of tiles on the bus: one per beat or one per tile, whichever is more."""
    return max(tiles, -(-tiles * nbytes // config.bus_bytes))


def _clipped(start: int, size: int, limit: int) -> tuple[int, int]:
    """How much of a range lies inside ``range(limit)``, and how much lies outside."""
    inside = max(0, min(start + size, limit) - max(start, 0))
    return inside, size - inside
