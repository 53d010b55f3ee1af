"""The primitives of a schedule: what each does to the loops, and what it refuses."""

from __future__ import annotations

import pytest

from vta import te
from vta.compiler.pipeline import lower
from vta.compiler.te.gemm_intrinsic import gemm
from vta.config import PRESETS
from vta.errors import ScheduleError

CONFIG = PRESETS["tiny"]
INP, WGT, ACC = (f"local.{name}_buffer" for name in ("inp", "wgt", "acc"))


class Made:
    """``C = sum(A * B)``, ``D = C >> 1``, ``E = D`` stored; nothing scheduled."""

    def __init__(self) -> None:
        shape = (4, 6)
        self.a, self.b = (te.placeholder(shape, name=name, dtype="int8") for name in "AB")
        self.k = te.reduce_axis((0, 6), "k")
        self.c = te.compute(
            (4, 4),
            lambda i, j: te.sum(
                self.a(i, self.k).astype("int32") * self.b(j, self.k).astype("int32"), axis=self.k
            ),
            "C",
        )
        self.d = te.compute((4, 4), lambda i, j: self.c(i, j) >> 1, "D")
        self.e = te.compute((4, 4), lambda i, j: self.d(i, j).astype("int8"), "E")
        self.s = te.create_schedule(self.e.op)


@pytest.fixture
def made():
    return Made()


def loops(stage):
    return [(axis.name, axis.extent) for axis in stage.leaf_iter_vars]


# -- what they do --------------------------------------------------------------------------------


def test_a_stage_begins_with_its_own_axes(made):
    stage = made.s[made.c]
    assert loops(stage) == [("i", 4), ("j", 4), ("k", 6)]
    assert stage.op.axis == made.c.op.axis
    assert stage.op.reduce_axis == (made.k,)
    assert made.s[made.a].leaf_iter_vars == []
    assert [stage.name for stage in made.s.stages] == ["A", "B", "C", "D", "E"]


def test_split(made):
    stage = made.s[made.c]
    outer, inner = stage.split(made.k, factor=4)
    assert loops(stage) == [("i", 4), ("j", 4), ("k.outer", 2), ("k.inner", 4)]
    assert outer.reduces
    assert inner.reduces
    stage.split(stage.op.axis[0], nparts=2)
    assert loops(stage)[:2] == [("i.outer", 2), ("i.inner", 2)]
    stage.split(inner, 3)
    assert loops(stage)[-2:] == [("k.inner.outer", 2), ("k.inner.inner", 3)]


def test_tile(made):
    stage = made.s[made.e]
    assert [axis.name for axis in stage.tile(*stage.op.axis, 2, 3)] == [
        "i.outer",
        "j.outer",
        "i.inner",
        "j.inner",
    ]
    assert loops(stage) == [("i.outer", 2), ("j.outer", 2), ("i.inner", 2), ("j.inner", 3)]


@pytest.mark.parametrize("listed", [False, True])
def test_fuse(made, listed):
    stage = made.s[made.e]
    axes = stage.op.axis
    fused = stage.fuse(list(axes)) if listed else stage.fuse(*axes)
    assert loops(stage) == [("i.j.fused", 16)]
    assert stage.leaf_iter_vars[0] is fused
    assert not fused.reduces


def test_reorder_trades_places(made):
    stage = made.s[made.c]
    i, j = stage.op.axis
    stage.reorder(made.k, i)
    assert loops(stage) == [("k", 6), ("j", 4), ("i", 4)]
    stage.reorder(i, j, made.k)
    assert loops(stage) == [("i", 4), ("j", 4), ("k", 6)]


def test_compute_at_and_back(made):
    stage = made.s[made.d]
    axis = made.s[made.e].op.axis[0]
    assert stage.compute_at(made.s[made.e], axis) is stage
    assert stage.attached == (made.s[made.e], axis)
    stage.compute_inline()
    assert stage.inlined
    assert stage.attached is None
    stage.compute_at(made.s[made.e], axis)
    assert not stage.inlined
    stage.compute_root()
    assert stage.attached is None
    assert not stage.inlined


