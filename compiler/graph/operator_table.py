"""The operators of ONNX that become nodes of the int8 graph: a row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vta.compiler.graph import node_builders as builders
from vta.compiler.graph.int8_forms import INT8_FORMS
from vta.compiler.graph.node_builders import NodeBuilder

__all__ = ["ROWS", "Row"]


@dataclass(frozen=True)
class Row:
    """An operator.

    Attributes
    ----------
    kind : str
        Its name in ONNX, for float32 tensors between DequantizeLinear and QuantizeLinear.
    build : callable
        Adds the nodes, or raises `HostOnlyError`.
    what : str
        Which cases the int8 graph has; everything else runs in ONNX Runtime.
    """

    kind: str
    build: Callable[[NodeBuilder], None]
    what: str

    @property
    def also(self) -> tuple[str, ...]:
        """Operators on int8 tensors that are read in the same way."""
        return tuple(name for name, form in INT8_FORMS.items() if form.kind == self.kind)


_TABLE = (
    Row(
        "Conv",
        builders.convolution,
        "images; any stride, dilation, padding, `auto_pad` and number of groups, depthwise "
        "included; constant weights",
    ),
    Row(
        "ConvTranspose",
        builders.transposed_convolution,
        "as Conv; with groups, one scale for all weights",
    ),
    Row(
        "Gemm",
        builders.gemm,
        "constant weights, with or without `transB`; no `transA`, `alpha` and `beta` 1",
    ),
    Row("MatMul", builders.matrix_product, "the right operand constant"),
    Row("Add", builders.elementwise, "tensors, or a tensor and a constant with one scale"),
    Row("Mul", builders.elementwise, "tensors, or a tensor and a constant with one scale"),
    Row("MaxPool", builders.max_pool, "images; any window, stride, dilation, padding; no indices"),
    Row(
        "AveragePool",
        builders.average_pool,
        "images; any window, stride, dilation, padding, with or without `count_include_pad`",
    ),
    Row("GlobalAveragePool", builders.mean, "images"),
    Row("ReduceMean", builders.mean, "over both axes of an image, with or without `keepdims`"),
    Row("Relu", builders.requantise, "part of the operator before it, or on its own"),
    Row("Clip", builders.requantise, "as Relu, with constant limits"),
    Row("Concat", builders.concat, "along the channels"),
    Row("Reshape", builders.reshape, "of the whole tensor, to a constant shape"),
    Row("Flatten", builders.reshape, "any"),
    Row("Squeeze", builders.reshape, "any"),
    Row("Unsqueeze", builders.reshape, "any"),
    Row("Transpose", builders.transpose, "of axes of length 1, or undone by the next Transpose"),
    Row(
        "QuantizeLinear",
        builders.requantise,
        "one scale, int8 or uint8; after a float32 input of the network on the host",
    ),
)

ROWS = {row.kind: row for row in _TABLE}
"""The rows by the operator's name."""
