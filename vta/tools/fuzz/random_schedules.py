"""Random schedules of random programs, with every primitive; some steps make little sense."""

from __future__ import annotations

from vta import te
from vta.compiler.te.expr import Axis, Reduce
from vta.compiler.te.gemm_intrinsic import gemm
from vta.compiler.te.schedule import Schedule
from vta.compiler.te.stage import Stage
from vta.compiler.te.tensor import ComputeOp, Operation, Tensor
from vta.tools.fuzz.choices import Choices
from vta.tools.fuzz.drawn import Drawn
from vta.tools.fuzz.random_expressions import ACC, INP

__all__ = ["draw_schedule"]

Place = tuple[Stage, Axis]


def draw_schedule(choices: Choices, drawn: Drawn) -> tuple[Schedule, list[Tensor]]:
    """A schedule of a program, and the program's arguments.

    Raises
    ------
    ScheduleError
        Where a primitive refuses what was drawn.
    """
    schedule = te.create_schedule([tensor.op for tensor in drawn.outputs])
    _Scheduling(choices, drawn, schedule).run()
    return schedule, [*drawn.used_inputs(), *drawn.outputs]


class _Scheduling:
    def __init__(self, choices: Choices, drawn: Drawn, schedule: Schedule) -> None:
        self.choices = choices
        self.drawn = drawn
        self.schedule = schedule
        self.roles: dict[Stage, str] = {}
        self.sources: dict[Operation, list[Stage]] = {}
        used = {stage.op for stage in schedule.stages}
        for tensor, role in drawn.roles.items():
            if tensor.op in used:
                self.roles[schedule[tensor]] = role
        self.tame = choices.chance(25)
        """Whether loops are left as they are."""

    def run(self) -> None:
        choices = self.choices
        self._caches()
        self._inlined()
        stages = [stage for stage in reversed(self.schedule.stages) if stage in self.roles]
        stages = [stage for stage in stages if not stage.inlined]
        for stage in stages:
            if not self.tame:
                self._loops(stage)
                self._attach(stage)
        if choices.chance(4):
            self._wild(stages)
        for stage in stages:
            if self.roles[stage] == "gemm":
                self._tensorize(stage)
            else:
                self._pragma(stage)
        if choices.chance(15):
            stage = choices.pick(stages)
            stage.unroll(choices.pick(stage.leaf_iter_vars))

    # -- stages ------------------------------------------------------------------------------

    def _reads(self, reader: Stage, stage: Stage) -> bool:
        op = reader.op
        if op not in self.sources:
            tensors = op.input_tensors if isinstance(op, ComputeOp) else ()
            self.sources[op] = [self.schedule[tensor] for tensor in tensors]
        return stage in self.sources[op]

    def _caches(self) -> None:
        for tensor, scope in self.drawn.scopes.items():
            if tensor in self.drawn.outputs:
                made = self.schedule.cache_write(tensor, ACC)
                self.roles[self.schedule[made]] = "alu"
                self.roles[self.schedule[tensor]] = "store"
            elif any(stage.op is tensor.op for stage in self.schedule.stages):
                self.schedule[tensor].set_scope(scope)
        for tensor in self.drawn.direct:
            if any(stage.op is tensor.op for stage in self.schedule.stages):
                source = self.schedule[tensor]
                readers = [
                    Tensor(other.op) for other in self.schedule.stages if self._reads(other, source)
                ]
                # One copy for all, or one for each.
                groups = [[item] for item in readers] if self.choices.chance(20) else [readers]
                for group in groups:
                    copy = self.schedule.cache_read(tensor, ACC, group)
                    self.roles[self.schedule[copy]] = "load"

    def _inlined(self) -> None:
        for stage, role in self.roles.items():
            stored = any(
                self.roles.get(other) == "store" and self._reads(other, stage)
                for other in self.schedule.stages
            )
            percent = 2 if role != "alu" or stored else 15
            if (
                isinstance(stage.op, ComputeOp)
                and not isinstance(stage.op.body, Reduce)
                and not stage.is_output
                and self.choices.chance(percent)
            ):
                stage.compute_inline()

    # -- loops -------------------------------------------------------------------------------

    def _outer(self, stage: Stage) -> list[Axis]:
        """The loops that are not a tile's own."""
        assert isinstance(stage.op, ComputeOp)
        own = {*stage.op.axis[-2:]}
        if self.roles[stage] == "gemm":
            own.add(stage.op.reduce_axis[-1])
        found = [axis for axis in stage.leaf_iter_vars if axis not in own]
        return found or list(stage.leaf_iter_vars)

    def _loops(self, stage: Stage) -> None:
        choices = self.choices
        assert isinstance(stage.op, ComputeOp)
        if stage.op.reduce_axis and not choices.chance(10):
            outer = self._outer(stage)
            stage.reorder(*outer, *(axis for axis in stage.leaf_iter_vars if axis not in outer))
        for _ in range(choices.pick([0, 0, 1, 1, 2, 3])):
            outer = self._outer(stage)
            axis = choices.pick(outer)
            kind = choices.pick(["factor", "factor", "nparts", "fuse", "tile"])
            if kind == "factor":
                stage.split(axis, choices.number(1, axis.extent + 1))
            elif kind == "nparts":
                stage.split(axis, nparts=choices.number(1, axis.extent + 1))
            elif kind == "fuse" and len(outer) > 1:
                place = choices.number(0, len(outer) - 2)
                pair = outer[place : place + 2]
                if pair[0].reduces == pair[1].reduces or choices.chance(5):
                    stage.fuse(*pair)
            elif kind == "tile" and len(outer) > 1:
                other = choices.pick([item for item in outer if item is not axis])
                factors = choices.number(1, axis.extent), choices.number(1, other.extent)
                stage.tile(axis, other, *factors)
        if choices.chance(40):
            stage.reorder(*choices.shuffled(self._outer(stage)))
        if choices.chance(15):
            short = [axis for axis in self._outer(stage) if axis.extent <= 4 and not axis.reduces]
            if short:
                stage.bind(choices.pick(short), te.thread_axis("cthread"))

    def _readers(self, stage: Stage) -> list[Stage]:
        """The stages that read one; for those that are inlined, theirs."""
        found: list[Stage] = []
        for other in self.schedule.stages:
            if self._reads(other, stage):
                found += self._readers(other) if other.inlined else [other]
        return found

    def _path(self, reader: Stage) -> list[Place]:
        """The loops around a stage and its own, from outside in."""
        found = [(reader, axis) for axis in self._outer(reader)]
        while reader.attached is not None:
            reader, last = reader.attached
            axes = reader.leaf_iter_vars
            if last not in axes:
                break
            found = [(reader, axis) for axis in axes[: axes.index(last) + 1]] + found
        return found

    def _attach(self, stage: Stage) -> None:
        """Computes a stage at a loop that all its readers are inside of."""
        choices = self.choices
        paths = [self._path(reader) for reader in self._readers(stage)]
        common: list[Place] = []
        for level in zip(*paths, strict=False):
            if any(place[0] is not level[0][0] or place[1] is not level[0][1] for place in level):
                break
            common.append(level[0])
        if choices.chance(2):
            other = choices.pick(self.schedule.stages)
            if other.leaf_iter_vars:
                stage.compute_at(other, choices.pick(other.leaf_iter_vars))
        elif common and choices.chance(50):
            stage.compute_at(*choices.pick(common))

    # -- what each does ------------------------------------------------------------------------

    def _first_inner(self, stage: Stage) -> int:
        """The first loop that nothing is computed in and no thread is."""
        leaves = stage.leaf_iter_vars
        places = [place for place, axis in enumerate(leaves) if axis in stage.threads]
        for other in self.schedule.stages:
            if other.attached is not None and other.attached[0] is stage and not other.inlined:
                places += [leaves.index(axis) for axis in leaves if axis is other.attached[1]]
        return max(places, default=-1) + 1

    def _pragma(self, stage: Stage) -> None:
        choices = self.choices
        key = "alu" if self.roles[stage] == "alu" else "dma_copy"
        first, last = self._first_inner(stage), len(self._outer(stage))
        place = first if choices.chance(60) or first >= last else choices.number(first, last)
        if choices.chance(2):
            place = choices.number(0, len(stage.leaf_iter_vars) - 1)
        stage.pragma(stage.leaf_iter_vars[min(place, len(stage.leaf_iter_vars) - 1)], key)

    def _tensorize(self, stage: Stage) -> None:
        outer = self._outer(stage)
        own = [axis for axis in stage.leaf_iter_vars if axis not in outer]
        if self.choices.chance(20):
            own = self.choices.shuffled(own)
        stage.reorder(*outer, *own)
        stage.tensorize(own[0], gemm)

    def _wild(self, stages: list[Stage]) -> None:
        """A step that makes little sense."""
        choices = self.choices
        stage, other = choices.pick(stages), choices.pick(stages)
        axis = choices.pick(stage.leaf_iter_vars)
        kind = choices.pick(["split", "reorder", "bind", "fuse", "at", "scope", "inline", "root"])
        if kind == "split":
            stage.split(axis, choices.number(1, 5))
        elif kind == "reorder":
            stage.reorder(*choices.shuffled(stage.leaf_iter_vars))
        elif kind == "bind" and axis.extent <= 4:
            stage.bind(axis, te.thread_axis("cthread"))
        elif kind == "fuse":
            stage.fuse(*stage.leaf_iter_vars[: choices.number(1, 4)])
        elif kind == "at":
            stage.compute_at(other, choices.pick(other.leaf_iter_vars))
        elif kind == "scope":
            stage.set_scope(choices.pick([INP, ACC, "global"]))
        elif kind == "inline":
            stage.compute_inline()
        else:
            stage.compute_root()
