"""Tiles of a network's tensors, against loops over single values."""

from __future__ import annotations

import numpy as np
import pytest

from vta.compiler.graph.tensor_layout import TensorLayout, Windows

RUNS = {
    "in order": (((0, 20),), 3),
    "parts with a block each": (((0, 5), (8, 8), (16, 7)), 3),
    "beginning within a block": (((3, 12), (22, 8)), 4),
}


@pytest.mark.parametrize("border", [(0, 0, 0, 0), (1, 2, 0, 3)])
@pytest.mark.parametrize("name", RUNS)
def test_each_value_has_its_place(name: str, border: tuple[int, int, int, int]) -> None:
    runs, blocks = RUNS[name]
    layout = TensorLayout(
        shape=(3, 20, 4, 5), runs=runs, blocks=blocks, batch=2, block=8, border=border, zero=-7
    )
    data = np.random.default_rng(1).integers(-128, 128, (3, 20, 4, 5)).astype(np.int8)
    tiles = layout.pack(data)
    assert tiles.shape == (2, blocks, 4 + border[0] + border[2], 5 + border[1] + border[3], 2, 8)
    lanes = [lane for first, count in runs for lane in range(first, first + count)]
    for n, c, y, x in np.ndindex(*data.shape):
        block, lane = divmod(lanes[c], 8)
        place = (n // 2, block, y + border[0], x + border[1], n % 2, lane)
        assert tiles[place] == data[n, c, y, x]
    if border[0]:
        assert (tiles[:, :, 0] == -7).all()
    np.testing.assert_array_equal(layout.unpack(tiles), data)


def test_windows_are_channels() -> None:
    windows = Windows(padding=(1, 0, 2, 1), zero=9, taps=(3, 2), stride=(2, 1), dilation=(1, 2))
    data = np.random.default_rng(2).integers(-128, 128, (1, 2, 6, 5)).astype(np.int8)
    found = windows.apply(data)
    assert found.shape == windows.shape(data.shape) == (1, 12, 4, 4)
    padded = np.full((2, 9, 6), 9, np.int8)
    padded[:, 1:7, 0:5] = data[0]
    for c, y, x, i, j in np.ndindex(2, 3, 2, 4, 4):
        assert found[0, (c * 3 + y) * 2 + x, i, j] == padded[c, i * 2 + y, j + 2 * x]


@pytest.mark.parametrize(
    ("runs", "blocks"), [(((0, 19),), 3), (((0, 20),), 2), (((-1, 20),), 4), (((0, 0),), 9)]
)
def test_runs_that_do_not_fit(runs: tuple[tuple[int, int], ...], blocks: int) -> None:
    with pytest.raises(ValueError, match="runs must"):
        TensorLayout(shape=(1, 20, 4, 5), runs=runs, blocks=blocks, batch=1, block=8)
