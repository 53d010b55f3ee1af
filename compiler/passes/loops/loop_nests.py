"""Lowers a schedule to loop nests: places each stage and infers its bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vta.compiler.ir.affine import Affine, affine, as_expression, has_division, simple
from vta.compiler.ir.loop_ir import Assign, Buffer, For, LoopProgram, PragmaBlock, Stmt
from vta.compiler.passes.loops.bounds import Bounds, StageBounds, infer_bounds
from vta.compiler.passes.loops.cases import cases, possible
from vta.compiler.passes.loops.reads import check_reads
from vta.compiler.te.expr import (
    Axis,
    Cast,
    Const,
    Expr,
    Read,
    Reduce,
    Select,
    Var,
    substitute,
    walk,
)
from vta.compiler.te.intrinsics import neutral
from vta.compiler.te.schedule import Schedule
from vta.compiler.te.stage import GLOBAL, SCOPES, Stage
from vta.compiler.te.tensor import ComputeOp, Tensor
from vta.errors import ScheduleError

__all__ = ["GEMM", "TENSORIZE", "loops"]

GEMM = "gemm"
"""The pragma of loops that become one GEMM instruction (or a few)."""
TENSORIZE = "tensorize"
"""The pragma, within those, of the loops that one micro-op does."""


def loops(schedule: Schedule, args: Sequence[Tensor], name: str) -> LoopProgram:
    """The loop nests of a schedule whose arguments, in the order of the call, are `args`.

    Raises
    ------
    ScheduleError
        The arguments are not the program's inputs and outputs, or a stage is computed where its
        readers cannot see it.
    """
    if not isinstance(schedule, Schedule):
        raise ScheduleError(f"a schedule must come from te.create_schedule, not {schedule!r}")
    _check_args(schedule, args)
    check_reads(schedule)
    bounds = infer_bounds(schedule)
    builder = _Builder(schedule, bounds)
    passed = [schedule[tensor] for tensor in args]
    body = tuple(
        stmt for stage in bounds.order() if stage.attached is None for stmt in builder.nest(stage)
    )
    return LoopProgram(
        name=name,
        args=tuple(builder.buffers[stage] for stage in passed),
        allocs=tuple(buffer for stage, buffer in builder.buffers.items() if stage not in passed),
        outputs=tuple(stage.name for stage in passed if isinstance(stage.op, ComputeOp)),
        body=body,
    )


def _check_args(schedule: Schedule, args: Sequence[Tensor]) -> None:
    if not isinstance(args, (list, tuple)):
        raise ScheduleError(f"arguments must be a list of tensors, not {args!r}")
    seen: set[Stage] = set()
    for tensor in args:
        if not isinstance(tensor, Tensor):
            raise ScheduleError(f"an argument must be a tensor, not {tensor!r}")
        stage = schedule[tensor]  # raises ScheduleError if it is missing
        if stage in seen:
            raise ScheduleError(f"argument {stage.name} is given twice")
        seen.add(stage)
        if stage.scope != GLOBAL or stage.inlined:
            where = "is inlined" if stage.inlined else f"in {SCOPES[stage.scope]}"
            raise ScheduleError(
                f"argument {stage.name} is an intermediate tensor {where}; "
                "arguments must be placeholders, or computed into main memory"
            )
    for stage in schedule.stages:
        if stage not in seen and (not isinstance(stage.op, ComputeOp) or stage.is_output):
            kind = "an output" if isinstance(stage.op, ComputeOp) else "an input"
            raise ScheduleError(f"arguments must include {stage.name}, {kind} of the schedule")


class _Builder:
    def __init__(self, schedule: Schedule, bounds: Bounds) -> None:
        self.schedule = schedule
        self.bounds = bounds
        self.buffers: dict[Stage, Buffer] = {}
        for stage in schedule.stages:
            own = bounds.stages.get(stage)
            if own is not None or not isinstance(stage.op, ComputeOp):
                shape = own.buffer_shape() if own else stage.op.shape
                self.buffers[stage] = Buffer(stage.name, shape, stage.op.dtype, stage.scope)
        self.attached: dict[tuple[Stage, Axis], list[Stage]] = {}
        for stage in bounds.order():
            if stage.attached is not None:
                self.attached.setdefault(stage.attached, []).append(stage)

    def nest(self, stage: Stage) -> tuple[Stmt, ...]:
        return _Nest(self, self.bounds.stages[stage]).statements(0)

    # -- expressions -------------------------------------------------------------------------

    def value(self, own: StageBounds, expr: Expr) -> Expr:
        """Rewrites an expression over a stage's indices in terms of loops and buffers."""
        given: dict[Var, Expr] = {var: as_expression(form) for var, form in own.index.items()}

        def from_buffer(read: Read) -> Read:
            assert isinstance(read.source, Tensor)
            source = self.schedule[read.source]
            producer = self.bounds.stages.get(source)
            indices = (
                read.indices
                if producer is None
                else tuple(
                    self._less(index, corner)
                    for index, corner in zip(read.indices, producer.origin(), strict=True)
                )
            )
            return Read(read.dtype, self.buffers[source], tuple(map(self._simple, indices)))

        def of_loops(value: Expr) -> Expr:
            return self._simple(value) if has_division(value) else value

        return substitute(expr, given, from_buffer, of_loops)

    def _less(self, index: Expr, corner: Affine) -> Expr:
        if not corner.factors and not corner.offset:
            return index
        form = affine(index, self.bounds.extents)
        assert form is not None, "a region of an index that is not affine is the whole dimension"
        return as_expression(form.plus(corner.scaled(-1)))

    def _simple(self, index: Expr) -> Expr:
        return simple(index, self.bounds.extents)


