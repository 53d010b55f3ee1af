"""An interpreter of quantised ONNX models in numpy, written from ONNX's definition.

It knows nothing of the reader. A tensor behind DequantizeLinear stays a whole number and a scale,
and so do products of such tensors; QuantizeLinear then computes
``rint(float32(sum) * float32(scale)) + zero_point``.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
from onnx import helper, numpy_helper

F = np.float32


@dataclass
class Exact:
    """The sum of ``numbers * scale`` for each of `terms`, kept within bounds."""

    terms: list  # of (int64 array, float32 array that broadcasts)
    low: float = -np.inf
    high: float = np.inf
    mean_of: np.ndarray | None = None  # what a sum is to be divided by
    plain: bool = False  # a tensor as it was dequantised, not a sum or product

    def float(self):
        total = sum(numbers.astype(F) * scale for numbers, scale in self.terms)
        if self.mean_of is not None:
            total = total / self.mean_of.astype(F)
        return np.clip(total, F(self.low), F(self.high)).astype(F)

    def steps(self, scale, zero):
        """Multiples of `scale`, rounded, plus `zero`."""
        if len(self.terms) == 2:
            (a, sa), (b, sb) = self.terms
            return np.rint(a.astype(F) * (sa / scale) + b.astype(F) * (sb / scale) + F(zero))
        numbers, own = self.terms[0]
        if self.mean_of is not None:
            result = numbers.astype(F) * (own / (scale * self.mean_of.astype(F)))
        elif self.plain:
            result = numbers.astype(F) * own / scale
        else:
            result = numbers.astype(F) * (own / scale)
        return np.rint(result) + zero

    def quantised(self, scale, zero, dtype):
        limits = np.iinfo(dtype)
        result = self.steps(scale, zero)
        for bound, pick in ((self.low, np.maximum), (self.high, np.minimum)):
            if np.isfinite(bound):
                result = pick(result, np.rint(F(bound) / scale) + zero)
        return np.clip(result, limits.min, limits.max).astype(dtype)


def windows(data, kernel, strides, pads, dilations, fill, out):
    """(N, C, OH, OW, KH, KW)."""
    top, left = pads[0], pads[1]
    reach = [(out[d] - 1) * strides[d] + (kernel[d] - 1) * dilations[d] + 1 for d in (0, 1)]
    room = np.full(
        (*data.shape[:2], max(reach[0], top + data.shape[2]), max(reach[1], left + data.shape[3])),
        fill,
        data.dtype,
    )
    room[:, :, top : top + data.shape[2], left : left + data.shape[3]] = data
    seen = np.empty((*data.shape[:2], *out, *kernel), data.dtype)
    for y in range(kernel[0]):
        for x in range(kernel[1]):
            rows = room[:, :, y * dilations[0] :: strides[0], x * dilations[1] :: strides[1]]
            seen[:, :, :, :, y, x] = rows[:, :, : out[0], : out[1]]
    return seen


def padding(attributes, size, reach, strides):
    """(top, left, bottom, right)."""
    pads = list(attributes.get("pads", [0, 0, 0, 0]))
    mode = attributes.get("auto_pad", b"NOTSET")
    if mode.startswith(b"SAME"):
        for d in (0, 1):
            total = max((-(-size[d] // strides[d]) - 1) * strides[d] + reach[d] - size[d], 0)
            pads[d] = total // 2 if mode == b"SAME_UPPER" else -(-total // 2)
            pads[2 + d] = total - pads[d]
    return pads


class Interpreter:
    """Runs a model; `values` has every tensor."""

    def __init__(self, model):
        self.model = model
        self.opset = {each.domain: each.version for each in model.opset_import}[""]

    def run(self, inputs):
        self.values = {t.name: numpy_helper.to_array(t) for t in self.model.graph.initializer}
        self.values |= inputs
        for node in self.model.graph.node:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            operands = [self.values[name] if name else None for name in node.input]
            result = getattr(self, f"op_{node.op_type}")(attributes, *operands)
            self.values[node.output[0]] = result
        return {
            name: value.float() if isinstance(value, Exact) else value
            for name, value in self.values.items()
        }

    def op_QuantizeLinear(self, attributes, x, scale, zero=None):
        dtype = np.uint8 if zero is None else zero.dtype
        zero = 0 if zero is None else int(zero.reshape(-1)[0])
        scale = scale.reshape(-1)[0]
        if isinstance(x, Exact):
            return x.quantised(scale, zero, dtype)
        limits = np.iinfo(dtype)
        return np.clip(np.rint(x / scale) + zero, limits.min, limits.max).astype(dtype)

    def op_DequantizeLinear(self, attributes, x, scale, zero=None):
        shape = []
        if scale.size > 1:
            shape = [1] * x.ndim
            shape[attributes.get("axis", 1)] = -1
        zero = 0 if zero is None else zero.astype(np.int64).reshape(shape)
        return Exact([(x.astype(np.int64) - zero, scale.reshape(shape).astype(F))], plain=True)

    def _sums(self, attributes, x, w):
        """int64 sums of a convolution of whole numbers."""
        kernel, groups = w.shape[2:], attributes.get("group", 1)
        strides = attributes.get("strides", [1, 1])
        dilations = attributes.get("dilations", [1, 1])
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        pads = padding(attributes, x.shape[2:], reach, strides)
        out = [
            (x.shape[2 + d] + pads[d] + pads[2 + d] - reach[d]) // strides[d] + 1 for d in (0, 1)
        ]
        seen = windows(x.astype(np.float64), kernel, strides, pads, dilations, 0, out)
        parts, per_in, per_out = [], x.shape[1] // groups, w.shape[0] // groups
        for group in range(groups):
            part = seen[:, group * per_in : (group + 1) * per_in]
            own = w[group * per_out : (group + 1) * per_out].astype(np.float64)
            parts.append(np.einsum("nchwyx,ocyx->nohw", part, own, optimize=True))
        return np.concatenate(parts, 1).astype(np.int64)

    def op_Conv(self, attributes, x, w, b=None):
        (numbers, scale), (weights, scales) = x.terms[0], w.terms[0]
        sums = self._sums(attributes, numbers, weights)
        scales = scale.reshape(-1) * scales.reshape(-1)
        if b is not None:
            sums = sums + b.terms[0][0].reshape(1, -1, 1, 1)
        return Exact([(sums, scales.reshape(1, -1, 1, 1))])

    def op_ConvTranspose(self, attributes, x, w, b=None):
        (numbers, scale), (weights, scales) = x.terms[0], w.terms[0]
        strides = attributes.get("strides", [1, 1])
        dilations, groups = attributes.get("dilations", [1, 1]), attributes.get("group", 1)
        extra, pads = attributes.get("output_padding", [0, 0]), attributes.get("pads", [0] * 4)
        images, channels, height, width = numbers.shape
        full = [
            (size - 1) * s + (k - 1) * d + 1 + e
            for size, s, k, d, e in zip(
                (height, width), strides, weights.shape[2:], dilations, extra, strict=True
            )
        ]
        sums = np.zeros((images, weights.shape[1] * groups, *full), np.int64)
        for c in range(channels):
            first = c // (channels // groups) * weights.shape[1]
            for i in range(height):
                for j in range(width):
                    for y in range(weights.shape[2]):
                        for z in range(weights.shape[3]):
                            at = (
                                i * strides[0] + y * dilations[0],
                                j * strides[1] + z * dilations[1],
                            )
                            sums[:, first : first + weights.shape[1], at[0], at[1]] += (
                                numbers[:, c, i, j, None] * weights[c, :, y, z]
                            )
        sums = sums[:, :, pads[0] : full[0] - pads[2], pads[1] : full[1] - pads[3]]
        if b is not None:
            sums = sums + b.terms[0][0].reshape(1, -1, 1, 1)
        scales = scale.reshape(-1) * scales.reshape(-1)
        return Exact([(sums, scales.reshape(1, -1, 1, 1))])

    def op_Gemm(self, attributes, x, w, b=None):
        (numbers, scale), (weights, scales) = x.terms[0], w.terms[0]
        sums = numbers @ (weights.T if attributes.get("transB", 0) else weights)
        if b is not None:
            sums = sums + b.terms[0][0]
        return Exact([(sums, scale.reshape(-1) * scales.reshape(-1))])

    def op_MatMul(self, attributes, x, w):
        return self.op_Gemm({}, x, w)

    def op_Add(self, attributes, a, b):
        return Exact([a.terms[0], b.terms[0]])

    def op_Mul(self, attributes, a, b):
        (x, sx), (y, sy) = a.terms[0], b.terms[0]
        return Exact([(x * y, sx * sy)])

    def op_Relu(self, attributes, x):
        return _bounded(x, 0.0, np.inf)

    def op_Clip(self, attributes, x, low=None, high=None):
        return _bounded(
            x, -np.inf if low is None else float(low), np.inf if high is None else float(high)
        )

    def _pool(self, attributes, x):
        kernel, strides = attributes["kernel_shape"], attributes.get("strides", [1, 1])
        dilations = attributes.get("dilations", [1, 1])
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        pads = padding(attributes, x.shape[2:], reach, strides)
        out = []
        for d in (0, 1):
            room = x.shape[2 + d] + pads[d] + pads[2 + d] - reach[d]
            steps = -(-room // strides[d]) if attributes.get("ceil_mode", 0) else room // strides[d]
            if steps * strides[d] >= x.shape[2 + d] + pads[d]:
                steps -= 1  # The last window must start at the data or the padding before it.
            out.append(steps + 1)
        return kernel, strides, pads, dilations, out

    def op_MaxPool(self, attributes, x):
        numbers = x.terms[0][0] if isinstance(x, Exact) else x
        kernel, strides, pads, dilations, out = self._pool(attributes, numbers)
        least = np.iinfo(numbers.dtype).min
        result = windows(numbers, kernel, strides, pads, dilations, least, out).max((4, 5))
        return self._like(x, lambda _: result)

    def op_AveragePool(self, attributes, x):
        numbers, scale = x.terms[0]
        kernel, strides, pads, dilations, out = self._pool(attributes, numbers)
        sums = windows(numbers, kernel, strides, pads, dilations, 0, out).sum((4, 5))
        ones = np.ones_like(numbers)
        if attributes.get("count_include_pad", 0):
            ones = np.pad(ones, ((0, 0), (0, 0), pads[::2], pads[1::2]), constant_values=1)
            pads = [0] * 4
        counts = windows(ones, kernel, strides, pads, dilations, 0, out).sum((4, 5))
        return Exact([(sums, scale)], mean_of=counts)

    def op_GlobalAveragePool(self, attributes, x):
        numbers, scale = x.terms[0]
        sums = numbers.sum((2, 3), keepdims=True)
        return Exact([(sums, scale)], mean_of=np.array(numbers.shape[2] * numbers.shape[3]))

    def op_ReduceMean(self, attributes, x, axes=None):
        axes = tuple(attributes["axes"]) if axes is None else tuple(axes.tolist())
        numbers, scale = x.terms[0]
        sums = numbers.sum(axes, keepdims=bool(attributes.get("keepdims", 1)))
        return Exact([(sums, scale.reshape(()))], mean_of=np.array(numbers.size // sums.size))

    def _like(self, x, change):
        if not isinstance(x, Exact):
            return change(x)
        numbers, scale = x.terms[0]
        return replace(x, terms=[(change(numbers), scale)])

    def op_Reshape(self, attributes, x, shape):
        def change(values):
            sizes = [values.shape[i] if s == 0 else s for i, s in enumerate(shape.tolist())]
            return values.reshape(sizes)

        return self._like(x, change)

    def op_Flatten(self, attributes, x):
        axis = attributes.get("axis", 1)
        return self._like(x, lambda v: v.reshape(int(np.prod(v.shape[:axis])), -1))

    def op_Concat(self, attributes, *operands):
        axis = attributes["axis"]
        if not isinstance(operands[0], Exact):
            return np.concatenate(operands, axis)
        return Joined(operands, axis)

    def op_LeakyRelu(self, attributes, x):
        x = x.float()
        return np.where(x >= 0, x, x * F(attributes["alpha"]))

    def op_Abs(self, attributes, x):
        return np.abs(x.float())

    def op_Resize(self, attributes, x, roi, scales):
        assert attributes["nearest_mode"] == b"floor"
        x = x.float() if isinstance(x, Exact) else x
        for axis, scale in enumerate(scales.tolist()):
            x = x.repeat(int(scale), axis)
        return x

    def op_QLinearConv(self, attributes, x, xs, xz, w, ws, wz, ys, yz, b=None):
        sums = self._sums(attributes, x.astype(np.int64) - int(xz), w.astype(np.int64))
        assert not wz.any()
        if b is not None:
            sums = sums + b.reshape(1, -1, 1, 1)
        scales = (xs * ws / ys).astype(F)
        return _clipped(np.rint(sums.astype(F) * scales.reshape(1, -1, 1, 1)), yz)

    def op_QLinearMatMul(self, attributes, a, sa, za, b, sb, zb, ys, yz):
        sums = (a.astype(np.int64) - int(za)) @ (b.astype(np.int64) - zb.astype(np.int64))
        return _clipped(np.rint(sums.astype(F) * (sa * sb / ys).astype(F)), yz)

    def op_QGemm(self, attributes, a, sa, za, b, sb, zb, c, ys, yz):
        b = b.T if attributes.get("transB", 0) else b
        sums = (a.astype(np.int64) - int(za)) @ b.astype(np.int64) + c
        assert not zb.any()
        return _clipped(np.rint(sums.astype(F) * (sa * sb / ys).astype(F)), yz)

    def op_QLinearAdd(self, attributes, a, sa, za, b, sb, zb, ys, yz):
        left = (a.astype(F) - F(za)) * (sa / ys)
        return _clipped(np.rint(left + (b.astype(F) - F(zb)) * (sb / ys) + F(yz)) - F(yz), yz)

    def op_QLinearGlobalAveragePool(self, attributes, x, xs, xz, ys, yz):
        sums = (x.astype(np.int64) - int(xz)).sum((2, 3), keepdims=True)
        scale = xs / (ys * F(x.shape[2] * x.shape[3]))
        return _clipped(np.rint(sums.astype(F) * scale), yz)


class Joined(Exact):
    """Tensors with scales of their own, one after the other along an axis."""

    def __init__(self, parts, axis):
        super().__init__([])
        self.parts, self.axis = parts, axis

    def float(self):
        return np.concatenate([part.float() for part in self.parts], self.axis)

    def steps(self, scale, zero):
        return np.concatenate([part.steps(scale, zero) for part in self.parts], self.axis)


def _bounded(x, low, high):
    if isinstance(x, Exact):
        x = copy.copy(x)
        x.low, x.high = max(x.low, low), min(x.high, high)
        return x
    return np.clip(x, low, high)


def _clipped(numbers, zero):
    limits = np.iinfo(zero.dtype)
    return np.clip(numbers + int(zero), limits.min, limits.max).astype(zero.dtype)
