"""Random schedules: most as a person would write them, some with a step that makes little sense."""

from __future__ import annotations

from tests.compiler.workloads import ACC, INP, Chooser, Work
from vta import te
from vta.compiler.te.expr import Axis
from vta.compiler.te.gemm_intrinsic import gemm
from vta.compiler.te.schedule import Schedule
from vta.compiler.te.stage import Stage
from vta.compiler.te.tensor import Tensor
from vta.errors import ScheduleError

__all__ = ["schedule"]

Place = tuple[Stage, Axis]


def schedule(chooser: Chooser, work: Work) -> tuple[Schedule, list[Tensor]]:
    """A schedule of a computation and the program's arguments.

    Raises
    ------
    ScheduleError
        Where a primitive refuses what was drawn.
    """
    return _Drawing(chooser, work).run()


class _Drawing:
    def __init__(self, chooser: Chooser, work: Work) -> None:
        self.chooser = chooser
        self.work = work
        self.schedule = te.create_schedule([tensor.op for tensor in work.outputs])
        self.copies: dict[Stage, str] = {}
        self.attach: Place | None = None
        """Where most stages are computed: a loop of the first output."""

    def run(self) -> tuple[Schedule, list[Tensor]]:
        self._caches()
        compute = self._inlined()
        main = None if self.work.main is None else self.schedule[self.work.main]
        outputs = [self.schedule[tensor] for tensor in self.work.outputs]
        order = [
            stage
            for stage in reversed(self.schedule.stages)
            if stage in compute or stage in self.copies
        ]
        for stage in outputs:
            self._loops(stage, 2)
        self._main_place(outputs[0])
        for stage in order:
            if stage is not main and self.chooser.chance(25):
                self._loops(stage, 2)
            elif stage is main:
                self._loops(stage, 3 if self.work.gemm else 2)
            self._attach(stage)
        self._wild()
        for stage in (*outputs, *order):
            if stage is main and self.work.gemm:
                self._tensorize(stage)
            else:
                self._pragma(
                    stage, "dma_copy" if stage in outputs or stage in self.copies else "alu"
                )
        if self.chooser.chance(15):
            stage = self.chooser.pick([*outputs, *order])
            stage.unroll(self.chooser.pick(stage.leaf_iter_vars))
        return self.schedule, [*self.work.inputs, *self.work.outputs]

    # -- stages ------------------------------------------------------------------------------

    def _caches(self) -> None:
        for tensor, scope in self.work.copies.items():
            stage = self.schedule[tensor]
            if tensor in self.work.inputs:
                readers = [
                    Tensor(other.op)
                    for other in self.schedule.stages
                    if any(
                        self.schedule[read] is stage
                        for read in getattr(other.op, "input_tensors", ())
                    )
                ]
                stage = self.schedule[self.schedule.cache_read(tensor, scope, readers)]
            stage.set_scope(scope)
            self.copies[stage] = scope

    def _inlined(self) -> list[Stage]:
        """The stages that compute, without those that are inlined from here on."""
        stages = [self.schedule[tensor] for tensor in self.work.alu]
        if self.work.main is not None:
            stages.insert(0, self.schedule[self.work.main])
        if self.chooser.chance(10):
            # The output's own stage becomes the copy of what is computed on chip.
            output = self.chooser.pick(self.work.outputs)
            stages.append(self.schedule[self.schedule.cache_write(output, ACC)])
        kept = []
        for stage in stages:
            stage.set_scope(ACC)
            stored = any(
                self.schedule[read] is stage
                for tensor in self.work.outputs
                for read in self.schedule[tensor].op.input_tensors
            )
            if (
                self.work.alu
                and self.chooser.chance(15)
                and not stored
                and (not stage.op.reduce_axis)
            ):
                stage.compute_inline()
            else:
                kept.append(stage)
        return kept

    # -- loops -------------------------------------------------------------------------------

    @staticmethod
    def _outer(stage: Stage) -> list[Axis]:
        """The loops that are not a tile's own."""
        own = {*stage.op.axis[-2:]}
        if stage.op.reduce_axis and stage.op.reduce_axis[-1].name == "ki":
            own.add(stage.op.reduce_axis[-1])
        return [axis for axis in stage.leaf_iter_vars if axis not in own]

    def _loops(self, stage: Stage, most: int) -> None:
        chooser = self.chooser
        if stage.op.reduce_axis and not chooser.chance(10):
            # What is computed inside a reduction's loops must be outside a tile's.
            outer = self._outer(stage)
            stage.reorder(*outer, *(axis for axis in stage.leaf_iter_vars if axis not in outer))
        for _ in range(chooser.number(0, most)):
            axis = chooser.pick(self._outer(stage))
            kind = chooser.pick(["factor", "factor", "nparts", "fuse", "tile"])
            outer = self._outer(stage)
            if kind == "factor":
                stage.split(axis, chooser.number(1, axis.extent + 1))
            elif kind == "nparts":
                stage.split(axis, nparts=chooser.number(1, axis.extent + 1))
            elif kind == "fuse" and len(outer) > 1:
                place = chooser.number(0, len(outer) - 2)
                if len({item.reduces for item in outer[place : place + 2]}) == 1 or (
                    chooser.chance(5)
                ):
                    stage.fuse(*outer[place : place + 2])
            elif kind == "tile" and len(outer) > 1:
                others = [item for item in outer if item is not axis]
                other = chooser.pick(others)
                stage.tile(
                    axis, other, chooser.number(1, axis.extent), chooser.number(1, other.extent)
                )
        if chooser.chance(60):
            stage.reorder(*chooser.shuffled(self._outer(stage)))

    def _main_place(self, output: Stage) -> None:
        """Which loop of the output most stages are computed at, and the threads around it."""
        chooser = self.chooser
        place = chooser.number(-1, min(2, len(self._outer(output)) - 1))
        if place < 0:
            return
        if chooser.chance(50):
            axis = self._outer(output)[chooser.number(0, place)]
            if axis.extent > 4 or chooser.chance(30):
                index = output.leaf_iter_vars.index(axis)
                pair = output.split(axis, nparts=chooser.number(1, 4))
                axis = pair[0] if chooser.chance(70) and pair[0].extent <= 4 else pair[1]
                place = max(place, index + 1)
            if axis.extent <= 4:
                output.bind(axis, te.thread_axis("cthread"))
        self.attach = (output, self._outer(output)[place])

    def _readers(self, stage: Stage) -> list[Stage]:
        """The stages that read one, those that are inlined left out for theirs."""
        found: list[Stage] = []
        for other in self.schedule.stages:
            if any(self.schedule[read] is stage for read in getattr(other.op, "input_tensors", ())):
                found += self._readers(other) if other.inlined else [other]
        return found

    def _path(self, reader: Stage) -> list[Place]:
        """The loops around a stage and its own, from outside in."""
        found = [(reader, axis) for axis in self._outer(reader)]
        while reader.attached is not None:
            reader, last = reader.attached
            axes = reader.leaf_iter_vars
            if last not in axes:
                break  # gone since; the compiler will say so
            found = [(reader, axis) for axis in axes[: axes.index(last) + 1]] + found
        return found

    def _attach(self, stage: Stage) -> None:
        """Computes a stage at a loop that all its readers are inside of."""
        chooser = self.chooser
        paths = [self._path(reader) for reader in self._readers(stage)]
        common: list[Place] = []
        for level in zip(*paths, strict=False):
            if any(place[0] is not level[0][0] or place[1] is not level[0][1] for place in level):
                break
            common.append(level[0])
        reduction = self.work.main is not None and any(
            place[0] is self.schedule[self.work.main] for place in common
        )
        if chooser.chance(2):
            other = chooser.pick(self.schedule.stages)
            if other.leaf_iter_vars:
                stage.compute_at(other, chooser.pick(other.leaf_iter_vars))
        elif reduction and chooser.chance(70):
            stage.compute_at(
                *chooser.pick(
                    [place for place in common if place[0] is self.schedule[self.work.main]]
                )
            )
        elif self.attach in common and chooser.chance(80):
            stage.compute_at(*self.attach)
        elif common and chooser.chance(60):
            stage.compute_at(*chooser.pick(common))

    # -- what each does ------------------------------------------------------------------------

    def _first_inner(self, stage: Stage) -> int:
        """The first loop that nothing is computed in and no thread is."""
        leaves = stage.leaf_iter_vars
        return (
            max(
                [
                    leaves.index(other.attached[1])
                    for other in self.schedule.stages
                    if other.attached is not None
                    and other.attached[0] is stage
                    and other.attached[1] in leaves
                ]
                + [place for place, axis in enumerate(leaves) if axis in stage.threads],
                default=-1,
            )
            + 1
        )

    def _pragma(self, stage: Stage, key: str) -> None:
        chooser = self.chooser
        first = self._first_inner(stage)
        last = len(self._outer(stage))
        place = first if chooser.chance(60) or first >= last else chooser.number(first, last)
        if chooser.chance(3):
            place = chooser.number(0, len(stage.leaf_iter_vars) - 1)
        stage.pragma(stage.leaf_iter_vars[min(place, len(stage.leaf_iter_vars) - 1)], key)

    def _tensorize(self, stage: Stage) -> None:
        chooser = self.chooser
        own = [axis for axis in stage.leaf_iter_vars if axis not in self._outer(stage)]
        if chooser.chance(20):
            own = chooser.shuffled(own)
        stage.reorder(*self._outer(stage), *own)
        axis = chooser.pick(stage.leaf_iter_vars) if chooser.chance(4) else own[0]
        stage.tensorize(axis, gemm)

    def _wild(self) -> None:
        """Now and then, a step that makes little sense."""
        chooser = self.chooser
        if not chooser.chance(6):
            return
        stages = [stage for stage in self.schedule.stages if stage.leaf_iter_vars]
        stage, other = chooser.pick(stages), chooser.pick(stages)
        axis = chooser.pick(stage.leaf_iter_vars)
        kind = chooser.pick(
            ["split", "reorder", "bind", "fuse", "at", "scope", "inline", "root", "foreign"]
        )
        if kind == "split":
            stage.split(axis, chooser.number(1, 5))
        elif kind == "reorder":
            stage.reorder(*chooser.shuffled(stage.leaf_iter_vars))
        elif kind == "bind":
            if axis.extent > 4:
                raise ScheduleError("that many threads make programs too long for a test")
            stage.bind(axis, te.thread_axis("cthread"))
        elif kind == "fuse":
            stage.fuse(*stage.leaf_iter_vars[: chooser.number(1, 4)])
        elif kind == "at":
            stage.compute_at(other, chooser.pick(other.leaf_iter_vars))
        elif kind == "scope":
            if not any(tensor.dtype == "int32" for tensor in self.work.inputs):
                stage.set_scope(chooser.pick([INP, ACC, "global"]))
        elif kind == "inline":
            stage.compute_inline()
        elif kind == "root":
            stage.compute_root()
        else:
            stage.split(other.leaf_iter_vars[0], 2)
