"""Builds networks with onnx.helper and random weights, and quantises them with ONNX Runtime."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static


class Net:
    """A float32 network under construction; each method adds an operator, returns its result."""

    def __init__(self, shape, seed=0, name="net"):
        self.rng = np.random.default_rng(seed)
        self.name, self.shape = name, tuple(shape)
        self.nodes, self.constants, self.outputs = [], [], []
        self.channels = {"x": shape[1]}

    def op(self, kind, *inputs, channels=None, **attributes):
        output = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, list(inputs), [output], name=f"n_{output}", **attributes)
        )
        self.channels[output] = self.channels.get(inputs[0]) if channels is None else channels
        return output

    def constant(self, value):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def numbers(self, *shape, scale=1.0):
        return self.constant((self.rng.standard_normal(shape) * scale).astype(np.float32))

    def conv(self, x, channels, kernel=3, stride=1, pad=None, groups=1, bias=True, **more):
        inputs = self.channels[x] // groups
        weight = self.numbers(
            channels, inputs, kernel, kernel, scale=(2 / (inputs * kernel**2)) ** 0.5
        )
        pad = kernel // 2 if pad is None else pad
        operands = [x, weight, *([self.numbers(channels, scale=0.1)] if bias else [])]
        return self.op(
            "Conv",
            *operands,
            channels=channels,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=pad if isinstance(pad, list) else [pad] * 4,
            group=groups,
            **more,
        )

    def relu(self, x):
        return self.op("Relu", x)

    def clip6(self, x):
        return self.op("Clip", x, self.constant(np.float32(0)), self.constant(np.float32(6)))

    def max_pool(self, x, kernel=2, stride=2, pad=0, **more):
        return self.op(
            "MaxPool", x, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, **more
        )

    def dense(self, x, inputs, outputs):
        weight = self.numbers(outputs, inputs, scale=inputs**-0.5)
        bias = self.numbers(outputs, scale=0.1)
        return self.op("Gemm", x, weight, bias, channels=outputs, transB=1)

    def model(self, *outputs, opset=17):
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        model.ir_version = 10
        return onnx.shape_inference.infer_shapes(model, strict_mode=True)


class _Samples(CalibrationDataReader):
    def __init__(self, samples):
        self.samples = iter(samples)

    def get_next(self):
        return next(self.samples, None)


def quantise(
    model,
    folder: Path,
    *,
    form=QuantFormat.QDQ,
    activations=QuantType.QUInt8,
    per_channel=True,
    symmetric=False,
    samples=None,
):
    """The model with int8 weights, calibrated on two random inputs."""
    if samples is None:
        rng = np.random.default_rng(1)
        samples = [
            {
                value.name: rng.standard_normal(
                    [dim.dim_value for dim in value.type.tensor_type.shape.dim]
                ).astype(np.float32)
                for value in model.graph.input
            }
            for _ in range(2)
        ]
    before, after = folder / "float.onnx", folder / "int8.onnx"
    onnx.save(model, before)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        quantize_static(
            before,
            after,
            _Samples(samples),
            quant_format=form,
            per_channel=per_channel,
            activation_type=activations,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": symmetric},
        )
    finally:
        root.setLevel(level)
    return onnx.load(after)


def small_net(size=16, seed=0):
    """Convolutions, a pool, a residual, a mean and a dense layer."""
    net = Net((1, 3, size, size), seed, "small")
    x = net.relu(net.conv("x", 16))
    x = net.max_pool(x)
    y = net.relu(net.conv(x, 16))
    y = net.conv(y, 16)
    x = net.relu(net.op("Add", x, y))
    x = net.op("GlobalAveragePool", x)
    x = net.op("Flatten", x)
    return net.model(net.dense(x, 16, 10))
