"""Random computations for VTA, declared for the compiler and done by numpy.

Every tensor is in tiles: some dimensions that say which tile, then a tile's own two. In which order
the former are in main memory is drawn too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.compiler.shifts import shift_left, shift_right
from vta import te
from vta.compiler.te.padding import pad
from vta.compiler.te.tensor import Tensor
from vta.config import Config

__all__ = ["Chooser", "Work", "convolution", "elementwise", "matmul", "pooling"]

ACC = "local.acc_buffer"
INP = "local.inp_buffer"
WGT = "local.wgt_buffer"


class Chooser:
    """What is left to chance, from hypothesis."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data

    def number(self, low: int, high: int) -> int:
        return self.data.draw(st.integers(low, high))

    def chance(self, percent: int) -> bool:
        return self.number(0, 99) >= 100 - percent

    def pick(self, items: Sequence[Any]) -> Any:
        return items[self.number(0, len(items) - 1)]

    def shuffled(self, items: Sequence[Any]) -> list[Any]:
        rest = list(items)
        return [rest.pop(self.number(0, len(rest) - 1)) for _ in items]


@dataclass
class Work:
    """A computation with its arguments and what must come out.

    Attributes
    ----------
    inputs, arrays
        Placeholders, and what to call the program with.
    copies : dict of Tensor to str
        Stages that load, and where to; a placeholder stands for one that `cache_read` has to make.
    main : Tensor or None
        The reduction.
    gemm : bool
        Whether `main` is GEMM's work, or the ALU's.
    alu : list of Tensor
        What the ALU goes on with.
    outputs, expected
        What is stored, and what it must be.
    """

    config: Config
    inputs: list[Tensor] = field(default_factory=list)
    arrays: list[np.ndarray] = field(default_factory=list)
    copies: dict[Tensor, str] = field(default_factory=dict)
    main: Tensor | None = None
    gemm: bool = False
    alu: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    expected: list[np.ndarray] = field(default_factory=list)

    def input(
        self,
        chooser: Chooser,
        shape: Sequence[int],
        dtype: str,
        name: str,
        limit: int | None = None,
    ) -> tuple[Tensor, np.ndarray]:
        """A placeholder and its numbers."""
        rng = np.random.default_rng(chooser.number(0, 1 << 16))
        limits = np.iinfo(dtype)
        low, high = (limits.min, limits.max) if limit is None else (-limit, limit)
        array = rng.integers(low, high, tuple(shape), dtype, endpoint=True)
        tensor = te.placeholder(tuple(shape), name=name, dtype=dtype)
        self.inputs.append(tensor)
        self.arrays.append(array)
        return tensor, array

    def load(self, chooser: Chooser, tensor: Tensor, scope: str) -> Tensor:
        """A stage that loads a tensor, or the tensor itself where the schedule makes the stage."""
        if chooser.chance(25):
            self.copies[tensor] = scope
            return tensor
        copy = te.compute(tensor.shape, lambda *i: tensor(*i), f"{tensor.name}_buf")
        self.copies[copy] = scope
        return copy


def _order(chooser: Chooser, count: int) -> list[int]:
    """An order of dimensions; often the usual one."""
    return list(range(count)) if chooser.chance(50) else chooser.shuffled(range(count))


def _at(order: Sequence[int], indices: Sequence[Any], tile: Sequence[Any]) -> tuple[Any, ...]:
    """Indices in the order in which the dimensions are."""
    return (*(indices[place] for place in order), *tile)


