"""Finds the loops of an operation that run inside a tile.

Data is moved and computed in whole tiles. The inner loops of an operation run through one tile of
the tensor it writes, and through the same elements of the tensors it reads, in the same order.
Every other loop steps by whole tiles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from vta.compiler.ir.affine import Affine
from vta.compiler.te.expr import Var
from vta.errors import ScheduleError

__all__ = ["TileLoops", "Whole", "tile_loops", "whole_tensor"]


@dataclass(frozen=True)
class TileLoops:
    """A split of loops into those outside and those inside a tile of `size` elements.

    Attributes
    ----------
    loops : tuple of (Var, int)
        The loops outside the tile, outermost first.
    inside : mapping of Var to (int, int)
        The loops inside the tile: the extent and the step within the tile.
    cut : mapping of Var to Affine
        Loops that were split between inside and outside, as their two parts.
    """

    loops: tuple[tuple[Var, int], ...]
    inside: Mapping[Var, tuple[int, int]]
    cut: Mapping[Var, Affine]
    size: int

    def parts(self, form: Affine) -> Affine:
        """A form with each split loop replaced by its parts."""
        total = Affine(form.offset, {})
        for var, factor in form.factors.items():
            total = total.plus(self.cut.get(var, Affine(0, {var: 1})).scaled(factor))
        return total

    def tiles(self, form: Affine, what: str) -> Affine:
        """Converts a position in elements to a position in tiles.

        Raises
        ------
        ScheduleError
            The position does not advance through tiles as the loops do.
        """
        form = self.parts(form)
        for own, (_, step) in self.inside.items():
            if form.factors.get(own, 0) != step:
                raise ScheduleError(
                    f"{what} goes through a tile's {self.size} numbers in a different order from "
                    "the write (transposed, strided or broadcast); inside a tile, each number "
                    "must be computed from numbers at the same position"
                )
        rest = {var: factor for var, factor in form.factors.items() if var not in self.inside}
        wrong = [
            f"{var.name} steps by {factor}" for var, factor in rest.items() if factor % self.size
        ]
        wrong += [f"it begins at {form.offset}"] if form.offset % self.size else []
        if wrong:
            raise ScheduleError(f"{what} is not in whole tiles of {self.size} numbers: {wrong[0]}")
        return Affine(
            form.offset // self.size, {var: factor // self.size for var, factor in rest.items()}
        )

    def guard(self, form: Affine, what: str) -> Affine:
        """Converts a guard to whole tiles; it must not split a tile."""
        form = self.parts(form)
        low = high = 0
        for var, (extent, _) in self.inside.items():
            reach = form.factors.get(var, 0) * (extent - 1)
            low, high = low + min(0, reach), high + max(0, reach)
        rest = {var: factor for var, factor in form.factors.items() if var not in self.inside}
        step = math.gcd(*rest.values()) if rest else 0
        # Sums of the other loops for which some elements of a tile pass, but not all.
        for partly in range(-high, -low):
            distance = partly - form.offset
            if (distance % step == 0) if step else distance == 0:
                raise ScheduleError(
                    f"{what} cuts through a tile of {self.size} numbers; pad the "
                    "tensor to whole tiles"
                )
        return Affine(form.offset + high, rest)


@dataclass(frozen=True)
class Whole:
    """A whole tensor, from first to last element, as one loop over its tiles.

    The last tile need not be full: elements are independent, and memory comes in whole tiles.
    """

    loops: tuple[tuple[Var, int], ...]
    written: Affine
    size: int

    def fits(self, form: Affine) -> bool:
        """Whether a position advances with the write, tile by tile."""
        return form.factors == self.written.factors and form.offset % self.size == 0

    def tiles(self, form: Affine, what: str) -> Affine:
        """Converts a position that fits to tiles."""
        assert self.fits(form), what
        return Affine(form.offset // self.size, {self.loops[0][0]: 1})

    def guard(self, form: Affine, what: str) -> Affine:
        """A whole tensor has no guards."""
        raise AssertionError(what)


def whole_tensor(
    loops: tuple[tuple[Var, int], ...], written: Affine, total: int, size: int
) -> Whole | None:
    """`Whole`, if the loops write each of a tensor's `total` elements once; else None."""
    step = 1
    for var, extent in sorted(loops, key=lambda loop: written.factors.get(loop[0], 0)):
        if written.factors.get(var, 0) != step:
            return None
        step *= extent
    if step != total or written.offset:
        return None
    return Whole(((Var("int32", "tile"), -(-total // size)),), written, size)


def tile_loops(
    loops: tuple[tuple[Var, int], ...], written: Affine, size: int, what: str
) -> TileLoops:
    """Finds the loops that run inside a tile of the written tensor, by their steps.

    Raises
    ------
    ScheduleError
        The loops do not cover whole tiles.
    """
    inside: dict[Var, tuple[int, int]] = {}
    cut: dict[Var, Affine] = {}
    outside = dict(loops)
    step = 1
    while step < size:
        var = next((var for var in outside if written.factors.get(var, 0) == step), None)
        extent = outside[var] if var is not None else 1
        need = size // step
        if var is not None and (need % extent == 0 or extent % need == 0):
            del outside[var]
            if extent <= need:
                inside[var] = (extent, step)
                step *= extent
                continue
            parts = Var("int32", f"{var.name}.outer"), Var("int32", f"{var.name}.inner")
            cut[var] = Affine(0, {parts[0]: need, parts[1]: 1})
            inside[parts[1]] = (need, step)
            place = [loop for loop, _ in loops].index(var)
            names = [loop for loop, _ in loops]
            outside = dict(
                sorted(
                    {**outside, parts[0]: extent // need}.items(),
                    key=lambda item: names.index(item[0]) if item[0] in names else place,
                )
            )
            break
        raise ScheduleError(
            f"{what} do not cover whole tiles of {size} numbers: its loops go through "
            f"{step * (extent if var is not None else 1)} in a row; the innermost dimensions must "
            "be a tile's, and all of them inside the operation"
        )
    return TileLoops(tuple(outside.items()), inside, cut, size)
