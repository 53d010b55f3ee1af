"""Schedules: how a computation is carried out.

`create_schedule` finds the stages that the outputs need. Each primitive checks what it is given and
appends one `Step`, so that a schedule can be printed; what depends on extents (how far the rounds
of a split go where a stage is computed inside another) is worked out by
`vta.compiler.passes.loops.bounds`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np

from vta.compiler.te.expr import Axis, Expr, Read, Reduce, Var, substitute
from vta.compiler.te.gemm_intrinsic import GemmIntrin
from vta.compiler.te.primitives import (
    Bind,
    CacheRead,
    CacheWrite,
    ComputeAt,
    ComputeInline,
    ComputeRoot,
    Fuse,
    Pragma,
    Reorder,
    SetScope,
    Split,
    Step,
    Tensorize,
    ThreadAxis,
    Unroll,
)
from vta.compiler.te.tensor import ComputeOp, Operation, Tensor
from vta.errors import ScheduleError

__all__ = [
    "ACC_SCOPE",
    "ALU",
    "DMA_COPY",
    "GLOBAL",
    "INP_SCOPE",
    "PRAGMAS",
    "SCOPES",
    "WGT_SCOPE",
    "Schedule",
    "Stage",
    "create_schedule",
]

GLOBAL = "global"
INP_SCOPE = "local.inp_buffer"
WGT_SCOPE = "local.wgt_buffer"
ACC_SCOPE = "local.acc_buffer"
SCOPES = {
    GLOBAL: "main memory",
    INP_SCOPE: "the input buffer",
    WGT_SCOPE: "the weight buffer",
    ACC_SCOPE: "the accumulator buffer",
}
"""Where a stage's tensor may live."""

DMA_COPY = "dma_copy"
ALU = "alu"
PRAGMAS = {
    DMA_COPY: "the loop is one bulk copy between memories",
    ALU: "the loop runs on the vector ALU",
}
"""What a pragma may ask for."""


class PrimitiveError(ScheduleError, AttributeError):
    """Also what Python expects of an attribute that is not there."""


