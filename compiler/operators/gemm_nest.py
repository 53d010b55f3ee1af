"""`GemmNest`: the GEMM loop nest of dense layers, convolutions and average pooling.

    out[n, p, o, i, j] = epilogue(sum over c, y, x of
        data[n, p, c, i * stride + y * dilation - pad, ...] * weight[p, o, c, y, x])

Every index counts tiles. The `parts` (p) are independent: a part is a group of a convolution, or a
block of channels of a depthwise one. A dense layer is a nest with images of 1 x 1 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vta.compiler.operators.epilogue import EpilogueStep, joined
from vta.config import Config
from vta.isa import MAX_IMM

__all__ = ["AXES", "GemmNest", "Pair"]

Pair = tuple[int, int]

AXES = ("images", "parts", "outputs", "rows", "columns")
"""The axes of the output, outermost first; the names of `GemmNest`'s and `Tiling`'s fields."""


@dataclass(frozen=True, kw_only=True)
class GemmNest:
    """Sizes in tiles.

    Parameters
    ----------
    images, parts, outputs, rows, columns : int
        Sizes of the output.
    inputs, taps_y, taps_x : int
        Sizes of the sum.
    height, width : int
        Sizes of the data.
    stride, dilation : (y, x)
    pad : (top, left)
        Rows and columns of zeros before the data; negative to skip data instead. As many zeros as
        the output needs follow the data.
    steps : tuple of EpilogueStep
        The operations on each sum.
    one_weight : bool
        Whether all parts and taps share a single tile of weights.
    bias_first : bool
        Whether the sums start from the bias, which is then none of the steps.
    start : int
        The number that the sums start from, if not from the bias.
    pad_value : int
        What is around the data: 0, or -128 on a machine with HW_VER 0.0.3.
    """

    images: int = 1
    parts: int = 1
    outputs: int
    rows: int = 1
    columns: int = 1
    inputs: int
    taps_y: int = 1
    taps_x: int = 1
    height: int = 1
    width: int = 1
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    pad: Pair = (0, 0)
    steps: tuple[EpilogueStep, ...] = ()
    one_weight: bool = False
    bias_first: bool = False
    start: int = 0
    pad_value: int = 0

    @property
    def biased(self) -> bool:
        """Whether a bias is added."""
        return self.bias_first or any(step.op == "bias" for step in self.steps)

    @property
    def scaled(self) -> bool:
        """Whether the sums are requantised with the operator's scales."""
        return any(step.op == "requantize" and step.scale is None for step in self.steps)

    @property
    def constants(self) -> int:
        """Tiles of the accumulator that hold numbers for the whole program."""
        return any(step.scale is not None for step in self.steps) + (abs(self.start) > MAX_IMM)

    @property
    def live(self) -> int:
        """Tiles of the accumulator for each tile of the output."""
        return max([1, *(step.live for step in self.steps)])

    @property
    def out_shape(self) -> tuple[int, ...]:
        """The output's shape without the dimensions inside a tile."""
        return self.images, self.parts, self.outputs, self.rows, self.columns

    @property
    def skips_rows(self) -> bool:
        """Whether rows that no tap reads are left out: one tap, and a stride of more than 1."""
        return (
            self.taps_y == 1
            and self.stride[0] > 1
            and self.pad[0] == 0
            and (self.rows - 1) * self.stride[0] < self.height
        )

    @property
    def row_step(self) -> int:
        """How many rows of the loaded data lie between one row of the output and the next."""
        return 1 if self.skips_rows else self.stride[0]

    @property
    def padded(self) -> Pair:
        """Rows and columns of the data that the output needs, zeros included."""
        return (
            (self.rows - 1) * self.row_step + (self.taps_y - 1) * self.dilation[0] + 1,
            (self.columns - 1) * self.stride[1] + (self.taps_x - 1) * self.dilation[1] + 1,
        )

    def on(self, config: Config) -> GemmNest:
        """The nest with the cheapest operations of a machine around its sums.

        With HW_VER 0.0.3 the sums start from the bias, or from a number that is added to them
        first, and one operation clips.
        """
        steps = joined(self.steps, config)
        if not config.requantises or not steps or self.bias_first or self.start:
            return replace(self, steps=steps)
        if steps[0].op == "bias":
            return replace(self, steps=steps[1:], bias_first=True)
        if steps[0].op == "+":
            return replace(self, steps=steps[1:], start=steps[0].value)
        return replace(self, steps=steps)
