"""Lowers the nodes of a region to operators, their constants, and where their data lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from vta.compiler.graph.int8_graph import Graph, Node, TensorInfo
from vta.compiler.graph.node_specs import (
    convolution,
    pool_spec,
    product_spec,
    rescale,
    sum_spec,
    transposed_convolution,
)
from vta.compiler.graph.stored_tensors import NO_BORDER, Border, Root, Stored, Use, joined_runs
from vta.compiler.graph.tensor_layout import Runs, TensorLayout, Windows, as_image
from vta.compiler.operators import AvgPool2d, ChannelBlocking, Conv2d, Epilogue, Spec
from vta.compiler.operators.multi_nest import OutputPart
from vta.config import Config

__all__ = ["InputBinding", "LoweredPart", "RegionLowering"]

Array = NDArray[np.generic]


@dataclass(frozen=True)
class LoweredPart:
    """One operator of a region.

    Attributes
    ----------
    node : str
        The name of its node.
    spec : Spec
    data : tuple of Use or int8 array
        The first inputs of its program; an array is a constant, in the layout of the others.
    arrays : tuple of arrays
        The spec's other operands.
    results : tuple of Use
        The program's outputs.
    why : str
        Why it was added, if the node itself does not ask for it.
    """

    node: str
    spec: Spec
    data: tuple[Use | Array, ...]
    arrays: tuple[Array, ...]
    results: tuple[Use, ...]
    why: str = ""


@dataclass(frozen=True)
class InputBinding:
    """A tensor that the host packs into an input of the region's program."""

    tensor: str
    windows: tuple[Windows, ...]
    stored: Stored