def test_cache_read(made):
    copy = made.s.cache_read(made.a, INP, [made.c])
    assert copy.name == "A.local.inp_buffer"
    assert made.s[copy].scope == INP
    assert copy.shape == made.a.shape
    # The reader's rule now reads the copy, and the old tensor still leads to its stage.
    assert [read.name for read in made.s[made.c].op.input_tensors] == ["A.local.inp_buffer", "B"]
    assert [read.name for read in made.s[copy].op.input_tensors] == ["A"]
    assert [stage.name for stage in made.s.stages] == [
        "A",
        "A.local.inp_buffer",
        "B",
        "C",
        "D",
        "E",
    ]


def test_cache_read_for_some_of_the_readers():
    a = te.placeholder((4,), name="A")
    b = te.compute((4,), lambda i: a(i) + 1, "B")
    c = te.compute((4,), lambda i: a(i) + b(i), "C")
    s = te.create_schedule(c.op)
    copy = s.cache_read(a, ACC, b)
    assert [read.name for read in s[b].op.input_tensors] == [copy.name]
    assert [read.name for read in s[c].op.input_tensors] == ["A", "B"]
    assert s.cache_read(a, ACC, [c]).name == "A.local.acc_buffer_1"


def test_cache_write(made):
    made_in = made.s.cache_write(made.c, ACC)
    assert made_in.name == "C.local.acc_buffer"
    assert [axis.name for axis in made.s[made_in].op.axis] == ["i", "j"]
    assert made.s[made_in].op.reduce_axis == (made.k,)
    assert loops(made.s[made.c]) == [("i", 4), ("j", 4)]
    assert [stage.name for stage in made.s.stages] == [
        "A",
        "B",
        "C.local.acc_buffer",
        "C",
        "D",
        "E",
    ]


def test_a_schedule_says_what_was_done(made):
    s, stage = made.s, made.s[made.e]
    made.s.cache_read(made.b, WGT, [made.c])
    made.s.cache_write(made.d, ACC)
    i, j = stage.op.axis
    i0, i1 = stage.split(i, factor=2)
    j0, j1 = stage.split(j, nparts=2)
    stage.reorder(j0, i0)
    stage.bind(j0, te.thread_axis("cthread"))
    s[made.c].set_scope(ACC).compute_at(stage, i0)
    s[made.d].compute_inline()
    s[made.c].tensorize(s[made.c].op.axis[1], gemm)
    fused = s[made.c].fuse(*s[made.c].op.axis)
    s[made.c].unroll(fused)
    stage.pragma(i1, "dma_copy")
    assert str(s).splitlines()[-13:] == [
        "s.cache_read(B, 'local.wgt_buffer', [C])",
        "s.cache_write(D, 'local.acc_buffer')",
        "i.outer, i.inner = s[E].split(i, factor=2)",
        "j.outer, j.inner = s[E].split(j, nparts=2)",
        "s[E].reorder(j.outer, i.outer)",
        "s[E].bind(j.outer, te.thread_axis('cthread'))",
        "s[C].set_scope('local.acc_buffer')",
        "s[C].compute_at(s[E], i.outer)",
        "s[D].compute_inline()",
        "s[C].tensorize(j, env.gemm)",
        "i.j.fused = s[C].fuse(i, j)",
        "s[C].unroll(i.j.fused)",
        "s[E].pragma(i.inner, 'dma_copy')",
    ]
    assert repr(stage) == (
        "stage(E[j.outer: 2, i.inner: 2, i.outer: 2, j.inner: 2] in global, dma_copy at i.inner)"
    )
    assert repr(stage) in str(s)
    assert "placeholder(A, [4, 6], int8)" in str(s)


# -- what they refuse ----------------------------------------------------------------------------


