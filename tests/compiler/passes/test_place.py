"""Where values live: for a round or for longer, whole or in parts."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.known import ACC
from vta import te
from vta.compiler.ir.affine import Affine
from vta.compiler.ir.tile_ir import Alu, Domain, Reset, TileOperand, TileProgram, Value
from vta.compiler.passes.place import place, places_at_once
from vta.compiler.pipeline import build
from vta.compiler.te.expr import Var
from vta.compiler.te.padding import pad
from vta.config import PRESETS
from vta.errors import ScheduleError
from vta.isa import AluOp

TINY = PRESETS["tiny"]
TILE = (TINY.batch, TINY.block)
MANY = 3 * TINY.acc_depth + 7


def chain(shape, load, inputs="int8", size=None):
    """A tensor loaded by `load`, plus 1, stored; all of it at once."""
    a = te.placeholder((*(size or shape), *TILE), name="A", dtype=inputs)
    b = load(a)
    c = te.compute((*shape, *TILE), lambda *i: b(*i).astype("int32") + 1, "C")
    out = te.compute(c.shape, lambda *i: c(*i).astype("int8"), "out")
    s = te.create_schedule(out.op)
    for tensor, key in ((b, "dma_copy"), (c, "alu")):
        s[tensor].set_scope(ACC).pragma(tensor.op.axis[0], key)
    s[out].pragma(out.op.axis[0], "dma_copy")
    return s, [a, out]


def check(kit, schedule, args, expected):
    array = np.random.default_rng(3).integers(-128, 128, args[0].shape).astype(args[0].dtype)
    kit.check(schedule, args, TINY, [array], [expected(array.astype(np.int32)).astype(np.int8)])


def whole(count):
    return lambda a: te.compute((count, *TILE), lambda *i: a(*i), "B")


LOADS = {
    "every other tile": (
        lambda n: lambda a: te.compute((n, *TILE), lambda i, *t: a(2 * i, *t), "B"),
        lambda n: 2 * n,
        lambda x: x[::2],
    ),
    "one tile again and again": (
        lambda n: lambda a: te.compute((n, *TILE), lambda i, *t: a(1, *t), "B"),
        lambda n: 3,
        None,
    ),
    "zeros around it": (
        lambda n: lambda a: pad(a, [2, 0, 0], name="B"),
        lambda n: n - 4,
        lambda x: np.pad(x, [(2, 2), (0, 0), (0, 0)]),
    ),
    "the other way round": (
        lambda n: lambda a: te.compute((n, *TILE), lambda i, *t: a(n - 1 - i, *t), "B"),
        lambda n: n,
        lambda x: x[::-1],
    ),
}


@pytest.mark.parametrize("name", LOADS)
def test_a_load_that_is_not_tile_by_tile(kit, name):
    load, size, expected = LOADS[name]
    few = 9
    if expected is None:

        def expected(x):
            return np.broadcast_to(x[1], (few, *TILE))

    check(kit, *chain((few,), load(few), size=(size(few),)), lambda x: expected(x) + 1)


@pytest.mark.parametrize("name", LOADS)
def test_it_is_not_cut_up(name):
    """More than fits is cut up only where every operation goes through it tile by tile."""
    load, size, _ = LOADS[name]
    with pytest.raises(ScheduleError, match=f"but the schedule needs {MANY} .*B {MANY} tiles"):
        build(*chain((MANY,), load(MANY), size=(size(MANY),)), TINY)


def test_whole_tensors_are_cut_up(kit):
    check(kit, *chain((MANY,), whole(MANY)), lambda x: x + 1)


def test_a_part_of_a_larger_tensor_is_cut_up(kit):
    def load(a):
        return te.compute((MANY, *TILE), lambda i, *t: a(i + 5, *t), "B")

    check(kit, *chain((MANY,), load, size=(MANY + 5,)), lambda x: x[5:] + 1)


def test_what_a_loop_reads_is_not_cut_up():
    """A stage at the root of a schedule with loops is there in full, or not at all."""
    schedule, args = chain(
        (3, TINY.acc_depth), lambda a: te.compute(a.shape, lambda *i: a(*i), "B")
    )
    out, c = schedule[args[1]], schedule.stages[2]
    c.compute_at(out, out.op.axis[0])
    out.pragma(out.op.axis[1], "dma_copy")
    out.pragmas.pop(out.op.axis[0])
    with pytest.raises(ScheduleError, match=f"B {3 * TINY.acc_depth} tiles"):
        build(schedule, args, TINY)


def test_a_result_that_outlives_its_operand(kit):
    """An operand is computed again in each round of a loop; the result of its reader is not."""
    shape = (3, *TILE)
    a = te.placeholder(shape, name="A")
    b = te.compute(shape, lambda *i: a(*i), "B")
    c = te.compute(shape, lambda *i: b(*i) * 3, "C")
    d = te.compute(shape, lambda *i: te.max(c(*i), 5), "D")
    out = te.compute(shape, lambda *i: d(*i).astype("int8"), "out")
    s = te.create_schedule(out.op)
    for tensor, key in ((b, "dma_copy"), (c, "alu"), (d, "alu")):
        s[tensor].set_scope(ACC).pragma(tensor.op.axis[0], key)
    s[out].pragma(out.op.axis[0], "dma_copy")
    # All of C is computed twice, for D's tiles 0 and 2, and for 1.
    outer, inner = s[d].split(d.op.axis[0], 2)
    s[d].reorder(inner, outer)
    s[d].pragma(outer, "alu")
    s[c].compute_at(s[d], inner)
    check(kit, s, [a, out], lambda x: np.maximum(x * 3, 5))


def tile_program(tiles, *ops):
    """Operations on values of so many tiles: a name alone is reset, of a pair one adds another."""
    var = Var("int32", "i")
    domain = Domain(((var, tiles),))

    def operand(name):
        return TileOperand(name, Affine(0, {var: 1}))

    body = []
    for op in ops:
        dst, *src = map(operand, op.split(" += "))
        body.append(Alu(AluOp.ADD, dst, dst, src[0], domain) if src else Reset(dst, domain))
    names = sorted({name for op in ops for name in op.split(" += ")})
    values = {name: Value(name, name, ACC, tiles) for name in names}
    return TileProgram("p", (), (), (), tuple(body), values)


@pytest.mark.parametrize(
    ("ops", "at_once"),
    [
        (("a", "b"), 1),
        (("a", "b += a"), 2),  # the last that reads a is the first that writes b
        (("a", "b += a", "c += b"), 2),
        (("a", "b", "b += a", "c"), 2),
        (("a", "b", "c", "c += a", "c += b"), 3),
    ],
)
def test_values_that_meet_in_one_operation_do_not_share(ops, at_once):
    program = tile_program(1, *ops)
    assert places_at_once(program.body, program.values) == at_once
    tiles = TINY.acc_depth // at_once
    placed = place(tile_program(tiles, *ops), TINY)
    for op in placed.body:
        if isinstance(op, Alu):
            distance = abs(op.dst.at.offset - op.b.at.offset)
            assert distance >= tiles
    with pytest.raises(ScheduleError, match=f"needs {at_once * (tiles + 1)} "):
        place(tile_program(tiles + 1, *ops), TINY)
