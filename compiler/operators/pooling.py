"""`AvgPool2d`, summed by GEMM with identity tiles, and `MaxPool2d`, computed by the ALU."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from vta.compiler.ir.timing import TIMING, MachineTiming
from vta.compiler.operators.channel_operands import channel_operands, pack_channels
from vta.compiler.operators.division import average
from vta.compiler.operators.epilogue import Epilogue, EpilogueStep
from vta.compiler.operators.gemm_nest import GemmNest, Pair
from vta.compiler.operators.layout import ChannelBlocking, pack_data, pad_images
from vta.compiler.operators.max_pool_plan import plan_windows
from vta.compiler.operators.multi_nest import (
    OutputPart,
    host_padding,
    load_padding,
    plan_pieces,
    unpack_pieces,
)
from vta.compiler.operators.operator import Array, OperandSpec, Plan, Spec
from vta.compiler.operators.shape_arguments import (
    Padding,
    Size,
    as_padding,
    as_pair,
    as_shape,
    first_blind,
    out_size,
)
from vta.compiler.te.dtypes import as_int8
from vta.errors import CompileError

if TYPE_CHECKING:
    from vta.compiler.operators.tiling import Tiling
    from vta.config import Config

__all__ = ["AvgPool2d", "MaxPool2d"]


@dataclass(frozen=True)
class _Pool2d(Spec):
    """The base class of both pools: windows over each channel of images.

    Parameters
    ----------
    data_shape : (N, C, H, W)
    window : int or (y, x)
    stride : int or (y, x), optional
        Default: the window, so that windows touch.
    padding : int, (y, x) or (top, left, bottom, right)
    dilation : int or (y, x)
    epilogue : Epilogue
        Applied to the pooled numbers; `bias` is (C,) int32, `scale` (C,) float32.
    """

    data_shape: tuple[int, ...]
    window: Size
    stride: Size | None = field(default=None, kw_only=True)
    padding: Size = field(default=0, kw_only=True)
    dilation: Size = field(default=1, kw_only=True)
    epilogue: Epilogue = field(default=Epilogue(), kw_only=True)

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "data_shape", as_shape(self.data_shape, "data_shape", 4))
        set_field(self, "window", as_pair(self.window, "window"))
        set_field(self, "stride", self._stride)
        set_field(self, "dilation", as_pair(self.dilation, "dilation"))
        set_field(self, "padding", as_padding(self.padding))
        for dim, what in enumerate(("height", "width")):
            self._check_windows(dim, what)

    def _check_windows(self, dim: int, what: str) -> None:
        """Checks along one dimension that every window sees data; otherwise it has no value."""
        blind = first_blind(
            self.data_shape[2 + dim],
            self.output_shape[2 + dim],
            taps=self._window[dim],
            stride=self._stride[dim],
            dilation=self._dilation[dim],
            before=self._pads[dim],
        )
        if blind is not None:
            raise CompileError(
                f"each window must see at least one number of the data, but window {blind} along "
                f"the {what} sees only padding: window {self._window}, stride "
                f"{self._stride}, dilation {self._dilation}, padding {self._pads}"
            )

    @property
    def _stride(self) -> Pair:
        return as_pair(self.window if self.stride is None else self.stride, "stride")

    @property
    def _window(self) -> Pair:
        return as_pair(self.window, "window")

    @property
    def _dilation(self) -> Pair:
        return as_pair(self.dilation, "dilation")

    @property
    def _pads(self) -> Padding:
        return as_padding(self.padding)

    @property
    def operands(self) -> tuple[OperandSpec, ...]:
        channels = channel_operands(self.epilogue, self.data_shape[1])
        return (OperandSpec("data", self.data_shape, "int8"), *channels)

    @property
    def output_shape(self) -> tuple[int, ...]:
        sizes = [
            out_size(
                self.data_shape[2 + dim],
                self._window[dim],
                self._stride[dim],
                self._dilation[dim],
                sum(self._pads[dim::2]),
                what,
            )
            for dim, what in enumerate(("height", "width"))
        ]
        return (*self.data_shape[:2], *sizes)

    def _channels(
        self, config: Config, arrays: Sequence[Array], folded: Array | None = None
    ) -> list[Array]:
        """The bias and the scales as tiles, where there are any."""
        blocking = ChannelBlocking(
            block=config.block, groups=self.data_shape[1], inputs=1, outputs=1
        )
        return pack_channels(self.epilogue, arrays, blocking, config.batch, folded)

    def _nest(self, config: Config, rows: range, columns: range, **options: object) -> GemmNest:
        """The nest of some rows and columns of the output."""
        _, channels, height, width = self.data_shape
        return GemmNest(
            images=-(-self.data_shape[0] // config.batch),
            parts=-(-channels // config.block),
            outputs=1,
            inputs=1,
            rows=len(rows),
            columns=len(columns),
            taps_y=self._window[0],
            taps_x=self._window[1],
            height=height,
            width=width,
            stride=self._stride,
            dilation=self._dilation,
            pad=(
                self._pads[0] - rows.start * self._stride[0],
                self._pads[1] - columns.start * self._stride[1],
            ),
            **options,  # type: ignore[arg-type]
        )


@dataclass(frozen=True)
class AvgPool2d(_Pool2d):
    """The average of each window, rounded to the nearest whole number, ties upwards.

    With an epilogue that has a `scale`, the sum of each window is requantised instead: the scale
    includes the division, and there is no other rounding. Where windows count different numbers of
    values, `scale` is (len(counts), C), a row for each of `counts`.

    It has the parameters of all pools, and:

    count_include_pad : bool
        Whether the padding counts; otherwise only the data in a window is averaged.
    input_zero_point : int
        The number in the data, and of the padding, that stands for 0; only with a `scale`.
    """

    count_include_pad: bool = field(default=True, kw_only=True)
    input_zero_point: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        zero_point = as_int8(self.input_zero_point, "input_zero_point")
        object.__setattr__(self, "input_zero_point", zero_point)
        if not isinstance(self.epilogue, Epilogue):
            raise CompileError(f"epilogue must be an Epilogue, not {self.epilogue!r}")
        if self.input_zero_point and not self.epilogue.scale:
            raise CompileError("input_zero_point must be 0 where there is no scale")

    @property
    def counts(self) -> tuple[int, ...]:
        """How many values the windows of each piece of the output count, row by row."""
        return tuple(tall * wide for _, tall in self._runs(0) for _, wide in self._runs(1))

    @property
    def _uneven(self) -> bool:
        """Whether the scale has a row for each piece."""
        return self.epilogue.scale and len(self.counts) > 1

    @property
    def operands(self) -> tuple[OperandSpec, ...]:
        *rest, last = super().operands
        if self._uneven:
            last = replace(last, shape=(len(self.counts), *last.shape))
        return (*rest, last)

    def plan(
        self, config: Config, tiling: Tiling | None = None, timing: MachineTiming = TIMING
    ) -> Plan:
        """Chooses tilings, unless one is given, and schedules."""
        pieces = self.pieces(config)[0]
        return plan_pieces(pieces, config, tiling, timing, own_scale=self._uneven)

    def pack(self, config: Config, arrays: Sequence[Array]) -> list[Array]:
        """The operands in the layout of the program's inputs."""
        data, *rest = arrays
        identity = np.eye(config.block, dtype=np.int8)[None]
        zero = self.input_zero_point
        count = self._window[0] * self._window[1]
        folded = np.array(-zero * count) if zero else None
        rows = [[*rest[:-1], row] for row in rest[-1]] if self._uneven else [rest]
        channels = [self._channels(config, each, folded) for each in rows]
        return [
            pack_data(pad_images(data, self.pieces(config)[1], zero), config),
            identity,
            *channels[0],
            *(packed[-1] for packed in channels[1:]),
        ]

    def unpack(self, config: Config, outputs: Sequence[Array]) -> Array:
        """The program's outputs in the layout of the operator's result."""
        return unpack_pieces(self.pieces(config)[0], outputs, self.output_shape, self.data_shape[1])

    def pieces(self, config: Config) -> tuple[list[OutputPart], Padding]:
        """One piece for each run of windows with the same count, and the padding for packing."""
        padding = load_padding(self.input_zero_point, config)
        pieces = [
            OutputPart(
                self._nest(
                    config,
                    rows,
                    columns,
                    one_weight=True,
                    steps=self._steps(tall * wide),
                    pad_value=padding or 0,
                ),
                slice(rows.start, rows.stop),
                slice(columns.start, columns.stop),
            )
            for rows, tall in self._runs(0)
            for columns, wide in self._runs(1)
        ]
        return host_padding(pieces, always=padding is None)

    def _steps(self, count: int) -> tuple[EpilogueStep, ...]:
        """What happens to the sum of `count` numbers."""
        if self.epilogue.scale:
            return self.epilogue.with_zero_point(self.input_zero_point).steps
        return (*average(count), *self.epilogue.steps)

    def _runs(self, dim: int) -> list[tuple[range, int]]:
        """Runs of output positions, and how many numbers a window of each run counts."""
        size, taps = self.output_shape[2 + dim], self._window[dim]
        if self.count_include_pad:
            return [(range(size), taps)]
        first = np.arange(size) * self._stride[dim] - self._pads[dim]
        seen = first[:, None] + np.arange(taps) * self._dilation[dim]
        counts = ((seen >= 0) & (seen < self.data_shape[2 + dim])).sum(1)
        runs, start = [], 0
        for count, run in itertools.groupby(counts.tolist()):
            length = len(list(run))
            runs.append((range(start, start + length), int(count)))
            start += length
        return runs


@dataclass(frozen=True)
class MaxPool2d(_Pool2d):
    """The largest number of each window; padding does not count."""

    def plan(
        self, config: Config, tiling: Tiling | None = None, timing: MachineTiming = TIMING
    ) -> Plan:
        """Chooses tilings, unless one is given, and schedules."""
        return plan_windows(self._window_nest(config), config, tiling, timing)

    def pack(self, config: Config, arrays: Sequence[Array]) -> list[Array]:
        """The operands in the layout of the program's inputs."""
        data, *rest = arrays
        return [pack_data(data, config), *self._channels(config, rest)]

    def unpack(self, config: Config, outputs: Sequence[Array]) -> Array:
        """The program's outputs in the layout of the operator's result."""
        piece = OutputPart(self._window_nest(config), slice(None), slice(None))
        return unpack_pieces([piece], outputs, self.output_shape, self.data_shape[1])

    def _window_nest(self, config: Config) -> GemmNest:
        _, _, rows, columns = self.output_shape
        return self._nest(config, range(rows), range(columns), steps=self.epilogue.steps)