REFUSALS = [
    # A primitive on what it is not for.
    (
        lambda m, s: s[m.a].set_scope(INP),
        r"stage A is a placeholder, which lives in main memory; "
        r"copy it first: te.compute\(A.shape, lambda \*i: A",
    ),
    (
        lambda m, s: s[m.c].set_scope("local.inp_bufer"),
        r"stage C: unknown scope 'local.inp_bufer'; did you mean 'local.inp_buffer'\? \(allowed: ",
    ),
    (lambda m, s: s[m.c].set_scope(3), "stage C: unknown scope 3"),
    (
        lambda m, s: s[m.a].compute_at(s[m.c], m.k),
        "stage A is a placeholder: there is nothing to compute_at",
    ),
    (
        lambda m, s: s[m.a].compute_inline(),
        "stage A is a placeholder: there is nothing to compute_inline",
    ),
    (lambda m, s: s[m.c].compute_inline(), "stage C is a reduction, which cannot be inlined"),
    (lambda m, s: s[m.e].compute_inline(), "stage E is an output, which cannot be inlined"),
    (lambda m, s: s[m.c].compute_at(s[m.c], m.k), "stage C cannot be computed inside itself"),
    (
        lambda m, s: s[m.c].compute_at(m.e, m.k),
        r"stage C: compute_at needs a stage of this "
        r"schedule, such as s\[C\], not Tensor\(E",
    ),
    (
        lambda m, s: s[m.c].compute_at(te.create_schedule(m.e.op)[m.e], m.e.op.axis[0]),
        "compute_at needs a stage of this schedule",
    ),
    (
        lambda m, s: s[m.c].compute_at(s[m.e], m.k),
        r"stage E has no axis 'k' of its own; its axes "
        r"are i, j, as s\[E\].op.axis",
    ),
    # Axes.
    (lambda m, s: s[m.e].split(m.k, 2), "stage E has no axis 'k' of its own"),
    (lambda m, s: s[m.e].split("i", 2), "stage E has no axis 'i' of its own"),
    (
        lambda m, s: s[m.a].split(m.k, 2),
        "stage A has no axis 'k' of its own; a placeholder has none",
    ),
    (lambda m, s: s[m.c].split(m.k), "split of k needs either factor or nparts"),
    (lambda m, s: s[m.c].split(m.k, 2, 3), "split of k needs either factor or nparts"),
    (lambda m, s: s[m.c].split(m.k, 0), "split of k must be by a whole number .*not 0"),
    (lambda m, s: s[m.c].split(m.k, nparts=-1), "split of k must be by a whole number .*not -1"),
    (lambda m, s: s[m.c].split(m.k, 2.0), "split of k must be by a whole number .*not 2.0"),
    (lambda m, s: s[m.c].split(m.k, True), "split of k must be by a whole number .*not True"),
    (
        lambda m, s: (s[m.c].split(m.k, 2), s[m.c].split(m.k, 2)),
        "stage C: split of k, which has already been split or fused; its loops are i, j, "
        "k.outer, k.inner",
    ),
    (
        lambda m, s: (s[m.c].fuse(*m.c.op.axis), s[m.c].reorder(m.c.op.axis[0])),
        "stage C: reorder of i, which has already been split or fused; its loops are i.j.fused, k",
    ),
    (lambda m, s: s[m.c].fuse(), "stage C: fuse needs at least one axis"),
    (lambda m, s: s[m.c].fuse([]), "stage C: fuse needs at least one axis"),
    (
        lambda m, s: s[m.c].fuse(m.c.op.axis[0], m.k),
        "stage C: fuse needs loops directly inside each other, not i, k; its loops are i, j, k",
    ),
    (
        lambda m, s: s[m.c].fuse(*reversed(m.c.op.axis)),
        "fuse needs loops directly inside each other, not j, i",
    ),
    (
        lambda m, s: s[m.c].fuse(m.c.op.axis[1], m.k),
        "stage C: fuse of j mixes axes that are reduced with axes that are not",
    ),
    (lambda m, s: s[m.c].reorder(m.k, m.k), "stage C: reorder names k twice"),
    (lambda m, s: s[m.e].tile(*m.e.op.axis, 0, 2), "split of i must be by a whole number"),
    (lambda m, s: s[m.c].unroll(m.e.op.axis[0]), "stage C has no axis 'i' of its own"),
    # What loops become.
    (
        lambda m, s: s[m.e].bind(m.e.op.axis[0], "cthread"),
        r"stage E: bind needs "
        r"te.thread_axis\('cthread'\)",
    ),
    (
        lambda m, s: s[m.c].bind(m.k, te.thread_axis("cthread")),
        "stage C: k is reduced; virtual threads must compute different results",
    ),
    (
        lambda m, s: te.thread_axis("threadIdx.x"),
        "thread_axis must be 'cthread', VTA's virtual threads, not 'threadIdx.x'",
    ),
    (lambda m, s: te.thread_axis(), "thread_axis must be 'cthread'"),
    (lambda m, s: s[m.c].tensorize(m.c.op.axis[0], "gemm"), "stage C: tensorize needs env.gemm"),
    (
        lambda m, s: s[m.e].pragma(m.e.op.axis[0], "dma"),
        r"stage E: unknown pragma 'dma'.*allowed: "
        r"dma_copy, alu",
    ),
    (lambda m, s: s[m.e].pragma(m.k, "alu"), "stage E has no axis 'k' of its own"),
    (
        lambda m, s: s[m.e].vectorize(m.e.op.axis[0]),
        "stage E has no 'vectorize'; a stage has .*bind, compute_at",
    ),
    # Caches, and stages that are not there.
    (lambda m, s: s.cache_read(m.a, INP, []), "cache_read of A needs at least one reader"),
    (lambda m, s: s.cache_read(m.a, INP, [m.e]), "must read A, which stage E does not"),
    (lambda m, s: s.cache_read(m.a, "local", [m.c]), "unknown scope 'local'"),
    (lambda m, s: s.cache_write(m.a, ACC), "stage A is a placeholder: cache_write needs"),
    (
        lambda m, s: (s[m.c].split(m.k, 2), s.cache_write(m.c, ACC)),
        "stage C: cache_write must come before its loops are scheduled",
    ),
    (
        lambda m, s: s[te.placeholder((4,), name="Z")],
        "the schedule has no stage 'Z'; it has A, B, C, D, E",
    ),
    (lambda m, s: s["C"], "the schedule has no stage 'C'"),
    (
        lambda m, s: te.create_schedule(m.a.op),
        "an output of a schedule must be a te.compute's operation, not 'A'",
    ),
    (lambda m, s: te.create_schedule([]), "a schedule must have at least one output"),
]


