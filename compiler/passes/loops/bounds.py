"""Bounds inference: the extents of loops, and the region of each stage that is computed.

A stage computed inside a loop of another stage computes only the region that one iteration reads.
The corner of the region is an affine form of the outer loops, and its size is fixed. A stage's own
loops follow from its region, splits and fusions. All loops end up as *atoms*: variables with
one extent each, so that every index is a linear combination of atoms. A fused loop is a sequence of
atoms, and a split of it must divide them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from vta.compiler.ir.affine import (
    Affine,
    Extents,
    Quotient,
    affine,
    quotient,
    variables,
    with_simple_indices,
)
from vta.compiler.te.expr import Axis, Expr, Read, Reduce, Var, substitute, walk
from vta.compiler.te.primitives import Fuse, Split
from vta.compiler.te.schedule import Schedule
from vta.compiler.te.stage import GLOBAL, Stage
from vta.compiler.te.tensor import ComputeOp, Tensor
from vta.errors import ScheduleError

__all__ = ["Atom", "Bounds", "StageBounds", "infer_bounds", "inlined_body"]


@dataclass(eq=False)
class Atom:
    """A loop with one variable, or its two parts if a split divided it."""

    var: Var
    extent: int
    parts: tuple[Atom, Atom] | None = None

    def value(self) -> Affine:
        """The loop variable as a sum of atoms."""
        if self.parts is None:
            return Affine(0, {self.var: 1})
        outer, inner = self.parts
        return outer.value().scaled(inner.extent).plus(inner.value())


@dataclass
class StageBounds:
    """The loops of one stage, and the region they compute.

    Attributes
    ----------
    region : list of (Affine, int)
        For each dimension, the first index (a form of the outer loops) and the size.
    loops : dict of Axis to list of Atom
        The loops that make up each leaf axis.
    index : dict of Var to Affine
        The value of each index variable of the operation, as a form of atoms.
    guards : list of Affine
        Forms that must all be 0 or more for an iteration to compute anything.
    """

    stage: Stage
    body: Expr
    region: list[tuple[Affine, int]]
    loops: dict[Axis, list[Atom]] = field(default_factory=dict)
    index: dict[Var, Affine] = field(default_factory=dict)
    guards: list[Affine] = field(default_factory=list)

    def body_axes(self) -> tuple[Axis, ...]:
        """The axes that the stage reduces."""
        return self.body.axes if isinstance(self.body, Reduce) else ()

    def origin(self) -> list[Affine]:
        """Where the stage's buffer begins: an on-chip buffer holds only the region."""
        if self.stage.scope == GLOBAL:
            return [Affine(0, {}) for _ in self.region]
        return [corner for corner, _ in self.region]

    def buffer_shape(self) -> tuple[int, ...]:
        """The shape of the stage's buffer: its region, or the whole tensor in main memory."""
        if self.stage.scope == GLOBAL:
            return self.stage.op.shape
        return tuple(size for _, size in self.region)


@dataclass
class Bounds:
    """The bounds of every stage that is not inlined, and the extents of all atoms."""

    stages: dict[Stage, StageBounds]
    extents: dict[Var, int]

    def order(self) -> list[Stage]:
        """The stages, each after the stages it reads."""
        return list(reversed(self.stages))


def inlined_body(schedule: Schedule, stage: Stage) -> Expr:
    """A stage's rule, with each read of an inlined stage replaced by its expression."""
    assert isinstance(stage.op, ComputeOp)

    # Shared subexpressions stay shared. Otherwise chains would grow without bound.
    done: dict[tuple[Stage, tuple[Expr, ...]], Expr] = {}

    def inline(read: Read) -> Expr:
        assert isinstance(read.source, Tensor)
        source = schedule[read.source]
        if not source.inlined:
            return Read(read.dtype, Tensor(source.op), read.indices)
        key = source, read.indices
        if key not in done:
            assert isinstance(source.op, ComputeOp)
            given = {
                axis.var: index for axis, index in zip(source.op.axis, read.indices, strict=True)
            }
            done[key] = substitute(source.op.body, given, inline)
        return done[key]

    body = substitute(stage.op.body, {}, inline)
    return with_simple_indices(body, {axis.var: axis.extent for axis in stage.axes})


