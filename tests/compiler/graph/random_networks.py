"""Random networks in QDQ form: branches, residuals, concatenations, several outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

__all__ = ["quantised_networks"]


@dataclass(frozen=True)
class Value:
    """A tensor behind DequantizeLinear."""

    name: str
    shape: tuple[int, ...]
    scale: float


class QuantisedNet:
    """A network under construction; what it contains is drawn."""

    def __init__(self, draw):
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        self.dtype = draw(st.sampled_from([np.uint8, np.int8]))
        self.nodes, self.constants, self.outputs = [], [], []

    def pick(self, *options):
        return self.draw(st.sampled_from(options))

    def node(self, kind, inputs, **attributes):
        output = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, value):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def scale(self, about):
        """About this scale, as a float32."""
        return float(np.float32(about * self.rng.uniform(0.6, 1.7)))

    def quantised(self, name, shape, scale):
        """The tensor behind QuantizeLinear and DequantizeLinear."""
        limits = np.iinfo(self.dtype)
        middle = 128 if self.dtype == np.uint8 else 0
        zero = self.pick(limits.min, middle, middle, int(self.rng.integers(limits.min, limits.max)))
        parameters = [self.constant(np.float32(scale)), self.constant(self.dtype(zero))]
        number = self.node("QuantizeLinear", [name, *parameters])
        result = self.node("DequantizeLinear", [number, *parameters])
        return Value(result, shape, scale)

    def weights(self, shape, axis):
        """Name of the weights, and their scales: one, or one for each channel along `axis`."""
        channels = self.pick(1, shape[axis])
        scales = self.rng.uniform(0.002, 0.02, channels if channels > 1 else ())
        scales = scales.astype(np.float32)
        values = self.rng.integers(-127, 128, shape).astype(np.int8)
        zero = np.zeros(scales.shape, np.int8)
        more = {"axis": axis} if scales.ndim else {}
        names = [self.constant(each) for each in (values, scales, zero)]
        return self.node("DequantizeLinear", names, **more), scales

    def bias(self, data, scales, channels):
        values = self.rng.integers(-3000, 3000, channels).astype(np.int32)
        scales = np.float32(data.scale) * scales
        more = {"axis": 0} if scales.ndim else {}
        return self.node("DequantizeLinear", [self.constant(values), self.constant(scales)], **more)

    def finish(self, name, shape, scale):
        """An activation or none, then the scale."""
        kind = self.pick("none", "none", "Relu", "Clip")
        if kind == "Relu":
            name = self.node("Relu", [name])
        elif kind == "Clip":
            bounds = [np.float32(-20 * scale), np.float32(60.3 * scale)]
            name = self.node("Clip", [name, *map(self.constant, bounds)])
        return self.quantised(name, shape, scale)

    def conv(self, x):
        n, channels, height, width = x.shape
        groups = self.pick(1, 1, channels, 2 if channels % 2 == 0 else 1)
        out = groups * self.pick(1, 2, 3)
        kernel = [self.pick(1, 2, 3), self.pick(1, 3)]
        stride, dilation = [self.pick(1, 1, 2), self.pick(1, 2)], [1, self.pick(1, 1, 2)]
        pads = [self.pick(0, 1), self.pick(0, 1, 2), self.pick(0, 1), self.pick(0, 1)]
        sizes = [
            (size + pads[d] + pads[2 + d] - (kernel[d] - 1) * dilation[d] - 1) // stride[d] + 1
            for d, size in enumerate((height, width))
        ]
        if min(sizes) < 1:
            return None
        weight, scales = self.weights((out, channels // groups, *kernel), 0)
        bias = [self.bias(x, scales, out)] if self.pick(True, False) else []
        name = self.node(
            "Conv",
            [x.name, weight, *bias],
            kernel_shape=kernel,
            strides=stride,
            dilations=dilation,
            pads=pads,
            group=groups,
        )
        terms = channels // groups * kernel[0] * kernel[1]
        scale = self.scale(x.scale * float(scales.mean()) * 90 * terms**0.5)
        return self.finish(name, (n, out, *sizes), scale)

    def conv_transpose(self, x):
        n, channels, height, width = x.shape
        out, kernel = self.pick(1, 3), [self.pick(1, 2, 3), self.pick(2, 3)]
        stride = [self.pick(1, 2), self.pick(1, 2)]
        pads = [0, self.pick(0, 1), 0, self.pick(0, 1)]
        extra = [self.pick(0, stride[0] - 1), 0]
        sizes = [
            (size - 1) * stride[d] + kernel[d] + extra[d] - pads[d] - pads[2 + d]
            for d, size in enumerate((height, width))
        ]
        if min(sizes) < 1 or max(sizes) > 20:
            return None
        weight, scales = self.weights((channels, out, *kernel), 1)
        name = self.node(
            "ConvTranspose",
            [x.name, weight, *([self.bias(x, scales, out)] if self.pick(True, False) else [])],
            kernel_shape=kernel,
            strides=stride,
            pads=pads,
            output_padding=extra,
        )
        scale = self.scale(x.scale * float(scales.mean()) * 90 * (channels * 2) ** 0.5)
        return self.finish(name, (n, out, *sizes), scale)

    def pool(self, x):
        kernel, kind = [self.pick(2, 3), self.pick(1, 2)], self.pick("MaxPool", "AveragePool")
        stride = [self.pick(1, 2), self.pick(1, 2)]
        pads = [self.pick(0, 1), 0, 0, self.pick(0, kernel[1] - 1)]
        ceil = self.pick(0, 0, 1)
        sizes, more_windows = [], []
        for d, size in enumerate(x.shape[2:]):
            room = size + pads[d] + pads[2 + d] - kernel[d]
            # The last window must start at the data, or at the padding before it.
            steps = -(-room // stride[d])
            more_windows.append(steps * stride[d] < size + pads[d])
            sizes.append((steps if ceil and more_windows[d] else room // stride[d]) + 1)
        if min(sizes) < 1 or (ceil and any(more_windows) and not all(more_windows)):
            # ONNX's inference of shapes and ONNX Runtime disagree where only one side has a window.
            return None
        more = {} if kind == "MaxPool" else {"count_include_pad": self.pick(0, 1)}
        shape = {"kernel_shape": kernel, "strides": stride, "pads": pads, "ceil_mode": ceil}
        name = self.node(kind, [x.name], **shape, **more)
        return self.finish(name, (*x.shape[:2], *sizes), x.scale * self.pick(1, 1, 0.9))

    def mean(self, x):
        if self.pick(True, False):
            name = self.node("GlobalAveragePool", [x.name])
        else:
            name = self.node("ReduceMean", [x.name], axes=[2, 3], keepdims=1)
        return self.finish(name, (*x.shape[:2], 1, 1), self.scale(x.scale * 0.6))

    def activation(self, x):
        """On its own, or an operator that the accelerator lacks."""
        kind = self.pick("Relu", "LeakyRelu", "Abs")
        name = self.node(kind, [x.name], **({"alpha": 0.1} if kind == "LeakyRelu" else {}))
        return self.quantised(name, x.shape, self.scale(x.scale))

    def join(self, a, b):
        """Add or Mul of equal shapes, or Concat."""
        if a.shape == b.shape and self.pick(True, True, False):
            kind = self.pick("Add", "Add", "Mul")
            name = self.node(kind, [a.name, b.name])
            scale = max(a.scale, b.scale) if kind == "Add" else a.scale * b.scale * 60
            return self.finish(name, a.shape, self.scale(scale))
        if a.shape[0] == b.shape[0] and a.shape[2:] == b.shape[2:]:
            name = self.node("Concat", [a.name, b.name], axis=1)
            shape = (a.shape[0], a.shape[1] + b.shape[1], *a.shape[2:])
            return self.finish(name, shape, self.scale(max(a.scale, b.scale)))
        return None

    def head(self, x):
        """Flatten and Gemm or MatMul."""
        inputs, out = int(np.prod(x.shape[1:])), self.pick(1, 5, 17)
        flat = self.node("Flatten", [x.name])
        flat = self.quantised(flat, (x.shape[0], inputs), x.scale)
        shape, axis = ((inputs, out), 1) if self.pick(True, False) else ((out, inputs), 0)
        weight, scales = self.weights(shape, axis)
        if axis:
            name = self.node("MatMul", [flat.name, weight])
        else:
            bias = self.bias(flat, scales, out)
            name = self.node("Gemm", [flat.name, weight, bias], transB=1)
        scale = self.scale(flat.scale * float(scales.mean()) * 90 * inputs**0.5)
        return self.finish(name, (x.shape[0], out), scale)

    def model(self, values):
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(v.name, TensorProto.FLOAT, v.shape) for v in values],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


@st.composite
def quantised_networks(draw):
    """A model in QDQ form of up to eight layers."""
    net = QuantisedNet(draw)
    net.shape = (1, net.pick(1, 3, 4, 17), net.pick(4, 7, 9), net.pick(5, 8))
    values = [net.quantised("x", net.shape, 1 / 40)]
    unread = []
    for _ in range(draw(st.integers(1, 7))):
        x = values[-1] if draw(st.integers(0, 3)) else draw(st.sampled_from(values))
        layer = net.pick("conv", "conv", "pool", "mean", "activation", "conv_transpose", "join")
        same = [v for v in values if v.shape[2:] == x.shape[2:]]
        result = net.join(x, draw(st.sampled_from(same))) if layer == "join" else None
        result = result or (getattr(net, layer)(x) if layer != "join" else net.conv(x))
        if result is not None:
            values.append(result)
    read = {name for node in net.nodes for name in node.input}
    unread = [value for value in values[1:] if value.name not in read] or values[-1:]
    if draw(st.booleans()):
        unread[-1] = net.head(unread[-1])
    return net.model(unread)