def _arranged(array: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """An array whose leading dimensions are put into an order; the last two stay."""
    return np.ascontiguousarray(array.transpose(*order, array.ndim - 2, array.ndim - 1))


def matmul(chooser: Chooser, config: Config) -> Work:
    """``C[o, m] = sum(A[o, n] * B[m, n])`` in tiles, and an epilogue."""
    work = Work(config, gemm=True)
    rows, cols = config.batch, config.block
    o, n, m = chooser.number(1, 4), chooser.number(1, 6), chooser.number(1, 6)
    # A may be every second or third tile of what is there.
    stride, first = (chooser.number(1, 3), chooser.number(0, 2)) if chooser.chance(20) else (1, 0)
    a_order, b_order, c_order = (_order(chooser, 2) for _ in range(3))
    a_full = (first + (o - 1) * stride + 1, n)
    a, a_array = work.input(
        chooser, [a_full[place] for place in a_order] + [rows, cols], "int8", "A"
    )
    b, b_array = work.input(
        chooser, [(m, n)[place] for place in b_order] + [cols, cols], "int8", "B"
    )
    if stride > 1 or first:
        # The copy is in the usual order, whatever main memory's is.
        a_buf = te.compute(
            (o, n, rows, cols),
            lambda i, j, *t: a(*_at(a_order, (i * stride + first, j), t)),
            "A_buf",
        )
        work.copies[a_buf] = INP
        a_read: list[int] = [0, 1]
    else:
        a_buf, a_read = work.load(chooser, a, INP), a_order
    b_buf = work.load(chooser, b, WGT)
    ko, ki = te.reduce_axis((0, n), "ko"), te.reduce_axis((0, cols), "ki")
    c_shape = [(o, m)[place] for place in c_order] + [rows, cols]
    back = [c_order.index(place) for place in range(2)]

    def rule(*i: Any) -> Any:
        io, im = i[back[0]], i[back[1]]
        return te.sum(
            a_buf(*_at(a_read, (io, ko), (i[2], ki))).astype("int32")
            * b_buf(*_at(b_order, (im, ko), (i[3], ki))).astype("int32"),
            axis=[ko, ki],
        )

    work.main = te.compute(c_shape, rule, "C")
    natural_a = _arranged(a_array, [a_order.index(0), a_order.index(1)])[first::stride]
    natural_b = _arranged(b_array, [b_order.index(0), b_order.index(1)])
    total = np.einsum("onbk,mnck->ombc", natural_a.astype(np.int32), natural_b.astype(np.int32))
    _epilogue(chooser, work, work.main, _arranged(total, c_order), back[1])
    return work


def _window(chooser: Chooser, most: int) -> tuple[list[int], ...]:
    """Kernel, stride, padding before and after, dilation, size of the image, of the result."""
    kernel = chooser.pick([(1, 1), (3, 3), (3, 3), (2, 3), (5, 5), (1, 3)])
    stride = chooser.pick([(1, 1), (1, 1), (2, 2), (1, 2)])
    dilation = (2, 1) if chooser.chance(10) else (1, 1)
    before = [chooser.number(0, min(2, kernel[axis] - 1)) for axis in range(2)]
    after = (
        before
        if chooser.chance(70)
        else [chooser.number(0, min(2, kernel[axis] - 1)) for axis in range(2)]
    )
    span = [(kernel[axis] - 1) * dilation[axis] + 1 for axis in range(2)]
    size = [
        max(1, span[axis] - before[axis] - after[axis], chooser.number(1, most))
        for axis in range(2)
    ]
    out = [
        (size[axis] + before[axis] + after[axis] - span[axis]) // stride[axis] + 1
        for axis in range(2)
    ]
    return (list(kernel), list(stride), list(before), list(after), list(dilation), size, out)


def convolution(chooser: Chooser, config: Config) -> Work:
    """A convolution with stride, padding and perhaps dilation, and an epilogue."""
    work = Work(config, gemm=True)
    rows, cols = config.batch, config.block
    kernel, stride, before, after, dilation, size, out = _window(chooser, 6)
    n, ic, oc = chooser.number(1, 2), chooser.number(1, 3), chooser.number(1, 3)
    d_order, k_order, o_order = (_order(chooser, 4) for _ in range(3))
    d_full, k_full, o_full = (n, ic, *size), (oc, ic, *kernel), (n, oc, *out)
    data, d_array = work.input(chooser, [d_full[p] for p in d_order] + [rows, cols], "int8", "data")
    weights, k_array = work.input(
        chooser, [k_full[p] for p in k_order] + [cols, cols], "int8", "kernel"
    )
    if any(before) or any(after) or chooser.chance(20):
        amounts = [[(0, 0, *side)[p] for p in d_order] + [0, 0] for side in (before, after)]
        data_buf = pad(data, *amounts, name="data_buf")
        work.copies[data_buf] = INP
    else:
        data_buf = work.load(chooser, data, INP)
    weights_buf = work.load(chooser, weights, WGT)
    rc, dy, dx, ki = (
        te.reduce_axis((0, extent), name)
        for extent, name in ((ic, "ic"), (kernel[0], "dy"), (kernel[1], "dx"), (cols, "ki"))
    )
    back = [o_order.index(place) for place in range(4)]

    def rule(*i: Any) -> Any:
        b, co, y, x = (i[back[place]] for place in range(4))
        at = (b, rc, y * stride[0] + dy * dilation[0], x * stride[1] + dx * dilation[1])
        return te.sum(
            data_buf(*_at(d_order, at, (i[4], ki))).astype("int32")
            * weights_buf(*_at(k_order, (co, rc, dy, dx), (i[5], ki))).astype("int32"),
            axis=[rc, dy, dx, ki],
        )

    work.main = te.compute([o_full[p] for p in o_order] + [rows, cols], rule, "conv")
    image = np.pad(
        _arranged(d_array, [d_order.index(p) for p in range(4)]),
        [(0, 0), (0, 0), *zip(before, after, strict=True), (0, 0), (0, 0)],
    ).astype(np.int32)
    weight = _arranged(k_array, [k_order.index(p) for p in range(4)]).astype(np.int32)
    total = np.zeros((*o_full, rows, cols), np.int32)
    for y, x in itertools.product(range(kernel[0]), range(kernel[1])):
        total += np.einsum(
            "nihwbk,oick->nohwbc", _part(image, (y, x), stride, dilation, out), weight[:, :, y, x]
        )
    _epilogue(chooser, work, work.main, _arranged(total, o_order), back[1])
    return work


def _part(
    image: np.ndarray,
    at: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    out: Sequence[int],
) -> np.ndarray:
    """What the kernel's element `at` meets of an image (n, c, h, w, ...)."""
    rows, columns = (
        slice(
            at[axis] * dilation[axis],
            at[axis] * dilation[axis] + (out[axis] - 1) * stride[axis] + 1,
            stride[axis],
        )
        for axis in range(2)
    )
    return image[:, :, rows, columns]


def pooling(chooser: Chooser, config: Config) -> Work:
    """The largest, least or sum of a window, or a depthwise convolution: reductions on the ALU."""
    work = Work(config)
    rows, cols = config.batch, config.block
    kind = chooser.pick(["max", "min", "+", "depthwise"])
    kernel, stride, before, after, dilation, size, out = _window(chooser, 6)
    n, channels = chooser.number(1, 2), chooser.number(1, 3)
    d_order, o_order = _order(chooser, 4), _order(chooser, 4)
    d_full, o_full = (n, channels, *size), (n, channels, *out)
    dtype = chooser.pick(["int8", "int8", "int32"])
    data, d_array = work.input(
        chooser,
        [d_full[p] for p in d_order] + [rows, cols],
        dtype,
        "data",
        None if kind in ("max", "min") or dtype == "int8" else 1 << 20,
    )
    padded = any(before) or any(after)
    # Zeros around it come with the load; what reductions leave out, with the rule.
    loaded = padded and kind in ("+", "depthwise") and chooser.chance(60)
    amounts = [[(0, 0, *side)[p] for p in d_order] + [0, 0] for side in (before, after)]
    if loaded:
        data_buf = pad(data, *amounts, name="data_buf")
        work.copies[data_buf] = ACC
    else:
        data_buf = work.load(chooser, data, ACC)
    factors = factors_array = None
    if kind == "depthwise":
        weights, factors_array = work.input(
            chooser, [channels, *kernel, rows, cols], "int8", "weights"
        )
        factors = work.load(chooser, weights, ACC)
    dy, dx = te.reduce_axis((0, kernel[0]), "dy"), te.reduce_axis((0, kernel[1]), "dx")
    back = [o_order.index(place) for place in range(4)]
    neutral = {"max": te.min_value("int32"), "min": te.max_value("int32")}.get(kind, 0)

    def rule(*i: Any) -> Any:
        b, co, y, x = (i[back[place]] for place in range(4))
        at = [y * stride[0] + dy * dilation[0], x * stride[1] + dx * dilation[1]]
        conditions = []
        if padded and not loaded:
            for axis in range(2):
                if before[axis]:
                    conditions.append(at[axis] >= before[axis])
                    at[axis] = at[axis] - before[axis]
                if before[axis] or after[axis]:
                    conditions.append(at[axis] < size[axis])
        value = data_buf(*_at(d_order, (b, co, *at), i[4:])).astype("int32")
        if factors is not None:
            value = value * factors(co, dy, dx, *i[4:]).astype("int32")
        if conditions:
            value = te.if_then_else(te.all(*conditions), value, neutral)
        reduction = {"max": te.max, "min": te.min}.get(kind, te.sum)
        return reduction(value, axis=[dy, dx])

    work.main = te.compute([o_full[p] for p in o_order] + [rows, cols], rule, "pool")
    limits = np.iinfo(np.int32)
    blank = {"max": limits.min, "min": limits.max}.get(kind, 0)
    image = np.pad(
        _arranged(d_array, [d_order.index(p) for p in range(4)]).astype(np.int32),
        [(0, 0), (0, 0), *zip(before, after, strict=True), (0, 0), (0, 0)],
        constant_values=blank,
    )
    total = np.full((*o_full, rows, cols), blank, np.int32)
    for y, x in itertools.product(range(kernel[0]), range(kernel[1])):
        part = _part(image, (y, x), stride, dilation, out)
        if factors_array is not None:
            part = part * factors_array[:, y, x][None, :, None, None].astype(np.int32)
        combine = {"max": np.maximum, "min": np.minimum}.get(kind, np.add)
        total = combine(total, part)
    _epilogue(chooser, work, work.main, _arranged(total, o_order), back[1])
    return work


def elementwise(chooser: Chooser, config: Config) -> Work:
    """Two tensors added, and what may come after: the residual add of a network."""
    work = Work(config)
    shape = [
        chooser.number(1, 3),
        chooser.number(1, 4),
        chooser.number(1, 5),
        config.batch,
        config.block,
    ]
    first, a_array = work.input(chooser, shape, chooser.pick(["int8", "int32"]), "A")
    second, b_array = work.input(chooser, shape, chooser.pick(["int8", "int32"]), "B")
    a, b = work.load(chooser, first, ACC), work.load(chooser, second, ACC)
    total = te.compute(shape, lambda *i: a(*i).astype("int32") + b(*i).astype("int32"), "total")
    work.alu.append(total)
    _epilogue(chooser, work, total, a_array.astype(np.int32) + b_array.astype(np.int32), 0)
    return work


# -- what comes after ----------------------------------------------------------------------------

Step = tuple[Callable[[Any], Any], Callable[[np.ndarray], np.ndarray]]
"""On an expression, and on an array."""

NUMBERS = [0, 1, 5, -3, 127, -128, 32767, -32768, 32768, 1 << 20, -(1 << 31)]


def _epilogue(chooser: Chooser, work: Work, value: Tensor, array: np.ndarray, channel: int) -> None:
    """Stages on the ALU, each of a step or two, and one output or two."""
    stages = [(value, array)]
    for number in range(chooser.number(0, 4)):
        before, known = stages[-1]
        other = chooser.pick(stages) if chooser.chance(15) else None
        steps = [
            _step(chooser, work, array.shape, channel, f"{number}{part}")
            for part in range(chooser.number(1, 2))
        ]

        def rule(
            *i: Any, source: Tensor = before, steps: list[Any] = steps, other: Any = other
        ) -> Any:
            value = source(*i)
            for step, _ in steps:
                value = step(value, i)
            return value if other is None else value + other[0](*i)

        result = known
        for _, step in steps:
            result = step(result)
        if other is not None:
            result = result + other[1]
        stage = te.compute(array.shape, rule, f"stage{number}")
        work.alu.append(stage)
        stages.append((stage, result))
    kept = [stages[-1]]
    if len(stages) > 1 and chooser.chance(12):
        kept.append(chooser.pick(stages[:-1]))
    for name, (stage, result) in zip(("out", "other"), kept, strict=False):
        work.outputs.append(
            te.compute(array.shape, lambda *i, stage=stage: stage(*i).astype("int8"), name)
        )
        work.expected.append(result.astype(np.int8))


def _step(
    chooser: Chooser, work: Work, shape: tuple[int, ...], channel: int, name: str
) -> tuple[Any, Any]:
    kind = chooser.pick(
        [">>", ">>", "<<", "+", "*", "max", "min", "bias", "bias", "residual", "residual", "int8"]
    )
    if kind in ("bias", "residual"):
        return _operand(chooser, work, shape, channel if kind == "bias" else None, name)
    if kind == "int8":
        return (
            lambda x, i: x.astype("int8").astype("int32"),
            lambda x: x.astype(np.int8).astype(np.int32),
        )
    if kind in (">>", "<<"):
        amount = chooser.number(0, 12)
        return (
            (lambda x, i: x >> amount, lambda x: x >> amount)
            if kind == ">>"
            else (lambda x, i: x << amount, lambda x: x << amount)
        )
    number = chooser.pick(NUMBERS)
    return {
        "+": (lambda x, i: x + number, lambda x: x + np.int32(number)),
        "*": (lambda x, i: x * number, lambda x: x * np.int32(number)),
        "max": (lambda x, i: te.max(x, number), lambda x: np.maximum(x, np.int32(number))),
        "min": (lambda x, i: te.min(x, number), lambda x: np.minimum(x, np.int32(number))),
    }[kind]


def _operand(
    chooser: Chooser, work: Work, shape: tuple[int, ...], channel: int | None, name: str
) -> tuple[Any, Any]:
    """A bias for each channel, or a tensor of the same shape, loaded into ACC."""
    dtype = chooser.pick(["int8", "int32"])
    sizes = shape if channel is None else (shape[channel], *shape[-2:])
    tensor, array = work.input(chooser, sizes, dtype, f"x{name}")
    loaded = work.load(chooser, tensor, ACC)
    op = chooser.pick(["+", "+", "-", "max", "*", ">>", "<<"]) if channel is None else "+"
    wide = array.astype(np.int32)
    if channel is not None:
        wide = wide.reshape(
            [shape[channel] if place in (channel,) else 1 for place in range(len(shape) - 2)]
            + list(shape[-2:])
        )

    def rule(x: Any, i: Any) -> Any:
        other = loaded(*i) if channel is None else loaded(i[channel], *i[-2:])
        other = other.astype("int32")
        return {
            "+": lambda: x + other,
            "-": lambda: x - other,
            "*": lambda: x * other,
            ">>": lambda: x >> other,
            "<<": lambda: x << other,
            "max": lambda: te.max(x, other),
        }[op]()

    return rule, {
        "+": lambda x: x + wide,
        "-": lambda x: x - wide,
        "*": lambda x: x * wide,
        ">>": lambda x: shift_right(x, wide),
        "<<": lambda x: shift_left(x, wide),
        "max": lambda x: np.maximum(x, wide),
    }[op]
