"""Stages that choose by an index: concatenation of two and three tensors, and other choices."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.known import ACC
from vta import te
from vta.compiler.pipeline import build
from vta.config import PRESETS
from vta.errors import CompileError, ScheduleError

TINY, SMALL = PRESETS["tiny"], PRESETS["small"]
LENGTHS = (3, 2, 3)


def joined(reads, index, axis, change=lambda k, x: x):
    """One element of several tensors after each other."""
    starts = np.cumsum([0, *LENGTHS])

    def part(k):
        moved = [i - int(starts[k]) if n == axis and k else i for n, i in enumerate(index)]
        return change(k, reads[k](*moved))

    value = part(len(reads) - 1)
    for k in reversed(range(len(reads) - 1)):
        value = te.if_then_else(index[axis] < int(starts[k + 1]), part(k), value)
    return value


def concatenation(config, count, axis, kind, at):
    """`count` tensors joined as they are loaded, as they are computed on, or as they are stored."""
    tile = (config.batch, config.block)
    inputs, sizes = [], [2, 2]
    for number in range(count):
        sizes[axis] = LENGTHS[number]
        inputs.append(te.placeholder((*sizes, *tile), name=f"A{number}", dtype="int8"))
    sizes[axis] = sum(LENGTHS[:count])
    shape = (*sizes, *tile)
    copies = [te.compute(a.shape, lambda *i, a=a: a(*i), f"L{n}") for n, a in enumerate(inputs)]
    if kind == "loaded":
        copies, whole = [], te.compute(shape, lambda *i: joined(inputs, i, axis), "M")
    elif kind == "computed":
        whole = te.compute(
            shape, lambda *i: joined(copies, i, axis, lambda k, x: x * (k + 2) - 9), "M"
        )
    elif kind == "in a sum":
        whole = te.compute(shape, lambda *i: joined(copies, i, axis) + 5, "M")
    if kind == "stored":
        stages = copies
        out = te.compute(shape, lambda *i: joined(copies, i, axis), "out")
    else:
        limited = te.compute(shape, lambda *i: te.max(whole(*i), -100), "N")
        stages = [*copies, whole, limited]
        out = te.compute(shape, lambda *i: limited(*i), "out")
    s = te.create_schedule(out.op)
    for stage in stages:
        loads = stage in copies or kind == "loaded" and stage is whole
        s[stage].set_scope(ACC).pragma(stage.op.axis[0], "dma_copy" if loads else "alu")
    place = 0
    if at is not None:
        axes = out.op.axis[:-2]
        outer, _ = s[out].split(axes[at[0]], at[1])
        s[out].reorder(outer, *(axis for axis in s[out].leaf_iter_vars if axis is not outer))
        for stage in stages:
            s[stage].compute_at(s[out], outer)
        place = 1
    s[out].pragma(s[out].leaf_iter_vars[place], "dma_copy")
    rng = np.random.default_rng(count)
    arrays = [rng.integers(-128, 128, a.shape).astype(np.int8) for a in inputs]
    parts = {
        "computed": [x * np.int8(k + 2) - np.int8(9) for k, x in enumerate(arrays)],
        "in a sum": [x + np.int8(5) for x in arrays],
    }.get(kind, arrays)
    wanted = np.concatenate(parts, axis)
    return s, [*inputs, out], arrays, wanted if kind == "stored" else np.maximum(wanted, -100)


@pytest.mark.parametrize("kind", ["loaded", "computed", "in a sum", "stored"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("count", [2, 3])
def test_concatenation(count, axis, kind, kit):
    """Whole, and in parts that end where a tensor does or do not."""
    for at in (None, (0, 2), (1, 3)):
        config = TINY if count == 3 or at is None else SMALL
        s, args, arrays, wanted = concatenation(config, count, axis, kind, at)
        kit.check(s, args, config, arrays, [wanted])


def chosen(rule, size=6, dtype="int8"):
    """A stage on chip by a rule of a tensor and its row."""
    tile = (TINY.batch, TINY.block)
    a = te.placeholder((size, *tile), name="A", dtype=dtype)
    load = te.compute(a.shape, lambda *i: a(*i), "L")
    stage = te.compute(a.shape, lambda i, *t: rule(lambda at: load(at, *t), i), "M")
    out = te.compute(a.shape, lambda *i: stage(*i).astype("int8"), "out")
    s = te.create_schedule(out.op)
    s[load].set_scope(ACC).pragma(load.op.axis[0], "dma_copy")
    s[stage].set_scope(ACC).pragma(stage.op.axis[0], "alu")
    s[out].pragma(out.op.axis[0], "dma_copy")
    return s, [a, out]


def test_a_number_instead(kit):
    s, args = chosen(lambda x, i: te.if_then_else(te.all(i >= 1, i < 4), x(i) + 1, 7))
    array = np.random.default_rng(3).integers(-128, 128, args[0].shape).astype(np.int8)
    wanted = np.full_like(array, 7)
    wanted[1:4] = array[1:4] + np.int8(1)
    kit.check(s, args, TINY, [array], [wanted])


def test_an_edge_repeated(kit):
    """Rows above the first and below the last are those: four conditions, of which few can hold."""
    s, args = chosen(
        lambda x, i: (
            te.if_then_else(i < 1, x(i), x(i - 1)) + te.if_then_else(i >= 5, x(i), x(i + 1))
        )
    )
    array = np.random.default_rng(4).integers(-128, 128, args[0].shape).astype(np.int8)
    rows = np.arange(6)
    wanted = array[np.maximum(rows - 1, 0)] + array[np.minimum(rows + 1, 5)]
    kit.check(s, args, TINY, [array], [wanted])


def test_rows_by_turns(kit):
    """Every other row is another one: a condition on a remainder."""
    s, args = chosen(lambda x, i: te.if_then_else(i % 2 < 1, x(i // 2), x(5 - i // 2) * 2))
    array = np.random.default_rng(5).integers(-60, 60, args[0].shape).astype(np.int8)
    wanted = np.stack([array[i // 2] if i % 2 < 1 else array[5 - i // 2] * 2 for i in range(6)])
    kit.check(s, args, TINY, [array], [wanted.astype(np.int8)])


def test_a_wide_case_beside_a_narrow_one(kit):
    """The upper bits of one case are wrong: they are put right before they count."""
    s, args = chosen(
        lambda x, i: te.if_then_else(i < 3, x(i), x(i) * 3).astype("int32") >> 1, dtype="int8"
    )
    array = np.random.default_rng(6).integers(-128, 128, args[0].shape).astype(np.int8)
    wanted = np.concatenate([array[:3], array[3:] * np.int8(3)]).astype(np.int32) >> 1
    kit.check(s, args, TINY, [array], [wanted.astype(np.int8)])


def test_a_sum_of_two_tensors_in_turn(kit):
    """A reduction that goes on from one tensor to another."""
    tile = (TINY.batch, TINY.block)
    a, b = (te.placeholder((n, *tile), name=name, dtype="int8") for n, name in ((3, "A"), (4, "B")))
    copies = [te.compute(t.shape, lambda *i, t=t: t(*i), f"{t.name}_buf") for t in (a, b)]
    k = te.reduce_axis((0, 7), "k")
    total = te.compute(
        (1, *tile),
        lambda _, *t: te.sum(
            te.if_then_else(k < 3, copies[0](k, *t), copies[1](k.var - 3, *t)).astype("int32"),
            axis=k,
        ),
        "S",
    )
    out = te.compute(total.shape, lambda *i: total(*i).astype("int8"), "out")
    s = te.create_schedule(out.op)
    for tensor in copies:
        s[tensor].set_scope(ACC).pragma(tensor.op.axis[0], "dma_copy")
    s[total].set_scope(ACC).pragma(total.op.axis[0], "alu")
    s[out].pragma(out.op.axis[0], "dma_copy")
    arrays = [np.random.default_rng(8).integers(-9, 9, t.shape).astype(np.int8) for t in (a, b)]
    wanted = np.concatenate(arrays).sum(0, keepdims=True).astype(np.int8)
    kit.check(s, [a, b, out], TINY, arrays, [wanted])


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            lambda x, i: te.if_then_else(i < 3, x(i), x(i - 4)),
            r"M reads L \[6, 1, 8\] out of its bounds: index 0 runs from -1 to 1",
        ),
        (
            lambda x, i: te.if_then_else(i < 3, x(i + 4), x(i)),
            r"index 0 runs from 4 to 6, but must be 0 to 5",
        ),
        (
            lambda x, i: te.if_then_else(te.all(i >= 1, i < 5), x(i), x(i + 1)),
            "index 0 runs from 6 to 6, but must be 0 to 5",
        ),
        (
            lambda x, i: te.if_then_else(i % 2 < 1, x(i), x(i // 2 * 3)),
            r"index 0, i // 2 \* 3, runs from 0 to 6, but must be 0 to 5",
        ),
    ],
)
def test_conditions_narrow_ranges_but_do_not_hide_mistakes(rule, message):
    s, args = chosen(rule)
    with pytest.raises(CompileError, match=message):
        build(s, args, TINY)


def test_a_condition_through_a_tile():
    a = te.placeholder((4, TINY.block), name="A", dtype="int8")
    both = te.compute(
        (4, 2 * TINY.block),
        lambda i, j: te.if_then_else(j < 12, a(i, te.indexmod(j, 8)), a(i, te.indexmod(j, 8))),
        "M",
    )
    out = te.compute(both.shape, lambda *i: both(*i), "out")
    s = te.create_schedule(out.op)
    s[both].set_scope(ACC).pragma(both.op.axis[0], "dma_copy")
    s[out].pragma(out.op.axis[0], "dma_copy")
    with pytest.raises(ScheduleError, match=r"cuts through a tile of 8 numbers.*A\[i, j % 8\]"):
        build(s, [a, out], TINY)


def test_too_many_cases():
    def rule(x, i):
        total = x(i)
        for number in range(1, 8):
            total = total + te.if_then_else(i < number % 6, x(i), 1)
        return total

    s, args = chosen(rule)
    with pytest.raises(
        CompileError, match="stage M chooses between more than 64 cases; make some of its"
    ):
        build(s, args, TINY)


def test_one_row_is_another(kit):
    """What is not equal is less or more: two cases beside the one."""
    s, args = chosen(lambda x, i: te.if_then_else(i % 4 == 1, x(i) + 1, x(i - i % 4)))
    array = np.random.default_rng(9).integers(-128, 128, args[0].shape).astype(np.int8)
    wanted = np.stack([array[i] + np.int8(1) if i % 4 == 1 else array[i - i % 4] for i in range(6)])
    kit.check(s, args, TINY, [array], [wanted])


@pytest.mark.parametrize(
    ("rule", "rows"),
    [
        # From 3 on: i is a whole number.
        (lambda x, i: te.if_then_else(i * 2 >= 5, x(i - 3), x(i)), [0, 1, 2, 0, 1, 2]),
        (lambda x, i: te.if_then_else(te.all(i >= 4, i * 2 < 6), x(i + 9), x(i)), range(6)),
    ],
)
def test_ranges_are_those_of_whole_numbers(rule, rows, kit):
    s, args = chosen(rule)
    array = np.random.default_rng(11).integers(-128, 128, args[0].shape).astype(np.int8)
    kit.check(s, args, TINY, [array], [array[list(rows)]])
