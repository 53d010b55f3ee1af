"""Schedules: how a computation is carried out.

`create_schedule` finds the stages that the outputs need. Each primitive checks its arguments and
appends one `Step`, so that a schedule can be printed. `vta.compiler.passes.loops.bounds` finds out
the extents later: for example those of split loops in a stage that is computed inside another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from vta.compiler.te.expr import Axis, Expr, Read, Var, substitute
from vta.compiler.te.primitives import ScheduleLog, Step
from vta.compiler.te.stage import PrimitiveError, Stage, check_scope
from vta.compiler.te.tensor import ComputeOp, Operation, Tensor
from vta.errors import ScheduleError

__all__ = ["Schedule", "create_schedule"]


class Schedule(ScheduleLog):
    """The stages that the outputs need, in the order of their data, and the steps taken on them.

    Only one thread may use a schedule at a time. Tensors are immutable, so different threads may
    schedule the same tensors.

    Attributes
    ----------
    stages : list of Stage
        `is_output` is set for the outputs.
    steps : list of Step
    """

    def __init__(self, outputs: tuple[Operation, ...]) -> None:
        super().__init__()
        self._names: set[str] = set()
        self.stages = [Stage(self, _unique(op.name, self._names), op) for op in _ordered(outputs)]
        for stage in self.stages:
            stage.is_output = stage.op in outputs
        # An operation that a cache replaced still leads to its stage.
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
        """Makes a copy of `tensor` in `scope`; `readers` read the copy instead."""
        source = self[tensor]
        check_scope(source, scope)
        listed: list[Any] = [*readers] if isinstance(readers, (list, tuple)) else [readers]
        if not listed:
            raise ScheduleError(f"cache_read of {source.name} needs at least one reader")
        stages = list(dict.fromkeys(self[item] for item in listed))
        for stage in stages:
            if not isinstance(stage.op, ComputeOp) or not any(
                self[read] is source for read in stage.op.input_tensors
            ):
                raise ScheduleError(
                    f"a reader of cache_read must read {source.name}, which stage {stage.name} "
                    "does not"
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
        listing = f"[{', '.join(stage.name for stage in stages)}]"
        self.steps.append(Step("", "cache_read", (source.name, repr(scope), listing)))
        return Tensor(copy)

    def cache_write(self, tensor: Tensor, scope: str) -> Tensor:
        """Computes `tensor` in `scope`; its own stage becomes a copy of the result."""
        stage = self[tensor]
        check_scope(stage, scope)
        if not isinstance(stage.op, ComputeOp):
            raise ScheduleError(
                f"stage {stage.name} is a placeholder: cache_write needs a stage that is computed"
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
        self.steps.append(Step("", "cache_write", (stage.name, repr(scope))))
        return Tensor(made)

    def _insert(self, place: int, name: str, op: ComputeOp, scope: str) -> None:
        stage = Stage(self, name, op)
        self._stage_of[op] = stage
        self.stages.insert(place, stage)
        stage.set_scope(scope)
        self.steps.pop()  # the step of the cache includes this one

    def _replace(self, stage: Stage, body: Expr) -> None:
        op = stage.op
        assert isinstance(op, ComputeOp)
        new = ComputeOp(op.name, op.shape, op.dtype, op.axis, body)
        gone = set(op.reduce_axis) - set(new.reduce_axis)
        stage.op = new
        stage.leaf_iter_vars = [axis for axis in stage.leaf_iter_vars if axis not in gone]
        self._stage_of[new] = stage

    def __repr__(self) -> str:
        stages = ", ".join(stage.name for stage in self.stages)
        return f"Schedule({stages}; {len(self.steps)} steps)"

    def __str__(self) -> str:
        return "\n".join([repr(stage) for stage in self.stages] + [str(s) for s in self.steps])


def _body(stage: Stage) -> Expr:
    assert isinstance(stage.op, ComputeOp)
    return stage.op.body


def create_schedule(ops: Operation | Tensor | Sequence[Operation | Tensor]) -> Schedule:
    """The default schedule of one or more outputs: all stages at the root and in main memory."""
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
    """Operations, each after those that it reads; not recursive, because chains may be long."""
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
