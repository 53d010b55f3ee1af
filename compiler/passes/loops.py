"""From a schedule to loop nests: every stage at the root, one nest each."""

from __future__ import annotations

from collections.abc import Sequence

from vta.compiler.expr import Read, substitute
from vta.compiler.ir import Assign, Buffer, For, LoopProgram, Pragma, Stmt
from vta.compiler.schedule import GLOBAL, SCOPES, Schedule, Stage
from vta.compiler.tensor import ComputeOp, Operation, Tensor
from vta.errors import ScheduleError

__all__ = ["loops"]


def loops(schedule: Schedule, args: Sequence[Tensor], name: str) -> LoopProgram:
    """The loop nests of a schedule whose arguments, in the order of the call, are `args`.

    Raises
    ------
    ScheduleError
        Arguments that are not the program's inputs and outputs.
    """
    if not isinstance(schedule, Schedule):
        raise ScheduleError(f"a schedule must come from te.create_schedule, not {schedule!r}")
    _check_args(schedule, args)
    buffers = {id(stage.op): Buffer(stage.name, stage.op.shape, stage.op.dtype, stage.scope)
               for stage in schedule.stages}
    passed = [id(tensor.op) for tensor in args]
    return LoopProgram(
        name=name,
        args=tuple(buffers[key] for key in passed),
        allocs=tuple(buffer for key, buffer in buffers.items() if key not in passed),
        outputs=tuple(buffers[id(tensor.op)].name for tensor in args
                      if isinstance(tensor.op, ComputeOp)),
        body=tuple(_nest(stage, stage.op, buffers) for stage in schedule.stages
                   if isinstance(stage.op, ComputeOp)))


def _check_args(schedule: Schedule, args: Sequence[Tensor]) -> None:
    if not isinstance(args, (list, tuple)):
        raise ScheduleError(f"arguments must be a list of tensors, not {args!r}")
    seen: set[int] = set()
    for tensor in args:
        if not isinstance(tensor, Tensor):
            raise ScheduleError(f"an argument must be a tensor, not {tensor!r}")
        stage = schedule[tensor]  # a ScheduleError if it is not there
        if id(tensor.op) in seen:
            raise ScheduleError(f"argument {stage.name} is given twice")
        seen.add(id(tensor.op))
        if stage.scope != GLOBAL:
            raise ScheduleError(
                f"argument {stage.name} is an intermediate tensor in {SCOPES[stage.scope]}; "
                "arguments must be placeholders, or computed into main memory")
    for stage in schedule.stages:
        if id(stage.op) not in seen and (
                not isinstance(stage.op, ComputeOp) or stage.op in schedule.outputs):
            kind = "an output" if isinstance(stage.op, ComputeOp) else "an input"
            raise ScheduleError(f"arguments miss {stage.name}, which is {kind} of the schedule")


def _nest(stage: Stage, op: Operation, buffers: dict[int, Buffer]) -> Stmt:
    assert isinstance(op, ComputeOp)

    def from_buffer(read: Read) -> Read:
        assert isinstance(read.source, Tensor)
        return Read(read.dtype, buffers[id(read.source.op)], read.indices)

    stmt: Stmt = Assign(buffers[id(op)], tuple(axis.var for axis in op.axis),
                        substitute(op.body, {}, from_buffer))
    pragmas = stage.pragmas
    for axis in reversed(op.axis):
        stmt = For(axis.var, axis.extent, (stmt,))
        if axis.name in pragmas:
            stmt = Pragma(pragmas[axis.name], axis.name, (stmt,))
    return stmt

