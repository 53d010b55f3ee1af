"""`Conv2d` and `Dense`."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from vta.compiler.ir.timing import TIMING, MachineTiming
from vta.compiler.operators.channel_operands import channel_operands, pack_channels
from vta.compiler.operators.epilogue import Epilogue
from vta.compiler.operators.gemm_nest import GemmNest, Pair
from vta.compiler.operators.layout import (
    ChannelBlocking,
    pack_data,
    pack_weight,
    pad_images,
    windows_as_channels,
)
from vta.compiler.operators.multi_nest import (
    OutputPart,
    host_padding,
    load_padding,
    plan_pieces,
    unpack_pieces,
)
from vta.compiler.operators.operator import Array, OperandSpec, Plan, Spec
from vta.compiler.operators.shape_arguments import Padding, Window, as_shape, out_size
from vta.compiler.te.dtypes import as_int8
from vta.errors import CompileError

if TYPE_CHECKING:
    from vta.compiler.operators.tiling import Tiling
    from vta.config import Config

__all__ = ["Conv2d", "Dense", "check_groups"]


@dataclass(frozen=True)
class Conv2d(Window, Spec):
    """A convolution of images, grouped or not.

    Parameters
    ----------
    data_shape : (N, C, H, W)
    weight_shape : (O, C / groups, KH, KW)
    stride, dilation : int or (y, x)
    padding : int, (y, x) or (top, left, bottom, right)
        Numbers around the data that stand for 0: `input_zero_point`.
    groups : int
        Number of channel groups, which are convolved independently; C for a depthwise convolution.
    epilogue : Epilogue
        `bias` is (O,) int32, `scale` (O,) float32.
    input_zero_point : int
        The number in the data that stands for 0, -128 to 127; it becomes part of the bias.
    """

    data_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    groups: int = field(default=1, kw_only=True)
    epilogue: Epilogue = field(default=Epilogue(), kw_only=True)
    input_zero_point: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "input_zero_point", as_int8(self.input_zero_point, "input_zero_point"))
        set_field(self, "data_shape", as_shape(self.data_shape, "data_shape", 4))
        set_field(self, "weight_shape", as_shape(self.weight_shape, "weight_shape", 4))
        self._normalise()
        channels, outputs = self.data_shape[1], self.weight_shape[0]
        check_groups(self.groups, channels, outputs)
        if self.weight_shape[1] * self.groups != channels:
            raise CompileError(
                f"weight_shape {list(self.weight_shape)} must have {channels // self.groups} input "
                f"channels: data has {channels} in {self.groups} groups"
            )
        _ = self.output_shape

    @property
    def operands(self) -> tuple[OperandSpec, ...]:
        """The arrays that a call takes: data, weight, bias and scale if the epilogue has them."""
        return (
            OperandSpec("data", self.data_shape, "int8"),
            OperandSpec("weight", self.weight_shape, "int8"),
            *channel_operands(self.epilogue, self.weight_shape[0]),
        )

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the int8 array that a call returns."""
        sizes = [
            out_size(
                self.data_shape[2 + dim],
                self.weight_shape[2 + dim],
                self.strides[dim],
                self.dilations[dim],
                sum(self.pads[dim::2]),
                what,
            )
            for dim, what in enumerate(("height", "width"))
        ]
        return (self.data_shape[0], self.weight_shape[0], *sizes)

    def blocking(self, config: Config) -> ChannelBlocking:
        """How the channels become blocks."""
        return ChannelBlocking(
            block=config.block,
            groups=self.groups,
            inputs=self.weight_shape[1],
            outputs=self.weight_shape[0] // self.groups,
        )

    def pieces(self, config: Config) -> tuple[list[OutputPart], Padding]:
        """The loop nest, and the padding to add around the data while packing."""
        padding = load_padding(self.input_zero_point, config)
        blocking = self.blocking(config)
        images, _, rows, columns = self.output_shape
        nest = GemmNest(
            images=-(-images // config.batch),
            parts=blocking.parts,
            outputs=blocking.output_blocks,
            rows=rows,
            columns=columns,
            inputs=blocking.input_blocks,
            taps_y=self.weight_shape[2],
            taps_x=self.weight_shape[3],
            height=self.data_shape[2],
            width=self.data_shape[3],
            stride=self.strides,
            dilation=self.dilations,
            pad=self.pads[:2],
            steps=self.epilogue.with_zero_point(self.input_zero_point).steps,
            pad_value=padding or 0,
        )
        return host_padding([OutputPart(nest, slice(None), slice(None))], always=padding is None)

    @property
    def core(self) -> Conv2d:
        """The convolution that is compiled: this one, or one with less padding.

        All outputs whose windows see only padding are equal. So one row and one column of them on
        each side is computed, and copied for the others.
        """
        (top, bottom), (left, right) = map(self._alike, (0, 1))
        y, x = self.strides
        less = (top * y, left * x, bottom * y, right * x)
        padding = tuple(pad - part for pad, part in zip(self.pads, less, strict=True))
        core = replace(self, padding=padding)
        worth_it = 4 * math.prod(core.output_shape) < math.prod(self.output_shape)
        return core if worth_it else self

    def _alike(self, dim: int) -> tuple[int, int]:
        """How many rows (or columns, for `dim` 1) at the start and the end repeat the next one."""
        before, stride = self.pads[dim], self.strides[dim]
        reach = (self.weight_shape[2 + dim] - 1) * self.dilations[dim]
        behind = -(-(before + self.data_shape[2 + dim]) // stride)
        after = self.output_shape[2 + dim] - behind
        return max(0, (before - reach - 1) // stride), max(0, after - 1)

    def plan(
        self, config: Config, tiling: Tiling | None = None, timing: MachineTiming = TIMING
    ) -> Plan:
        """Chooses tilings, unless one is given, and schedules."""
        folded = self.folded(config)
        if folded is not None:
            return folded.plan(config, tiling, timing)
        return plan_pieces(self.core.pieces(config)[0], config, tiling, timing)

    def folded(self, config: Config) -> Conv2d | None:
        """The convolution with taps as channels that is compiled instead of this one, if any is.

        Data with few channels fills only a part of each tile. Packing then makes the columns of a
        window, or all of its taps, channels of the data, if that takes fewer cycles.
        """
        few = 2 * self.weight_shape[1] < config.block and self.groups == 1
        if not few or not config.requantises:
            return None
        return _fewest_cycles(self, config)

    def folds(self) -> Iterator[Conv2d]:
        """The convolutions with the columns of a window, or all of its taps, as channels."""
        images, channels, height, _ = self.data_shape
        outputs, _, rows, columns = self.weight_shape
        if rows > 1 and columns > 1:
            yield replace(
                self,
                data_shape=(images, channels * columns, height, self.output_shape[3]),
                weight_shape=(outputs, channels * columns, rows, 1),
                stride=(self.strides[0], 1),
                dilation=(self.dilations[0], 1),
                padding=(self.pads[0], 0, self.pads[2], 0),
            )
        if rows * columns > 1:
            yield replace(
                self,
                data_shape=(images, channels * rows * columns, *self.output_shape[2:]),
                weight_shape=(outputs, channels * rows * columns, 1, 1),
                stride=1,
                dilation=1,
                padding=0,
            )

    def fold_windows(self, folded: Conv2d) -> tuple[Padding, Pair, Pair, Pair]:
        """Padding, taps, stride and dilation of the windows that a convolution of `folds` takes."""
        pads, strides, dilations = self.pads, self.strides, self.dilations
        taps = self.weight_shape[2], self.weight_shape[3]
        if folded.weight_shape[2] > 1:  # its rows are still taps
            return (0, pads[1], 0, pads[3]), (1, taps[1]), (1, strides[1]), (1, dilations[1])
        return pads, taps, strides, dilations

    def fold_weight(self, folded: Conv2d, weight: Array) -> Array:
        """The weights of a convolution of `folds`."""
        turned = weight.swapaxes(2, 3) if folded.weight_shape[2] > 1 else weight
        return turned.reshape(folded.weight_shape)

    def _fold_arrays(self, folded: Conv2d, data: Array, weight: Array) -> list[Array]:
        """Data and weights of a convolution of `folds`."""
        pads, *windows = self.fold_windows(folded)
        padded = pad_images(data, pads, self.input_zero_point)
        return [windows_as_channels(padded, *windows), self.fold_weight(folded, weight)]

    def pack(self, config: Config, arrays: Sequence[Array]) -> list[Array]:
        """The operands in the layout of the program's inputs."""
        folded = self.folded(config)
        if folded is not None:
            return folded.pack(config, [*self._fold_arrays(folded, *arrays[:2]), *arrays[2:]])
        blocking = self.blocking(config)
        data, weight, *rest = arrays
        zero = self.input_zero_point
        padded = pad_images(data, self.core.pieces(config)[1], zero)
        folded = -zero * weight.sum((1, 2, 3), np.int64) if zero else None
        return [
            pack_data(padded, config, blocking.input_chunk),
            pack_weight(weight, blocking),
            *pack_channels(self.epilogue, rest, blocking, config.batch, folded),
        ]

    def unpack(self, config: Config, outputs: Sequence[Array]) -> Array:
        """The program's outputs in the layout of the operator's result."""
        folded = self.folded(config)
        if folded is not None:
            return folded.unpack(config, outputs)
        core = self.core
        found = unpack_pieces(
            core.pieces(config)[0], outputs, core.output_shape, self.blocking(config).output_chunk
        )
        if core is self:
            return found
        rows, columns = (
            np.clip(np.arange(self.output_shape[dim]) - first, 0, core.output_shape[dim] - 1)
            for dim, (first, _) in ((2, self._alike(0)), (3, self._alike(1)))
        )
        return found[:, :, rows[:, None], columns]


@dataclass(frozen=True)
class Dense(Spec):
    """The product of a matrix and a transposed matrix of weights.

    Parameters
    ----------
    data_shape : (M, K)
    weight_shape : (N, K)
    epilogue : Epilogue
        `bias` is (N,) int32, `scale` (N,) float32.
    input_zero_point : int
        The number in the data that stands for 0, -128 to 127; it becomes part of the bias.
    """

    data_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    epilogue: Epilogue = field(default=Epilogue(), kw_only=True)
    input_zero_point: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        zero_point = as_int8(self.input_zero_point, "input_zero_point")
        object.__setattr__(self, "input_zero_point", zero_point)
        object.__setattr__(self, "data_shape", as_shape(self.data_shape, "data_shape", 2))
        object.__setattr__(self, "weight_shape", as_shape(self.weight_shape, "weight_shape", 2))
        if self.data_shape[1] != self.weight_shape[1]:
            turned = ": the weight is (outputs, inputs), so pass weight.T"
            hint = turned if self.data_shape[1] == self.weight_shape[0] else ""
            raise CompileError(
                f"data_shape {list(self.data_shape)} and weight_shape "
                f"{list(self.weight_shape)} must end with the same number" + hint
            )

    @property
    def convolution(self) -> Conv2d:
        """The same layer as a convolution of one-pixel images."""
        return Conv2d(
            (*self.data_shape, 1, 1),
            (*self.weight_shape, 1, 1),
            epilogue=self.epilogue,
            input_zero_point=self.input_zero_point,
        )

    @property
    def operands(self) -> tuple[OperandSpec, ...]:
        """The arrays that a call takes: data, weight, bias and scale if the epilogue has them."""
        return tuple(
            replace(operand, shape=operand.shape[:2]) for operand in self.convolution.operands
        )

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the int8 array that a call returns."""
        return self.data_shape[0], self.weight_shape[0]

    def plan(
        self, config: Config, tiling: Tiling | None = None, timing: MachineTiming = TIMING
    ) -> Plan:
        """Chooses tilings, unless one is given, and schedules."""
        return plan_pieces(self.convolution.pieces(config)[0], config, tiling, timing)

    def pack(self, config: Config, arrays: Sequence[Array]) -> list[Array]:
        """The operands in the layout of the program's inputs."""
        data, weight, *rest = arrays
        return self.convolution.pack(
            config, [data[:, :, None, None], weight[:, :, None, None], *rest]
        )

    def unpack(self, config: Config, outputs: Sequence[Array]) -> Array:
        """The program's outputs in the layout of the operator's result."""
        return self.convolution.unpack(config, outputs)[:, :, 0, 0]


@functools.lru_cache(maxsize=256)
def _fewest_cycles(spec: Conv2d, config: Config) -> Conv2d | None:
    """The convolution of `folds` that takes the fewest cycles; None if `spec` itself does."""
    best = plan_pieces(spec.core.pieces(config)[0], config, None).cycles
    found = None
    for folded in spec.folds():
        cycles = folded.plan(config).cycles
        if cycles < best:
            best, found = cycles, folded
    return found


def check_groups(groups: int, inputs: int, outputs: int) -> None:
    """Raises unless `groups` divides both numbers of channels."""
    if (
        isinstance(groups, bool)
        or not isinstance(groups, (int, np.integer))
        or groups < 1
        or (inputs % groups or outputs % groups)
    ):
        raise CompileError(
            f"groups must divide {inputs} input channels and {outputs} output "
            f"channels, which {groups!r} does not"
        )