class _Nest:
    """The statements of one stage."""

    def __init__(self, builder: _Builder, own: StageBounds) -> None:
        self.builder, self.own, self.stage = builder, own, own.stage
        self.leaves = own.stage.leaf_iter_vars
        self.inner = [builder.attached.get((self.stage, axis), []) for axis in self.leaves]
        last = max((place for place, inner in enumerate(self.inner) if inner), default=-1)
        pragmas = [place for place, axis in enumerate(self.leaves) if axis in self.stage.pragmas]
        # All loops below the last one that holds another stage or is a thread are grouped. A pragma
        # on an inner loop makes no more instructions than one on the outermost loop.
        threads = [place for place, axis in enumerate(self.leaves) if axis in self.stage.threads]
        self.begin = max((last, *threads)) + 1
        self.pragma: tuple[str, Axis] | None = None
        if self.stage.tensorized is not None:
            self._check_tensorized(self.stage.tensorized, last)
            self.pragma = GEMM, self.stage.tensorized
        elif pragmas:
            self._check_pragmas([self.leaves[place] for place in pragmas], pragmas[0], last)
            self.pragma = self.stage.pragmas[self.leaves[pragmas[0]]], self.leaves[pragmas[0]]
        # The initialization of a reduction comes before them.
        first = min((place for place, axis in enumerate(self.leaves) if axis.reduces), default=None)
        self.start = None if first is None else min(first, self.begin)
        self._check_init()
        op = self.stage.op
        assert isinstance(op, ComputeOp)
        self.indices = tuple(
            as_expression(own.index[axis.var].plus(corner.scaled(-1)))
            for axis, corner in zip(op.axis, own.origin(), strict=True)
        )

    def _check_init(self) -> None:
        """Checks that what a reduction starts from is computed before it."""
        body = self.own.body
        if not isinstance(body, Reduce) or body.init is None:
            return
        reads = {
            self.builder.schedule[node.source]
            for node in walk(body.init)
            if isinstance(node, Read) and isinstance(node.source, Tensor)
        }
        for place, inner in enumerate(self.inner):
            for stage in inner:
                if stage in reads and self.start is not None and place >= self.start:
                    raise ScheduleError(
                        f"stage {stage.name} is computed at {self.leaves[place].name} of "
                        f"{self.stage.name}, inside a loop that is reduced, but the reduction "
                        "starts from it; compute it further out"
                    )

    def _check_pragmas(self, axes: list[Axis], place: int, last: int) -> None:
        stage = self.stage
        if len({stage.pragmas[axis] for axis in axes}) > 1:
            listed = " and ".join(f"{stage.pragmas[axis]} at {axis.name}" for axis in axes)
            raise ScheduleError(f"stage {stage.name} has two pragmas, {listed}; keep one")
        if place <= last:
            raise ScheduleError(
                f"stage {stage.name}: the pragma {stage.pragmas[axes[0]]!r} at {axes[0].name} "
                f"covers {self.inner[last][0].name}, which is computed inside it; put the pragma "
                f"on a loop inside {self.leaves[last].name}"
            )

    def _check_tensorized(self, axis: Axis, last: int) -> None:
        name = self.stage.name
        if axis not in self.leaves:
            raise ScheduleError(
                f"stage {name}: tensorized axis {axis.name} has been split or fused "
                "since; call tensorize last"
            )
        if self.leaves.index(axis) <= last:
            raise ScheduleError(
                f"stage {name}: {self.inner[last][0].name} is computed inside "
                f"{self.leaves[last].name}, which is part of one tensorized operation; "
                "compute it further out"
            )
        for inner in self.leaves[self.leaves.index(axis) :]:
            if inner in self.stage.threads:
                raise ScheduleError(
                    f"stage {name}: virtual threads over {inner.name} are inside "
                    f"{axis.name}, which is one tensorized operation; bind an "
                    "axis outside it"
                )
        if not isinstance(self.own.body, Reduce):
            raise ScheduleError(
                f"stage {name} is tensorized with env.gemm, which sums products; "
                "its rule is not a te.sum"
            )

    def statements(self, place: int) -> tuple[Stmt, ...]:
        """The statements inside the first `place` loops."""
        found: list[Stmt] = []
        if place == self.start:
            found += self._initial(place)
        if place < self.begin:
            axis = self.leaves[place]
            body: tuple[Stmt, ...] = tuple(
                stmt for stage in self.inner[place] for stmt in self.builder.nest(stage)
            )
            return (*found, *self._wrapped(axis, body + self.statements(place + 1)))
        # The grouped loops, once for each case.
        for assign in self._assigns():
            inside: tuple[Stmt, ...] = (assign,)
            for axis in reversed(self.leaves[place:]):
                inside = self._wrapped(axis, inside)
            if self.pragma is not None:
                key, axis = self.pragma
                inside = (PragmaBlock(key, axis.name, inside),)
            found += inside
        return tuple(found)

    def _wrapped(self, axis: Axis, body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        for atom in reversed(self.own.loops[axis]):
            body = (
                For(
                    atom.var,
                    atom.extent,
                    body,
                    axis in self.stage.threads,
                    axis in self.stage.unrolled,
                ),
            )
        if axis is self.stage.tensorized:
            body = (PragmaBlock(TENSORIZE, axis.name, body),)
        return body

    def _assigns(self) -> Iterator[Assign]:
        """The stage's statement, or one statement per case if its value is conditional."""
        body = self.own.body
        value, reduce = (body.value, body.op) if isinstance(body, Reduce) else (body, "")
        value = self.builder.value(self.own, value)
        guards = tuple(as_expression(guard) for guard in self.own.guards)
        buffer = self.builder.buffers[self.stage]
        if _leaves_out(value, bool(reduce)):
            yield Assign(buffer, self.indices, value, guards, reduce)
            return
        for conditions, chosen in cases(value, self.stage.name):
            kept = possible(conditions, self.builder.bounds.extents)
            if kept is None or (
                reduce
                and isinstance(chosen, Const)
                and chosen.number == neutral(reduce, body.dtype)
            ):
                continue
            yield Assign(buffer, self.indices, chosen, (*guards, *kept), reduce)

    def _initial(self, place: int) -> Iterator[Stmt]:
        """Sets all that the loops from `place` on compute to what the reduction starts from."""
        body = self.own.body
        assert isinstance(body, Reduce)
        start: Expr = Const(body.dtype, neutral(body.op, body.dtype))
        if body.init is not None:
            start = self.builder.value(self.own, body.init)
        rest = [axis for axis in self.leaves[place:] if not axis.reduces]
        reduced = {
            atom.var for axis in self.leaves if axis.reduces for atom in self.own.loops[axis]
        }
        guards = tuple(
            as_expression(guard) for guard in self.own.guards if not reduced & set(guard.factors)
        )
        for conditions, chosen in cases(start, self.stage.name):
            kept = possible(conditions, self.builder.bounds.extents)
            if kept is None:
                continue
            buffer = self.builder.buffers[self.stage]
            stmt: Stmt = Assign(buffer, self.indices, chosen, (*guards, *kept))
            for axis in reversed(rest):
                for atom in reversed(self.own.loops[axis]):
                    stmt = For(atom.var, atom.extent, (stmt,))
            if self.pragma is not None:
                key, at = self.pragma
                stmt = PragmaBlock(key, at.name, (stmt,))
            yield stmt


def _leaves_out(value: Expr, reduces: bool) -> bool:
    """Whether one operation can compute a value including its padding, if any."""
    if not any(isinstance(node, Select) for node in walk(value)):
        return True
    while isinstance(value, Cast | Select):
        if isinstance(value, Cast):
            value = value.value
        elif not isinstance(value.other, Const):
            return False
        else:
            value = value.then
            if reduces:
                return not any(isinstance(node, Select) for node in walk(value))
    return (
        isinstance(value, Read)
        and isinstance(value.source, Buffer)
        and (value.source.scope == GLOBAL)
    )
