"""Names for the points of a plot, placed so that they hide nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["label"]

Box = tuple[float, float, float, float]
"""Left, bottom, right and top, in pixels."""

_DIRECTIONS = 16
_DISTANCES = (9, 14, 20, 28, 38, 50, 64, 80, 100, 125, 150)
_POINT = 6
_COVERS = 10.0
"""What hiding one square pixel of something costs, in pixels of distance."""
_CROSSES = 60.0
"""What a leader across something costs, ..."""
_MISLEADS = 50.0
"""... and a label that touches another point as if it were that point's."""


def label(axes: Axes, points: Sequence[tuple[float, float]], names: Sequence[str]) -> None:
    """Puts each name near its point, in data coordinates, clear of points, lines and other text.

    Points that hide one another share a label, with a line for each. A label that had to go further
    away gets a thin leader. The axes must have been laid out, by drawing the figure.
    """
    renderer = axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    places = [(float(x), float(y)) for x, y in axes.transData.transform(np.array(points))]
    taken: list[Box] = [(x - _POINT, y - _POINT, x + _POINT, y + _POINT) for x, y in places]
    for line in axes.lines:
        ends = axes.transData.transform(np.asarray(line.get_xydata()))
        if len(ends) > 1:
            taken += _boxes(ends[0], ends[-1], 3)
    taken += [text.get_window_extent(renderer).extents for text in axes.texts]
    frame = axes.get_window_extent().extents
    pixel = 72 / axes.figure.dpi
    # The most crowded first, while there is room.
    groups = sorted(
        _groups(places),
        key=lambda group: (
            -len(group) - sum(math.dist(places[group[0]], other) < 60 for other in places)
        ),
    )
    heads = [places[group[0]] for group in groups]
    for index, *others in groups:
        text = axes.annotate(
            "\n".join(names[one] for one in (index, *others)),
            points[index],
            (0, 0),
            textcoords="offset points",
            fontsize=8.5,
            color="#222222",
            zorder=5,
            linespacing=1.05,
        )
        left, bottom, right, top = text.get_window_extent(renderer).extents
        x, y = places[index]
        strangers = [place for place in heads if place != (x, y)]
        box = _best((x, y), (right - left, top - bottom), taken, strangers, frame)
        text.set_position(((box[0] - x) * pixel, (box[1] - y) * pixel))
        taken.append(box)
        end = _nearest((x, y), box)
        if math.dist((x, y), end) > _DISTANCES[1]:
            taken += _boxes((x, y), end, 1)
            axes.annotate(
                "",
                points[index],
                ((end[0] - x) * pixel, (end[1] - y) * pixel),
                textcoords="offset points",
                zorder=3,
                arrowprops={
                    "arrowstyle": "-",
                    "color": "#8a8a8a",
                    "linewidth": 0.7,
                    "shrinkA": 0,
                    "shrinkB": 3,
                },
            )


def _groups(places: Sequence[Any]) -> list[list[int]]:
    """Positions of the points, together where they hide one another."""
    groups: list[list[int]] = []
    for index, place in enumerate(places):
        for group in groups:
            if math.dist(places[group[0]], place) < _POINT:
                group.append(index)
                break
        else:
            groups.append([index])
    return groups


def _best(
    point: tuple[float, float],
    size: tuple[float, float],
    taken: Sequence[Box],
    strangers: Sequence[tuple[float, float]],
    frame: Box,
) -> Box:
    """The place for a text of `size` that costs least."""
    others = np.array(taken)

    def cost(box: Box) -> float:
        end = _nearest(point, box)
        total = math.dist(point, end) + _COVERS * float(_overlaps(box, others).sum())
        total += _MISLEADS * sum(
            math.dist(other, _nearest(other, box)) < _DISTANCES[1] for other in strangers
        )
        if math.dist(point, end) > _DISTANCES[1]:
            crossed = np.any([_overlaps(part, others) > 0 for part in _boxes(point, end, 1)], 0)
            # Its own point is always there.
            total += _CROSSES * (int(crossed.sum()) - 1)
        return total

    inside = [
        box
        for box in _candidates(point, size)
        if box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]
    ]
    return min(inside or list(_candidates(point, size)), key=cost)


def _candidates(point: tuple[float, float], size: tuple[float, float]) -> Iterator[Box]:
    (x, y), (width, height) = point, size
    for distance in _DISTANCES:
        for number in range(_DIRECTIONS):
            angle = 2 * math.pi * number / _DIRECTIONS
            across, up = math.cos(angle), math.sin(angle)
            # The edge that faces the point is so far from it; sideways the text slides along.
            left = x + distance * across - width * (1 - across) / 2
            bottom = y + distance * up - height * (1 - up) / 2
            yield left, bottom, left + width, bottom + height


def _nearest(point: tuple[float, float], box: Box) -> tuple[float, float]:
    """The place in the box that is nearest to the point."""
    return (min(max(point[0], box[0]), box[2]), min(max(point[1], box[1]), box[3]))


def _boxes(start: Any, end: Any, half: float) -> list[Box]:
    """A straight line as a chain of small boxes."""
    steps = max(1, int(math.dist(start, end) / 6))
    middles = [
        (
            start[0] + (end[0] - start[0]) * step / steps,
            start[1] + (end[1] - start[1]) * step / steps,
        )
        for step in range(steps + 1)
    ]
    return [(x - half, y - half, x + half, y + half) for x, y in middles]


def _overlaps(box: Box, others: NDArray[np.float64]) -> NDArray[np.float64]:
    """What `box` has in common with each of the (n, 4) `others`, in square pixels."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common: NDArray[np.float64] = np.clip(high - low, 0, None).prod(axis=1)
    return common
