"""Inferred bounds, by going through all rounds of all loops."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compiler.workloads import Chooser
from vta import te
from vta.compiler.passes.loops.bounds import infer_bounds
from vta.errors import ScheduleError


def value(form, point):
    return form.offset + sum(factor * point[var] for var, factor in form.factors.items())


def rounds(own, extents, given=None):
    """The rounds of a stage's loops that compute something, outer loops first."""
    atoms = [atom.var for axis in own.stage.leaf_iter_vars for atom in own.loops[axis]]
    for numbers in itertools.product(*(range(extents[var]) for var in atoms)):
        point = {**(given or {}), **dict(zip(atoms, numbers, strict=True))}
        if all(value(guard, point) >= 0 for guard in own.guards):
            yield point


def indices(own, point, axes):
    return tuple(value(own.index[axis.var], point) for axis in axes)


def inferred(s):
    """The bounds; None for a split through fused loops, the one thing that may be refused."""
    try:
        return infer_bounds(s)
    except ScheduleError as error:
        message = str(error)
    assert "cuts through one of the fused loops" in message
    return None


def shuffle(chooser, stage):
    """Splits, fusions and an order by chance."""
    for _ in range(chooser.number(0, 4)):
        leaves = stage.leaf_iter_vars
        axis = chooser.pick(leaves)
        kind = chooser.pick(["factor", "factor", "nparts", "fuse"])
        if kind == "factor":
            stage.split(axis, chooser.number(1, axis.extent + 2))
        elif kind == "nparts":
            stage.split(axis, nparts=chooser.number(1, axis.extent + 2))
        elif len(leaves) > 1:
            place = chooser.number(0, len(leaves) - 2)
            pair = leaves[place : place + 2]
            if len({item.reduces for item in pair}) == 1:
                stage.fuse(*pair)
    stage.reorder(*chooser.shuffled(stage.leaf_iter_vars))


@given(
    data=st.data(),
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    summed=st.integers(1, 4),
)
def test_every_element_is_computed_once(data, shape, summed):
    """However its loops are cut up, a stage goes once through each element and each summand."""
    a = te.placeholder((*shape, summed), name="A")
    axis = te.reduce_axis((0, summed), "r")
    b = te.compute(shape, lambda *i: te.sum(a(*i, axis), axis=axis), "B")
    s = te.create_schedule(b.op)
    shuffle(Chooser(data), s[b])
    bounds = inferred(s)
    if bounds is None:
        return
    own = bounds.stages[s[b]]
    found = Counter(indices(own, point, s[b].axes) for point in rounds(own, bounds.extents))
    assert found == Counter(itertools.product(*map(range, shape), range(summed)))


@settings(max_examples=250)
@given(
    data=st.data(),
    out=st.integers(1, 5),
    window=st.integers(1, 3),
    stride=st.integers(1, 3),
    width=st.integers(1, 3),
)
def test_a_region_covers_what_is_read(data, out, window, stride, width):
    """A stage computed inside another's loop has all that a round reads, and little else."""
    size = (out - 1) * stride + window
    a = te.placeholder((size, width), name="A")
    b = te.compute((size, width), lambda i, j: a(i, j), "B")
    r = te.reduce_axis((0, window), "r")
    c = te.compute((out, width), lambda i, j: te.sum(b(i * stride + r, j), axis=r), "C")
    s = te.create_schedule(c.op)
    chooser = Chooser(data)
    shuffle(chooser, s[c])
    at = chooser.pick(s[c].leaf_iter_vars)
    s[b].compute_at(s[c], at)
    if chooser.chance(70):
        shuffle(chooser, s[b])
    bounds = inferred(s)
    if bounds is None:
        return
    reader, own = bounds.stages[s[c]], bounds.stages[s[b]]
    leaves = s[c].leaf_iter_vars
    outside = [atom.var for axis in leaves[: leaves.index(at) + 1] for atom in reader.loops[axis]]
    needed = {}
    for point in rounds(reader, bounds.extents):
        i, j, k = indices(reader, point, s[c].axes)
        key = tuple((var, point[var]) for var in outside)
        needed.setdefault(key, set()).add((i * stride + k, j))
    for key, wanted in needed.items():
        found = Counter(
            indices(own, point, s[b].axes) for point in rounds(own, bounds.extents, dict(key))
        )
        assert set(found) >= wanted
        assert set(found.values()) == {1}
        assert all(0 <= i < size and 0 <= j < width for i, j in found)
        corners = [value(corner, dict(key)) for corner, _ in own.region]
        assert all(
            corner <= index < corner + count
            for element in found
            for index, corner, (_, count) in zip(element, corners, own.region, strict=True)
        )
    assert all(
        count <= extent for (_, count), extent in zip(own.region, (size, width), strict=True)
    )