class Stage:
    """One operation in a schedule.

    Attributes
    ----------
    name : str
        The operation's name, made unique within the schedule.
    op : Operation
        What it computes; `op.axis` and `op.reduce_axis` are its axes.
    leaf_iter_vars : list of Axis
        Its loops from outside in, as splits, fusions and reorderings leave them.
    scope : str
        Where its tensor lives.
    """

    def __init__(self, schedule: Schedule, name: str, op: Operation) -> None:
        self.schedule = schedule
        self.name = name
        self.op = op
        self.scope = GLOBAL
        self.leaf_iter_vars: list[Axis] = list(self.axes)
        self.relations: list[tuple[Split, Axis, Axis, Axis] | tuple[Fuse, list[Axis], Axis]] = []
        self.pragmas: dict[Axis, str] = {}
        self.threads: set[Axis] = set()
        self.unrolled: set[Axis] = set()
        self.tensorized: Axis | None = None
        self.inlined = False
        self.attached: tuple[Stage, Axis] | None = None

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Its own axes, those that it reduces last."""
        return (*self.op.axis, *self.op.reduce_axis) if isinstance(self.op, ComputeOp) else ()

    # -- where -------------------------------------------------------------------------------

    def set_scope(self, scope: str) -> Stage:
        """Puts the stage's tensor into a memory, a key of `SCOPES`."""
        _check_scope(self, scope)
        if not isinstance(self.op, ComputeOp):
            raise ScheduleError(
                f"stage {self.name} is a placeholder, which lives in main memory; "
                f"copy it first: te.compute({self.name}.shape, "
                f"lambda *i: {self.name}(*i))"
            )
        self.scope = scope
        return self._add(SetScope(self.name, scope))

    def compute_at(self, consumer: Stage, axis: Axis) -> Stage:
        """Computes the stage inside a loop of another, as much of it as is needed there."""
        self._computes("compute_at")
        if not isinstance(consumer, Stage) or consumer.schedule is not self.schedule:
            raise ScheduleError(
                f"stage {self.name}: compute_at needs a stage of this schedule, as "
                f"s[C], not {consumer!r}"
            )
        consumer._leaf(axis, "compute_at")
        if consumer is self or self in _path(consumer):
            raise ScheduleError(f"stage {self.name} cannot be computed inside itself")
        self.attached, self.inlined = (consumer, axis), False
        return self._add(ComputeAt(self.name, consumer.name, axis.name))

    def compute_root(self) -> Stage:
        """Undoes `compute_at` and `compute_inline`."""
        self.attached, self.inlined = None, False
        return self._add(ComputeRoot(self.name))

    def compute_inline(self) -> Stage:
        """Computes the stage anew wherever it is read."""
        self._computes("compute_inline")
        if isinstance(self.op, ComputeOp) and isinstance(self.op.body, Reduce):
            raise ScheduleError(f"stage {self.name} is a reduction, which cannot be inlined")
        if self.op in self.schedule.outputs:
            raise ScheduleError(f"stage {self.name} is an output, which cannot be inlined")
        self.inlined, self.attached = True, None
        return self._add(ComputeInline(self.name))

    # -- loops -------------------------------------------------------------------------------

    def split(
        self, axis: Axis, factor: int | None = None, nparts: int | None = None
    ) -> tuple[Axis, Axis]:
        """Two loops for one: the inner of `factor` rounds, or the outer of `nparts`."""
        place = self._leaf(axis, "split")
        if (factor is None) == (nparts is None):
            raise ScheduleError(
                f"stage {self.name}: split of {axis.name} needs a factor or nparts, and not both"
            )
        number = _count(self, f"split of {axis.name}", factor if nparts is None else nparts)
        rounds = -(-axis.extent // number)
        counts = (rounds, number) if nparts is None else (number, rounds)
        outer = self._fresh(f"{axis.name}.outer", counts[0], axis.reduces)
        inner = self._fresh(f"{axis.name}.inner", counts[1], axis.reduces)
        self.leaf_iter_vars[place : place + 1] = [outer, inner]
        step = Split(
            self.name,
            axis.name,
            outer.name,
            inner.name,
            number if nparts is None else None,
            number if nparts is not None else None,
        )
        self.relations.append((step, axis, outer, inner))
        self._add(step)
        return outer, inner

    def tile(self, x: Axis, y: Axis, x_factor: int, y_factor: int) -> tuple[Axis, Axis, Axis, Axis]:
        """Splits two axes and puts both outer loops outside both inner ones."""
        x_outer, x_inner = self.split(x, x_factor)
        y_outer, y_inner = self.split(y, y_factor)
        self.reorder(x_outer, y_outer, x_inner, y_inner)
        return x_outer, y_outer, x_inner, y_inner

    def fuse(self, *axes: Any) -> Axis:
        """One loop for several that follow each other."""
        listed: list[Any] = [*axes]
        if len(axes) == 1 and isinstance(axes[0], (list, tuple)):
            listed = list(axes[0])
        if not listed:
            raise ScheduleError(f"stage {self.name}: fuse needs at least one axis")
        places = [self._leaf(axis, "fuse") for axis in listed]
        if places != list(range(places[0], places[0] + len(places))):
            names = ", ".join(axis.name for axis in listed)
            raise ScheduleError(
                f"stage {self.name}: fuse needs loops that follow each other, "
                f"which {names} do not; its loops are {self._leaves()}"
            )
        if len({axis.reduces for axis in listed}) > 1:
            raise ScheduleError(
                f"stage {self.name}: fuse of {listed[0].name} mixes an axis that "
                "is reduced with one that is not"
            )
        extent = math.prod(axis.extent for axis in listed)
        fused = self._fresh(
            ".".join(axis.name for axis in listed) + ".fused", extent, listed[0].reduces
        )
        self.leaf_iter_vars[places[0] : places[-1] + 1] = [fused]
        step = Fuse(self.name, tuple(axis.name for axis in listed), fused.name)
        self.relations.append((step, listed, fused))
        self._add(step)
        return fused

    def reorder(self, *axes: Axis) -> Stage:
        """Puts loops into this order; the places that they have together stay the same."""
        places = [self._leaf(axis, "reorder") for axis in axes]
        if len(set(places)) != len(places):
            twice = next(axis.name for axis in axes if axes.count(axis) > 1)
            raise ScheduleError(f"stage {self.name}: reorder names {twice} twice")
        for place, axis in zip(sorted(places), axes, strict=True):
            self.leaf_iter_vars[place] = axis
        return self._add(Reorder(self.name, tuple(axis.name for axis in axes)))

    def unroll(self, axis: Axis) -> Stage:
        """Makes the rounds of a loop micro-ops or instructions of their own."""
        self._leaf(axis, "unroll")
        self.unrolled.add(axis)
        return self._add(Unroll(self.name, axis.name))

    def bind(self, axis: Axis, thread: ThreadAxis) -> Stage:
        """Makes the rounds of a loop virtual threads, which take turns."""
        self._leaf(axis, "bind")
        if not isinstance(thread, ThreadAxis):
            raise ScheduleError(
                f"stage {self.name}: bind needs te.thread_axis('cthread'), not {thread!r}"
            )
        if axis.reduces:
            raise ScheduleError(
                f"stage {self.name}: {axis.name} is reduced; virtual threads must "
                "compute different results"
            )
        self.threads.add(axis)
        return self._add(Bind(self.name, axis.name, thread.tag))

    # -- what ----------------------------------------------------------------------------------

    def tensorize(self, axis: Axis, intrin: GemmIntrin) -> Stage:
        """Does the loops from `axis` inwards with a tensor intrinsic, `env.gemm`."""
        self._leaf(axis, "tensorize")
        if not isinstance(intrin, GemmIntrin):
            raise ScheduleError(f"stage {self.name}: tensorize needs env.gemm, not {intrin!r}")
        self.tensorized = axis
        return self._add(Tensorize(self.name, axis.name, str(intrin)))

    def pragma(self, axis: Axis, key: str) -> Stage:
        """Marks the loop of an axis with a key of `PRAGMAS`."""
        if not isinstance(key, str) or key not in PRAGMAS:
            raise ScheduleError(
                f"stage {self.name}: unknown pragma {key!r}" + _choices(key, PRAGMAS)
            )
        self._leaf(axis, "pragma")
        self.pragmas[axis] = key
        return self._add(Pragma(self.name, axis.name, key))

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise PrimitiveError(
            f"stage {self.__dict__.get('name', '')} has no {name!r}; a stage has "
            + ", ".join(sorted(key for key in vars(Stage) if not key.startswith("_")))
        )

    # -- helpers -------------------------------------------------------------------------------

    def _add(self, step: Step) -> Stage:
        self.schedule.steps.append(step)
        return self

    def _computes(self, what: str) -> None:
        if not isinstance(self.op, ComputeOp):
            raise ScheduleError(f"stage {self.name} is a placeholder: there is nothing to {what}")

    def _leaf(self, axis: Axis, what: str) -> int:
        """Where among the stage's loops an axis is."""
        for place, own in enumerate(self.leaf_iter_vars):
            if own is axis:
                return place
        name = getattr(axis, "name", axis)
        if not self.axes:
            raise ScheduleError(
                f"stage {self.name} has no axis {name!r} of its own; a placeholder has none"
            )
        if any(axis is own for own in self._gone()):
            raise ScheduleError(
                f"stage {self.name}: {what} of {name}, which was split or fused "
                f"before; its loops are {self._leaves()}"
            )
        raise ScheduleError(
            f"stage {self.name} has no axis {name!r} of its own; its axes are "
            f"{self._leaves()}, as s[{self.name}].op.axis"
        )

    def _leaves(self) -> str:
        return ", ".join(axis.name for axis in self.leaf_iter_vars)

    def _gone(self) -> list[Axis]:
        gone: list[Axis] = []
        for relation in self.relations:
            gone += relation[1] if isinstance(relation[1], list) else [relation[1]]
        return gone

    def _fresh(self, name: str, extent: int, reduces: bool) -> Axis:
        return Axis(Var("int32", name), extent, reduces)

    def __repr__(self) -> str:
        if not isinstance(self.op, ComputeOp):
            return f"placeholder({self.name}, {list(self.op.shape)}, {self.op.dtype})"
        axes = ", ".join(f"{axis.name}: {axis.extent}" for axis in self.leaf_iter_vars)
        pragmas = "".join(f", {key} at {axis.name}" for axis, key in self.pragmas.items())
        return f"stage({self.name}[{axes}] in {self.scope}{pragmas})"


def _path(stage: Stage) -> list[Stage]:
    """The stages that a stage is computed inside of, from the next one outwards."""
    found: list[Stage] = []
    while stage.attached is not None:
        stage = stage.attached[0]
        found.append(stage)
    return found


def _check_scope(stage: Stage, scope: object) -> None:
    if not isinstance(scope, str) or scope not in SCOPES:
        raise ScheduleError(
            f"stage {stage.name}: unknown scope {scope!r}" + _choices(scope, SCOPES)
        )


def _count(stage: Stage, what: str, number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
        raise ScheduleError(
            f"stage {stage.name}: {what} must be by a whole number of 1 or more, not {number!r}"
        )
    return int(number)


class Schedule:
    """The stages that some outputs need, each after what it reads, and the steps taken on them.

    Attributes
    ----------
    outputs : tuple of Operation
    stages : list of Stage
    steps : list of Step
    """

    def __init__(self, outputs: tuple[Operation, ...]) -> None:
        self.outputs = outputs
        self.steps: list[Step] = []
        self._names: set[str] = set()
        self.stages = [Stage(self, _unique(op.name, self._names), op) for op in _ordered(outputs)]
        # An operation that a cache took the place of still leads to its stage.
        self._stage_of = {stage.op: stage for stage in self.stages}

    def __getitem__(self, item: Tensor | Operation) -> Stage:
        op = item.op if isinstance(item, Tensor) else item
        if isinstance(op, Operation) and op in self._stage_of:
            return self._stage_of[op]
        names = ", ".join(stage.name for stage in self.stages)
        raise ScheduleError(
            f"the schedule has no stage {getattr(item, 'name', item)!r}; it has {names}"
        )

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise PrimitiveError(
            f"a schedule has no {name!r}; it has "
            + ", ".join(sorted(key for key in vars(Schedule) if not key.startswith("_")))
        )

    def cache_read(
        self, tensor: Tensor, scope: str, readers: Tensor | Operation | Sequence[Tensor | Operation]
    ) -> Tensor:
        """A copy of `tensor` in `scope`, which `readers` read in its place."""
        source = self[tensor]
        _check_scope(source, scope)
        listed: list[Any] = [*readers] if isinstance(readers, (list, tuple)) else [readers]
        if not listed:
            raise ScheduleError(f"cache_read of {source.name} needs at least one reader")
        stages = list(dict.fromkeys(self[item] for item in listed))
        for stage in stages:
            if not isinstance(stage.op, ComputeOp) or not any(
                self[read] is source for read in stage.op.input_tensors
            ):
                raise ScheduleError(
                    f"stage {stage.name} does not read {source.name}, of which "
                    "cache_read would give it a copy"
                )
        axis = tuple(
            Axis(Var("int32", f"ax{place}"), size) for place, size in enumerate(tensor.shape)
        )
        name = _unique(f"{source.name}.{scope}", self._names)
        copy = ComputeOp(
            name,
            tensor.shape,
            tensor.dtype,
            axis,
            Read(tensor.dtype, Tensor(source.op), tuple(item.var for item in axis)),
        )

        def instead(read: Read) -> Expr:
            if isinstance(read.source, Tensor) and self[read.source] is source:
                return Read(read.dtype, Tensor(copy), read.indices)
            return read

        for stage in stages:
            self._replace(stage, substitute(_body(stage), {}, instead))
        self._insert(self.stages.index(source) + 1, name, copy, scope)
        self.steps.append(
            CacheRead(name, source.name, scope, tuple(stage.name for stage in stages))
        )
        return Tensor(copy)

    def cache_write(self, tensor: Tensor, scope: str) -> Tensor:
        """Computes `tensor` in `scope`; its own stage becomes a copy of that."""
        stage = self[tensor]
        _check_scope(stage, scope)
        if not isinstance(stage.op, ComputeOp):
            raise ScheduleError(
                f"stage {stage.name} is a placeholder, which nothing is computed for"
            )
        if stage.relations or stage.tensorized or stage.threads or stage.pragmas:
            raise ScheduleError(
                f"stage {stage.name}: cache_write must come before its loops are scheduled"
            )
        axis = tuple(Axis(Var("int32", item.name), item.extent) for item in stage.op.axis)
        moved: dict[Var, Expr] = {
            old.var: new.var for old, new in zip(stage.op.axis, axis, strict=True)
        }
        name = _unique(f"{stage.name}.{scope}", self._names)
        made = ComputeOp(
            name, stage.op.shape, stage.op.dtype, axis, substitute(stage.op.body, moved)
        )
        self._replace(
            stage, Read(stage.op.dtype, Tensor(made), tuple(item.var for item in stage.op.axis))
        )
        self._insert(self.stages.index(stage), name, made, scope)
        self.steps.append(CacheWrite(name, stage.name, scope))
        return Tensor(made)

    def _insert(self, place: int, name: str, op: ComputeOp, scope: str) -> None:
        stage = Stage(self, name, op)
        self._stage_of[op] = stage
        self.stages.insert(place, stage)
        stage.set_scope(scope)
        self.steps.pop()  # the cache's own step says it

    def _replace(self, stage: Stage, body: Expr) -> None:
        op = stage.op
        assert isinstance(op, ComputeOp)
        new = ComputeOp(op.name, op.shape, op.dtype, op.axis, body)
        gone = set(op.reduce_axis) - set(new.reduce_axis)
        stage.op = new
        stage.leaf_iter_vars = [axis for axis in stage.leaf_iter_vars if axis not in gone]
        self._stage_of[new] = stage
        self.outputs = tuple(new if item is op else item for item in self.outputs)

    def __repr__(self) -> str:
        stages = ", ".join(stage.name for stage in self.stages)
        return f"Schedule({stages}; {len(self.steps)} steps)"

    def __str__(self) -> str:
        return "\n".join([repr(stage) for stage in self.stages] + [str(s) for s in self.steps])


def _body(stage: Stage) -> Expr:
    assert isinstance(stage.op, ComputeOp)
    return stage.op.body


def create_schedule(ops: Operation | Tensor | Sequence[Operation | Tensor]) -> Schedule:
    """The default schedule of one output or several: every stage at the root, in main memory."""
    listed = list(ops) if isinstance(ops, (list, tuple)) else [ops]
    outputs: list[Operation] = []
    for item in listed:
        op = item.op if isinstance(item, Tensor) else item
        if not isinstance(op, ComputeOp):
            raise ScheduleError(
                "an output of a schedule must be a te.compute's operation, "
                f"not {getattr(op, 'name', op)!r}"
            )
        outputs.append(op)
    if not outputs:
        raise ScheduleError("a schedule must have at least one output")
    return Schedule(tuple(outputs))


def _ordered(outputs: Iterable[Operation]) -> list[Operation]:
    """Operations after all that they read; without recursion, since chains may be long."""
    done: dict[int, Operation] = {}
    todo: list[tuple[Operation, bool]] = [(op, False) for op in reversed(list(outputs))]
    while todo:
        op, ready = todo.pop()
        if id(op) in done:
            continue
        if ready:
            done[id(op)] = op
            continue
        todo.append((op, True))
        if isinstance(op, ComputeOp):
            todo += [(tensor.op, False) for tensor in reversed(op.input_tensors)]
    return list(done.values())


def _unique(name: str, taken: set[str]) -> str:
    candidate, count = name, 0
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate


def _choices(wrong: object, allowed: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(wrong), list(allowed), 1)
    return (f"; did you mean {near[0]!r}?" if near else "") + f" (allowed: {', '.join(allowed)})"
