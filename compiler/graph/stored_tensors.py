"""Where a region's tensors lie: blocks of memory (`Root`), and tensors in them (`Stored`)."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field

from vta.compiler.graph.link_regions import View
from vta.compiler.graph.tensor_layout import Runs, TensorLayout

__all__ = ["Root", "Stored", "Use", "joined_runs"]

Border = tuple[int, int, int, int]
NO_BORDER = (0, 0, 0, 0)


def joined_runs(runs: Runs) -> Runs:
    """The runs with neighbours joined into one."""
    found: list[tuple[int, int]] = []
    for first, count in runs:
        if found and found[-1][0] + found[-1][1] == first:
            found[-1] = found[-1][0], found[-1][1] + count
        else:
            found.append((first, count))
    return tuple(found)


@dataclass(eq=False)
class Root:
    """Planes of tiles that lie together.

    Attributes
    ----------
    name : str
    images, blocks, height, width : int
        Planes, and their sizes in tiles without the border.
    role : str
        ``temp``, ``input`` or ``output``.
    border : (top, left, bottom, right)
        The widest that any reader needs; of value `zero`.
    first, last : int
        The operators that write it first and read it last, by their numbers in the region.
    parent, parent_block : Root or None, int
        The concatenation that it is a part of, and its first block there.
    """

    name: str
    images: int
    blocks: int
    height: int
    width: int
    role: str = "temp"
    border: Border = NO_BORDER
    zero: int = 0
    first: int = 0
    last: int = 0
    parent: Root | None = None
    parent_block: int = 0

    @property
    def top(self) -> Root:
        """The outermost concatenation."""
        return self if self.parent is None else self.parent.top

    @property
    def first_block(self) -> int:
        """Its first block in `top`."""
        return 0 if self.parent is None else self.parent_block + self.parent.first_block

    def needs(self, border: Border, zero: int) -> None:
        """Makes the border at least so wide."""
        root = self.top
        if any(border):
            root.zero = zero
        root.border = tuple(map(max, root.border, border))  # type: ignore[assignment]

    def lives(self, number: int) -> None:
        """Operator `number` writes or reads it."""
        self.first, self.last = min(self.first, number), max(self.last, number)

    def adopt(self, child: Root, block: int) -> None:
        """Makes another one a part of this."""
        child.parent, child.parent_block = self, block
        self.first, self.last = min(self.first, child.first), max(self.last, child.last)
        self.needs(child.border, child.zero)

    @property
    def row_pitch(self) -> int:
        """Tiles from row to row."""
        return self.border[1] + self.width + self.border[3]

    @property
    def rows(self) -> int:
        """Rows of a plane, the border's included."""
        return self.border[0] + self.height + self.border[2]

    @property
    def plane_pitch(self) -> int:
        """Tiles from plane to plane."""
        return self.row_pitch * self.rows

    @property
    def tiles(self) -> int:
        return self.images * self.blocks * self.plane_pitch


@dataclass(frozen=True)
class Stored:
    """A tensor in a root. `layout` is without the border."""

    root: Root
    layout: TensorLayout

    @functools.cached_property
    def runs(self) -> Runs:
        return joined_runs(self.layout.runs)

    @property
    def bordered(self) -> TensorLayout:
        """The layout in the root, whose border is known once all operators are lowered."""
        top = self.root.top
        return dataclasses.replace(self.layout, border=top.border, zero=top.zero)

    def alike(self, other: Stored) -> bool:
        """Whether the same channels have the same lanes."""
        return self.runs == other.runs and self.layout.blocks == other.layout.blocks


@dataclass(frozen=True)
class Use:
    """How an operator's array of planes lies in a stored tensor.

    Parameters
    ----------
    stored : Stored
    border : (top, left, bottom, right)
        What of the border is part of the array.
    rows, columns : (first, step)
        Rows and columns of the tensor that the array has; for results only.
    count : (rows, columns) or None
        How many; None for all.
    """

    stored: Stored
    border: Border = NO_BORDER
    rows: tuple[int, int] = (0, 1)
    columns: tuple[int, int] = (0, 1)
    count: tuple[int, int] | None = field(default=None)

    def view(self, buffer: str, offset: int, tile: int) -> View:
        """The view of the array in `buffer`, in which the root's top begins at byte `offset`."""
        root = self.stored.root.top
        before, left = root.border[0] - self.border[0], root.border[1] - self.border[1]
        if self.count is None:
            rows = root.height + self.border[0] + self.border[2]
            columns = root.width + self.border[1] + self.border[3]
        else:
            rows, columns = self.count
        first = (
            self.stored.root.first_block * root.plane_pitch
            + (before + self.rows[0]) * root.row_pitch
            + left
            + self.columns[0]
        )
        return View(
            buffer=buffer,
            offset=offset + first * tile,
            rows=rows,
            columns=columns,
            plane_pitch=root.plane_pitch,
            row_pitch=root.row_pitch * self.rows[1],
            column_pitch=self.columns[1],
        )
