"""`Conv2dTranspose`: one ordinary convolution for each phase of the stride.

Each phase of the output's rows and columns uses its own taps of the weights. No zeros are inserted
between the data, so no multiplication is wasted on them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from vta.compiler.ir.timing import TIMING, MachineTiming
from vta.compiler.operators.channel_operands import channel_operands, pack_channels
from vta.compiler.operators.convolution import check_groups
from vta.compiler.operators.epilogue import Epilogue
from vta.compiler.operators.gemm_nest import GemmNest, Pair
from vta.compiler.operators.layout import ChannelBlocking, pack_data, pack_weight, pad_images
from vta.compiler.operators.multi_nest import (
    OutputPart,
    host_padding,
    load_padding,
    plan_pieces,
    unpack_pieces,
)
from vta.compiler.operators.operator import Array, OperandSpec, Plan, Spec
from vta.compiler.operators.shape_arguments import Padding, Size, Window, as_pair, as_shape
from vta.compiler.te.dtypes import as_int8
from vta.errors import CompileError

if TYPE_CHECKING:
    from vta.compiler.operators.tiling import Tiling
    from vta.config import Config

__all__ = ["Conv2dTranspose"]


@dataclass(frozen=True)
class _Phase:
    """One dimension of a phase: its outputs, its taps in order, and the data that they read.

    Output `u` of the phase is output ``first + u * stride`` of the whole. Its tap number `t` (of
    `taps`) reads the data at ``u + t * dilation - pad``. If no tap reads data, `taps` is empty.
    """

    first: int
    count: int
    taps: tuple[int, ...]
    dilation: int
    pad: int


@dataclass(frozen=True)
class Conv2dTranspose(Window, Spec):
    """A transposed convolution: each data value adds a scaled copy of the weights to the output.

    Parameters
    ----------
    data_shape : (N, C, H, W)
    weight_shape : (C, O / groups, KH, KW)
    stride, dilation : int or (y, x)
    padding : int, (y, x) or (top, left, bottom, right)
        Rows and columns cut off the output.
    output_padding : int or (y, x)
        Rows and columns added to the output at the bottom and at the right; less than the stride.
    groups : int
    epilogue : Epilogue
        `bias` is (O,) int32, `scale` (O,) float32.
    input_zero_point : int
        The number in the data that stands for 0, -128 to 127; it becomes part of the biases, one
        for each phase, because the phases have different taps.
    """

    data_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    output_padding: Size = field(default=0, kw_only=True)
    groups: int = field(default=1, kw_only=True)
    epilogue: Epilogue = field(default=Epilogue(), kw_only=True)
    input_zero_point: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "input_zero_point", as_int8(self.input_zero_point, "input_zero_point"))
        set_field(self, "data_shape", as_shape(self.data_shape, "data_shape", 4))
        set_field(self, "weight_shape", as_shape(self.weight_shape, "weight_shape", 4))
        self._normalise()
        set_field(self, "output_padding", as_pair(self.output_padding, "output_padding", 0))
        check_groups(self.groups, self.data_shape[1], self.data_shape[1])
        if self.weight_shape[0] != self.data_shape[1]:
            raise CompileError(
                f"weight_shape {list(self.weight_shape)} must begin with the "
                f"data's {self.data_shape[1]} channels"
            )
        for extra, stride in zip(self._extra, self.strides, strict=True):
            if extra >= stride:
                raise CompileError(
                    f"output_padding must be less than the stride {self.strides}, not {self._extra}"
                )
        if min(self.output_shape) < 1:
            raise CompileError(f"padding {self.pads} must leave some of the output")

    @property
    def operands(self) -> tuple[OperandSpec, ...]:
        """The arrays that a call takes: data, weight, bias and scale if the epilogue has them."""
        return (
            OperandSpec("data", self.data_shape, "int8"),
            OperandSpec("weight", self.weight_shape, "int8"),
            *channel_operands(self.epilogue, self.output_shape[1]),
        )

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the int8 array that a call returns."""
        sizes = [
            (self.data_shape[2 + dim] - 1) * self.strides[dim]
            + (self.weight_shape[2 + dim] - 1) * self.dilations[dim]
            + 1
            - sum(self.pads[dim::2])
            + self._extra[dim]
            for dim in range(2)
        ]
        return (self.data_shape[0], self.weight_shape[1] * self.groups, *sizes)

    @property
    def _extra(self) -> Pair:
        return as_pair(self.output_padding, "output_padding", 0)

    def plan(
        self, config: Config, tiling: Tiling | None = None, timing: MachineTiming = TIMING
    ) -> Plan:
        """Chooses tilings, unless one is given, and schedules."""
        own_bias = self.input_zero_point != 0
        return plan_pieces(self.pieces(config)[0], config, tiling, timing, own_bias=own_bias)

    def pack(self, config: Config, arrays: Sequence[Array]) -> list[Array]:
        """The operands in the layout of the program's inputs."""
        blocking = self._blocking(config)
        data, weight, *rest = arrays
        per_group = weight.reshape(self.groups, -1, *weight.shape[1:]).swapaxes(1, 2)
        weight = per_group.reshape(-1, *per_group.shape[2:])
        zero, padding = self.input_zero_point, self.pieces(config)[1]
        weights = [
            _taps(weight, rows.taps, columns.taps)
            for rows in self._phases(0)
            for columns in self._phases(1)
        ]
        channels = [
            pack_channels(
                self.epilogue,
                rest,
                blocking,
                config.batch,
                -zero * taps.sum((1, 2, 3), np.int64) if zero else None,
            )
            for taps in (weights if zero else weights[:1])
        ]
        biases = [packed.pop(0) for packed in channels] if zero else []
        return [
            pack_data(pad_images(data, padding, zero), config, blocking.input_chunk),
            *(pack_weight(taps, blocking) for taps in weights),
            *biases,
            *channels[0],
        ]

    def unpack(self, config: Config, outputs: Sequence[Array]) -> Array:
        """The program's outputs in the layout of the operator's result."""
        return unpack_pieces(
            self.pieces(config)[0], outputs, self.output_shape, self._blocking(config).output_chunk
        )

    def _blocking(self, config: Config) -> ChannelBlocking:
        return ChannelBlocking(
            block=config.block,
            groups=self.groups,
            inputs=self.data_shape[1] // self.groups,
            outputs=self.weight_shape[1],
        )

    def pieces(self, config: Config) -> tuple[list[OutputPart], Padding]:
        """A loop nest for each phase, and the padding to add around the data while packing."""
        blocking = self._blocking(config)
        padding = load_padding(self.input_zero_point, config)
        pieces = [
            OutputPart(
                GemmNest(
                    images=-(-self.data_shape[0] // config.batch),
                    parts=blocking.parts,
                    outputs=blocking.output_blocks,
                    rows=rows.count,
                    columns=columns.count,
                    inputs=blocking.input_blocks,
                    taps_y=max(1, len(rows.taps)),
                    taps_x=max(1, len(columns.taps)),
                    height=self.data_shape[2],
                    width=self.data_shape[3],
                    dilation=(rows.dilation, columns.dilation),
                    pad=(rows.pad, columns.pad),
                    steps=self.epilogue.with_zero_point(self.input_zero_point).steps,
                    pad_value=padding or 0,
                ),
                slice(rows.first, None, self.strides[0]),
                slice(columns.first, None, self.strides[1]),
            )
            for rows in self._phases(0)
            for columns in self._phases(1)
        ]
        return host_padding(pieces, always=padding is None)

    def _phases(self, dim: int) -> list[_Phase]:
        """The phases of one dimension that have an output."""
        stride, dilation, before = self.strides[dim], self.dilations[dim], self.pads[dim]
        apart = math.gcd(stride, dilation)
        phases = []
        for first in range(min(stride, self.output_shape[2 + dim])):
            count = -(-(self.output_shape[2 + dim] - first) // stride)
            # Output y is reached from data i by tap k where y + before = i * stride + k * dilation;
            # taps that read no data for any output of the phase are left out.
            taps = tuple(
                k
                for k in range(self.weight_shape[2 + dim])
                if (first + before - k * dilation) % stride == 0
                and -count < (first + before - k * dilation) // stride < self.data_shape[2 + dim]
            )
            if taps:
                nearest = (first + before - taps[-1] * dilation) // stride
                phases.append(_Phase(first, count, taps[::-1], dilation // apart, -nearest))
            else:
                phases.append(_Phase(first, count, (), 1, 0))
        return phases


def _taps(weight: Array, rows: Sequence[int], columns: Sequence[int]) -> Array:
    """The given taps of the weights, or a single tap of zeros if there are none."""
    if not rows or not columns:
        return np.zeros((*weight.shape[:2], max(1, len(rows)), max(1, len(columns))), weight.dtype)
    return weight[:, :, list(rows)][:, :, :, list(columns)]
