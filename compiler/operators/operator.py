"""`Spec`, an operator with all its sizes, and `Operator`, the compiled form of a `Spec`."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vta.compiler.ir.timing import TIMING, MachineTiming
from vta.compiler.operators.epilogue import Epilogue
from vta.compiler.operators.tiling import Tiling
from vta.compiler.pipeline import build
from vta.compiler.te.dtypes import check_requantises
from vta.config import Config
from vta.errors import ArgumentError, CompileError

if TYPE_CHECKING:
    from vta.compiler.te.schedule import Schedule
    from vta.compiler.te.tensor import Tensor
    from vta.program import Program

__all__ = ["Array", "OperandSpec", "Operator", "Plan", "Spec"]

Array = NDArray[Any]


@dataclass(frozen=True)
class OperandSpec:
    """An array that an operator takes."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def check(self, array: object) -> Array:
        """`array` as a numpy array, checked for shape and dtype."""
        found = np.asarray(array)
        if found.shape != self.shape:
            raise ArgumentError(f"{self.name} must be {list(self.shape)}, not {list(found.shape)}")
        if found.dtype == self.dtype:
            return found
        # Python's and numpy's default integers are wider than most values need.
        limits = np.iinfo(self.dtype)
        if (
            found.dtype.kind not in "iu"
            or found.size
            and (found.min() < limits.min or found.max() > limits.max)
        ):
            raise ArgumentError(
                f"{self.name} must be {self.dtype}, not {found.dtype}"
                + (" with values out of range" if found.dtype.kind in "iu" else "")
            )
        return found.astype(self.dtype)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A spec scheduled for one configuration, but not yet compiled.

    Parameters
    ----------
    schedule : Schedule
    args : tuple of Tensor
        Inputs, then outputs.
    tilings : tuple of Tiling
        One for each part of the program; most programs have one part.
    cycles : int
        The cycle model's estimate.
    """

    schedule: Schedule
    args: tuple[Tensor, ...]
    tilings: tuple[Tiling, ...]
    cycles: int


class Spec(abc.ABC):
    """An operator with its shapes and options, independent of the configuration.

    It is hashable and immutable, and threads may share it.
    """

    @property
    @abc.abstractmethod
    def operands(self) -> tuple[OperandSpec, ...]:
        """The arrays that a call takes, in order."""

    @property
    @abc.abstractmethod
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the int8 array that a call returns."""

    @abc.abstractmethod
    def plan(
        self, config: Config, tiling: Tiling | None = None, timing: MachineTiming = TIMING
    ) -> Plan:
        """Chooses tilings for a memory of `timing`, unless one is given, and schedules."""

    @abc.abstractmethod
    def pack(self, config: Config, arrays: Sequence[Array]) -> list[Array]:
        """The operands as the program's inputs."""

    @abc.abstractmethod
    def unpack(self, config: Config, outputs: Sequence[Array]) -> Array:
        """The program's outputs as the operator's."""

    @property
    def name(self) -> str:
        """The name of the program."""
        return type(self).__name__.lower()

    def compile(
        self, config: Config, tiling: Tiling | None = None, *, latency: int = TIMING.latency
    ) -> Operator:
        """Compiles for one configuration; `tiling` replaces the best tiling.

        The search expects a memory that answers after `latency` cycles.
        """
        if isinstance(latency, bool) or not isinstance(latency, int) or latency < 1:
            raise CompileError(f"latency must be a whole number of 1 or more, not {latency!r}")
        if not isinstance(config, Config):
            raise CompileError(
                f"compile takes a Config (vta.config.PRESETS has some), not {config!r}"
            )
        epilogue = getattr(self, "epilogue", Epilogue())
        if not isinstance(epilogue, Epilogue):
            raise CompileError(f"epilogue must be an Epilogue, not {epilogue!r}")
        if epilogue.scale:
            check_requantises("an epilogue with a scale", config)
        if tiling is not None and not isinstance(tiling, Tiling):
            raise CompileError(f"tiling must be a Tiling, not {tiling!r}")
        if math.prod(self.output_shape) >> config.addr_width:
            raise CompileError(
                f"the result {list(self.output_shape)} is larger than the memory of "
                f"2^{config.addr_width} bytes"
            )
        plan = self.plan(config, tiling, MachineTiming(latency=latency))
        program = build(plan.schedule, plan.args, config, self.name)
        return Operator(spec=self, config=config, plan=plan, program=program)


@dataclass(frozen=True, kw_only=True)
class Operator:
    """A compiled operator. It is immutable, and threads may share it.

    Attributes
    ----------
    spec : Spec
    config : Config
    plan : Plan
        Schedule, arguments, tilings, expected cycles.
    program : Program
        `pack` makes its inputs, and `unpack` takes its outputs.
    """

    spec: Spec
    config: Config
    plan: Plan
    program: Program

    @property
    def schedule(self) -> Schedule:
        """The schedule that the program was built from."""
        return self.plan.schedule

    @property
    def args(self) -> tuple[Tensor, ...]:
        """The tensors of the program's arguments."""
        return self.plan.args

    @property
    def tiling(self) -> Tiling:
        """The tiling of the program's first part."""
        return self.plan.tilings[0]

    @property
    def predicted_cycles(self) -> int:
        """The cycle model's estimate for the RTL, at the latency that it was compiled for."""
        return self.plan.cycles

    def pack(self, *arrays: object) -> list[Array]:
        """Checks the operands and lays them out as the program's inputs, in order."""
        operands = self.spec.operands
        if len(arrays) != len(operands):
            raise ArgumentError(
                f"{self.spec.name} takes {len(operands)} arrays ("
                f"{', '.join(operand.name for operand in operands)}), "
                f"not {len(arrays)}"
            )
        checked = [operand.check(array) for operand, array in zip(operands, arrays, strict=True)]
        packed = self.spec.pack(self.config, checked)
        inputs = [buffer for buffer in self.program.args if buffer.role == "input"]
        return [_grown(array, buffer.shape) for array, buffer in zip(packed, inputs, strict=True)]

    def unpack(self, *outputs: Array) -> Array:
        """The operator's result, from the program's outputs."""
        wanted = [buffer.shape for buffer in self.program.args if buffer.role == "output"]
        if [np.shape(output) for output in outputs] != wanted:
            found = [np.shape(output) for output in outputs]
            raise ArgumentError(f"outputs must have the shapes {wanted}, not {found}")
        return self.spec.unpack(self.config, outputs)

    def __repr__(self) -> str:
        return (
            f"Operator({self.spec}, {self.config.bitstream}, {self.tiling}, "
            f"{self.predicted_cycles} cycles expected)"
        )


def _grown(array: Array, shape: tuple[int, ...]) -> Array:
    """`array` in a shape that may be larger; zeros at the end fill it up."""
    flat = np.zeros(int(np.prod(shape)), array.dtype)
    flat[: array.size] = array.reshape(-1)
    return flat.reshape(shape)
