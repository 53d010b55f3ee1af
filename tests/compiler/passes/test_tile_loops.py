"""Tiles from elements: for every round of every loop, as counted one by one."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vta.compiler.ir.affine import Affine
from vta.compiler.passes.match.tile_loops import tile_loops
from vta.compiler.te.expr import Var
from vta.errors import ScheduleError


def value(form, point):
    return form.offset + sum(factor * point[var] for var, factor in form.factors.items())


def points(extents):
    names = list(extents)
    for numbers in itertools.product(*(range(extents[name]) for name in names)):
        yield dict(zip(names, numbers, strict=True))


@st.composite
def layouts(draw):
    """Loops in any order that go through an array, of which `size` elements are a tile."""
    extents = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    inner = draw(st.sampled_from([(8,), (2, 4), (4, 2), (2, 2, 2), (1, 8), (16,), (2, 8)]))
    size = draw(st.sampled_from([1, 2, 4, 8]))
    factors, step, loops = {}, 1, []
    for place, extent in reversed(list(enumerate([*extents, *inner]))):
        var = Var("int32", f"i{place}")
        loops.append((var, extent))
        if extent > 1:
            factors[var] = step
        step *= extent
    return (
        tuple(draw(st.permutations(loops))),
        Affine(draw(st.integers(0, 3)) * size, factors),
        size,
    )


@given(layout=layouts())
def test_tiles_are_elements_put_together(layout):
    loops, written, size = layout
    tiling = tile_loops(loops, written, size, "the test")
    extents = {**dict(tiling.loops), **{var: extent for var, (extent, _) in tiling.inside.items()}}
    at = tiling.tiles(written, "the test")
    found = set()
    for point in points(extents):
        inside = sum(point[var] * step for var, (_, step) in tiling.inside.items())
        assert 0 <= inside < size
        whole = value(tiling.parts(written), point)
        assert whole == value(at, point) * size + inside
        found.add(whole)
    # The loops, those that were cut too, are all the rounds that there were.
    assert found == {value(written, point) for point in points(dict(loops))}
    order = [var for var, _ in loops]
    assert [var for var, _ in tiling.loops if var in order] == [
        var for var in order if var in dict(tiling.loops)
    ]


@given(
    layout=layouts(),
    factors=st.lists(st.integers(-8, 8), min_size=7, max_size=7),
    offset=st.integers(-20, 20),
)
def test_a_guard_lets_a_whole_tile_through_or_none(layout, factors, offset):
    loops, written, size = layout
    tiling = tile_loops(loops, written, size, "the test")
    form = Affine(
        offset, {var: factor for (var, _), factor in zip(loops, factors, strict=False) if factor}
    )
    inner = {var: extent for var, (extent, _) in tiling.inside.items()}
    cut = False
    passed = {}
    for outer in points(dict(tiling.loops)):
        held = [value(tiling.parts(form), {**outer, **inside}) >= 0 for inside in points(inner)]
        cut = cut or (any(held) and not all(held))
        passed[tuple(outer.items())] = all(held)
    try:
        guard = tiling.guard(form, "the test")
    except ScheduleError:
        return
    assert not cut
    assert not set(guard.factors) & set(inner)
    for outer, held in passed.items():
        assert (value(guard, dict(outer)) >= 0) == held


X, Y, Z = (Var("int32", name) for name in "xyz")


def test_a_guard_on_whole_tiles():
    tiling = tile_loops(((X, 5), (Y, 8)), Affine(0, {X: 8, Y: 1}), 8, "the test")
    assert tiling.guard(Affine(31, {X: -8, Y: -1}), "it") == Affine(31, {X: -8})
    assert tiling.guard(Affine(3, {X: -1}), "it") == Affine(3, {X: -1})
    with pytest.raises(ScheduleError, match="it cuts through a tile of 8 numbers; pad the tensor"):
        tiling.guard(Affine(30, {X: -8, Y: -1}), "it")


def test_a_loop_over_several_tiles_is_cut():
    tiling = tile_loops(((X, 32),), Affine(0, {X: 1}), 8, "the test")
    ((outer, extent),) = tiling.loops
    ((inner, (inside, step)),) = tiling.inside.items()
    assert (extent, inside, step) == (4, 8, 1)
    assert tiling.parts(Affine(5, {X: 3})) == Affine(5, {outer: 24, inner: 3})


@pytest.mark.parametrize(
    ("loops", "factors", "message"),
    [
        (((X, 4), (Y, 4)), {X: 4, Y: 2}, r"go through 1 in a row"),
        (((X, 4), (Y, 4)), {X: 8, Y: 1}, r"go through 4 in a row"),
        (((X, 4), (Y, 6)), {X: 6, Y: 1}, r"go through 6 in a row"),
        ((), {}, r"go through 1 in a row"),
    ],
)
def test_loops_that_cover_no_whole_tiles(loops, factors, message):
    with pytest.raises(
        ScheduleError,
        match=f"the test do not cover whole tiles of 8 .*{message}"
        "; the innermost dimensions must be a tile's",
    ):
        tile_loops(loops, Affine(0, factors), 8, "the test")


@pytest.mark.parametrize(
    ("factors", "offset", "message"),
    [
        ({X: 8, Y: 1, Z: 4}, 0, r"in a different order from the write"),
        ({X: 8, Y: 4, Z: 2}, 0, r"in a different order"),
        ({X: 8, Y: 4}, 0, r"broadcast"),
        ({X: 4, Y: 4, Z: 1}, 0, r"not in whole tiles of 8 numbers: x steps by 4"),
        ({X: 8, Y: 4, Z: 1}, 3, r"not in whole tiles of 8 numbers: it begins at 3"),
    ],
)
def test_what_is_read_in_another_order(factors, offset, message):
    tiling = tile_loops(((X, 3), (Y, 2), (Z, 4)), Affine(0, {X: 8, Y: 4, Z: 1}), 8, "the test")
    with pytest.raises(ScheduleError, match=f"it .*{message}"):
        tiling.tiles(Affine(offset, factors), "it")
