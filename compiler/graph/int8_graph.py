"""The int8 graph: a quantised network between the ONNX reader and the compiler.

It does not need the onnx package. Each tensor keeps the name that it has in the ONNX model, so
that results can be compared tensor by tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["HOST_OPS", "MACHINE_OPS", "Graph", "Node", "TensorInfo"]

MACHINE_OPS = (
    "conv",
    "conv_transpose",
    "dense",
    "add",
    "mul",
    "max_pool",
    "avg_pool",
    "concat",
    "requantize",
    "reshape",
)
"""Operations on int8 tensors, which the accelerator can do for suitable shapes and values."""

HOST_OPS = ("quantize", "dequantize", "cpu")
"""Operations on the host: the borders in numpy, everything else in ONNX Runtime."""


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """A tensor of the network.

    Attributes
    ----------
    name : str
        As in the ONNX model.
    shape : tuple of int
        Images are (N, C, H, W).
    dtype : str
        As in the ONNX model: a quantised tensor is int8 or uint8.
    scale : float or None
        Of a quantised tensor, a float32 value: the number that a difference of 1 stands for.
    zero_point : int
        Of a quantised tensor, in its own dtype: what stands for 0.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int = 0

    @property
    def quantised(self) -> bool:
        """Whether the accelerator can hold it: int8 or uint8, with a scale."""
        return self.scale is not None

    @property
    def offset(self) -> int:
        """What is subtracted from its values to give int8: 128 for uint8, otherwise 0."""
        return 128 if self.dtype == "uint8" else 0

    @property
    def int8_zero_point(self) -> int:
        """What stands for 0 on the accelerator, -128 to 127."""
        return self.zero_point - self.offset

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, kw_only=True)
class Node:
    """An operation of the network.

    Attributes
    ----------
    name : str
        Unique; the ONNX node that it mainly comes from.
    op : str
        One of `MACHINE_OPS` or `HOST_OPS`.
    inputs, outputs : tuple of str
        Names of tensors; constants are not among them.
    attributes : mapping
        Plain numbers and tuples of them. By `op`:

        - ``conv``: stride (y, x), dilation (y, x), padding (top, left, bottom, right), groups
        - ``conv_transpose``: the same, and output_padding (y, x)
        - ``max_pool``: kernel (y, x), stride, dilation, padding; the output's shape says how many
          windows there are, of which the last ones may reach beyond the padding
        - ``avg_pool``: the same, and count_include_pad; a mean over the image has kernel (H, W)
        - ``add``, ``mul`` with a constant: constant_scale, constant_zero_point
        - ``concat``: axis, counted from the front; its inputs have the scale and the zero point of
          its output
        - ``conv``, ``conv_transpose``, ``dense``, ``add``, ``mul``, ``avg_pool``, ``requantize``:
          lower, upper, the least and the greatest result as int8 values, -128 and 127 unless a
          ReLU or Clip narrows them

        Dilations of 1 and bounds of -128 and 127 may be left out.
    constants : mapping of str to array
        ``weight`` int8, (O, I / groups, KH, KW) for ``conv``, (I, O / groups, KH, KW) for
        ``conv_transpose``, (O, I) for ``dense``; ``bias`` (O,) int32; ``scale`` (O,) float32: the
        product of the scales of input and weight divided by that of the output, computed in
        float32 as ONNX Runtime does. ``bias`` may be left out. ``add``, ``mul``: ``constant``, an
        int8 operand that is not a tensor.
    sources : tuple of str
        Names of all ONNX nodes that it stands for.
    reason : str
        Why it runs on the host.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A network.

    Attributes
    ----------
    name : str
    inputs, outputs : tuple of str
        Names of tensors, in the order of the ONNX model.
    tensors : mapping of str to TensorInfo
        Every tensor between nodes.
    nodes : tuple of Node
        In an order in which each comes after those that it reads from.
    cpu_models : mapping of str to bytes
        For each node with op ``cpu``: an ONNX model with just the node's work, whose inputs and
        outputs have the names of the node's.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[str, TensorInfo]
    nodes: tuple[Node, ...]
    cpu_models: Mapping[str, bytes] = field(default_factory=dict)
