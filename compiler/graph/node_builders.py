"""Makes nodes of the int8 graph from matched operators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vta.compiler.graph.int8_graph import Node, TensorInfo
from vta.compiler.graph.onnx_graph import OnnxGraph, Op
from vta.compiler.graph.patterns import Match
from vta.compiler.graph.quantised_tensors import (
    FixedOperand,
    HostOnlyError,
    Int8Operand,
    Parameters,
)
from vta.compiler.te.dtypes import INT8

__all__ = [
    "NodeBuilder",
    "average_pool",
    "concat",
    "convolution",
    "elementwise",
    "gemm",
    "matrix_product",
    "max_pool",
    "mean",
    "requantise",
    "reshape",
    "transpose",
    "transposed_convolution",
]

Array = NDArray[Any]


class NodeBuilder:
    """Collects the nodes of one match, and the tensors between them."""

    def __init__(self, graph: OnnxGraph, match: Match) -> None:
        self.graph = graph
        self.match = match
        self.nodes: list[Node] = []
        self.tensors: dict[str, TensorInfo] = {}

    def shape(self, name: str, rank: int | None = None) -> tuple[int, ...]:
        """The shape of a tensor of the model."""
        shape = self.graph.shape(name)
        if shape is None:
            raise HostOnlyError(f"the shape of {name} is not known")
        if rank is not None and len(shape) != rank:
            raise HostOnlyError(f"its data has {len(shape)} dimensions, not {rank}")
        return shape

    def tensor(self, part: str, shape: Sequence[int], parameters: Parameters) -> str:
        """A new tensor between nodes, named for the result and for `part`; returns its name."""
        name = self.graph.unused(f"{self.match.output}_{part}")
        self.tensors[name] = TensorInfo(
            name=name,
            shape=tuple(shape),
            dtype=parameters.dtype,
            scale=parameters.scale,
            zero_point=parameters.zero_point,
        )
        return name

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        output: str = "",
        *,
        constants: dict[str, Array] | None = None,
        part: str = "",
        **attributes: Any,
    ) -> None:
        """Adds a node: the one that does the operator's work, or `part` of what is around it.

        By default it makes the match's result.
        """
        name = self.match.op.name
        if op not in ("max_pool", "concat", "reshape"):
            lower, upper = self.match.limits
            attributes = {"lower": lower, "upper": upper, **attributes}
        self.nodes.append(
            Node(
                name=self.graph.unused(f"{name}_{part}") if part else name,
                op=op,
                inputs=tuple(inputs),
                outputs=(output or self.match.output,),
                attributes=attributes,
                constants=constants or {},
                sources=tuple(each.name for each in self.match.parts),
            )
        )


def _weights(match: Match, index: int) -> FixedOperand:
    operand = match.operands[index] if index < len(match.operands) else None
    if not isinstance(operand, FixedOperand):
        raise HostOnlyError("its weights are not constant")
    if operand.scale is None:
        raise HostOnlyError("its weights are not quantised")
    points = operand.zero_point
    assert points is not None
    value = operand.value
    if value.dtype == np.uint8 and (points == 128).all():
        value = (value.astype(np.int16) - 128).astype(np.int8)
    elif value.dtype not in (np.int8, np.uint8):
        raise HostOnlyError(f"its weights are {value.dtype}, not int8")
    elif value.dtype == np.uint8 or points.any():
        raise HostOnlyError("its weights have a zero point other than 0")
    if not (np.isfinite(operand.scale) & (operand.scale > 0)).all():
        raise HostOnlyError("a scale of its weights is not positive")
    return FixedOperand(value, operand.scale, None, operand.axis)


def _channel_constants(
    match: Match, weights: FixedOperand, bias: int, outputs: int, axis: int
) -> dict[str, Array]:
    """The scale of each output channel, and the bias in units of the products."""
    scale = weights.scale
    assert scale is not None
    if scale.size not in (1, outputs) or (scale.size > 1 and weights.axis != axis):
        raise HostOnlyError("its weights have scales along another axis than the output channels")
    products = np.float32(match.data.parameters.scale) * scale
    full = np.broadcast_to(products / np.float32(match.result.scale), outputs)
    if not (np.isfinite(full) & (full > 0)).all():
        raise HostOnlyError("its scales are too far apart for float32")
    found = {"scale": full.astype(np.float32)}
    operand = match.operands[bias] if bias < len(match.operands) else None
    if operand is not None:
        found["bias"] = _bias(operand, np.broadcast_to(products, outputs), outputs)
    return found


def _bias(operand: Int8Operand | FixedOperand, products: Array, outputs: int) -> Array:
    if not isinstance(operand, FixedOperand):
        raise HostOnlyError("its bias is not constant")
    value = operand.value
    if value.size not in (1, outputs) or (value.ndim > 1 and value.size != value.shape[-1]):
        raise HostOnlyError("its bias is not one number for each output channel")
    value = np.broadcast_to(value.reshape(-1), outputs)
    if value.dtype == np.int32 and operand.scale is None:
        return value
    scale = np.float64(1) if operand.scale is None else operand.scale.astype(np.float64)
    point = 0 if operand.zero_point is None else operand.zero_point.astype(np.int64)
    units = scale / products.astype(np.float64)
    if value.dtype == np.int32 and np.allclose(units, 1, rtol=1e-6, atol=0) and not np.any(point):
        return value
    # As ONNX Runtime does where it fuses: to the nearest number of these units.
    numbers = np.rint((value.astype(np.float64) - point) * units)
    return np.clip(numbers, -(2**31), 2**31 - 1).astype(np.int32)


def _pair(op: Op, name: str, default: int = 1) -> tuple[int, int]:
    values = op.get(name) or [default, default]
    if len(values) != 2:
        raise HostOnlyError(f"its {name} are not two numbers")
    return int(values[0]), int(values[1])


def _padding(
    op: Op,
    size: Sequence[int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of windows over an image, also where auto_pad says it."""
    mode = op.get("auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = op.get("pads") or [0, 0, 0, 0]
        return int(pads[0]), int(pads[1]), int(pads[2]), int(pads[3])
    if mode == "VALID":
        return 0, 0, 0, 0
    before, after = [], []
    for dim in range(2):
        reach = (kernel[dim] - 1) * dilation[dim] + 1
        out = -(-size[dim] // stride[dim])
        total = max((out - 1) * stride[dim] + reach - size[dim], 0)
        less, more = total // 2, total - total // 2
        before.append(less if mode == "SAME_UPPER" else more)
        after.append(more if mode == "SAME_UPPER" else less)
    return before[0], before[1], after[0], after[1]


def convolution(build: NodeBuilder) -> None:
    match, op = build.match, build.match.op
    shape = build.shape(match.data.name, 4)
    weights = _weights(match, 1)
    kernel = (weights.value.shape[2], weights.value.shape[3])
    stride, dilation = _pair(op, "strides"), _pair(op, "dilations")
    constants = _channel_constants(match, weights, 2, weights.value.shape[0], 0)
    build.add(
        "conv",
        [match.data.name],
        constants={"weight": weights.value, **constants},
        stride=stride,
        dilation=dilation,
        padding=_padding(op, shape[2:], kernel, stride, dilation),
        groups=int(op.get("group", 1)),
    )


def transposed_convolution(build: NodeBuilder) -> None:
    match, op = build.match, build.match.op
    shape = build.shape(match.data.name, 4)
    weights = _weights(match, 1)
    groups = int(op.get("group", 1))
    per_group = weights.value.shape[1]
    assert weights.scale is not None
    if groups > 1 and weights.scale.size > 1:
        raise HostOnlyError("its groups have weights with a scale for each channel")
    constants = _channel_constants(match, weights, 2, per_group * groups, 1)
    stride, dilation = _pair(op, "strides"), _pair(op, "dilations")
    extra = _pair(op, "output_padding", 0)
    kernel = weights.value.shape[2:]
    # The full result is cut to the shape that ONNX infers, whatever attribute says so.
    out = build.shape(op.outputs[0], 4)[2:]
    full = [(shape[2 + d] - 1) * stride[d] + (kernel[d] - 1) * dilation[d] + 1 for d in range(2)]
    if op.get("auto_pad", "NOTSET") == "NOTSET" and not op.get("output_shape"):
        pads = op.get("pads") or [0, 0, 0, 0]
        padding = (int(pads[0]), int(pads[1]), int(pads[2]), int(pads[3]))
    else:
        totals = [full[d] + extra[d] - out[d] for d in range(2)]
        if min(totals) < 0:
            raise HostOnlyError("its result is larger than what its windows reach")
        upper = op.get("auto_pad", "NOTSET") == "SAME_UPPER"
        first = [t // 2 if upper else t - t // 2 for t in totals]
        padding = (first[0], first[1], totals[0] - first[0], totals[1] - first[1])
    build.add(
        "conv_transpose",
        [match.data.name],
        constants={"weight": weights.value, **constants},
        stride=stride,
        dilation=dilation,
        padding=padding,
        output_padding=extra,
        groups=groups,
    )


def gemm(build: NodeBuilder) -> None:
    match, op = build.match, build.match.op
    if op.get("transA", 0) or op.get("alpha", 1.0) != 1 or op.get("beta", 1.0) != 1:
        raise HostOnlyError("it has transA, alpha or beta")
    build.shape(match.data.name, 2)
    _dense(build, bool(op.get("transB", 0)))


def matrix_product(build: NodeBuilder) -> None:
    _dense(build, False)


def _dense(build: NodeBuilder, transposed: bool) -> None:
    match = build.match
    weights = _weights(match, 1)
    if weights.value.ndim != 2:
        raise HostOnlyError("its weights are not a matrix")
    weight = weights.value if transposed else weights.value.T
    constants = _channel_constants(match, weights, 2, len(weight), 0 if transposed else 1)
    constants["weight"] = np.ascontiguousarray(weight)
    shape, data = build.shape(match.data.name), match.data.name
    if len(shape) == 2:
        build.add("dense", [data], constants=constants)
        return
    rows = math.prod(shape[:-1])
    build.shape(match.output)
    flat = build.tensor("rows", (rows, shape[-1]), match.data.parameters)
    product = build.tensor("product", (rows, len(weight)), match.result)
    build.add("reshape", [data], flat, part="rows")
    build.add("dense", [flat], product, constants=constants)
    build.add("reshape", [product], part="shape")


def elementwise(build: NodeBuilder) -> None:
    match = build.match
    op = {"Add": "add", "Mul": "mul"}[match.kind]
    tensors = [operand for operand in match.operands if isinstance(operand, Int8Operand)]
    names = [tensor.name for tensor in tensors]
    if len(tensors) == 2:
        build.add(op, names)
        return
    constant = next(operand for operand in match.operands if isinstance(operand, FixedOperand))
    if not tensors:
        raise HostOnlyError("its data is constant")
    if constant.scale is None or constant.scale.size != 1:
        raise HostOnlyError("its constant is not quantised with one scale")
    assert constant.zero_point is not None
    value, point = constant.value, int(constant.zero_point[0])
    if value.dtype == np.uint8:
        value, point = (value.astype(np.int16) - 128).astype(np.int8), point - 128
    if value.dtype != np.int8:
        raise HostOnlyError(f"its constant is {value.dtype}, not int8 or uint8")
    build.add(
        op,
        names,
        constants={"constant": value},
        constant_scale=float(constant.scale[0]),
        constant_zero_point=point,
    )


def _windows(build: NodeBuilder) -> dict[str, Any]:
    match, op = build.match, build.match.op
    shape = build.shape(match.data.name, 4)
    kernel = _pair(op, "kernel_shape")
    stride, dilation = _pair(op, "strides"), _pair(op, "dilations")
    return {
        "kernel": kernel,
        "stride": stride,
        "dilation": dilation,
        "padding": _padding(op, shape[2:], kernel, stride, dilation),
    }


def max_pool(build: NodeBuilder) -> None:
    if len([name for name in build.match.op.outputs if name]) > 1:
        raise HostOnlyError("it also gives indices")
    build.add("max_pool", [build.match.data.name], **_windows(build))


def average_pool(build: NodeBuilder) -> None:
    counted = bool(build.match.op.get("count_include_pad", 0))
    if build.match.op.get("channels_last", 0):
        raise HostOnlyError("its channels come last")
    found = _windows(build)
    build.add("avg_pool", [build.match.data.name], count_include_pad=counted, **found)


def mean(build: NodeBuilder) -> None:
    """GlobalAveragePool, and ReduceMean over the image."""
    match, op = build.match, build.match.op
    shape = build.shape(match.data.name, 4)
    if op.get("channels_last", 0):
        raise HostOnlyError("its channels come last")
    if match.kind == "ReduceMean":
        axes = op.get("axes")
        if axes is None and op.domain == "" and op.input(1):
            constant = build.graph.constant(op.input(1))
            axes = None if constant is None else constant.reshape(-1).tolist()
        if axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
            raise HostOnlyError("it does not take the mean of the image")
    whole, out = (*shape[:2], 1, 1), build.shape(match.output)
    image = "" if out == whole else build.tensor("image", whole, match.result)
    build.add(
        "avg_pool",
        [match.data.name],
        image,
        kernel=(shape[2], shape[3]),
        stride=(1, 1),
        dilation=(1, 1),
        padding=(0, 0, 0, 0),
        count_include_pad=False,
    )
    if image:
        build.add("reshape", [image], part="shape")


def concat(build: NodeBuilder) -> None:
    match, names = build.match, []
    rank = len(build.shape(match.output))
    axis = match.op.get("axis")
    if axis is None or rank not in (2, 4) or axis % rank != 1:
        raise HostOnlyError("it does not join channels")
    for index, operand in enumerate(match.operands):
        if not isinstance(operand, Int8Operand):
            raise HostOnlyError("it joins constants")
        same = operand.parameters == match.result and match.limits == INT8
        if same:
            names.append(operand.name)
            continue
        shape = build.shape(operand.name)
        part = build.tensor(f"part{index}", shape, match.result)
        build.add("requantize", [operand.name], part, part=f"part{index}")
        names.append(part)
    build.add("concat", names, axis=1)


def reshape(build: NodeBuilder) -> None:
    build.shape(build.match.output)
    build.add("reshape", [build.match.data.name])


def transpose(build: NodeBuilder) -> None:
    """A Transpose that moves axes of length 1 only leaves the order of the numbers alone."""
    shape = build.shape(build.match.data.name)
    order = build.match.op.get("perm") or list(range(len(shape)))[::-1]
    long = [axis for axis in order if shape[axis] != 1]
    if long != sorted(long):
        raise HostOnlyError("it moves numbers")
    reshape(build)


def requantise(build: NodeBuilder) -> None:
    build.add("requantize", [build.match.data.name])
