"""The epilogue: the operations on an operator's sums before they are stored as int8."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vta.compiler.ir.timing import TIMING
from vta.compiler.te.dtypes import INT8, as_int8
from vta.compiler.te.expr import Expr
from vta.compiler.te.intrinsics import maximum, minimum, requantize
from vta.compiler.te.tensor import Tensor, compute
from vta.config import Config
from vta.errors import CompileError
from vta.isa import MAX_IMM

__all__ = ["Division", "Epilogue", "EpilogueStep", "apply_steps", "joined"]

ALU_CYCLES = {"bias": 1, "+": 1, "*": 5, ">>": 1, "max": 1, "min": 1, "requantize": 1}
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
        minus infinity and takes several ALU operations; ``requantize`` is `te.requantize`.
    value : int
        The immediate, the divisor, or the zero point.
    division : Division or None
    lower : int
        Of ``requantize``: the least result.
    scale : float or None
        Of ``requantize``: one scale for all, or None for the operator's scales.
    """

    op: str
    value: int = 0
    division: Division | None = None
    lower: int = INT8[0]
    scale: float | None = None

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
    def drain(self) -> int:
        """Extra cycles after each instruction of this step, before the next can start."""
        return TIMING.drain if self.op == "requantize" else 0

    @property
    def live(self) -> int:
        """Tiles of the accumulator that the step needs for each tile of sums."""
        return 1 if self.division is None else 3


@dataclass(frozen=True, kw_only=True)
class Epilogue:
    """int8(clip((sum + bias) >> shift)), with the options that every operator takes.

    With `scale` it is ``max(lower, min(127, rint(float32(sum + bias) * scale) + zero_point))``, as
    ONNX's QLinearConv; the product is rounded to float32, and `rint` rounds ties to even.

    Parameters
    ----------
    bias : bool
        Whether one number per output channel is added first. The operator must have channels.
    scale : bool
        Whether the sums are requantised, with one float32 per output channel; the operator must
        have channels, and the machine HW_VER 0.0.3. It takes the place of shift, rounding and clip.
    zero_point, lower, upper : int
        Of requantisation: what is added to the rounded product, and the least and the greatest
        result (-128 to 127); an `upper` below 127 takes one more operation.
    shift : int
        Arithmetic shift to the right, 0 to 31: rounds towards minus infinity.
    rounding : bool
        Whether the shift rounds to the nearest number, ties upwards: half a unit is added first.
    relu : bool
        Whether negative results become 0; with `scale`, whether `lower` is at least `zero_point`.
    clip : bool
        Whether results are limited to the range of int8; otherwise they wrap.
    """

    bias: bool = False
    shift: int = 0
    rounding: bool = False
    relu: bool = False
    clip: bool = True
    scale: bool = False
    zero_point: int = 0
    lower: int = INT8[0]
    upper: int = INT8[1]

    def __post_init__(self) -> None:
        for name in ("bias", "rounding", "relu", "clip", "scale"):
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
        for name in ("zero_point", "lower", "upper"):
            object.__setattr__(self, name, as_int8(getattr(self, name), name))
        if self.scale and (self.shift or self.rounding or not self.clip):
            raise CompileError("shift, rounding and clip must be left out where there is a scale")
        if not self.scale and (self.zero_point or (self.lower, self.upper) != INT8):
            raise CompileError(
                "zero_point, lower and upper must be left out where there is no scale"
            )
        if self.upper < self.lower:
            raise CompileError(f"upper must be at least lower, {self.lower}, not {self.upper}")

    @property
    def half(self) -> int:
        """The term that `rounding` adds to the sums; as part of the bias it costs nothing."""
        return 1 << (self.shift - 1) if self.rounding and self.shift else 0

    def with_zero_point(self, zero_point: int) -> Epilogue:
        """The epilogue of sums over data with a zero point, which takes it back with the bias."""
        return replace(self, bias=self.bias or zero_point != 0)

    @property
    def steps(self) -> tuple[EpilogueStep, ...]:
        """The operations in order; a bias must already include `half`."""
        steps = []
        if self.bias:
            steps.append(EpilogueStep("bias"))
        if self.scale:
            lower = max(self.lower, self.zero_point) if self.relu else self.lower
            steps.append(EpilogueStep("requantize", self.zero_point, lower=lower))
            if self.upper < INT8[1]:
                steps.append(EpilogueStep("min", self.upper))
            return tuple(steps)
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


def joined(steps: tuple[EpilogueStep, ...], config: Config) -> tuple[EpilogueStep, ...]:
    """The steps, in which a QNT replaces the max and min at the end, if the machine has QNT.

    Requantisation with a scale of 1 clips every int32 exactly.
    """
    if not config.requantises or [step.op for step in steps[-2:]] != ["max", "min"]:
        return steps
    assert steps[-1].value == INT8[1], "the epilogue clips to int8"
    return (*steps[:-2], EpilogueStep("requantize", 0, lower=steps[-2].value, scale=1.0))


def apply_steps(
    value: Tensor,
    steps: Sequence[EpilogueStep],
    bias: Tensor | None,
    scale: Tensor | None,
    dims: Sequence[int],
    name: str,
) -> list[Tensor]:
    """The stages that carry out `steps` on `value`, in order.

    `bias` and `scale` are indexed with the dimensions `dims` of `value`.
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
            stage(lambda *i, s=source, b=bias: b(*(i[dim] for dim in dims)) + s(*i))
        elif step.op == "requantize":
            stage(
                lambda *i, s=source, step=step: requantize(
                    s(*i), _scale(step, scale, [i[dim] for dim in dims]), step.value, step.lower
                )
            )
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


def _scale(step: EpilogueStep, scale: Tensor | None, indices: Sequence[Expr]) -> Expr | float:
    """The scale of a step: its own, or the operator's for the channel."""
    if step.scale is not None:
        return step.scale
    assert scale is not None, "an operator with this step has scales"
    return scale(*indices)


def _immediate(value: Expr, step: EpilogueStep) -> Expr:
    if step.op == "+":
        return value + step.value
    if step.op == "*":
        return value * step.value
    if step.op == ">>":
        return value >> step.value
    return maximum(value, step.value) if step.op == "max" else minimum(value, step.value)