def three():
    a = te.placeholder((8, 12), name="A")
    b = te.compute((8, 12), lambda i, j: a(i, j), "B")
    c = te.compute((8, 12), lambda i, j: b(i, j) + 1, "C")
    d = te.compute((8, 12), lambda i, j: c(i, j) + 2, "D")
    return te.create_schedule(d.op), b, c, d


def region(s, tensor):
    return [count for _, count in infer_bounds(s).stages[s[tensor]].region]


def test_regions_shrink_along_a_chain():
    s, b, c, d = three()
    outer, inner = s[d].split(s[d].op.axis[1], 4)
    s[d].reorder(outer, s[d].op.axis[0], inner)
    s[c].compute_at(s[d], outer)
    assert region(s, c) == [8, 4]
    s[b].compute_at(s[c], s[c].op.axis[0])
    assert region(s, b) == [1, 4]
    assert region(s, d) == [8, 12]


def test_one_region_for_two_readers():
    a = te.placeholder((16,), name="A")
    b = te.compute((16,), lambda i: a(i), "B")
    c = te.compute((12,), lambda i: b(i) + b(i + 3), "C")
    s = te.create_schedule(c.op)
    outer, _ = s[c].split(s[c].op.axis[0], 4)
    s[b].compute_at(s[c], outer)
    assert region(s, b) == [7]


def test_an_inlined_stage_hands_on_what_it_reads():
    s, b, c, d = three()
    s[c].compute_inline()
    s[b].compute_at(s[d], s[d].op.axis[0])
    assert region(s, b) == [1, 12]
    assert s[c] not in infer_bounds(s).stages


def test_a_loop_that_was_split_since():
    s, _, c, d = three()
    s[c].compute_at(s[d], s[d].op.axis[0])
    s[d].split(s[d].op.axis[0], 2)
    with pytest.raises(
        ScheduleError,
        match=r"stage C is computed at i of D, which has been split or "
        r"fused since; call compute_at afterwards",
    ):
        infer_bounds(s)


def test_inside_a_stage_that_does_not_read_it():
    s, b, c, d = three()
    s[c].compute_at(s[b], s[b].op.axis[0])
    with pytest.raises(ScheduleError, match="stage C is computed inside B, which does not read"):
        infer_bounds(s)


def test_a_reader_outside_the_loop():
    s, b, c, d = three()
    s[b].compute_at(s[d], s[d].op.axis[0])
    with pytest.raises(
        ScheduleError, match="stage B is computed at i of D, but C reads it outside that loop"
    ):
        infer_bounds(s)


def test_a_reader_further_out():
    s, b, c, d = three()
    s[c].compute_at(s[d], s[d].op.axis[0])
    s[b].compute_at(s[d], s[d].op.axis[1])
    with pytest.raises(ScheduleError, match="but C reads it outside that loop"):
        infer_bounds(s)


