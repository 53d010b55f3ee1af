"""Indices with // and %: flatten, reshape, groups, upsampling, taps, under many schedules.

What must come out is computed by numpy from the same rule of indices, whose operators round alike.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

from tests.compiler.known import ACC, INP, WGT
from tests.compiler.workloads import Chooser
from vta import te
from vta.compiler.check.proof import VerifyError
from vta.compiler.pipeline import build
from vta.compiler.te.gemm_intrinsic import gemm
from vta.config import PRESETS
from vta.errors import CompileError, ScheduleError

CONFIGS = [PRESETS["tiny"], PRESETS["small"]]

RULES = {
    # name: (shape of what is read, shape of what is written, which is read), all in tiles
    "flatten": ((2, 3, 4), (24,), lambda k: (k // 12, k // 4 % 3, k % 4)),
    "reshape back": ((24,), (2, 3, 4), lambda n, h, w: ((n * 3 + h) * 4 + w,)),
    "reshape": ((3, 4), (2, 6), lambda i, j: ((i * 6 + j) // 4, (i * 6 + j) % 4)),
    "groups": ((3, 2), (12, 2), lambda c, x: (c // (12 // 3), x)),
    "upsampling": ((3, 2), (6, 4), lambda y, x: (y // 2, x // 2)),
    "upsampling, cut off": ((2, 3), (3, 5), lambda y, x: (y // 2, x // 2)),
    "upsampling by 3, moved": ((2, 3), (5, 7), lambda y, x: ((y + 1) // 3, (8 - x) // 3)),
    "depth to space": (
        (4, 2, 3),
        (1, 4, 6),
        lambda c, y, x: (c * 4 + y % 2 * 2 + x % 2, y // 2, x // 2),
    ),
    "space to depth": (
        (1, 4, 6),
        (4, 2, 3),
        lambda c, y, x: (c // 4, y * 2 + c % 4 // 2, x * 2 + c % 2),
    ),
    "shuffled channels": ((6, 3), (6, 3), lambda c, x: (c % 2 * 3 + c // 2, x)),
    "two steps of 3": ((5,), (8,), lambda i: (i * 2 // 3,)),
    "backwards": ((4,), (8,), lambda i: ((7 - i) // 2,)),
    "in a circle": ((5,), (11,), lambda i: ((i + 3) % 5,)),
    "a digit between others": ((3, 4), (12,), lambda k: (k // 3 % 2 + k // 6, k % 4)),
}


def leave(s, moved, inside):
    """Every stage by itself."""


def split(factor, place):
    def apply(s, moved, inside):
        s[moved].split(moved.op.axis[min(place, len(moved.op.axis) - 3)], factor)

    return apply


def parts(s, moved, inside):
    s[moved].split(moved.op.axis[0], nparts=2)


def fused(s, moved, inside):
    outer = moved.op.axis[:-2]
    if len(outer) > 1:
        s[moved].fuse(*outer)


def turned(s, moved, inside):
    s[moved].reorder(*reversed(moved.op.axis[:-2]))


def tiled(s, moved, inside):
    outer = moved.op.axis[:-2]
    if len(outer) > 1:
        s[moved].tile(*outer[-2:], 2, 3)


def computed_at(factor, place, threads=False):
    def apply(s, moved, inside):
        *_, out = s.stages
        axes = out.op.axis[:-2]
        outer, _ = out.split(axes[min(place, len(axes) - 1)], factor)
        out.reorder(outer, *(axis for axis in out.leaf_iter_vars if axis is not outer))
        if threads:
            out.bind(outer, te.thread_axis("cthread"))
        for tensor in inside:
            s[tensor].compute_at(out, outer)

    return apply


SCHEDULES = {
    "default": leave,
    "split by 2": split(2, 0),
    "split by 5": split(5, 0),
    "inner split by 3": split(3, 2),
    "two parts": parts,
    "fused": fused,
    "turned": turned,
    "tiled": tiled,
    "computed at 1": computed_at(1, 0),
    "computed at 2": computed_at(2, 0),
    "computed at 3": computed_at(3, 0),
    "computed at 5": computed_at(5, 1),
    "threads": computed_at(2, 0, threads=True),
}


def moving(config, read, written, rule, schedule, computes):
    """A tensor copied into ACC or computed there by a rule of indices, then stored."""
    tile = (config.batch, config.block)
    a = te.placeholder((*read, *tile), name="A", dtype="int8")
    shape = (*written, *tile)

    def where(i):
        return (*rule(*i[:-2]), *i[-2:])

    if computes:
        load = te.compute(a.shape, lambda *i: a(*i), "L")
        moved = te.compute(shape, lambda *i: load(*where(i)) + 1, "M")
        inside = [load, moved]
    else:
        moved = load = te.compute(shape, lambda *i: a(*where(i)), "M")
        inside = [moved]
    out = te.compute(shape, lambda *i: moved(*i), "out")
    s = te.create_schedule(out.op)
    for tensor in inside:
        s[tensor].set_scope(ACC)
    schedule(s, moved, inside)
    for tensor in inside:
        s[tensor].pragma(s[tensor].leaf_iter_vars[0], "dma_copy" if tensor is load else "alu")
    first = 0 if s[moved].attached is None else 1
    s[out].pragma(s[out].leaf_iter_vars[first], "dma_copy")
    array = np.random.default_rng(7).integers(-128, 128, a.shape).astype(np.int8)
    wanted = array[tuple(np.broadcast_arrays(*rule(*np.indices(written))))]
    return s, [a, out], array, wanted + np.int8(computes)


def check(kit, config, name, schedules, computes):
    for schedule in schedules:
        s, args, array, wanted = moving(config, *RULES[name], schedule, computes)
        kit.check(s, args, config, [array], [wanted])


@pytest.mark.parametrize("computes", [False, True], ids=["copied", "computed"])
@pytest.mark.parametrize("name", RULES)
def test_divided_indices(name, computes, kit):
    """A few of the schedules for each rule; together they are all."""
    first = (list(RULES).index(name) + 2 * computes) % 4
    check(kit, PRESETS["tiny"], name, list(SCHEDULES.values())[first::4], computes)


@pytest.mark.full
@pytest.mark.parametrize("computes", [False, True], ids=["copied", "computed"])
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("config", [PRESETS["tiny"], PRESETS["batch4"]], ids=["tiny", "batch4"])
def test_divided_indices_under_every_schedule(config, name, computes, kit):
    check(kit, config, name, SCHEDULES.values(), computes)


# -- taps ----------------------------------------------------------------------------------------


def convolution(config, taps):
    """A convolution of 3 x 2 taps in one axis, and what numpy makes of it."""
    batch, block = config.batch, config.block
    data = te.placeholder((2, 5, 5, batch, block), name="data", dtype="int8")
    weights = te.placeholder((2, 2, 6, block, block), name="weights", dtype="int8")
    d_buf = te.compute(data.shape, lambda *i: data(*i), "d_buf")
    w_buf = te.compute(weights.shape, lambda *i: weights(*i), "w_buf")
    ko, ki = te.reduce_axis((0, 2), "ko"), te.reduce_axis((0, block), "ki")
    tap = te.reduce_axis((0, 6), "tap")
    acc = te.compute(
        (2, 3, 4, batch, block),
        lambda co, y, x, bi, ci: te.sum(
            d_buf(ko, y + tap // 2, x + tap % 2, bi, ki).astype("int32")
            * w_buf(co, ko, tap, ci, ki).astype("int32"),
            axis=[ko, tap, ki],
        ),
        "acc",
    )
    out = te.compute(acc.shape, lambda *i: acc(*i).astype("int8"), "out")
    s = te.create_schedule(out.op)
    for tensor, scope in ((d_buf, INP), (w_buf, WGT), (acc, ACC)):
        s[tensor].set_scope(scope)
    co, y, x, bi, ci = acc.op.axis
    s[acc].reorder(tap, ko, co, y, x, bi, ci, ki)
    taps(s, acc, tap, d_buf, w_buf)
    for tensor in (d_buf, w_buf, out):
        s[tensor].pragma(tensor.op.axis[0], "dma_copy")
    s[acc].tensorize(bi, gemm)
    arrays = [
        np.random.default_rng(9).integers(-9, 9, item.shape).astype(np.int8)
        for item in (data, weights)
    ]
    wide = [array.astype(np.int32) for array in arrays]
    total = sum(
        np.einsum(
            "kyxbi,okci->oyxbc",
            wide[0][:, t // 2 : t // 2 + 3, t % 2 : t % 2 + 4],
            wide[1][:, :, t],
        )
        for t in range(6)
    )
    return s, [data, weights, out], arrays, total.astype(np.int8)


def taps_split(factor):
    def apply(s, acc, tap, d_buf, w_buf):
        s[acc].split(tap, factor)

    return apply


def taps_outside(s, acc, tap, d_buf, w_buf):
    for tensor in (d_buf, w_buf):
        s[tensor].compute_at(s[acc], tap)


def taps_in_pairs(s, acc, tap, d_buf, w_buf):
    outer, _ = s[acc].split(tap, 4)
    for tensor in (d_buf, w_buf):
        s[tensor].compute_at(s[acc], outer)


@pytest.mark.parametrize(
    "taps",
    [lambda *_: None, taps_split(2), taps_split(3), taps_split(4), taps_outside, taps_in_pairs],
)
def test_taps_in_one_axis(taps, kit):
    config = PRESETS["batch4"]
    s, args, arrays, wanted = convolution(config, taps)
    kit.check(s, args, config, arrays, [wanted])


# -- what cannot be done -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            lambda x, i, j: x(i, j // 2),
            r"M: what it reads of L goes through a tile's 8 numbers in a different order.*"
            r"its indices: L\[i0, 0, i2 // 2\]",
        ),
        (
            lambda x, i, j: x(i, (j + 1) % 8),
            r"cuts through a tile of 8 numbers.*L\[i0, 0, \(i2 \+ 1\) % 8\]",
        ),
        (
            lambda x, i, j: x(te.truncdiv(i - 4, 3) + 1, j),
            r"M: an index must be a sum of loop indices.*truncdiv\(i0 - 4, 3\)",
        ),
        (
            lambda x, i, j: x(i // 2 + 5, j),
            r"M reads L \[8, 1, 8\] out of its bounds: index 0, i0 // 2 \+ 5, runs from 5 to 8, "
            "but must be 0 to 7",
        ),
        (lambda x, i, j: x(i, j) + i // 2, "M uses the index i0 as a value"),
    ],
)
def test_the_message_names_the_index(rule, message):
    config = PRESETS["tiny"]
    a = te.placeholder((8, config.batch, config.block), name="A", dtype="int8")
    load = te.compute(a.shape, lambda *i: a(*i), "L")
    moved = te.compute(
        a.shape, lambda *i: rule(lambda at, j: load(at, i[1], j), i[0], i[2]) + 1, "M"
    )
    out = te.compute(a.shape, lambda *i: moved(*i).astype("int8"), "out")
    s = te.create_schedule(out.op)
    for tensor, key in ((load, "dma_copy"), (moved, "alu")):
        s[tensor].set_scope(ACC).pragma(tensor.op.axis[0], key)
    s[out].pragma(out.op.axis[0], "dma_copy")
    with pytest.raises((CompileError, ScheduleError), match=message):
        build(s, [a, out], config)


# -- by chance -------------------------------------------------------------------------------------


def rules(chooser, count):
    """A random expression of `count` loops, as a function of them."""

    def expression(depth):
        if depth == 0 or chooser.chance(15):
            place = chooser.number(0, count - 1)
            return lambda i: i[place]
        a = expression(depth - 1)
        kind = chooser.pick(["+", "-", "*", "//", "//", "%", "%", "++"])
        number = chooser.number(1, 7)
        if kind == "++":
            b = expression(depth - 1)
            return lambda i: a(i) + b(i)
        return {
            "+": lambda i: a(i) + number,
            "-": lambda i: number - a(i),
            "*": lambda i: a(i) * number,
            "//": lambda i: a(i) // number,
            "%": lambda i: a(i) % number,
        }[kind]

    return expression(chooser.number(1, 4))


def draw(number, count, kit):
    outcomes = Counter()

    @seed(number)
    @settings(max_examples=count, database=None, phases=[Phase.generate])
    @given(data=st.data())
    def check(data):
        chooser = Chooser(data)
        written = tuple(chooser.number(1, 6) for _ in range(chooser.number(1, 3)))
        while np.prod(written) > 16:
            written = written[1:]
        found = [rules(chooser, len(written)) for _ in range(chooser.number(1, 2))]
        values = [rule(np.indices(written)) for rule in found]
        ends = [(int(value.min()), int(value.max())) for value in values]
        read = tuple(high - low + 1 for low, high in ends)
        if np.prod(read) > 16:
            return
        schedule = SCHEDULES[chooser.pick(sorted(SCHEDULES))]
        config = chooser.pick(CONFIGS)
        computes = chooser.chance(50)
        s, args, array, wanted = moving(
            config,
            read,
            written,
            lambda *i: [rule(i) - low for rule, (low, _) in zip(found, ends, strict=True)],
            schedule,
            computes,
        )
        try:
            program = build(s, args, config)
        except (CompileError, ScheduleError) as error:
            if isinstance(error, VerifyError) or not {"//", "%"} & set(str(error).split()):
                raise
            outcomes["refused"] += 1
        else:
            (result,), _ = kit.run(program, [array])
            np.testing.assert_array_equal(result, wanted)
            outcomes["right"] += 1

    check()
    assert outcomes["right"] >= 9 * outcomes["refused"]
    assert outcomes["right"] >= count // 3


def test_random_indices(kit):
    draw(0, 60, kit)


@pytest.mark.full
@pytest.mark.parametrize("part", range(1, 5))
def test_more_random_indices(part, kit):
    draw(part, 500, kit)