@dataclass
class RegionLowering:
    """The state of lowering one region.

    Parameters
    ----------
    graph : Graph
    config : Config
    outputs : set of str
        Tensors that the host reads.
    """

    graph: Graph
    config: Config
    outputs: set[str]
    parts: list[LoweredPart] = field(default_factory=list)
    inputs: list[InputBinding] = field(default_factory=list)
    stored: dict[str, Stored] = field(default_factory=dict)
    roots: list[Root] = field(default_factory=list)

    def lower(self, node: Node) -> None:
        """Adds the operators of a node."""
        lower: dict[str, Callable[[Node], None]] = {
            "conv": self._conv,
            "conv_transpose": self._conv_transpose,
            "dense": self._dense,
            "add": self._add,
            "mul": self._mul,
            "max_pool": self._pool,
            "avg_pool": self._pool,
            "requantize": self._requantize,
            "concat": self._concat,
            "reshape": self._reshape,
        }
        lower[node.op](node)

    # -- tensors ---------------------------------------------------------------------------------

    def _layout(
        self, image: tuple[int, ...], runs: Runs | None = None, blocks: int = 0
    ) -> TensorLayout:
        block = self.config.block
        return TensorLayout(
            shape=(image[0], image[1], image[2], image[3]),
            runs=((0, image[1]),) if runs is None else joined_runs(runs),
            blocks=blocks or -(-image[1] // block),
            batch=self.config.batch,
            block=block,
        )

    def _new(self, layout: TensorLayout, role: str = "temp") -> Stored:
        number = len(self.parts)
        root = Root(
            name=f"tensor_{len(self.roots)}",
            images=-(-layout.shape[0] // layout.batch),
            blocks=layout.blocks,
            height=layout.shape[2],
            width=layout.shape[3],
            role=role,
            first=number,
            last=number,
        )
        self.roots.append(root)
        return Stored(root, layout)

    def _tensor(self, name: str) -> TensorInfo:
        return self.graph.tensors[name]

    def _data(self, name: str, runs: Runs | None = None, blocks: int = 0) -> Stored:
        """A tensor that an operator reads; the host packs it in these runs if it comes from there.

        The reader must look at the layout that it gets.
        """
        if name not in self.stored:
            layout = self._layout(as_image(self._tensor(name).shape), runs, blocks)
            self.stored[name] = self._new(layout, "input")
            self.inputs.append(InputBinding(name, (), self.stored[name]))
        return self.stored[name]

    def _result(self, name: str, layout: TensorLayout) -> Stored:
        """A new tensor that an operator writes."""
        role = "output" if name in self.outputs else "temp"
        self.stored[name] = self._new(layout, role)
        return self.stored[name]

    def _emit(
        self,
        node: Node,
        spec: Spec,
        data: Sequence[Use | Array],
        arrays: Sequence[Array],
        results: Sequence[Use],
        why: str = "",
    ) -> None:
        for use in (*data, *results):
            if isinstance(use, Use):
                use.stored.root.top.lives(len(self.parts))
        part = LoweredPart(node.name, spec, tuple(data), tuple(arrays), tuple(results), why)
        self.parts.append(part)

    def _bordered(self, stored: Stored, border: Border, zero: int) -> Use:
        stored.root.needs(border, zero)
        return Use(stored, border)

    # -- nodes -----------------------------------------------------------------------------------

    def _conv(self, node: Node) -> None:
        spec, arrays = convolution(node, self.graph)
        name = node.inputs[0]
        if name not in self.stored and spec.folded(self.config) is not None:
            self._folded(node, spec, arrays)
            return
        self._convolve(node, spec, arrays, name)

    def _folded(self, node: Node, spec: Conv2d, arrays: list[Array]) -> None:
        """A convolution whose windows the host makes channels, where the data has few."""
        windows: list[Windows] = []
        while (folded := spec.folded(self.config)) is not None:
            pads, taps, stride, dilation = spec.fold_windows(folded)
            zero = spec.input_zero_point
            windows.append(
                Windows(padding=pads, zero=zero, taps=taps, stride=stride, dilation=dilation)
            )
            arrays = [spec.fold_weight(folded, arrays[0]), *arrays[1:]]
            spec = folded
        stored = self._new(self._layout(spec.data_shape), "input")
        self.inputs.append(InputBinding(node.inputs[0], tuple(windows), stored))
        self._run_conv(node, spec, arrays, stored, self._layout(spec.output_shape))

    def _convolve(self, node: Node, spec: Conv2d, arrays: list[Array], name: str) -> None:
        """A convolution of a tensor in tiles: its channels are the lanes of the layout."""
        block, (weight, bias, scale) = self.config.block, arrays
        blocking = spec.blocking(self.config)
        wanted = _chunks(blocking, blocking.input_chunk, blocking.input_blocks)
        stored = self._data(name, wanted, blocking.parts * blocking.input_blocks)
        lanes, total = stored.layout.lanes, stored.layout.blocks * block
        outputs = spec.weight_shape[0]
        if spec.groups == 1:
            weight = _at(weight, 1, lanes, total)
            layout = self._layout(spec.output_shape)
            groups = 1
        elif spec.groups == spec.data_shape[1] == outputs:
            weight = _at(weight, 0, lanes, total)
            bias, scale = _at(bias, 0, lanes, total), _at(scale, 0, lanes, total, 1)
            layout = self._layout(spec.output_shape, stored.layout.runs, stored.layout.blocks)
            groups = total
        elif stored.runs == joined_runs(wanted):
            runs = _chunks(blocking, blocking.output_chunk, blocking.output_blocks)
            layout = self._layout(spec.output_shape, runs, blocking.parts * blocking.output_blocks)
            self._run_conv(node, spec, arrays, stored, layout)
            return
        else:
            # The groups' weights on the diagonal of a convolution of all channels.
            weight = _at(_diagonal(weight, spec.groups), 1, lanes, total)
            layout = self._layout(spec.output_shape)
            groups = 1
        spec = replace(
            spec,
            data_shape=(spec.data_shape[0], total, *spec.data_shape[2:]),
            weight_shape=weight.shape,
            groups=groups,
        )
        self._run_conv(node, spec, [weight, bias, scale], stored, layout)

    def _run_conv(
        self,
        node: Node,
        spec: Conv2d,
        arrays: Sequence[Array],
        stored: Stored,
        layout: TensorLayout,
    ) -> None:
        border = spec.pieces(self.config)[1]
        data = self._bordered(stored, border, spec.input_zero_point)
        result = self._result(node.outputs[0], layout)
        self._emit(node, spec, [data], arrays, [Use(result)])

    def _conv_transpose(self, node: Node) -> None:
        spec, arrays = transposed_convolution(node, self.graph)
        block = self.config.block
        stored = self._data(node.inputs[0])
        total = stored.layout.blocks * block
        weight, bias, scale = arrays
        if spec.groups > 1:
            weight = _diagonal(weight.swapaxes(0, 1), spec.groups).swapaxes(0, 1)
        weight = _at(weight, 0, stored.layout.lanes, total)
        spec = replace(
            spec,
            data_shape=(spec.data_shape[0], total, *spec.data_shape[2:]),
            weight_shape=weight.shape,
            groups=1,
        )
        pieces, border = spec.pieces(self.config)
        data = self._bordered(stored, border, spec.input_zero_point)
        result = self._result(node.outputs[0], self._layout(spec.output_shape))
        self._emit(node, spec, [data], [weight, bias, scale], _uses(result, pieces))

    def _dense(self, node: Node) -> None:
        """A product as a convolution with one window: the image that was flattened, or a pixel."""
        name = node.inputs[0]
        known = self.stored.get(name)
        image = as_image(self._tensor(name).shape) if known is None else known.layout.shape
        weight = node.constants["weight"]
        turned = replace(
            node, constants={**node.constants, "weight": weight.reshape(len(weight), *image[1:])}
        )
        spec, arrays = convolution(turned, self.graph, image)
        self._convolve(node, spec, arrays, name)

    def _add(self, node: Node) -> None:
        first, other = self._operands(node)
        spec = sum_spec(node, self.graph, first.layout.nbytes)
        result = self._result(node.outputs[0], first.layout)
        self._emit(node, spec, [Use(first), other], [], [Use(result)])

    def _mul(self, node: Node) -> None:
        first, other = self._operands(node)
        layout = first.layout
        shape = (layout.shape[0], layout.blocks * self.config.block, *layout.shape[2:])
        spec, arrays = product_spec(node, self.graph, shape)
        result = self._result(node.outputs[0], layout)
        self._emit(node, spec, [Use(first), other], arrays, [Use(result)])

    def _operands(self, node: Node) -> tuple[Stored, Use | Array]:
        """The operands of an elementwise node, in the same lanes; the second may be a constant."""
        first = self._data(node.inputs[0])
        if len(node.inputs) == 1:
            shape = self._tensor(node.inputs[0]).shape
            whole = np.broadcast_to(node.constants["constant"], shape)
            return first, first.layout.pack(whole.reshape(as_image(shape)))
        second = self._data(node.inputs[1], first.layout.runs, first.layout.blocks)
        if not first.alike(second):
            second = self._moved_lanes(node, second, first.layout)
        return first, Use(second)

    def _moved_lanes(self, node: Node, stored: Stored, layout: TensorLayout) -> Stored:
        """A copy of a tensor in the lanes of another layout: a convolution with a permutation."""
        block = self.config.block
        inputs, outputs = stored.layout.blocks * block, layout.blocks * block
        weight = np.zeros((outputs, inputs, 1, 1), np.int8)
        weight[layout.lanes, stored.layout.lanes] = 1
        shape = (layout.shape[0], inputs, *layout.shape[2:])
        spec = Conv2d(shape, weight.shape, epilogue=Epilogue(scale=True))
        copy = self._new(layout)
        scale = np.ones(outputs, np.float32)
        why = "the two operands have their channels in different lanes"
        self._emit(node, spec, [Use(stored)], [weight, scale], [Use(copy)], why)
        return copy

    def _pool(self, node: Node) -> None:
        stored = self._data(node.inputs[0])
        layout = stored.layout
        image = layout.shape
        total = layout.blocks * self.config.block
        spec, arrays, zero = pool_spec(node, self.graph, (image[0], total, *image[2:]))
        border = spec.pieces(self.config)[1] if isinstance(spec, AvgPool2d) else NO_BORDER
        data = self._bordered(stored, border, zero)
        shape = (*image[:2], *spec.output_shape[2:])
        result = self._result(node.outputs[0], self._layout(shape, layout.runs, layout.blocks))
        pieces = spec.pieces(self.config)[0] if isinstance(spec, AvgPool2d) else []
        uses = _uses(result, pieces) if len(pieces) > 1 else [Use(result)]
        self._emit(node, spec, [data], arrays, uses)

    def _requantize(self, node: Node) -> None:
        stored = self._data(node.inputs[0])
        result = self._result(node.outputs[0], stored.layout)
        self._rescaled(node, node.inputs[0], stored, result)

    def _rescaled(
        self, node: Node, name: str, stored: Stored, result: Stored, why: str = ""
    ) -> None:
        """A copy of a tensor, with the scale and the zero point of the node's output."""
        layout = stored.layout
        shape = (layout.shape[0], layout.blocks * self.config.block, *layout.shape[2:])
        spec, arrays = rescale(node, self.graph, name, shape)
        self._emit(node, spec, [Use(stored)], arrays, [Use(result)], why)

    def _concat(self, node: Node) -> None:
        """Parts that nothing else needs elsewhere are computed in place; others are copied."""
        output = self._tensor(node.outputs[0])
        runs: list[tuple[int, int]] = []
        blocks = 0
        placed: list[tuple[str, Stored, int]] = []
        for name in node.inputs:
            stored = self._data(name)
            runs += [(first + blocks * self.config.block, count) for first, count in stored.runs]
            placed.append((name, stored, blocks))
            blocks += stored.layout.blocks
        image = as_image(output.shape)
        result = self._result(node.outputs[0], self._layout(image, tuple(runs), blocks))
        taken = set[str]()
        for name, stored, block in placed:
            if name not in taken and self._adoptable(node, name, stored):
                result.root.adopt(stored.root, block)
                taken.add(name)
                continue
            copy = self._new(stored.layout)
            result.root.adopt(copy.root, block)
            why = "what it joins is needed elsewhere, or has another scale"
            self._rescaled(node, name, stored, copy, why)

    def _adoptable(self, node: Node, name: str, stored: Stored) -> bool:
        """Whether an input of a concatenation can be computed in its place there."""
        root = stored.root
        return (
            root.role == "temp"
            and root.parent is None
            and root.blocks == stored.layout.blocks
            and _alike(self._tensor(name), self._tensor(node.outputs[0]))
            and (node.attributes.get("lower", -128), node.attributes.get("upper", 127))
            == (-128, 127)
        )

    def _reshape(self, node: Node) -> None:
        stored = self._data(node.inputs[0])
        output = node.outputs[0]
        if output in self.outputs and stored.root.role != "output":
            # The host reads it: it cannot share memory that is reused, or that the host wrote.
            copy = self._result(output, stored.layout)
            self._rescaled(node, node.inputs[0], stored, copy, "the host reads it")
            return
        self.stored[output] = stored


def _uses(result: Stored, pieces: Sequence[OutputPart]) -> list[Use]:
    """Where each piece of a result lies in it."""
    return [
        Use(
            result,
            rows=(piece.rows.start or 0, piece.rows.step or 1),
            columns=(piece.columns.start or 0, piece.columns.step or 1),
            count=(piece.nest.rows, piece.nest.columns),
        )
        for piece in pieces
    ]


def _alike(a: TensorInfo, b: TensorInfo) -> bool:
    return (a.scale, a.int8_zero_point) == (b.scale, b.int8_zero_point)


def _chunks(blocking: ChannelBlocking, chunk: int, blocks: int) -> Runs:
    """The runs of channels of a grouped convolution: each part starts at a block of its own."""
    channels = chunk // blocking.shared * blocking.groups
    return tuple(
        (part * blocks * blocking.block, min(chunk, channels - part * chunk))
        for part in range(blocking.parts)
    )


def _at(array: Array, axis: int, lanes: NDArray[np.int64], total: int, fill: int = 0) -> Array:
    """The array with index `i` of an axis moved to ``lanes[i]`` of `total`."""
    if len(lanes) == total and (lanes == np.arange(total)).all():
        return array
    shape = list(array.shape)
    shape[axis] = total
    result = np.full(shape, fill, array.dtype)
    result[(slice(None),) * axis + (lanes,)] = array
    return result


def _diagonal(weight: Array, groups: int) -> Array:
    """(O, I / groups, KH, KW) as (O, I, KH, KW), with zeros between the groups."""
    outputs, inputs = weight.shape[:2]
    each = outputs // groups
    result = np.zeros((outputs, inputs * groups, *weight.shape[2:]), weight.dtype)
    for group in range(groups):
        rows = slice(group * each, (group + 1) * each)
        result[rows, group * inputs : (group + 1) * inputs] = weight[rows]
    return result