def infer_bounds(schedule: Schedule) -> Bounds:
    """Infers the bounds of every stage, consumers before producers.

    Raises
    ------
    ScheduleError
        A stage is computed where some of its readers cannot see it, or where its reader's loops do
        not determine how much of it is needed; or an output is only partly computed.
    """
    bounds = Bounds({}, {})
    live = [
        stage for stage in schedule.stages if isinstance(stage.op, ComputeOp) and not stage.inlined
    ]
    bodies = {stage: inlined_body(schedule, stage) for stage in live}
    readers: dict[Stage, list[tuple[Stage, Read]]] = {}
    for stage in live:
        for node in walk(bodies[stage]):
            if isinstance(node, Read) and isinstance(node.source, Tensor):
                readers.setdefault(schedule[node.source], []).append((stage, node))
    for stage in reversed(live):
        region = _region(stage, readers.get(stage, []), bounds)
        if stage.is_output and not _covers(region, stage.op.shape, bounds.extents):
            assert stage.attached is not None
            consumer, axis = stage.attached
            raise ScheduleError(
                f"stage {stage.name} is an output, but {consumer.name}, where it is computed (at "
                f"{axis.name}), reads only a part of it; leave it at the root"
            )
        own = StageBounds(stage, bodies[stage], region)
        _loops(own, bounds.extents)
        bounds.stages[stage] = own
    return bounds


def _outside(stage: Stage, bounds: Bounds) -> set[Var]:
    """The atoms of all loops around a stage."""
    found: set[Var] = set()
    while stage.attached is not None:
        consumer, axis = stage.attached
        own = bounds.stages[consumer]
        for leaf in consumer.leaf_iter_vars:
            found |= {atom.var for atom in own.loops[leaf]}
            if leaf is axis:
                break
        else:
            raise ScheduleError(
                f"stage {stage.name} is computed at {axis.name} of {consumer.name}, which has been "
                "split or fused since; call compute_at afterwards"
            )
        stage = consumer
    return found


def _inside(reader: Stage, stage: Stage) -> bool:
    """Whether a reader's loops lie inside the loop that a stage is computed at."""
    if stage.attached is None:
        return True
    consumer, axis = stage.attached
    while reader is not consumer:
        if reader.attached is None:
            return False
        reader, at = reader.attached
        if reader is consumer:
            order = consumer.leaf_iter_vars
            return at in order and axis in order and order.index(at) >= order.index(axis)
    return True


def _region(
    stage: Stage, readers: list[tuple[Stage, Read]], bounds: Bounds
) -> list[tuple[Affine, int]]:
    shape = stage.op.shape
    whole = [(Affine(0, {}), size) for size in shape]
    if stage.attached is None:
        return whole
    if not readers:
        raise ScheduleError(
            f"stage {stage.name} is an output that nothing reads; it cannot be "
            f"computed inside {stage.attached[0].name}"
        )
    if stage.attached[0] not in bounds.stages:
        raise ScheduleError(
            f"stage {stage.name} is computed inside {stage.attached[0].name}, "
            "which does not read it"
        )
    for reader, _ in readers:
        if not _inside(reader, stage):
            raise ScheduleError(
                f"stage {stage.name} is computed at {stage.attached[1].name} of "
                f"{stage.attached[0].name}, but {reader.name} reads it outside that loop"
            )
    outside = _outside(stage, bounds)
    region: list[tuple[Affine, int]] = []
    for place, size in enumerate(shape):
        spans = [_span(reader, read.indices[place], outside, bounds) for reader, read in readers]
        region.append(_union(spans, size))
    return region


def _span(
    reader: Stage, index: Expr, outside: set[Var], bounds: Bounds
) -> tuple[Affine, int] | None:
    """The first index that a read reaches (a form of the outer loops), and the size."""
    form = affine(index)
    if form is None:
        return None
    total = form.substituted(bounds.stages[reader].index, bounds.extents)
    corner, last = _reach(total, outside, bounds.extents)
    return corner, last.plus(corner.scaled(-1)).span(bounds.extents)[1] + 1


def _reach(form: Affine, outside: set[Var], extents: Extents) -> tuple[Affine, Affine]:
    """A lower and an upper bound of a form, as forms of the outer loops."""
    fixed = {var: factor for var, factor in form.factors.items() if variables([var]) <= outside}
    loose = {
        var: factor
        for var, factor in form.factors.items()
        if variables([var]).isdisjoint(outside) and var not in fixed
    }
    ends = [Affine(form.offset + end, fixed) for end in Affine(0, loose).span(extents)]
    for var, factor in form.factors.items():
        if isinstance(var, Quotient) and var not in fixed and var not in loose:
            parts = [
                quotient(end, var.divisor, extents).scaled(factor)
                for end in _reach(var.form, outside, extents)
            ]
            parts = parts if factor > 0 else parts[::-1]
            ends = [end.plus(part) for end, part in zip(ends, parts, strict=True)]
    return ends[0], ends[1]


