"""Corners where stages are computed inside others and only a part of something is meant."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vta import te
from vta.compiler.pipeline import build
from vta.compiler.te.padding import pad
from vta.config import PRESETS
from vta.errors import CompileError, ScheduleError

from .known import ACC, WGT

CONFIG = PRESETS["default"]
TILE = (CONFIG.batch, CONFIG.block)


def chain(*stages, rows=8, inside):
    """Stages one after the other in ACC, in a loop of two rows of the last, which is stored."""
    a = te.placeholder((rows, *TILE), name="A", dtype="int8")
    made = [a]
    for name, size, rule in stages:
        made.append(te.compute((size, *TILE), lambda i, *t, r=rule, x=made[-1]: r(x, i, t), name))
    s = te.create_schedule(made[-1].op)
    outer, inner = s[made[-1]].split(made[-1].op.axis[0], factor=2)
    for number, tensor in enumerate(made[1:-1]):
        s[tensor].set_scope(ACC).pragma(tensor.op.axis[0], "dma_copy" if number == 0 else "alu")
        if inside:
            s[tensor].compute_at(s[made[-1]], outer)
    s[made[-1]].pragma(inner, "dma_copy")
    return s, [a, made[-1]]


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    ("offset", "message"),
    [
        (1, r"C reads S \[8, 1, 16\] out of its bounds: index 0 runs from 1 to 8"),
        (-1, r"C reads S \[8, 1, 16\] out of its bounds: index 0 runs from -1 to 6"),
    ],
)
def test_a_read_beyond_its_tensor_is_one_wherever_it_is_computed(inside, offset, message):
    s, args = chain(
        ("S", 8, lambda x, i, t: x(i, *t)),
        ("C", 8, lambda x, i, t: x(i + offset, *t) + 1),
        ("D", 8, lambda x, i, t: x(i, *t).astype("int8")),
        inside=inside,
    )
    with pytest.raises(CompileError, match=message):
        build(s, args, CONFIG)


def test_a_tensor_in_main_memory_may_be_computed_in_part(kit):
    a = te.placeholder((8, *TILE), name="A", dtype="int8")
    load = te.compute(a.shape, lambda *i: a(*i), "L")
    temp = te.compute(a.shape, lambda *i: load(*i), "T")
    again = te.compute((6, *TILE), lambda *i: temp(*i), "H")
    d = te.compute((6, *TILE), lambda *i: again(*i), "D")
    s = te.create_schedule(d.op)
    outer, inner = s[d].split(d.op.axis[0], factor=2)
    for tensor in (load, again):
        s[tensor].set_scope(ACC)
    for tensor in (load, temp, again):
        s[tensor].compute_at(s[d], outer).pragma(tensor.op.axis[0], "dma_copy")
    s[d].pragma(inner, "dma_copy")
    values = np.random.default_rng(1).integers(-128, 128, a.shape).astype(np.int8)
    kit.check(s, [a, d], CONFIG, [values], [values[:6]])


def test_a_region_that_is_all_padding(kit):
    """Of the padded rows, an output row of stride 3 reads one alone, which may be zeros."""
    a = te.placeholder((2, *TILE), name="A", dtype="int8")
    padded = pad(a, [1, 0, 0], [4, 0, 0], name="P")
    b = te.compute((3, *TILE), lambda i, *t: padded(i * 3, *t) + 5, "B")
    d = te.compute(b.shape, lambda *i: b(*i).astype("int8"), "D")
    s = te.create_schedule(d.op)
    s[padded].set_scope(ACC).pragma(padded.op.axis[0], "dma_copy")
    s[b].set_scope(ACC).pragma(b.op.axis[0], "alu")
    outer, inner = s[d].split(d.op.axis[0], factor=1)
    for tensor in (padded, b):
        s[tensor].compute_at(s[d], outer)
    s[d].pragma(inner, "dma_copy")
    values = np.random.default_rng(2).integers(-128, 128, a.shape).astype(np.int8)
    whole = np.pad(values, ((1, 4), (0, 0), (0, 0)))
    kit.check(s, [a, d], CONFIG, [values], [(whole[::3] + np.int8(5)).astype(np.int8)])


def test_a_reduction_of_a_wide_number(kit):
    k = te.reduce_axis((0, 3), "k")
    c = te.compute((2, *TILE), lambda *i: te.sum(te.const(100000), axis=k), "C")
    shifted = te.compute(c.shape, lambda *i: c(*i) >> 12, "S")
    d = te.compute(c.shape, lambda *i: shifted(*i).astype("int8"), "D")
    s = te.create_schedule(d.op)
    for tensor in (c, shifted):
        s[tensor].set_scope(ACC).pragma(tensor.op.axis[0], "alu")
    s[d].pragma(d.op.axis[0], "dma_copy")
    kit.check(s, [d], CONFIG, [], [np.full(d.shape, 300000 >> 12, np.int8)])


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda x, i, j: x(i, j) + 1 if i == 0 else x(i, j), "cannot compare values for equality"),
        (lambda x, i, j: x(i, j) if i != 0 else 0, "cannot compare values for equality"),
        (lambda x, i, j: x(i, j) if i in (0, 1) else 0, "cannot compare values for equality"),
        (lambda x, i, j: 1 if x(i, j) == 0 else 0, "cannot compare values for equality"),
        (
            lambda x, i, j: x(i, j) == x(j, i),
            "the rule of C: VTA cannot compare values for equality",
        ),
        (
            lambda x, i, j: x(i, j) != x(j, i),
            "the rule of C: VTA cannot compare values for equality",
        ),
        (lambda x, i, j: i == j, "the rule of C: VTA cannot compare values for equality"),
        (lambda x, i, j: 1 if x(i, j) == x(j, i) else 0, "VTA cannot compare values for equality"),
        (lambda x, i, j: 1 if x(i, j) != i else 0, "VTA cannot compare values for equality"),
        (lambda x, i, j: te.if_then_else(x(i, j) == 3, 1, 0), "VTA can compare only indices"),
        (
            lambda x, i, j: te.if_then_else(i != j, 1, 0),
            "does not take != of indices; use == and swap",
        ),
        (lambda x, i, j: x(range(i), j), "an expression has no value until the program runs"),
        (lambda x, i, j: round(x(i, j)), "an expression has no value until the program runs"),
        (lambda x, i, j: x + 1, "A is a whole tensor where one element is needed"),
        (
            lambda x, i, j: te.sum(
                x(i, te.reduce_axis((0, 4), "k")), axis=te.reduce_axis((0, 4), "m")
            ),
            "the rule of C uses k, which is not one of its indices; an axis that is reduced "
            "must be among",
        ),
    ],
)
def test_what_a_rule_cannot_ask(rule, message):
    a = te.placeholder((4, 16), name="A")
    with pytest.raises(CompileError, match=message):
        te.compute((4, 16), lambda i, j: rule(a, i, j), "C")


def test_indices_may_be_compared_for_equality(kit):
    """The diagonal of squares of tiles alone, and row 1 of that; all else is left out of a sum."""
    a = te.placeholder((4, 4, *TILE), "int32", "A")
    load = te.compute(a.shape, lambda *i: a(*i), "L")
    k = te.reduce_axis((0, 4), "k")
    for rule, wanted in (
        (lambda i: i == k, lambda x: x[range(4), range(4)]),
        (lambda i: te.all(i == k, k == 1), lambda x: x[1, 1] * (np.arange(4) == 1)[:, None, None]),
    ):
        c = te.compute(
            (4, *TILE),
            lambda i, *t, rule=rule: te.sum(te.if_then_else(rule(i), load(i, k, *t), 0), axis=k),
            "C",
        )
        d = te.compute(c.shape, lambda *i, c=c: c(*i).astype("int8"), "D")
        s = te.create_schedule(d.op)
        s[load].set_scope(ACC).pragma(load.op.axis[0], "dma_copy")
        s[c].set_scope(ACC).pragma(c.op.axis[0], "alu")
        s[d].pragma(d.op.axis[0], "dma_copy")
        value = np.random.default_rng(2).integers(-99, 99, a.shape).astype(np.int32)
        kit.check(s, [a, d], CONFIG, [value], [wanted(value).astype(np.int8)])


@pytest.mark.parametrize("value", [0.5, True, "3", None, 300, float("nan")])
def test_what_padding_cannot_be(value):
    a = te.placeholder((4, 16), name="A", dtype="int8")
    with pytest.raises(CompileError, match="a constant"):
        pad(a, [1, 0], pad_value=value)
    assert pad(a, [1, 0], pad_value=0.0).shape == (6, 16)


def test_inlined_chains_stay_small():
    a = te.placeholder((4, *TILE), name="A", dtype="int32")
    last = load = te.compute(a.shape, lambda *i: a(*i), "L")
    chain = []
    for number in range(40):
        last = te.compute(a.shape, lambda *i, x=last: x(*i) + x(*i), f"Y{number}")
        chain.append(last)
    d = te.compute(a.shape, lambda *i: last(*i).astype("int8"), "D")
    s = te.create_schedule(d.op)
    for tensor in chain[:-1]:
        s[tensor].compute_inline()
    s[load].set_scope(ACC).pragma(load.op.axis[0], "dma_copy")
    s[last].set_scope(ACC).pragma(last.op.axis[0], "alu")
    s[d].pragma(d.op.axis[0], "dma_copy")
    assert len(build(s, [a, d], CONFIG).insns) < 60


def test_weights_come_in_whole_tiles():
    w = te.placeholder((24, 16), name="W", dtype="int8")
    buffer = te.compute(w.shape, lambda *i: w(*i), "W_buf")
    a = te.placeholder((1, *TILE), name="A", dtype="int8")
    c = te.compute(a.shape, lambda *i: a(*i), "C_buf")
    d = te.compute(a.shape, lambda *i: c(*i), "D")
    s = te.create_schedule([buffer.op, d.op])
    s[buffer].set_scope(WGT).pragma(buffer.op.axis[0], "dma_copy")
    s[c].set_scope(ACC).pragma(c.op.axis[0], "dma_copy")
    s[d].pragma(d.op.axis[0], "dma_copy")
    with pytest.raises(ScheduleError, match="W_buf"):
        build(s, [w, a, d], CONFIG)


def test_the_same_program_every_time():
    """Nothing depends on where Python puts its objects."""
    code = (
        "from vta import top; from vta.config import PRESETS; import hashlib; "
        "p = top.MaxPool2d((1, 16, 5, 5), 5, stride=1, padding=2)"
        ".compile(PRESETS['default']).program; "
        "print(hashlib.sha256(p.insns.tobytes()).hexdigest())"
    )
    root = Path(__file__).resolve().parents[2]
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=root, check=True, text=True, capture_output=True
        ).stdout
        for _ in range(4)
    }
    assert len(seen) == 1


@pytest.mark.parametrize("factor", [2, 3])
def test_rows_in_reverse_order(factor, kit):
    """What is read backwards is computed a few rows at a time."""
    a = te.placeholder((8, *TILE), name="A", dtype="int8")
    load = te.compute(a.shape, lambda *i: a(*i), "A_buf")
    c = te.compute(a.shape, lambda i, *t: load(7 - i, *t) + 1, "C_buf")
    d = te.compute(a.shape, lambda *i: c(*i).astype("int8"), "C")
    s = te.create_schedule(d.op)
    outer, inner = s[d].split(d.op.axis[0], factor)
    for tensor, key in ((load, "dma_copy"), (c, "alu")):
        s[tensor].set_scope(ACC).compute_at(s[d], outer).pragma(tensor.op.axis[0], key)
    s[d].pragma(inner, "dma_copy")
    values = np.random.default_rng(5).integers(-128, 128, a.shape).astype(np.int8)
    kit.check(s, [a, d], CONFIG, [values], [values[::-1] + np.int8(1)])
