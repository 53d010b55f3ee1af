"""A `GemmNest` as tensor expressions, and a `Tiling` as their schedule."""

from __future__ import annotations

from dataclasses import dataclass

from vta.compiler.operators.epilogue import apply_steps
from vta.compiler.operators.gemm_nest import AXES, GemmNest
from vta.compiler.operators.tiling import Tiling
from vta.compiler.te.expr import Axis, Condition, Expr
from vta.compiler.te.gemm_intrinsic import gemm
from vta.compiler.te.intrinsics import all_of, if_then_else, reduce_axis, reduce_sum
from vta.compiler.te.primitives import thread_axis
from vta.compiler.te.schedule import Schedule
from vta.compiler.te.stage import ACC_SCOPE, ALU, DMA_COPY, INP_SCOPE, WGT_SCOPE, Stage
from vta.compiler.te.tensor import Tensor, compute, placeholder
from vta.config import Config

__all__ = ["Tensors", "blocks", "declare", "padded_data", "schedule"]


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """The tensors of a nest.

    Parameters
    ----------
    data, weight, result : Tensor
        In main memory; (images, parts, inputs, height, width, BATCH, BLOCK), (parts, outputs,
        inputs, taps_y, taps_x, BLOCK, BLOCK), (images, parts, outputs, rows, columns, BATCH,
        BLOCK).
    bias, scale : Tensor or None
        (parts, outputs, BATCH, BLOCK), int32 and float32.
    loads : tuple of Tensor
        Data and weights on chip.
    channel_loads : tuple of Tensor
        Bias and scale on chip, where there are any.
    sums : Tensor
    epilogue : tuple of Tensor
        The operations on the sums, in order.
    """

    data: Tensor
    weight: Tensor
    bias: Tensor | None
    scale: Tensor | None
    loads: tuple[Tensor, Tensor]
    channel_loads: tuple[Tensor, ...]
    sums: Tensor
    epilogue: tuple[Tensor, ...]
    result: Tensor


def declare(
    nest: GemmNest,
    config: Config,
    name: str = "",
    *,
    data: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    scale: Tensor | None = None,
) -> Tensors:
    """The expressions of a nest; every name ends with `name`, and inputs may be passed in."""
    batch, block = config.batch, config.block
    if data is None:
        data = placeholder(
            (nest.images, nest.parts, nest.inputs, nest.height, nest.width, batch, block),
            "int8",
            f"data{name}",
        )
    if weight is None:
        tiles = (
            (1,)
            if nest.one_weight
            else (nest.parts, nest.outputs, nest.inputs, nest.taps_y, nest.taps_x)
        )
        weight = placeholder((*tiles, block, block), "int8", f"weight{name}")
    channels = (nest.parts, nest.outputs, batch, block)
    if bias is None and nest.biased:
        bias = placeholder(channels, "int32", f"bias{name}")
    if scale is None and nest.scaled:
        scale = placeholder(channels, "float32", f"scale{name}")
    # These come first, so that they load while the sums are computed.
    bias_load, scale_load = (
        compute(channels, lambda *i, t=tensor: t(*i), f"{what}_buf{name}")
        if tensor is not None
        else None
        for what, tensor in (("bias", bias), ("scale", scale))
    )
    data_load = padded_data(nest, data, f"data_buf{name}")
    weight_load = compute(weight.shape, lambda *i: weight(*i), f"weight_buf{name}")
    sums = _sums(nest, config, data_load, weight_load, bias_load, f"sums{name}")
    epilogue = apply_steps(sums, nest.steps, bias_load, scale_load, (1, 2, 5, 6), f"step{name}")
    last = epilogue[-1] if epilogue else sums
    result = compute(sums.shape, lambda *i: last(*i).astype("int8"), f"result{name}")
    return Tensors(
        data=data,
        weight=weight,
        bias=bias,
        scale=scale,
        loads=(data_load, weight_load),
        channel_loads=tuple(load for load in (bias_load, scale_load) if load is not None),
        sums=sums,
        epilogue=tuple(epilogue),
        result=result,
    )