@pytest.mark.parametrize(
    ("step", "message"), REFUSALS, ids=[str(number) for number in range(len(REFUSALS))]
)
def test_what_is_refused(made, step, message):
    with pytest.raises(ScheduleError, match=message):
        step(made, made.s)


@pytest.mark.parametrize(
    ("step", "message"), REFUSALS, ids=[str(number) for number in range(len(REFUSALS))]
)
def test_what_is_refused_leaves_no_loop_out(made, step, message):
    """After a refusal the schedule still lowers."""
    with pytest.raises(ScheduleError):
        step(made, made.s)
    assert "def main(" in str(lower(made.s, [made.a, made.b, made.e]))


@pytest.mark.parametrize(
    "step",
    [
        lambda m, s: s.cache_read(m.a, "local", [m.c]),
        lambda m, s: s.cache_read(m.a, INP, [m.c, m.e]),
        lambda m, s: s.cache_write(m.d, "local"),
        lambda m, s: s[m.c].set_scope("local"),
        lambda m, s: s[m.c].split(m.k, 0),
        lambda m, s: s[m.c].reorder(m.k, m.k),
        lambda m, s: s[m.c].fuse(m.c.op.axis[1], m.k),
        lambda m, s: s[m.c].compute_at(s[m.c], m.k),
    ],
)
def test_what_is_refused_changes_nothing(made, step):
    before = str(made.s)
    with pytest.raises(ScheduleError):
        step(made, made.s)
    assert str(made.s) == before


def test_a_circle_of_stages(made):
    made.s[made.c].compute_at(made.s[made.d], made.d.op.axis[0])
    with pytest.raises(ScheduleError, match="stage D cannot be computed inside itself"):
        made.s[made.d].compute_at(made.s[made.c], made.k)


def test_no_attribute_is_an_attribute_error(made):
    assert not hasattr(made.s[made.c], "double_buffer")
    with pytest.raises(AttributeError, match="no 'double_buffer'"):
        made.s[made.c].double_buffer()
