"""Compiles a region: its nodes' operators, a plan of its memory, and the one program of all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vta.compiler.graph.arena import Lifetime, aligned, plan_arena
from vta.compiler.graph.compiled_operators import CompiledOperator, compile_operator
from vta.compiler.graph.int8_graph import Graph, Node
from vta.compiler.graph.link_regions import CONSTANTS, LinkedPart, View, fill, link
from vta.compiler.graph.lower_node import LoweredPart, RegionLowering
from vta.compiler.graph.stored_tensors import Root, Use
from vta.compiler.graph.tensor_layout import TensorLayout, Windows
from vta.compiler.ir.insn_ir import Op
from vta.compiler.operators import Conv2d, Conv2dTranspose, Spec
from vta.config import Config
from vta.isa import MemoryType
from vta.program import DramBuffer, Program

__all__ = ["ARENA", "PartFacts", "RegionProgram", "compile_region"]

ARENA = "arena"
"""The buffer of the tensors between a region's operators."""

FILL = 64
"""Tiles that fill borders, at most."""


@dataclass(frozen=True)
class PartFacts:
    """What a report says about an operator.

    `cycles` is the cycle model's estimate; `bound` says which part of the machine needs the most
    by itself, and that is `least` cycles.
    """

    node: str
    operator: str
    cycles: int
    bound: str
    least: int
    macs: int
    instructions: int
    nbytes: int
    why: str


@dataclass(frozen=True)
class RegionProgram:
    """A region's program, and how its inputs and outputs lie in their buffers.

    Attributes
    ----------
    program : Program
    inputs : tuple of (buffer, tensor, windows, layout)
    outputs : tuple of (buffer, tensor, layout)
    parts : tuple of PartFacts
    firsts : tuple of (str, int)
        Each node, and the first instruction of one of its operators, in order.
    arena_bytes, constant_bytes : int
    """

    program: Program
    inputs: tuple[tuple[str, str, tuple[Windows, ...], TensorLayout], ...]
    outputs: tuple[tuple[str, str, TensorLayout], ...]
    parts: tuple[PartFacts, ...]
    firsts: tuple[tuple[str, int], ...]
    arena_bytes: int
    constant_bytes: int


def compile_region(
    name: str, nodes: Sequence[Node], graph: Graph, config: Config, outputs: set[str], latency: int
) -> RegionProgram:
    """The program of nodes that all run on the accelerator.

    Parameters
    ----------
    name : str
    nodes : sequence of Node
        In an order in which each comes after those that it reads from.
    graph : Graph
    config : Config
    outputs : set of str
        Those of its tensors that are read outside.
    latency : int
        Cycles after which the memory answers.
    """
    lowering = RegionLowering(graph, config, _with_sources(nodes, outputs))
    for node in nodes:
        lowering.lower(node)
    places = _places(lowering, config)
    segment = _Constants(max(config.elem_bytes(kind) for kind in MemoryType))
    parts: list[LinkedPart] = []
    facts: list[PartFacts] = []
    names: list[str] = []
    borders = _borders(lowering.roots)
    for number, part in enumerate(lowering.parts):
        for root in borders.get(number, ()):
            parts.append(LinkedPart(None, {}, _fill(root, places, segment, config)))
            names.append(part.node)
        compiled = compile_operator(part.spec, config, latency)
        parts.append(_linked(part, compiled, places, segment, config))
        names.append(part.node)
        facts.append(_facts(part, compiled))
    program, firsts = link(name, parts, _buffers(lowering, places, config), segment.data(), config)
    return RegionProgram(
        program=program,
        inputs=tuple(
            (item.stored.root.name, item.tensor, item.windows, item.stored.bordered)
            for item in lowering.inputs
        ),
        outputs=tuple(
            (lowering.stored[tensor].root.top.name, tensor, lowering.stored[tensor].bordered)
            for node in nodes
            for tensor in node.outputs
            if tensor in outputs
        ),
        parts=tuple(facts),
        firsts=tuple(zip(names, firsts, strict=True)),
        arena_bytes=places.arena_bytes,
        constant_bytes=len(segment.data()),
    )


def _with_sources(nodes: Sequence[Node], outputs: set[str]) -> set[str]:
    """The outputs, and what they are reshaped from: they share their memory."""
    found = set(outputs)
    for node in reversed(nodes):
        if node.op == "reshape" and node.outputs[0] in found:
            found.add(node.inputs[0])
    return found


@dataclass(frozen=True)
class _Places:
    """The buffer of each root that is none's part, and its first byte there."""

    where: dict[str, tuple[str, int]]
    arena_bytes: int
    tile: int