def _union(spans: list[tuple[Affine, int] | None], size: int) -> tuple[Affine, int]:
    """One range that covers several, or the whole dimension if they cannot be combined."""
    known = [span for span in spans if span is not None]
    whole = (Affine(0, {}), size)
    if len(known) != len(spans) or any(
        corner.factors != known[0][0].factors for corner, _ in known
    ):
        return whole
    low = min(corner.offset for corner, _ in known)
    high = max(corner.offset + count for corner, count in known)
    if high - low >= size:
        return whole
    return Affine(low, known[0][0].factors), high - low


def _covers(region: Sequence[tuple[Affine, int]], shape: Sequence[int], extents: Extents) -> bool:
    """Whether a region covers the whole tensor over all iterations of the outer loops."""
    seen: set[Var] = set()
    for (corner, count), size in zip(region, shape, strict=True):
        if corner.quotients() or seen & set(corner.factors):
            return False  # perhaps in steps, or along a diagonal
        seen |= set(corner.factors)
        low, _ = corner.span(extents)
        for var, factor in sorted(corner.factors.items(), key=lambda item: abs(item[1])):
            if abs(factor) > count:
                return False  # with gaps
            count += abs(factor) * (extents[var] - 1)
        if low > 0 or low + count < size:
            return False
    return True


def _loops(own: StageBounds, extents: dict[Var, int]) -> None:
    """Derives a stage's loops from its region, its splits and its fusions."""
    op = own.stage.op
    assert isinstance(op, ComputeOp)
    roots: list[tuple[Axis, Atom, Affine, int, int]] = []
    for axis, (corner, count), size in zip(op.axis, own.region, op.shape, strict=True):
        roots.append((axis, Atom(axis.var, count), corner, count, size))
    for axis in own.body_axes():
        roots.append((axis, Atom(axis.var, axis.extent), Affine(0, {}), axis.extent, axis.extent))
    loops: dict[Axis, list[Atom]] = {axis: [atom] for axis, atom, *_ in roots}
    splits: list[tuple[Atom, int]] = []
    for relation in own.stage.relations:
        if isinstance(relation, Fuse):
            loops[relation.fused] = [atom for axis in relation.axes for atom in loops.pop(axis)]
        else:
            parts = _split(own.stage, relation, loops.pop(relation.axis), splits)
            loops[relation.outer], loops[relation.inner] = parts
    own.loops = loops
    for atoms in loops.values():
        extents.update((atom.var, atom.extent) for atom in atoms)
    for axis, atom, corner, _, size in roots:
        local = atom.value()
        own.index[axis.var] = corner.plus(local)
        _guard(own, own.index[axis.var], size, extents)
    for atom, rounds in splits:
        form = atom.value()
        guard = Affine(rounds - 1, {}).plus(form.scaled(-1))
        if form.span(extents)[1] >= rounds and guard not in own.guards:
            own.guards.append(guard)


def _guard(own: StageBounds, index: Affine, size: int, extents: dict[Var, int]) -> None:
    """Adds guards if the loops may take an index out of its dimension."""
    low, high = index.span(extents)
    if high >= size:
        own.guards.append(Affine(size - 1, {}).plus(index.scaled(-1)))
    if low < 0:
        own.guards.append(index)


def _split(
    stage: Stage, split: Split, atoms: list[Atom], splits: list[tuple[Atom, int]]
) -> tuple[list[Atom], list[Atom]]:
    total = math.prod(atom.extent for atom in atoms)
    factor = min(split.number, total) if split.counts_inner else -(-total // split.number)
    outer, inner = split.outer, split.inner
    if len(atoms) == 1:
        parts = (Atom(outer.var, -(-total // factor)), Atom(inner.var, factor))
        atoms[0].parts = parts
        if total % factor:
            splits.append((atoms[0], total))
        return [parts[0]], [parts[1]]
    outside, rest = list(atoms), factor
    inside: list[Atom] = []
    while rest > 1:
        atom = outside.pop()
        if rest % atom.extent == 0:
            inside.insert(0, atom)
            rest //= atom.extent
        elif atom.extent % rest == 0:
            atom.parts = (
                Atom(Var("int32", f"{outer.name}.{atom.var.name}"), atom.extent // rest),
                Atom(Var("int32", f"{inner.name}.{atom.var.name}"), rest),
            )
            outside.append(atom.parts[0])
            inside.insert(0, atom.parts[1])
            rest = 1
        else:
            sizes = " x ".join(str(item.extent) for item in atoms)
            raise ScheduleError(
                f"stage {stage.name}: a split of {split.axis.name} ({sizes} rounds, fused) by "
                f"{factor} cuts through one of the fused loops; use a factor that divides them, or "
                "split before fusing"
            )
    return (outside or [Atom(outer.var, 1)]), (inside or [Atom(inner.var, 1)])
