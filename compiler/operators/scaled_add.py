"""`ScaledAdd`: an addition of int8 arrays with real scales and zero points."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from vta.compiler.ir.timing import TIMING, MachineTiming
from vta.compiler.operators.add_constants import AddConstants, find_constants
from vta.compiler.operators.layout import flat_tiles
from vta.compiler.operators.nest_schedule import blocks
from vta.compiler.operators.operator import Array, OperandSpec, Plan, Spec
from vta.compiler.operators.shape_arguments import as_shape
from vta.compiler.operators.tiling import THREADS, Tiling, flat_tilings
from vta.compiler.te.dtypes import INT8, as_int8, check_requantises, items_of, scale_bits
from vta.compiler.te.expr import Expr
from vta.compiler.te.gemm_intrinsic import gemm
from vta.compiler.te.intrinsics import if_then_else, minimum, reduce_axis, reduce_sum, requantize
from vta.compiler.te.schedule import create_schedule
from vta.compiler.te.stage import ACC_SCOPE, ALU, DMA_COPY, INP_SCOPE, WGT_SCOPE
from vta.compiler.te.tensor import Tensor, compute, placeholder
from vta.errors import CompileError

if TYPE_CHECKING:
    from vta.config import Config

__all__ = ["ScaledAdd"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScaledAdd(Spec):
    """``max(lower, min(127, rint(ra * (a - za) + rb * (b - zb) + zy)))`` in float32.

    `ra` and `rb` are the scales of the operands divided by that of the result; `za`, `zb` and `zy`
    are the zero points. GEMM multiplies each operand by a whole number (weights on the diagonal of
    a tile), and QNT scales and rounds the sum. If the whole numbers fit 8 bits, a tile takes 4
    cycles, otherwise 7 or 8. The result is compared with the formula for all 65,536 pairs; a
    warning says for how many it differs.

    Parameters
    ----------
    shape : tuple of int
        Of both arrays and of the result.
    scales : (float, float, float)
        Of the operands and the result, rounded to float32: positive, finite, those of the operands
        within a factor of 2^20 of the result's and of 2^15 of each other.
    zero_points : (int, int, int)
        Of the operands and the result, -128 to 127.
    lower, upper : int
        The least and the greatest result, -128 to 127; an `upper` below 127 takes one more
        operation.
    whole_blocks : bool
        Whether the tiling must divide the tiles, so that no tiles follow the last one.
    """

    shape: tuple[int, ...]
    scales: tuple[float, float, float]
    zero_points: tuple[int, int, int] = field(default=(0, 0, 0), kw_only=True)
    lower: int = field(default=INT8[0], kw_only=True)
    upper: int = field(default=INT8[1], kw_only=True)
    whole_blocks: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "shape", as_shape(self.shape, "shape"))
        for name in ("scales", "zero_points"):
            values = items_of(getattr(self, name))
            if len(values) != 3:
                raise CompileError(
                    f"{name} must be three numbers, of a, b and the result, "
                    f"not {getattr(self, name)!r}"
                )
            set_field(self, name, values)
        rounded = (np.int32(scale_bits(scale)).view(np.float32) for scale in self.scales)
        set_field(self, "scales", tuple(map(float, rounded)))
        points = (as_int8(value, "a zero point") for value in self.zero_points)
        set_field(self, "zero_points", tuple(points))
        set_field(self, "lower", as_int8(self.lower, "lower"))
        set_field(self, "upper", as_int8(self.upper, "upper"))
        if self.upper < self.lower:
            raise CompileError(f"upper must be at least lower, {self.lower}, not {self.upper}")
        _ = self._ratios

    @property
    def _ratios(self) -> tuple[float, float]:
        with np.errstate(over="ignore", under="ignore"):
            a, b = (np.float32(scale) / np.float32(self.scales[2]) for scale in self.scales[:2])
        near = all(2**-20 <= ratio <= 2**20 for ratio in (a, b))
        if not near or not 2**-15 <= a / b <= 2**15:
            raise CompileError(
                "scales must differ from that of the result by a factor of at most 2^20, and those "
                f"of a and b by at most 2^15, not {self.scales}"
            )
        return float(a), float(b)

    @property
    def constants(self) -> AddConstants:
        """The whole numbers of the computation, and for how many pairs it differs from float32."""
        return find_constants(self._ratios, self.zero_points)

    @property
    def operands(self) -> tuple[OperandSpec, ...]:
        """The two arrays."""
        return OperandSpec("a", self.shape, "int8"), OperandSpec("b", self.shape, "int8")

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the operands and of the result."""
        return self.shape

    def plan(
        self, config: Config, tiling: Tiling | None = None, timing: MachineTiming = TIMING
    ) -> Plan:
        """Chooses a tiling, unless one is given, and schedules."""
        check_requantises("an addition with scales", config)
        constants = self.constants
        if constants.differences:
            logger.warning(
                "the addition with scales %s and zero points %s differs from float32 for %d of "
                "65536 pairs",
                self.scales,
                self.zero_points,
                constants.differences,
            )
        if tiling is None:
            tilings = self._tilings(config)
            tiling = min(tilings, key=lambda each: self._cycles(config, each, constants, timing))
        block = tiling.columns * tiling.threads
        tiles = -(-self._tiles(config) // block) * block
        a, b = (placeholder((tiles, config.batch, config.block), "int8", name) for name in "ab")
        both = compute((2, *a.shape), lambda side, *i: if_then_else(side < 1, a(*i), b(*i)), "both")
        weight = placeholder((constants.limbs, 2, config.block, config.block), "int8", "weight")
        weight_load = compute(weight.shape, lambda *i: weight(*i), "weight_buf")
        sums = self._sums(constants, both, weight_load)
        last = compute(
            a.shape,
            lambda *i: requantize(sums[-1](*i), constants.scale, constants.zero_point, self.lower),
            "scaled",
        )
        limited = [last]
        if self.upper < INT8[1]:
            limited.append(compute(a.shape, lambda *i: minimum(last(*i), self.upper), "limited"))
        result = compute(a.shape, lambda *i: limited[-1](*i), "result")
        s = create_schedule(result.op)
        at = blocks(s[result], (tiling.columns,), tiling.threads, 0)
        for tensor in (*sums, *limited):
            s[tensor].set_scope(ACC_SCOPE).compute_at(s[result], at)
        for tensor in limited:
            s[tensor].pragma(s[tensor].axes[0], ALU)
        for tensor in sums:
            x, row, column, side, k = s[tensor].axes
            s[tensor].reorder(side, x, row, column, k)
            s[tensor].tensorize(row, gemm)
        for tensor, scope in ((both, INP_SCOPE), (weight_load, WGT_SCOPE)):
            stage = s[tensor].set_scope(scope).compute_at(s[result], at)
            stage.pragma(stage.axes[0], DMA_COPY)
        return Plan(
            schedule=s,
            args=(a, b, weight, result),
            tilings=(tiling,),
            cycles=self._cycles(config, tiling, constants, timing),
        )

    @staticmethod
    def _sums(constants: AddConstants, both: Tensor, weight: Tensor) -> list[Tensor]:
        """The stages of products, the high limb first."""

        def stage(limb: int, start: Callable[..., object]) -> Tensor:
            side, k = reduce_axis((0, 2), "side"), reduce_axis((0, both.shape[-1]), "k")

            def rule(x: Expr, row: Expr, column: Expr) -> Expr:
                product = both(side, x, row, k).astype("int32") * weight(
                    limb, side, column, k
                ).astype("int32")
                return reduce_sum(product, [side, k], start(x, row, column))

            return compute(both.shape[1:], rule, f"sums_{limb}")

        if constants.limbs == 1:
            return [stage(0, lambda *i: constants.offset)]
        high = stage(1, lambda *i: 0)
        shifted = (
            (lambda *i: high(*i) << 8)
            if not constants.offset
            else (lambda *i: (high(*i) << 8) + constants.offset)
        )
        return [high, stage(0, shifted)]

    def pack(self, config: Config, arrays: Sequence[Array]) -> list[Array]:
        """The operands and the factors as the program's inputs."""
        packed = [flat_tiles(array, config) for array in arrays]
        factors = np.array(self.constants.factors)
        low = (factors + 128) % 256 - 128 if self.constants.limbs > 1 else factors
        limbs = np.stack([low, (factors - low) // 256])[: self.constants.limbs]
        identity = np.eye(config.block, dtype=np.int64)
        return [*packed, (limbs[:, :, None, None] * identity).astype(np.int8)]

    def unpack(self, config: Config, outputs: Sequence[Array]) -> Array:
        """The result in the operands' shape."""
        return outputs[0].reshape(-1)[: math.prod(self.shape)].reshape(self.shape)

    def _tiles(self, config: Config) -> int:
        return -(-math.prod(self.shape) // (config.batch * config.block))

    def _tilings(self, config: Config) -> Iterator[Tiling]:
        tiles = self._tiles(config)
        for threads in reversed(THREADS):
            # Two constants at most: the scale, and an offset beyond an immediate.
            fitting = min(config.inp_depth // 2 // threads, (config.acc_depth - 2) // threads)
            if 4 * threads > config.wgt_depth:
                continue
            if not self.whole_blocks:
                yield from flat_tilings(tiles, fitting, threads)
            elif tiles % threads == 0:
                each = tiles // threads
                for columns in range(1, min(fitting, each) + 1):
                    if each % columns == 0:
                        yield Tiling(columns=columns, threads=threads, axis="columns")

    def _cycles(
        self, config: Config, tiling: Tiling, constants: AddConstants, timing: MachineTiming
    ) -> int:
        """The cycle model: GEMM and ALU, the loads, or the stores, whichever takes longest."""
        tiles, bus = tiling.columns, config.bus_bytes
        number = -(-self._tiles(config) // (tiles * tiling.threads)) * tiling.threads
        load = 2 * tiles * max(1, -(-config.inp_elem_bytes // bus)) + 2 * TIMING.gap
        store = -(-tiles * config.out_elem_bytes // bus)
        # Per limb a first value and two products; a shift, perhaps an addition; QNT.
        per_tile = 4 if constants.limbs == 1 else 7 + (constants.offset != 0)
        per_tile += self.upper < INT8[1]
        compute = tiles * per_tile + TIMING.gap * (per_tile - constants.limbs) + TIMING.drain
        if tiling.threads == 1:
            return timing.start + number * (
                load + timing.load + compute + store + 2 * TIMING.handover
            )
        stored = TIMING.handover + TIMING.gap + store + TIMING.stored
        compute += max(0, stored - (tiling.threads - 1) * tiles) // tiling.threads
        each = max(compute, load, store)
        return timing.start + load + timing.load + number * each + store + 2 * TIMING.handover