def test_an_output_inside_another():
    a = te.placeholder((8,), name="A")
    b = te.compute((8,), lambda i: a(i), "B")
    c = te.compute((8,), lambda i: a(i), "C")
    s = te.create_schedule([b.op, c.op])
    s[c].compute_at(s[b], s[b].op.axis[0])
    with pytest.raises(ScheduleError, match="stage C is an output that nothing reads"):
        infer_bounds(s)


def test_a_split_through_fused_loops():
    s, _, _, d = three()
    s[d].split(s[d].fuse(*s[d].op.axis), 5)
    with pytest.raises(
        ScheduleError,
        match=r"a split of i.j.fused \(8 x 12 rounds, fused\) by 5 "
        "cuts through one of the fused loops",
    ):
        infer_bounds(s)


def test_a_split_of_a_region_that_does_not_divide():
    """Rounds beyond the region are left out, also where the tensor goes on."""
    a = te.placeholder((12,), name="A")
    b = te.compute((12,), lambda i: a(i), "B")
    c = te.compute((10,), lambda i: b(i) + b(i + 2), "C")
    s = te.create_schedule(c.op)
    outer, _ = s[c].split(c.op.axis[0], 3)
    s[b].compute_at(s[c], outer)
    s[b].split(b.op.axis[0], 2)
    bounds = infer_bounds(s)
    own = bounds.stages[s[b]]
    (at,) = (atom.var for atom in bounds.stages[s[c]].loops[outer])
    for number, wanted in enumerate([range(5), range(3, 8), range(6, 11), range(9, 12)]):
        found = [
            indices(own, point, s[b].axes)[0] for point in rounds(own, bounds.extents, {at: number})
        ]
        assert found == list(wanted)


@pytest.mark.parametrize("factor", [2, 3, 8])
def test_a_region_that_is_read_backwards(factor):
    """The region of ``B[7 - i]`` begins at the last round's read, not at the first one's."""
    a = te.placeholder((8,), name="A")
    b = te.compute((8,), lambda i: a(i), "B")
    c = te.compute((8,), lambda i: b(7 - i), "C")
    s = te.create_schedule(c.op)
    outer, _ = s[c].split(c.op.axis[0], factor)
    s[b].compute_at(s[c], outer)
    bounds = infer_bounds(s)
    ((corner, count),) = bounds.stages[s[b]].region
    (at,) = (atom.var for atom in bounds.stages[s[c]].loops[outer])
    assert count == factor
    for number in range(-(-8 // factor)):
        assert value(corner, {at: number}) == 8 - factor - number * factor


@pytest.mark.parametrize(
    ("index", "size", "factor", "corners", "count"),
    [
        (lambda i: i // 6, 4, 6, [0, 1, 2, 3], 1),
        (lambda i: i // 6, 4, 4, [0, 0, 1, 2, 2, 3], 2),  # rows 0 to 3, 4 to 7, 8 to 11 ...
        (lambda i: i % 6, 6, 3, [0, 3, 0, 3, 0, 3, 0, 3], 3),
        (lambda i: i % 6, 6, 4, [0] * 6, 6),  # rounds the corner: all of it
        (lambda i: (23 - i) // 6, 4, 6, [3, 2, 1, 0], 1),
        (lambda i: i // 2 * 2, 24, 8, [0, 8, 16], 7),
    ],
)
def test_regions_of_divided_indices(index, size, factor, corners, count):
    a = te.placeholder((size,), name="A")
    b = te.compute((size,), lambda i: a(i), "B")
    c = te.compute((24,), lambda i: b(index(i)), "C")
    s = te.create_schedule(c.op)
    outer, _ = s[c].split(c.op.axis[0], factor)
    s[b].compute_at(s[c], outer)
    bounds = infer_bounds(s)
    ((corner, found),) = bounds.stages[s[b]].region
    (at,) = (atom.var for atom in bounds.stages[s[c]].loops[outer])
    assert found == count
    assert [corner.with_values({at: number}).offset for number in range(len(corners))] == corners
