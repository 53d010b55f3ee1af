"""Maximum pooling: windows of tiles in the accumulator, combined by the ALU.

It uses only the geometry of a `GemmNest`: `parts` are blocks of channels, and there is no weight.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vta.compiler.ir.timing import TIMING, MachineTiming
from vta.compiler.operators.epilogue import EpilogueStep, apply_steps, joined
from vta.compiler.operators.gemm_nest import AXES, GemmNest
from vta.compiler.operators.nest_schedule import blocks, padded_data
from vta.compiler.operators.operator import Plan
from vta.compiler.operators.tiling import Tiling, Tilings
from vta.compiler.te.dtypes import INT8
from vta.compiler.te.expr import Axis, Condition, Expr
from vta.compiler.te.intrinsics import all_of, if_then_else, maximum, min_value, reduce_axis
from vta.compiler.te.schedule import create_schedule
from vta.compiler.te.stage import ACC_SCOPE, ALU, DMA_COPY, Stage
from vta.compiler.te.tensor import Tensor, compute, placeholder

if TYPE_CHECKING:
    from vta.config import Config

__all__ = ["plan_windows"]

REGISTER = 2
"""Cycles of an ALU operation on a tile with another."""
NEUTRAL = 2
"""Cycles of setting a tile to the least number, by a reset and an operation; one less by MOV."""
CLIP = EpilogueStep("requantize", scale=1.0)
"""What `joined` makes of a clip to int8."""


def plan_windows(
    nest: GemmNest, config: Config, tiling: Tiling | None, timing: MachineTiming = TIMING
) -> Plan:
    """The plan of maximum pooling."""
    steps = joined(nest.steps, config)
    if steps == (CLIP,):
        steps = ()  # the largest of int8 numbers is one
    nest = replace(nest, steps=steps)
    if tiling is None:
        tilings = _legal(nest, config)
        tiling = tilings[int(np.argmin(_cycles(tilings, timing)))]
    cycles = int(_cycles(Tilings.of(nest, config, tiling), timing)[0])
    data = placeholder(
        (nest.images, nest.parts, 1, nest.height, nest.width, config.batch, config.block),
        "int8",
        "data",
    )
    bias = (
        placeholder((nest.parts, 1, config.batch, config.block), "int32", "bias")
        if nest.biased
        else None
    )
    scale = (
        placeholder((nest.parts, 1, config.batch, config.block), "float32", "scale")
        if nest.scaled
        else None
    )
    bias_load, scale_load = (
        compute(tensor.shape, lambda *i, t=tensor: t(*i), f"{tensor.name}_buf")
        if tensor is not None
        else None
        for tensor in (bias, scale)
    )
    if config.requantises:
        # The LOAD puts the least int8 around the data, so that every window is alike.
        data_load = padded_data(replace(nest, pad_value=INT8[0]), data, "data_buf")
        height, width = nest.padded
        stride = nest.row_step, nest.stride[1]
        nest = replace(nest, pad=(0, 0), height=height, width=width, stride=stride)
    else:
        step, rows = (nest.stride[0], nest.rows) if nest.skips_rows else (1, nest.height)
        data_load = compute(
            (*data.shape[:3], rows, *data.shape[4:]),
            lambda n, p, o, y, x, b, q: data(n, p, o, y * step, x, b, q),
            "data_buf",
        )
    most = _maximum(nest, config, data_load)
    epilogue = apply_steps(most, nest.steps, bias_load, scale_load, (1, 2, 5, 6), "step")
    last = epilogue[-1] if epilogue else most
    result = compute(most.shape, lambda *i: last(*i).astype("int8"), "result")
    s = create_schedule(result.op)
    at = blocks(
        s[result],
        tuple(getattr(tiling, name) for name in AXES),
        tiling.threads,
        AXES.index(tiling.axis),
    )
    for tensor in (most, *epilogue):
        s[tensor].set_scope(ACC_SCOPE).compute_at(s[result], at).pragma(s[tensor].axes[0], ALU)
    for load in (bias_load, scale_load):
        if load is not None:
            stage = s[load].set_scope(ACC_SCOPE).compute_at(s[result], at)
            stage.pragma(stage.axes[0], DMA_COPY)
    stage = s[data_load].set_scope(ACC_SCOPE).compute_at(s[most], _steps(s[most], tiling))
    stage.pragma(stage.axes[0], DMA_COPY)
    inputs = (data, *(tensor for tensor in (bias, scale) if tensor is not None))
    return Plan(schedule=s, args=(*inputs, result), tilings=(tiling,), cycles=cycles)


def _steps(stage: Stage, tiling: Tiling) -> Axis:
    """Splits the taps of a window into steps; returns the loop over the steps."""
    *axes, y, x = stage.axes
    y_out, y_in = stage.split(y, factor=tiling.taps_y)
    x_out, x_in = stage.split(x, factor=tiling.taps_x)
    stage.reorder(y_out, x_out, *axes, y_in, x_in)
    return x_out


def _maximum(nest: GemmNest, config: Config, data: Tensor) -> Tensor:
    """The stage that pools; taps outside the data read the least int8, so the data decides."""
    y, x = (reduce_axis((0, size), name) for size, name in ((nest.taps_y, "y"), (nest.taps_x, "x")))

    def rule(n: Expr, p: Expr, o: Expr, i: Expr, j: Expr, b: Expr, q: Expr) -> Expr:
        row = i * nest.row_step + y * nest.dilation[0] - nest.pad[0]
        column = j * nest.stride[1] + x * nest.dilation[1] - nest.pad[1]
        value = data(n, p, o, row, column, b, q).astype("int32")
        inside: list[Condition] = []
        for index, before, needed, size in (
            (row, nest.pad[0], nest.padded[0], nest.height),
            (column, nest.pad[1], nest.padded[1], nest.width),
        ):
            inside += [index >= 0] if before > 0 else []
            inside += [index < size] if needed - before > size else []
        if inside:
            value = if_then_else(all_of(*inside), value, min_value("int32"))
        return maximum(value, axis=[y, x])

    return compute((*nest.out_shape, config.batch, config.block), rule, "most")


def _legal(nest: GemmNest, config: Config) -> Tilings:
    tilings = Tilings.every(nest, config)
    tiles = tilings.data_planes * tilings.data_rows * tilings.data_columns
    most = config.acc_depth - nest.constants
    return tilings.where(
        tilings.dealt
        & tilings.countable
        # One more tile holds the least int8.
        & (tilings.threads * (tiles + tilings.out_tiles + tilings.channel_tiles) < most)
        & (tilings.threads * (tilings.taps + 4) <= config.uop_depth)
    )


def _cycles(tilings: Tilings, timing: MachineTiming) -> NDArray[np.int64]:
    """The cycle model: the data's tiles and the ALU's operations share the accumulator."""
    nest, config = tilings.nest, tilings.config
    rows = np.minimum(tilings.data_rows, nest.height)
    columns = np.minimum(tilings.data_columns, nest.width)
    loaded = tilings.turns * tilings.data_planes * rows * columns
    load = tilings.beats(loaded * config.acc_8bit_elem_bytes) + tilings.beats(
        tilings.channel_tiles * config.acc_elem_bytes
    )
    alu = tilings.out_tiles * (
        NEUTRAL
        - config.requantises
        + REGISTER * nest.taps_y * nest.taps_x
        + sum(step.cycles for step in nest.steps)
    ) + (
        TIMING.gap * (tilings.turns * (tilings.taps + 2) + len(nest.steps))
        + sum(step.drain for step in nest.steps)
    )
    store = tilings.beats(tilings.out_tiles * config.out_elem_bytes)
    together = np.maximum(alu + loaded, load)
    alone = load + tilings.turns * timing.load + alu + store + 2 * TIMING.handover
    return (
        timing.start
        + load
        + timing.load
        + store
        + tilings.blocks * np.where(tilings.threads > 1, together, alone)
    )