def _places(lowering: RegionLowering, config: Config) -> _Places:
    tile = config.batch * config.block
    alignment = max(config.elem_bytes(kind) for kind in MemoryType)
    tops = [root for root in lowering.roots if root.parent is None]
    lives = [
        Lifetime(root.name, root.tiles * tile, root.first, root.last)
        for root in tops
        if root.role == "temp"
    ]
    offsets, total = plan_arena(lives, alignment)
    where = {
        root.name: (ARENA, offsets[root.name]) if root.role == "temp" else (root.name, 0)
        for root in tops
    }
    return _Places(where, total, tile)


def _buffers(lowering: RegionLowering, places: _Places, config: Config) -> list[DramBuffer]:
    found = [
        DramBuffer(
            name=root.name,
            role=root.role,
            shape=(root.tiles, config.batch, config.block),
            dtype="int8",
        )
        for root in lowering.roots
        if root.parent is None and root.role != "temp"
    ]
    if places.arena_bytes:
        found.append(DramBuffer(name=ARENA, role="temp", shape=(places.arena_bytes,), dtype="int8"))
    return found


class _Constants:
    """The constants of a region, each kept once."""

    def __init__(self, alignment: int) -> None:
        self.alignment = alignment
        self.size = 0
        self.chunks: list[bytes] = []
        self.known: dict[bytes, int] = {}

    def add(self, array: NDArray[np.generic]) -> int:
        """The offset of an array's bytes."""
        raw = np.ascontiguousarray(array).tobytes()
        if raw not in self.known:
            self.known[raw] = self.size
            padded = aligned(len(raw), self.alignment)
            self.chunks.append(raw.ljust(padded, b"\0"))
            self.size += padded
        return self.known[raw]

    def data(self) -> NDArray[np.uint8]:
        return np.frombuffer(b"".join(self.chunks), np.uint8)


def _linked(
    part: LoweredPart,
    compiled: CompiledOperator,
    places: _Places,
    segment: _Constants,
    config: Config,
) -> LinkedPart:
    """A part's program, and where each of its buffers lies."""

    def view(use: Use) -> View:
        buffer, offset = places.where[use.stored.root.top.name]
        return use.view(buffer, offset, places.tile)

    inputs = [buffer for buffer in compiled.program.args if buffer.role == "input"]
    results = [buffer for buffer in compiled.program.args if buffer.role == "output"]
    operands = part.spec.operands[: len(part.data)]
    zeros = [np.zeros(operand.shape, np.int8) for operand in operands]
    packed = compiled.arrays(zeros, part.arrays)
    found: dict[str, View] = {}
    for number, buffer in enumerate(inputs):
        source = part.data[number] if number < len(part.data) else packed[number]
        if isinstance(source, Use):
            found[buffer.name] = view(source)
        else:
            found[buffer.name] = View(buffer=CONSTANTS, offset=segment.add(source))
    for buffer, use in zip(results, part.results, strict=True):
        found[buffer.name] = view(use)
    return LinkedPart(compiled.program, found)


def _borders(roots: Sequence[Root]) -> dict[int, list[Root]]:
    """The roots whose borders the accelerator fills, by the operator that writes first."""
    found: dict[int, list[Root]] = {}
    for root in roots:
        if root.parent is None and root.role != "input" and any(root.border):
            found.setdefault(root.first, []).append(root)
    return found


def _fill(root: Root, places: _Places, segment: _Constants, config: Config) -> tuple[Op, ...]:
    """Operations that store the border's value around each plane."""
    count = min(FILL, config.acc_depth)
    constant = segment.add(np.full(count * places.tile, root.zero, np.int8)) // places.tile
    buffer, offset = places.where[root.name]
    top, left, bottom, right = root.border
    pitch = root.row_pitch
    strips = []
    for plane in range(root.images * root.blocks):
        first = offset // places.tile + plane * root.plane_pitch
        strips += [
            (first, 1, top * pitch, pitch),
            (first + (top + root.height) * pitch, 1, bottom * pitch, pitch),
            (first + top * pitch, root.height, left, pitch),
            (first + top * pitch + left + root.width, root.height, right, pitch),
        ]
    used = [strip for strip in strips if strip[1] and strip[2]]
    return fill(buffer, used, constant, count)


def _facts(part: LoweredPart, compiled: CompiledOperator) -> PartFacts:
    bound = max(compiled.work, key=lambda name: compiled.work[name])
    least = compiled.work[bound]
    return PartFacts(
        node=part.node,
        operator=type(part.spec).__name__,
        cycles=compiled.cycles,
        bound=f"{bound} {100 * least // max(1, compiled.cycles)} %",
        least=least,
        macs=_macs(part.spec),
        instructions=len(compiled.program.insns),
        nbytes=sum(buffer.nbytes for buffer in compiled.program.args),
        why=part.why,
    )


def _macs(spec: Spec) -> int:
    """Multiply-accumulates of an operator with weights."""
    if isinstance(spec, Conv2d):
        return math.prod(spec.output_shape) * math.prod(spec.weight_shape[1:])
    if isinstance(spec, Conv2dTranspose):
        return math.prod(spec.data_shape) * math.prod(spec.weight_shape[1:])
    return 0