def padded_data(nest: GemmNest, data: Tensor, name: str) -> Tensor:
    """The data that the output needs, with the padding around it."""
    (top, left), (rows, columns) = nest.pad, nest.padded
    step = nest.stride[0] if nest.skips_rows else 1

    def rule(n: Expr, p: Expr, c: Expr, y: Expr, x: Expr, b: Expr, k: Expr) -> Expr:
        inside: list[Condition] = []
        if top > 0:
            inside.append(y >= top)
        if (rows - 1) * step - top >= nest.height:
            inside.append(y < nest.height + top)
        if left > 0:
            inside.append(x >= left)
        if columns - left > nest.width:
            inside.append(x < nest.width + left)
        value = data(
            n, p, c, y * step - top if step > 1 or top else y, x - left if left else x, b, k
        )
        return if_then_else(all_of(*inside), value, nest.pad_value) if inside else value

    return compute((*data.shape[:3], rows, columns, *data.shape[5:]), rule, name)


def _sums(
    nest: GemmNest, config: Config, data: Tensor, weight: Tensor, bias: Tensor | None, name: str
) -> Tensor:
    c, y, x = (
        reduce_axis((0, size), axis)
        for size, axis in ((nest.inputs, "c"), (nest.taps_y, "y"), (nest.taps_x, "x"))
    )
    k = reduce_axis((0, config.block), "k")

    def rule(n: Expr, p: Expr, o: Expr, i: Expr, j: Expr, b: Expr, q: Expr) -> Expr:
        pixel = data(
            n,
            p,
            c,
            i * nest.row_step + y * nest.dilation[0],
            j * nest.stride[1] + x * nest.dilation[1],
            b,
            k,
        )
        factor = weight(0, q, k) if nest.one_weight else weight(p, o, c, y, x, q, k)
        start = bias(p, o, b, q) if nest.bias_first and bias is not None else nest.start
        return reduce_sum(pixel.astype("int32") * factor.astype("int32"), [c, y, x, k], start)

    return compute((*nest.out_shape, config.batch, config.block), rule, name)


def schedule(s: Schedule, nest: GemmNest, tensors: Tensors, tiling: Tiling) -> None:
    """Gives the stages of a nest their places, loops and memories."""
    last = blocks(
        s[tensors.result],
        tuple(getattr(tiling, name) for name in AXES),
        tiling.threads,
        AXES.index(tiling.axis),
    )
    for tensor in (tensors.sums, *tensors.epilogue):
        s[tensor].set_scope(ACC_SCOPE).compute_at(s[tensors.result], last)
    for tensor in tensors.epilogue:
        s[tensor].pragma(s[tensor].axes[0], ALU)
    for load in tensors.channel_loads:
        stage = s[load].set_scope(ACC_SCOPE)
        stage.compute_at(s[tensors.result], last).pragma(stage.axes[0], DMA_COPY)
    turn = _steps(s[tensors.sums], tiling)
    for tensor, scope in zip(tensors.loads, (INP_SCOPE, WGT_SCOPE), strict=True):
        stage = s[tensor].set_scope(scope)
        stage.compute_at(s[tensors.sums], turn).pragma(stage.axes[0], DMA_COPY)


def blocks(stage: Stage, sizes: tuple[int, ...], threads: int, dealt: int) -> Axis:
    """Splits a stored result into blocks of `sizes`, shared among threads along one axis.

    Returns the loop over the blocks; the stage stores one in each round.
    """
    axes = stage.axes
    outer, inner = [], []
    for axis, size in zip(axes, sizes, strict=False):
        pair = stage.split(axis, factor=size)
        outer.append(pair[0])
        inner.append(pair[1])
    order = list(outer)
    if threads > 1:
        thread, order[dealt] = stage.split(outer[dealt], nparts=threads)
        order.insert(0, thread)
        stage.bind(thread, thread_axis("cthread"))
    stage.reorder(*order, *inner, *axes[len(sizes) :])
    stage.pragma(inner[0], DMA_COPY)
    return order[-1]


def _steps(stage: Stage, tiling: Tiling) -> Axis:
    """Splits the sums into steps; returns the loop over the steps."""
    n, p, o, i, j, b, q, c, y, x, k = stage.axes
    (c_out, c_in), (y_out, y_in), (x_out, x_in) = (
        stage.split(axis, factor=size)
        for axis, size in ((c, tiling.inputs), (y, tiling.taps_y), (x, tiling.taps_x))
    )
    stage.reorder(c_out, y_out, x_out, n, p, o, c_in, y_in, x_in, i, j, b, q, k)
    stage.tensorize(b, gemm)
    return x_out
