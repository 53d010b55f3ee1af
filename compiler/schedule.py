"""Schedules: how a computation is carried out, as a list of small values.

`create_schedule` finds the stages that the outputs need. Each primitive checks what it is given,
appends one `Step`, and changes nothing else: a stage's scope and pragmas are read off the steps, so
that a schedule can be printed, stored and replayed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vta.compiler.tensor import Axis, ComputeOp, Operation, Tensor
from vta.errors import ScheduleError

__all__ = ["ACC_SCOPE", "ALU", "DMA_COPY", "GLOBAL", "PRAGMAS", "SCOPES", "Pragma", "Schedule",
           "SetScope", "Stage", "Step", "create_schedule"]

GLOBAL = "global"
ACC_SCOPE = "local.acc_buffer"
SCOPES = {
    GLOBAL: "main memory",
    "local.inp_buffer": "the input buffer",
    "local.wgt_buffer": "the weight buffer",
    ACC_SCOPE: "the accumulator buffer",
}
"""Where a stage's tensor may live."""

DMA_COPY = "dma_copy"
ALU = "alu"
PRAGMAS = {DMA_COPY: "the loop is one bulk copy between memories",
           ALU: "the loop runs on the vector ALU"}
"""What a pragma may ask for."""


@dataclass(frozen=True)
class SetScope:
    """`stage`'s tensor lives in `scope`."""

    stage: str
    scope: str

    def __str__(self) -> str:
        return f"s[{self.stage}].set_scope({self.scope!r})"


@dataclass(frozen=True)
class Pragma:
    """From `axis` inwards, `stage` is carried out as `key` says."""

    stage: str
    axis: str
    key: str

    def __str__(self) -> str:
        return f"s[{self.stage}].pragma({self.axis}, {self.key!r})"


Step = SetScope | Pragma


class Stage:
    """One operation in a schedule.

    Attributes
    ----------
    name : str
        The operation's name, made unique within the schedule.
    op : Operation
        What it computes; `op.axis` are its axes.
    """

    def __init__(self, schedule: Schedule, name: str, op: Operation) -> None:
        self.schedule = schedule
        self.name = name
        self.op = op

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self.op.axis if isinstance(self.op, ComputeOp) else ()

    @property
    def scope(self) -> str:
        """Where its tensor lives."""
        scope = GLOBAL
        for step in self.schedule.steps:
            if isinstance(step, SetScope) and step.stage == self.name:
                scope = step.scope
        return scope

    @property
    def pragmas(self) -> dict[str, str]:
        """The key of each axis that has one, by the axis's name."""
        return {step.axis: step.key for step in self.schedule.steps
                if isinstance(step, Pragma) and step.stage == self.name}

    def set_scope(self, scope: str) -> Stage:
        """Puts the stage's tensor into a memory, a key of `SCOPES`."""
        if not isinstance(scope, str) or scope not in SCOPES:
            raise ScheduleError(f"stage {self.name}: unknown scope {scope!r}"
                                + _choices(scope, SCOPES))
        if not isinstance(self.op, ComputeOp):
            raise ScheduleError(f"stage {self.name} is a placeholder, which lives in main memory; "
                                f"copy it first: te.compute({self.name}.shape, "
                                f"lambda *i: {self.name}(*i))")
        self.schedule.steps.append(SetScope(self.name, scope))
        return self

    def pragma(self, axis: Axis, key: str) -> Stage:
        """Marks the loop of an axis with a key of `PRAGMAS`."""
        if not isinstance(key, str) or key not in PRAGMAS:
            raise ScheduleError(f"stage {self.name}: unknown pragma {key!r}"
                                + _choices(key, PRAGMAS))
        if not any(axis is own for own in self.axes):
            own_names = ", ".join(own.name for own in self.axes)
            raise ScheduleError(
                f"stage {self.name} has no axis {getattr(axis, 'name', axis)!r} of its own; "
                + (f"its axes are {own_names}, as s[{self.name}].op.axis" if own_names
                   else "a placeholder has none"))
        self.schedule.steps.append(Pragma(self.name, axis.name, key))
        return self

    def __repr__(self) -> str:
        if not self.axes:
            return f"placeholder({self.name}, {list(self.op.shape)}, {self.op.dtype})"
        axes = ", ".join(f"{axis.name}: {axis.extent}" for axis in self.axes)
        pragmas = "".join(f", {key} at {axis}" for axis, key in self.pragmas.items())
        return f"stage({self.name}[{axes}] in {self.scope}{pragmas})"


class Schedule:
    """The stages that some outputs need, each after what it reads, and the steps taken on them.

    Attributes
    ----------
    outputs : tuple of Operation
    stages : tuple of Stage
    steps : list of Step
    """

    def __init__(self, outputs: tuple[Operation, ...]) -> None:
        self.outputs = outputs
        self.steps: list[Step] = []
        names: set[str] = set()
        self.stages = tuple(Stage(self, _unique(op.name, names), op) for op in _ordered(outputs))

    def __getitem__(self, item: Tensor | Operation) -> Stage:
        op = item.op if isinstance(item, Tensor) else item
        for stage in self.stages:
            if stage.op is op:
                return stage
        names = ", ".join(stage.name for stage in self.stages)
        raise ScheduleError(f"the schedule has no stage {getattr(item, 'name', item)!r}; "
                            f"it has {names}")

    def __str__(self) -> str:
        return "\n".join([repr(stage) for stage in self.stages] + [str(s) for s in self.steps])


def create_schedule(ops: Operation | Tensor | Sequence[Operation | Tensor]) -> Schedule:
    """The default schedule of one output or several: every stage at the root, in main memory."""
    listed = list(ops) if isinstance(ops, (list, tuple)) else [ops]
    outputs: list[Operation] = []
    for item in listed:
        op = item.op if isinstance(item, Tensor) else item
        if not isinstance(op, ComputeOp):
            raise ScheduleError("an output of a schedule must be a te.compute's operation, "
                                f"not {getattr(op, 'name', op)!r}")
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
