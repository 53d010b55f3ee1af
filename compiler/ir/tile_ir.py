"""The intermediate form between loops and instructions: loops around operations on tiles.

A *value* is the result of one stage (or of a part of its expression) in an on-chip buffer. It has a
number of tiles, and one place for each virtual thread that computes it. An *operation* becomes one
instruction, or a few, each time it is reached; its own loops run inside it. The tiles of a value
that an operation touches are affine forms of its own loops and of those outside.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from vta.compiler.ir.affine import Affine
from vta.compiler.ir.loop_ir import INDENT, Buffer, show_program
from vta.compiler.te.expr import Var
from vta.isa import AluOp, MemoryType, unpack_qnt

__all__ = [
    "Alu",
    "Domain",
    "Gemm",
    "Load",
    "Loop",
    "TileProgram",
    "Node",
    "TileOperand",
    "TileOperation",
    "Reset",
    "Store",
    "Value",
    "names_of",
    "operands_of",
    "walk_operations",
    "with_operands",
]


@dataclass(frozen=True)
class Domain:
    """An operation's own loops, outermost first; a round counts if all guards are 0 or more.

    The rounds of `unrolled` loops are micro-ops.
    """

    loops: tuple[tuple[Var, int], ...]
    guards: tuple[Affine, ...] = ()
    unrolled: frozenset[Var] = frozenset()


@dataclass(frozen=True)
class TileOperand:
    """The tiles of a value that an operation touches.

    After storage has been shared, `value` is the owner of the storage, and `name` the value in it.
    """

    value: str
    at: Affine
    name: str = ""

    @property
    def shown(self) -> str:
        """The name to print: that of the stage, if it is known."""
        return self.name or self.value


@dataclass(frozen=True)
class Load:
    """``dst = buffer``, or zeros if one of `pads` is negative; `source` counts tiles in DRAM.

    If `pad_min`, the least number instead of zeros.
    """

    dst: TileOperand
    buffer: Buffer
    source: Affine
    memory_type: MemoryType
    domain: Domain
    pads: tuple[Affine, ...] = ()
    pad_min: bool = False


@dataclass(frozen=True)
class Store:
    """``buffer = src``, of which the low bits are stored."""

    buffer: Buffer
    target: Affine
    src: TileOperand
    domain: Domain


@dataclass(frozen=True)
class Reset:
    """``dst = 0``."""

    dst: TileOperand
    domain: Domain


@dataclass(frozen=True)
class Gemm:
    """``dst += inp * wgt``."""

    dst: TileOperand
    inp: TileOperand
    wgt: TileOperand
    domain: Domain


@dataclass(frozen=True)
class Alu:
    """``dst = op(a, b)``; after storage has been assigned, `dst` overwrites `a`.

    `b` is a 16-bit number or a value. `reduces` is set if many rounds write the same tile.
    `offsets` is the imm field of a QNT. MOV does not read `a`, which is the same as `dst`.
    """

    op: AluOp
    dst: TileOperand
    a: TileOperand
    b: TileOperand | int
    domain: Domain
    reduces: bool = False
    offsets: int = 0

    @property
    def reads_first(self) -> bool:
        """Whether it reads its first operand."""
        return self.op != AluOp.MOV


TileOperation = Load | Store | Reset | Gemm | Alu


@dataclass(frozen=True)
class Loop:
    """`body` for `var` in ``range(extent)``; the rounds of a thread take turns."""

    var: Var
    extent: int
    thread: bool
    body: tuple[Node, ...]


Node = Loop | TileOperation


@dataclass(frozen=True)
class Value:
    """A value in an on-chip buffer, with `tiles` tiles for each virtual thread around it."""

    name: str
    stage: str
    scope: str
    tiles: int
    constant: int | None = None


@dataclass(frozen=True)
class TileProgram:
    """A program of loops around operations; `values` are all values that they touch on chip."""

    name: str
    args: tuple[Buffer, ...]
    temps: tuple[Buffer, ...]
    outputs: tuple[str, ...]
    body: tuple[Node, ...]
    values: dict[str, Value] = field(default_factory=dict)

    def __str__(self) -> str:
        return show_program(self.name, self.args, self.temps, _lines(self))


SIDES = ("dst", "src", "inp", "wgt", "a", "b")


def with_operands(op: TileOperation, change: Callable[[TileOperand], TileOperand]) -> TileOperation:
    """The operation with every operand changed."""
    changes: dict[str, Any] = {}
    for key in SIDES:
        item = getattr(op, key, None)
        if isinstance(item, TileOperand):
            changes[key] = change(item)
    return dataclasses.replace(op, **changes)


def operands_of(node: TileOperation) -> tuple[TileOperand, ...]:
    """The tiles of values that an operation touches."""
    operands = [getattr(node, key, None) for key in SIDES]
    return tuple(item for item in operands if isinstance(item, TileOperand))


def names_of(node: TileOperation) -> tuple[str, ...]:
    """The values that an operation touches."""
    return tuple(item.value for item in operands_of(node))


def walk_operations(body: tuple[Node, ...]) -> Iterator[TileOperation]:
    """All operations, in order of appearance."""
    for node in body:
        if isinstance(node, Loop):
            yield from walk_operations(node.body)
        else:
            yield node


# -- text ----------------------------------------------------------------------------------------


def _lines(program: TileProgram) -> Iterator[str]:
    for value in program.values.values():
        number = "" if value.constant is None else f" = {value.constant}"
        yield f"{value.name} = tiles({value.tiles}, {value.scope!r}){number}"
    yield from _nodes(program.body)


def _nodes(body: Iterable[Node]) -> Iterator[str]:
    for node in body:
        if isinstance(node, Loop):
            kind = "threads" if node.thread else "range"
            yield f"for {node.var.name} in {kind}({node.extent}):"
            yield from (INDENT + line for line in _nodes(node.body))
        else:
            yield _operation(node) + _domain(node)


def _operation(op: TileOperation) -> str:
    if isinstance(op, Load):
        text = f"load_{op.memory_type.name.lower()}({op.buffer.name}[{str(op.source)}])"
        padding = "least" if op.pad_min else "0"
        pads = "".join(f", {padding} unless {str(form)} >= 0" for form in op.pads)
        return f"{_operand(op.dst)} = {text}{pads}"
    if isinstance(op, Store):
        return f"store_out({op.buffer.name}[{str(op.target)}], {_operand(op.src)})"
    if isinstance(op, Reset):
        return f"{_operand(op.dst)} = reset()"
    if isinstance(op, Gemm):
        return f"{_operand(op.dst)} += gemm({_operand(op.inp)}, {_operand(op.wgt)})"
    b = _operand(op.b) if isinstance(op.b, TileOperand) else op.b
    if op.op == AluOp.MOV:
        return f"{_operand(op.dst)} = mov({b})"
    more = ", {}, {}".format(*unpack_qnt(op.offsets)) if op.op == AluOp.QNT else ""
    return f"{_operand(op.dst)} = {op.op.name.lower()}({_operand(op.a)}, {b}{more})"


def _operand(item: TileOperand) -> str:
    name = item.shown if item.shown == item.value else f"{item.value}:{item.shown}"
    return f"{name}[{str(item.at)}]"


def _domain(op: TileOperation) -> str:
    loops = ", ".join(f"{var.name} < {extent}" for var, extent in op.domain.loops)
    guards = "".join(f", {str(guard)} >= 0" for guard in op.domain.guards)
    return f"  # {loops}{guards}" if loops else ""
