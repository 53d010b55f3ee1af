"""Operators with several nests in one program; each nest computes a part of the output.

Unpacking puts the parts together, interleaved or side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from vta.compiler.ir.timing import TIMING, MachineTiming
from vta.compiler.operators.cycle_model import choose, simulate
from vta.compiler.operators.gemm_nest import GemmNest
from vta.compiler.operators.layout import unpack_data
from vta.compiler.operators.nest_schedule import Tensors, declare, schedule
from vta.compiler.operators.operator import Array, Plan
from vta.compiler.operators.shape_arguments import Padding
from vta.compiler.te.dtypes import INT8
from vta.compiler.te.schedule import create_schedule
from vta.isa import MAX_PAD

if TYPE_CHECKING:
    from vta.compiler.operators.tiling import Tiling
    from vta.config import Config

__all__ = ["OutputPart", "host_padding", "plan_pieces", "unpack_pieces"]


@dataclass(frozen=True)
class OutputPart:
    """A nest, and the rows and columns of the output that it computes."""

    nest: GemmNest
    rows: slice
    columns: slice


def load_padding(zero_point: int, config: Config) -> int | None:
    """What LOADs pad data of a zero point with, or None if packing must add the padding."""
    by_load = zero_point == 0 or (zero_point == INT8[0] and config.requantises)
    return zero_point if by_load else None


def host_padding(
    pieces: Sequence[OutputPart], *, always: bool = False
) -> tuple[list[OutputPart], Padding]:
    """Pieces whose padding the LOADs can add, and the padding that packing must add instead.

    Packing adds none unless a side needs more than `MAX_PAD`, or `always`.
    """
    sides = [_padding(piece.nest) for piece in pieces]
    top, left, bottom, right = (max(0, *(each[side] for each in sides)) for side in range(4))
    if max(top, left, bottom, right) <= (0 if always else MAX_PAD):
        return list(pieces), (0, 0, 0, 0)
    moved = [
        replace(
            piece,
            nest=replace(
                piece.nest,
                height=piece.nest.height + top + bottom,
                width=piece.nest.width + left + right,
                pad=(piece.nest.pad[0] - top, piece.nest.pad[1] - left),
            ),
        )
        for piece in pieces
    ]
    return moved, (top, left, bottom, right)


def _padding(nest: GemmNest) -> Padding:
    """Zeros that a nest needs on each side; negative on a side where it does not use all data."""
    top, left = nest.pad
    rows = (nest.rows - 1) * nest.stride[0] + (nest.taps_y - 1) * nest.dilation[0] + 1
    return top, left, rows - top - nest.height, nest.padded[1] - left - nest.width


def plan_pieces(
    pieces: Sequence[OutputPart],
    config: Config,
    tiling: Tiling | None,
    timing: MachineTiming = TIMING,
    *,
    own_bias: bool = False,
    own_scale: bool = False,
) -> Plan:
    """The plan of a program with one nest for each piece; data are shared.

    So are the bias and the scales, unless each piece has its own.
    """
    tilings: list[Tiling] = []
    cycles = 0
    made: list[Tensors] = []
    nests = [piece.nest.on(config) for piece in pieces]
    for number, nest in enumerate(nests):
        if tiling is None:
            found = choose(nest, config, timing)
        else:
            found = tiling, simulate(nest, tiling, config, timing)
        tilings.append(found[0])
        # Only the first nest begins with the launch.
        cycles += found[1] - (timing.first if number else 0)
        first = made[0] if made else None
        shared = first is not None and nest.one_weight
        made.append(
            declare(
                nest,
                config,
                str(number) if len(pieces) > 1 else "",
                data=first.data if first is not None else None,
                weight=first.weight if shared and first is not None else None,
                bias=first.bias if first is not None and not own_bias else None,
                scale=first.scale if first is not None and not own_scale else None,
            )
        )
    s = create_schedule([tensors.result.op for tensors in made])
    for nest, tensors, chosen in zip(nests, made, tilings, strict=True):
        schedule(s, nest, tensors, chosen)
    inputs = [made[0].data, *dict.fromkeys(tensors.weight for tensors in made)]
    biases, scales = ([getattr(tensors, name) for tensors in made] for name in ("bias", "scale"))
    channels = dict.fromkeys([*biases, *scales])
    inputs += [tensor for tensor in channels if tensor is not None]
    return Plan(
        schedule=s,
        args=(*inputs, *(tensors.result for tensors in made)),
        tilings=tuple(tilings),
        cycles=cycles,
    )


def unpack_pieces(
    pieces: Sequence[OutputPart], outputs: Sequence[Array], shape: tuple[int, ...], chunk: int
) -> Array:
    """The output put together from its pieces; `chunk` as for `unpack_data`."""
    result = np.zeros(shape, np.int8)
    for piece, tiles in zip(pieces, outputs, strict=True):
        images, parts, blocks, rows, columns, *rest = tiles.shape
        flat = tiles.reshape(images, parts * blocks, rows, columns, *rest)
        result[:, :, piece.rows, piece.columns] = unpack_data(
            flat, (*shape[:2], rows, columns), chunk
        )
    return result
