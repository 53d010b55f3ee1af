"""The epilogue: the operations on an operator's sums before they are stored as int8."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vta.compiler.te.expr import Expr
from vta.compiler.te.intrinsics import maximum, minimum
from vta.compiler.te.tensor import Tensor, compute
from vta.errors import CompileError
from vta.isa import MAX_IMM

__all__ = ["INT8", "Division", "Epilogue", "EpilogueStep", "apply_steps"]

INT8 = (-128, 127)
"""The range of int8."""
ALU_CYCLES = {"bias": 1, "+": 1, "*": 5, ">>": 1, "max": 1, "min": 1}
"""Cycles of an operation on a tile: with an immediate, or with the same source tile (a bias)."""


COPY = 3
"""Cycles of copying a tile."""


@dataclass(frozen=True)
class Division:
    """How to divide with ALU operations: `estimate` gives the quotient, or one less."""

    estimate: tuple[EpilogueStep, ...]


@dataclass(frozen=True)
class EpilogueStep:
    """One operation on all tiles.

    Parameters
    ----------
    op : str
        ``+ * >> max min`` work with an immediate; ``bias`` adds the bias; ``/`` rounds towards
        minus infinity and takes several ALU operations.
    value : int
        The immediate, or the divisor.
    division : Division or None
    """

    op: str
    value: int = 0
    division: Division | None = None

    @property
    def cycles(self) -> int:
        """Cycles for a tile."""
        if self.division is None:
            return ALU_CYCLES[self.op]
        # Two copies and the estimate; then its product, the remainder, the correction, the sum.
        return (
            2 * COPY
            + sum(step.cycles for step in self.division.estimate)
            + ALU_CYCLES["*"]
            + 2
            + 1
            + 1
            + 2
            + 1
        )

    @property
    def live(self) -> int:
        """Tiles of the accumulator that the step needs for each tile of sums."""
        return 1 if self.division is None else 3


@dataclass(frozen=True, kw_only=True)
class Epilogue:
    """int8(clip((sum + bias) >> shift)), with the options that every operator takes.

    Parameters
    ----------
    bias : bool
        Whether one number per output channel is added first. The operator must have channels.
    shift : int
        Arithmetic shift to the right, 0 to 31: rounds towards minus infinity.
    rounding : bool
        Whether the shift rounds to the nearest number, ties upwards: half a unit is added first.
    relu : bool
        Whether negative results become 0.
    clip : bool
        Whether results are limited to the range of int8; otherwise they wrap.
    """

    bias: bool = False
    shift: int = 0
    rounding: bool = False
    relu: bool = False
    clip: bool = True

    def __post_init__(self) -> None:
        for name in ("bias", "rounding", "relu", "clip"):
            value = getattr(self, name)
            if not isinstance(value, (bool, np.bool_)):
                raise CompileError(f"{name} must be True or False, not {value!r}")
            object.__setattr__(self, name, bool(value))
        if (
            isinstance(self.shift, bool)
            or not isinstance(self.shift, (int, np.integer))
            or not (0 <= self.shift <= 31)
        ):
            raise CompileError(f"shift must be a whole number of 0 to 31, not {self.shift!r}")
        object.__setattr__(self, "shift", int(self.shift))

    @property
    def half(self) -> int:
        """The term that `rounding` adds to the sums; as part of the bias it costs nothing."""
        return 1 << (self.shift - 1) if self.rounding and self.shift else 0

    @property
    def steps(self) -> tuple[EpilogueStep, ...]:
        """The operations in order; a bias must already include `half`."""
        steps = []
        if self.bias:
            steps.append(EpilogueStep("bias"))
        if self.bias or not self.half:
            steps.append(EpilogueStep(">>", self.shift))
        elif self.half <= MAX_IMM:
            steps += [EpilogueStep("+", self.half), EpilogueStep(">>", self.shift)]
        else:
            # (x + half) >> shift, with immediates that fit.
            steps += [
                EpilogueStep(">>", self.shift - 1),
                EpilogueStep("+", 1),
                EpilogueStep(">>", 1),
            ]
        if self.relu or self.clip:
            steps.append(EpilogueStep("max", 0 if self.relu else INT8[0]))
        if self.clip:
            steps.append(EpilogueStep("min", INT8[1]))
        return tuple(step for step in steps if step != EpilogueStep(">>", 0))


def apply_steps(
    value: Tensor,
    steps: Sequence[EpilogueStep],
    bias: Tensor | None,
    bias_dims: Sequence[int],
    name: str,
) -> list[Tensor]:
    """The stages that carry out `steps` on `value`, in order.

    `bias` is indexed with the dimensions `bias_dims` of `value`.
    """
    stages: list[Tensor] = []

    def stage(rule: Callable[..., Expr]) -> Tensor:
        stages.append(compute(value.shape, rule, f"{name}_{len(stages)}"))
        return stages[-1]

    for step in steps:
        source = stages[-1] if stages else value
        if step.op == "bias":
            assert bias is not None
            # The bias is read first. Stages are computed in the order in which they are read, so
            # its LOAD comes before the sums and is hidden behind them.
            stage(lambda *i, s=source, b=bias: b(*(i[dim] for dim in bias_dims)) + s(*i))
        elif step.division is not None:
            _divide(stage, source, step.value, step.division)
        else:
            stage(lambda *i, s=source, step=step: _immediate(s(*i), step))
    return stages


def _divide(
    stage: Callable[[Callable[..., Expr]], Tensor], source: Tensor, divisor: int, division: Division
) -> None:
    """The stages of a division: an estimate, plus one if the remainder is `divisor` or more."""
    estimate = source
    for step in division.estimate:
        estimate = stage(lambda *i, s=estimate, step=step: _immediate(s(*i), step))
    product = stage(lambda *i: estimate(*i) * -divisor)
    left = stage(lambda *i: source(*i) + product(*i))
    # Minus one if the remainder is less than the divisor, else zero.
    less = stage(lambda *i: (left(*i) + -divisor) >> 31)
    stage(lambda *i: estimate(*i) + less(*i) + 1)


def _immediate(value: Expr, step: EpilogueStep) -> Expr:
    if step.op == "+":
        return value + step.value
    if step.op == "*":
        return value * step.value
    if step.op == ">>":
        return value >> step.value
    return maximum(value, step.value) if step.op == "max" else minimum(value, step.value)
