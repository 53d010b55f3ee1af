"""The operands with one number for each output channel: bias and scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vta.compiler.operators.epilogue import Epilogue
from vta.compiler.operators.layout import ChannelBlocking, pack_bias
from vta.compiler.operators.operator import Array, OperandSpec
from vta.compiler.te.dtypes import SCALE_RANGE, is_scale
from vta.errors import ArgumentError

__all__ = ["ScaleSpec", "channel_operands", "pack_channels"]


@dataclass(frozen=True)
class ScaleSpec(OperandSpec):
    """Positive, finite numbers, rounded to normal float32; one alone stands for all channels."""

    def check(self, array: object) -> Array:
        """`array` as float32, checked."""
        found = np.asarray(array)
        if found.dtype.kind not in "iuf":
            raise ArgumentError(f"{self.name} must be numbers, not {found.dtype}")
        if found.shape not in ((), self.shape):
            raise ArgumentError(
                f"{self.name} must be one number or {list(self.shape)}, not {list(found.shape)}"
            )
        with np.errstate(over="ignore"):
            rounded = np.broadcast_to(found.astype(np.float32), self.shape)
        wrong = ~is_scale(rounded)
        if wrong.any():
            shown = np.broadcast_to(found, self.shape)[wrong][0]
            raise ArgumentError(f"{self.name} must be {SCALE_RANGE}, not {shown}")
        return rounded


def channel_operands(epilogue: Epilogue, channels: int) -> tuple[OperandSpec, ...]:
    """The operands that an epilogue takes, in order."""
    bias = (OperandSpec("bias", (channels,), "int32"),) * epilogue.bias
    return (*bias, *(ScaleSpec("scale", (channels,), "float32"),) * epilogue.scale)


def pack_channels(
    epilogue: Epilogue,
    arrays: Sequence[Array],
    blocking: ChannelBlocking,
    batch: int,
    folded: Array | None = None,
) -> list[Array]:
    """The operands of `channel_operands` as tiles, and a bias with `folded` added, if given.

    The bias includes the term of the epilogue's rounding. Overflow wraps, as it does in the
    accumulator.
    """
    rest = list(arrays)
    packed = []
    if epilogue.bias or folded is not None:
        total = np.zeros(blocking.groups * blocking.outputs, np.int64) + epilogue.half
        total += rest.pop(0) if epilogue.bias else 0
        total += 0 if folded is None else folded
        packed.append(pack_bias(total.astype(np.int32), blocking, batch))
    return [*packed, *(pack_bias(scale, blocking, batch) for scale in rest)]
