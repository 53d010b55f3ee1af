"""Stages: each is one operation of a schedule, with its loops and their primitives."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np

from vta.compiler.te.expr import Axis, Reduce, Var
from vta.compiler.te.gemm_intrinsic import GemmIntrin
from vta.compiler.te.primitives import Fuse, ScheduleLog, Split, Step, ThreadAxis
from vta.compiler.te.tensor import ComputeOp, Operation
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
    "PrimitiveError",
    "Stage",
    "check_scope",
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
"""The memories that can hold a stage's tensor."""

DMA_COPY = "dma_copy"
ALU = "alu"
PRAGMAS = {
    DMA_COPY: "the loop is one bulk copy between memories",
    ALU: "the loop runs on the vector ALU",
}
"""The pragmas and their meanings."""
LEFT_OUT = {f"skip_{key}": key for key in PRAGMAS}
"""Pragmas that leave the stage's work out of the program, and the pragma each one replaces."""


class PrimitiveError(ScheduleError, AttributeError):
    """A `ScheduleError` that is also an `AttributeError`, as Python expects."""


class Stage:
    """One operation in a schedule.

    Attributes
    ----------
    name : str
        The operation's name, made unique within the schedule.
    op : Operation
        The operation itself; `op.axis` and `op.reduce_axis` are its axes.
    leaf_iter_vars : list of Axis
        Its loops after all splits, fusions and reorderings, outermost first.
    scope : str
        The memory of its tensor.
    left_out : bool
        Whether its work is left out of the program, to time the rest.
    """

    def __init__(self, schedule: ScheduleLog, name: str, op: Operation) -> None:
        self.schedule = schedule
        self.name = name
        self.op = op
        self.scope = GLOBAL
        self.leaf_iter_vars: list[Axis] = list(self.axes)
        self.relations: list[Split | Fuse] = []
        self.is_output = False
        self.pragmas: dict[Axis, str] = {}
        self.threads: set[Axis] = set()
        self.unrolled: set[Axis] = set()
        self.tensorized: Axis | None = None
        self.left_out = False
        self.inlined = False
        self.attached: tuple[Stage, Axis] | None = None

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The operation's axes; reduced axes come last."""
        return (*self.op.axis, *self.op.reduce_axis) if isinstance(self.op, ComputeOp) else ()

    # -- place -------------------------------------------------------------------------------

    def set_scope(self, scope: str) -> Stage:
        """Puts the stage's tensor into a memory, a key of `SCOPES`."""
        check_scope(self, scope)
        if not isinstance(self.op, ComputeOp):
            raise ScheduleError(
                f"stage {self.name} is a placeholder, which lives in main memory; "
                f"copy it first: te.compute({self.name}.shape, "
                f"lambda *i: {self.name}(*i))"
            )
        self.scope = scope
        return self._add("set_scope", repr(scope))

    def compute_at(self, consumer: Stage, axis: Axis) -> Stage:
        """Computes the stage inside a loop of another, but only the part needed there."""
        self._computes("compute_at")
        if not isinstance(consumer, Stage) or consumer.schedule is not self.schedule:
            raise ScheduleError(
                f"stage {self.name}: compute_at needs a stage of this schedule, such as "
                f"s[C], not {consumer!r}"
            )
        consumer._leaf(axis, "compute_at")
        if consumer is self or self in _path(consumer):
            raise ScheduleError(f"stage {self.name} cannot be computed inside itself")
        self.attached, self.inlined = (consumer, axis), False
        return self._add("compute_at", f"s[{consumer.name}]", axis.name)

    def compute_root(self) -> Stage:
        """Undoes `compute_at` and `compute_inline`."""
        self.attached, self.inlined = None, False
        return self._add("compute_root")

    def compute_inline(self) -> Stage:
        """Computes the stage again wherever it is read."""
        self._computes("compute_inline")
        if isinstance(self.op, ComputeOp) and isinstance(self.op.body, Reduce):
            raise ScheduleError(f"stage {self.name} is a reduction, which cannot be inlined")
        if self.is_output:
            raise ScheduleError(f"stage {self.name} is an output, which cannot be inlined")
        self.inlined, self.attached = True, None
        return self._add("compute_inline")

    # -- loops -------------------------------------------------------------------------------

    def split(
        self, axis: Axis, factor: int | None = None, nparts: int | None = None
    ) -> tuple[Axis, Axis]:
        """Splits a loop in two: the inner has `factor` rounds, or the outer has `nparts`."""
        place = self._leaf(axis, "split")
        if (factor is None) == (nparts is None):
            raise ScheduleError(
                f"stage {self.name}: split of {axis.name} needs either factor or nparts"
            )
        number = _count(self, f"split of {axis.name}", factor if nparts is None else nparts)
        rounds = -(-axis.extent // number)
        counts = (rounds, number) if nparts is None else (number, rounds)
        outer = self._fresh(f"{axis.name}.outer", counts[0], axis.reduces)
        inner = self._fresh(f"{axis.name}.inner", counts[1], axis.reduces)
        self.leaf_iter_vars[place : place + 1] = [outer, inner]
        self.relations.append(Split(axis, outer, inner, number, nparts is None))
        by = f"factor={number}" if nparts is None else f"nparts={number}"
        self._add("split", axis.name, by, results=(outer.name, inner.name))
        return outer, inner

    def tile(self, x: Axis, y: Axis, x_factor: int, y_factor: int) -> tuple[Axis, Axis, Axis, Axis]:
        """Splits two axes and puts both outer loops outside both inner ones."""
        x_outer, x_inner = self.split(x, x_factor)
        y_outer, y_inner = self.split(y, y_factor)
        self.reorder(x_outer, y_outer, x_inner, y_inner)
        return x_outer, y_outer, x_inner, y_inner

    def fuse(self, *axes: Any) -> Axis:
        """Joins consecutive loops into one."""
        listed: list[Any] = [*axes]
        if len(axes) == 1 and isinstance(axes[0], (list, tuple)):
            listed = list(axes[0])
        if not listed:
            raise ScheduleError(f"stage {self.name}: fuse needs at least one axis")
        places = [self._leaf(axis, "fuse") for axis in listed]
        if places != list(range(places[0], places[0] + len(places))):
            names = ", ".join(axis.name for axis in listed)
            raise ScheduleError(
                f"stage {self.name}: fuse needs loops directly inside each other, "
                f"not {names}; its loops are {self._leaves()}"
            )
        if len({axis.reduces for axis in listed}) > 1:
            raise ScheduleError(
                f"stage {self.name}: fuse of {listed[0].name} mixes axes that "
                "are reduced with axes that are not"
            )
        extent = math.prod(axis.extent for axis in listed)
        fused = self._fresh(
            ".".join(axis.name for axis in listed) + ".fused", extent, listed[0].reduces
        )
        self.leaf_iter_vars[places[0] : places[-1] + 1] = [fused]
        self.relations.append(Fuse(tuple(listed), fused))
        self._add("fuse", *(axis.name for axis in listed), results=(fused.name,))
        return fused

    def reorder(self, *axes: Axis) -> Stage:
        """Puts the given loops into the given order; all other loops stay where they are."""
        places = [self._leaf(axis, "reorder") for axis in axes]
        if len(set(places)) != len(places):
            twice = next(axis.name for axis in axes if axes.count(axis) > 1)
            raise ScheduleError(f"stage {self.name}: reorder names {twice} twice")
        for place, axis in zip(sorted(places), axes, strict=True):
            self.leaf_iter_vars[place] = axis
        return self._add("reorder", *(axis.name for axis in axes))

    def unroll(self, axis: Axis) -> Stage:
        """Makes each round of a loop separate micro-ops or instructions."""
        self._leaf(axis, "unroll")
        self.unrolled.add(axis)
        return self._add("unroll", axis.name)

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
        return self._add("bind", axis.name, f"te.thread_axis({thread.tag!r})")

    # -- hardware operations -------------------------------------------------------------------

    def tensorize(self, axis: Axis, intrin: GemmIntrin) -> Stage:
        """Replaces the loops from `axis` inwards by a tensor intrinsic, `env.gemm`."""
        self._leaf(axis, "tensorize")
        if not isinstance(intrin, GemmIntrin):
            raise ScheduleError(f"stage {self.name}: tensorize needs env.gemm, not {intrin!r}")
        self.tensorized, self.left_out = axis, intrin.mock
        return self._add("tensorize", axis.name, str(intrin))

    def pragma(self, axis: Axis, key: str, value: object = None) -> Stage:
        """Marks the loop of an axis with a key of `PRAGMAS` or `LEFT_OUT`.

        `value` has no effect; it is accepted for existing scripts.
        """
        if not isinstance(key, str) or key not in {*PRAGMAS, *LEFT_OUT}:
            raise ScheduleError(
                f"stage {self.name}: unknown pragma {key!r}" + _choices(key, [*PRAGMAS, *LEFT_OUT])
            )
        self._leaf(axis, "pragma")
        self.pragmas[axis] = LEFT_OUT.get(key, key)
        self.left_out = key in LEFT_OUT
        return self._add("pragma", axis.name, repr(key))

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise PrimitiveError(
            f"stage {self.__dict__.get('name', '')} has no {name!r}; a stage has "
            + ", ".join(sorted(key for key in vars(Stage) if not key.startswith("_")))
        )

    # -- helpers -------------------------------------------------------------------------------

    def _add(self, primitive: str, *arguments: str, results: tuple[str, ...] = ()) -> Stage:
        self.schedule.steps.append(Step(self.name, primitive, arguments, results))
        return self

    def _computes(self, what: str) -> None:
        if not isinstance(self.op, ComputeOp):
            raise ScheduleError(f"stage {self.name} is a placeholder: there is nothing to {what}")

    def _leaf(self, axis: Axis, what: str) -> int:
        """The position of an axis among the stage's loops."""
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
                f"stage {self.name}: {what} of {name}, which has already been split or fused; "
                f"its loops are {self._leaves()}"
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
            gone += relation.axes if isinstance(relation, Fuse) else [relation.axis]
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
    """The stages that a stage is computed inside, innermost first."""
    found: list[Stage] = []
    while stage.attached is not None:
        stage = stage.attached[0]
        found.append(stage)
    return found


def check_scope(stage: Stage, scope: object) -> None:
    """Raises `ScheduleError` if `scope` is not a memory in `SCOPES`."""
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


def _choices(wrong: object, allowed: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(wrong), list(allowed), 1)
    return (f"; did you mean {near[0]!r}?" if near else "") + f" (allowed: {', '.join(allowed)})"
