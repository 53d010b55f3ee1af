"""`Add` and `Multiply`: elementwise operators on two arrays, for residual additions for example."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from vta.compiler.ir.timing import TIMING, MachineTiming
from vta.compiler.operators.channel_operands import channel_operands, pack_channels
from vta.compiler.operators.epilogue import Epilogue, EpilogueStep, apply_steps, joined
from vta.compiler.operators.layout import ChannelBlocking, flat_tiles, pack_data, unpack_data
from vta.compiler.operators.nest_schedule import blocks
from vta.compiler.operators.operator import Array, OperandSpec, Plan, Spec
from vta.compiler.operators.shape_arguments import as_shape
from vta.compiler.operators.tiling import THREADS, Tiling, flat_tilings, likely_sizes
from vta.compiler.te.dtypes import as_int8, items_of
from vta.compiler.te.expr import Expr
from vta.compiler.te.schedule import create_schedule
from vta.compiler.te.stage import ACC_SCOPE, ALU, DMA_COPY
from vta.compiler.te.tensor import compute, placeholder
from vta.errors import CompileError

if TYPE_CHECKING:
    from vta.config import Config

__all__ = ["Add", "Multiply"]

_THREADS = tuple(reversed(THREADS))
"""A load into the accumulator waits for the store of the data that it overwrites. Meanwhile two
other threads compute, and a fourth is loaded already. Small arrays use fewer threads."""
_AXES = ("images", "parts", "columns")
"""The axes of the arrays, by their names in `Tiling`."""


@dataclass(frozen=True)
class _Elementwise(Spec):
    """The base class of `Add` and `Multiply`.

    Parameters
    ----------
    shape : tuple of int
        The shape of both arrays and of the result.
    epilogue : Epilogue
        `bias` is (C,) int32 and `scale` (C,) float32, where C is the second dimension.
    """

    shape: tuple[int, ...]
    epilogue: Epilogue = field(default=Epilogue(), kw_only=True)

    cycles: ClassVar[int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", as_shape(self.shape, "shape"))
        if not isinstance(self.epilogue, Epilogue):
            raise CompileError(f"epilogue must be an Epilogue, not {self.epilogue!r}")
        if self._channelled and len(self.shape) < 2:
            what = "bias" if self.epilogue.bias else "scale"
            raise CompileError(
                f"{what} needs a second dimension (the channels), which {self.shape} does not have"
            )

    @property
    def operands(self) -> tuple[OperandSpec, ...]:
        arrays = OperandSpec("a", self.shape, "int8"), OperandSpec("b", self.shape, "int8")
        return (*arrays, *channel_operands(self.epilogue, self.shape[1] if self._channelled else 1))

    def _steps(self, config: Config) -> tuple[EpilogueStep, ...]:
        return joined(self.epilogue.steps, config)

    @property
    def _per_channel(self) -> int:
        """Tiles of bias and scale for each block of channels."""
        return self.epilogue.bias + self.epilogue.scale

    @property
    def _channelled(self) -> bool:
        """Whether the epilogue has a number for each channel."""
        return self.epilogue.bias or self.epilogue.scale

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.shape

    def plan(
        self, config: Config, tiling: Tiling | None = None, timing: MachineTiming = TIMING
    ) -> Plan:
        sizes = self._sizes(config)
        if tiling is None:
            tiling = self._choose(config, timing)
        if not self._channelled:
            # Padding tiles at the end give all blocks the same size.
            block = tiling.columns * tiling.threads
            sizes = 1, 1, -(-sizes[2] // block) * block
        shape = (*sizes, config.batch, config.block)
        a, b = (placeholder(shape, "int8", name) for name in "ab")
        a_load, b_load = (
            compute(shape, lambda *i, t=tensor: t(*i), f"{tensor.name}_buf") for tensor in (a, b)
        )
        bias, scale = (
            placeholder((shape[1], *shape[3:]), dtype, name) if given else None
            for name, dtype, given in (
                ("bias", "int32", self.epilogue.bias),
                ("scale", "float32", self.epilogue.scale),
            )
        )
        bias_load, scale_load = (
            compute(tensor.shape, lambda *i, t=tensor: t(*i), f"{tensor.name}_buf")
            if tensor is not None
            else None
            for tensor in (bias, scale)
        )

        def rule(*i: Expr) -> Expr:
            return self._value(a_load(*i).astype("int32"), b_load(*i).astype("int32"))

        value = compute(shape, rule, "value")
        steps = self._steps(config)
        epilogue = apply_steps(value, steps, bias_load, scale_load, (1, 3, 4), "step")
        last = epilogue[-1] if epilogue else value
        result = compute(shape, lambda *i: last(*i).astype("int8"), "result")
        s = create_schedule(result.op)
        at = blocks(
            s[result],
            (tiling.images, tiling.parts, tiling.columns),
            tiling.threads,
            _AXES.index(tiling.axis),
        )
        loads = [a_load, b_load, *(load for load in (bias_load, scale_load) if load is not None)]
        for tensor in (*loads, value, *epilogue):
            stage = s[tensor].set_scope(ACC_SCOPE).compute_at(s[result], at)
            stage.pragma(stage.axes[0], DMA_COPY if tensor in loads else ALU)
        inputs = (a, b, *(tensor for tensor in (bias, scale) if tensor is not None))
        return Plan(
            schedule=s,
            args=(*inputs, result),
            tilings=(tiling,),
            cycles=self._cycles(config, tiling, timing),
        )

    @abc.abstractmethod
    def _value(self, a: Expr, b: Expr) -> Expr:
        """What the epilogue gets."""

    def pack(self, config: Config, arrays: Sequence[Array]) -> list[Array]:
        a, b, *rest = arrays
        if rest:
            blocking = ChannelBlocking(
                block=config.block, groups=self.shape[1], inputs=1, outputs=1
            )
            return [
                *(pack_data(each.reshape(*self.shape[:2], -1, 1), config) for each in (a, b)),
                *pack_channels(self.epilogue, rest, blocking, config.batch),
            ]
        return [flat_tiles(each, config) for each in (a, b)]

    def unpack(self, config: Config, outputs: Sequence[Array]) -> Array:
        (tiles,) = outputs
        if not self._channelled:
            return tiles.reshape(-1)[: math.prod(self.shape)].reshape(self.shape)
        images, parts, pixels, batch, block = tiles.shape
        return unpack_data(
            tiles.reshape(images, parts, pixels, 1, batch, block),
            (*self.shape[:2], pixels, 1),
            self.shape[1],
        ).reshape(self.shape)

    def _sizes(self, config: Config) -> tuple[int, int, int]:
        """Tiles along images, channels and pixels; all are pixels where channels do not matter."""
        if self._channelled:
            return (
                -(-self.shape[0] // config.batch),
                -(-self.shape[1] // config.block),
                math.prod(self.shape[2:]),
            )
        return 1, 1, -(-math.prod(self.shape) // (config.batch * config.block))

    def _choose(self, config: Config, timing: MachineTiming) -> Tiling:
        return min(self._tilings(config), key=lambda tiling: self._cycles(config, tiling, timing))

    def _tilings(self, config: Config) -> Iterator[Tiling]:
        images, parts, pixels = self._sizes(config)
        for threads in _THREADS:
            # Two operands for each tile (the result overwrites one of them); the scale of a clip.
            depth = config.acc_depth - any(step.scale is not None for step in self._steps(config))
            fitting = depth // threads // 2
            if not self._channelled:
                yield from flat_tilings(pixels, fitting, threads)
                continue
            for part, count in [
                *((1, count) for count in likely_sizes(pixels)),
                *((part, pixels) for part in likely_sizes(parts)[1:]),
            ]:
                tiling = Tiling(parts=part, columns=count, threads=threads)
                if part * (count * 2 + self._per_channel) > depth // threads:
                    continue
                for name, rounds in zip(
                    _AXES, (images, -(-parts // part), -(-pixels // count)), strict=True
                ):
                    if (threads - 1) * -(-rounds // threads) < rounds:
                        yield replace(tiling, axis=name)

    def _cycles(self, config: Config, tiling: Tiling, timing: MachineTiming) -> int:
        """The cycle model: both operands' tiles and the ALU's results use the accumulator."""
        images, parts, pixels = self._sizes(config)
        tiles = tiling.images * tiling.parts * tiling.columns
        number = (
            -(-images // tiling.images) * -(-parts // tiling.parts) * -(-pixels // tiling.columns)
        )
        number = -(-number // tiling.threads) * tiling.threads
        bus = config.bus_bytes
        load = 2 * -(-tiles * config.acc_8bit_elem_bytes // bus) + (
            tiling.parts * config.acc_elem_bytes // bus * self._per_channel
        )
        store = -(-tiles * config.out_elem_bytes // bus)
        steps = self._steps(config)
        alu = tiles * (self.cycles + sum(step.cycles for step in steps))
        alu += sum(step.drain for step in steps)
        if tiling.threads == 1:
            return timing.start + number * (load + timing.load + alu + store + 2 * TIMING.handover)
        each = max(2 * tiles + alu + TIMING.gap * (len(steps) + 3), load, store)
        if tiling.threads == 2:
            each += load // TIMING.exposed
        return timing.start + load + timing.load + number * each + store + 2 * TIMING.handover


@dataclass(frozen=True)
class Add(_Elementwise):
    """int8(clip((a + b + bias) >> shift)), with relu if the epilogue has it."""

    cycles: ClassVar[int] = 2

    def _value(self, a: Expr, b: Expr) -> Expr:
        return a + b


@dataclass(frozen=True)
class Multiply(_Elementwise):
    """int8(clip((a * b + bias) >> shift)), with relu if the epilogue has it.

    It has the parameters of `Add`, and:

    zero_points : (int, int)
        The numbers in `a` and `b` that stand for 0, -128 to 127. Those other than 0 are subtracted
        first, each by one more operation.
    """

    zero_points: tuple[int, int] = field(default=(0, 0), kw_only=True)
    cycles: ClassVar[int] = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        values = items_of(self.zero_points)
        if len(values) != 2:
            raise CompileError(f"zero_points must be two numbers, not {self.zero_points!r}")
        points = tuple(as_int8(value, "a zero point") for value in values)
        object.__setattr__(self, "zero_points", points)

    def _value(self, a: Expr, b: Expr) -> Expr:
        left, right = (
            value - zero if zero else value
            for value, zero in zip((a, b), self.zero_points, strict=True)
        )
        return left * right
