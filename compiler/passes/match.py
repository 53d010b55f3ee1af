"""From loop nests to operations on tiles: which nest is a load, which a store, which ALU work.

A nest is recognised by where its tensors live and by its access pattern: on both sides the same
run of consecutive elements, so that the nest is a matter of whole tiles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vta.compiler.affine import flatten
from vta.compiler.expr import ABILITIES, Cast, Read, Var, substitute, walk
from vta.compiler.ir import (
    Assign,
    Buffer,
    Compute,
    Copy,
    For,
    Group,
    LoopProgram,
    Pragma,
    Put,
    Stmt,
    TileOp,
    TileProgram,
)
from vta.compiler.schedule import ACC_SCOPE, ALU, DMA_COPY, GLOBAL, SCOPES
from vta.config import Config
from vta.errors import CompileError, ScheduleError
from vta.isa import MemoryType

__all__ = ["match"]


@dataclass(frozen=True)
class _Nest:
    """One stage's loops, from outside in, and the statement inside."""

    loops: tuple[For, ...]
    pragma: Pragma | None
    inner: int
    assign: Assign

    @property
    def target(self) -> Buffer:
        return self.assign.buffer

    def where(self) -> str:
        return f"stage {self.target.name}"


def match(program: LoopProgram, config: Config) -> TileProgram:
    """The program as operations on whole tensors of tiles.

    Raises
    ------
    ScheduleError
        A stage whose scope or pragma is missing or does not fit what it does.
    CompileError
        A computation, a dtype or a size that VTA does not have.
    """
    matcher = _Matcher(config)
    ops = [matcher.stage(_nest(stmt)) for stmt in program.body]
    return TileProgram(
        name=program.name, args=program.args, outputs=program.outputs,
        temps=tuple(item for item in program.allocs if item.scope == GLOBAL),
        groups=_groups(ops, matcher.sizes))


def _nest(stmt: Stmt) -> _Nest:
    loops: list[For] = []
    pragma: Pragma | None = None
    inner = 1
    while not isinstance(stmt, Assign):
        if isinstance(stmt, Pragma):
            if pragma is not None:
                raise ScheduleError(f"a stage has two pragmas, {pragma.key} at {pragma.axis} and "
                                    f"{stmt.key} at {stmt.axis}; keep one")
            pragma = stmt
        else:
            loops.append(stmt)
            inner *= stmt.extent if pragma else 1
        assert len(stmt.body) == 1, "a nest is perfect"
        stmt = stmt.body[0]
    return _Nest(tuple(loops), pragma, inner, stmt)


class _Matcher:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.tile = config.batch * config.block
        self.sizes: dict[str, int] = {}
        """Tiles of each stage so far, by name."""

    def stage(self, nest: _Nest) -> Copy | Compute | Put:
        buffer = nest.target
        if buffer.scope not in (GLOBAL, ACC_SCOPE):
            raise ScheduleError(
                f"{nest.where()} is in {buffer.scope}, {SCOPES[buffer.scope]}; elementwise work "
                f"is done in {ACC_SCOPE}")
        self.sizes[buffer.name] = self._tiles(buffer)
        if buffer.scope == GLOBAL:
            return self._put(nest)
        reads = _reads(nest)
        if any(_buffer(read).scope == GLOBAL for read in reads):
            return self._copy(nest)
        return self._compute(nest, reads)

    # -- the three kinds ---------------------------------------------------------------------

    def _copy(self, nest: _Nest) -> Copy:
        value = nest.assign.value
        inner = value.value if isinstance(value, Cast) else value
        if not isinstance(inner, Read):
            name = next(read.source.name for read in _reads(nest)
                          if _buffer(read).scope == GLOBAL)
            raise ScheduleError(
                f"{nest.where()} computes on {name}, which is in main memory; copy it into "
                f"{ACC_SCOPE} first: a stage `lambda *i: {name}(*i)` with set_scope and the "
                f"pragma {DMA_COPY!r}")
        run = self._pragma(nest, DMA_COPY, "loads from main memory")
        source = _buffer(inner)
        offset, rest = divmod(self._offset(nest, inner), self.tile)
        if rest:
            raise CompileError(
                f"{nest.where()} reads {source.name} from element {offset * self.tile + rest} on; "
                f"a load starts at a whole tile of {self.tile} elements")
        if source.name in self.sizes and (
                offset or self.sizes[source.name] != self.sizes[nest.target.name]):
            raise CompileError(
                f"{nest.where()} {list(nest.target.shape)} reads a part of {source.name} "
                f"{list(source.shape)}, which the program itself stores; it must read all of it")
        self._tiles(source)
        kind = MemoryType.ACC if source.dtype == "int32" else MemoryType.ACC_8BIT
        return Copy(nest.target.name, source, offset, kind, run, nest.target.dtype)

    def _put(self, nest: _Nest) -> Put:
        inner = nest.assign.value
        while isinstance(inner, Cast):  # all that counts is the low bits
            inner = inner.value
        if not isinstance(inner, Read):
            raise ScheduleError(
                f"{nest.where()} is in main memory, where a stage can only copy; compute it in a "
                f"stage with set_scope({ACC_SCOPE!r}) and the pragma {ALU!r}, and copy the result")
        source = _buffer(inner)
        if source.scope == GLOBAL:
            raise ScheduleError(
                f"{nest.where()} copies {source.name} from main memory to main memory; put a "
                f"stage with set_scope({ACC_SCOPE!r}) in between")
        run = self._pragma(nest, DMA_COPY, "stores to main memory")
        if nest.target.dtype != "int8":
            raise CompileError(
                f"{nest.where()} would store {nest.target.dtype}; VTA stores int8 only: end it "
                "with .astype('int8')")
        self._whole(nest, inner)
        return Put(nest.target, source.name, run)

    def _compute(self, nest: _Nest, reads: list[Read]) -> Compute:
        run = self._pragma(nest, ALU, "computes in the accumulator buffer")
        for node in walk(nest.assign.value):
            if isinstance(node, Read):
                self._whole(nest, node)
        named = substitute(nest.assign.value, {}, lambda read: Read(read.dtype, read.source, ()))
        for node in walk(named):
            if isinstance(node, Var):
                raise CompileError(f"{nest.where()} uses the index {node.name} as a value; "
                                   f"{ABILITIES}")
        return Compute(nest.target.name, named, run)

    # -- checks ------------------------------------------------------------------------------

    def _pragma(self, nest: _Nest, key: str, does: str) -> int:
        """How many tiles one instruction may cover; the stage must have the pragma `key`."""
        buffer = nest.target
        axis = f"s[{buffer.name}].op.axis[0]"
        if nest.pragma is None:
            raise ScheduleError(f"{nest.where()} {does}, but no axis has the pragma {key!r}; add "
                                f"s[{buffer.name}].pragma({axis}, {key!r})")
        if nest.pragma.key != key:
            raise ScheduleError(
                f"{nest.where()} {does}: axis {nest.pragma.axis} must have the pragma {key!r}, "
                f"not {nest.pragma.key!r}")
        run, rest = divmod(nest.inner, self.tile)
        if rest and nest.inner == math.prod(nest.target.shape):
            # All of a tensor, whose last tile is not full.
            run += 1
        elif rest:
            raise ScheduleError(
                f"{nest.where()}: the pragma {key!r} at axis {nest.pragma.axis} covers "
                f"{nest.inner} elements, but a tile has {self.tile}; put it on an outer axis")
        return run

    def _tiles(self, buffer: Buffer) -> int:
        total = math.prod(buffer.shape)
        # Before anybody lists the parts of it.
        if total * (4 if buffer.dtype == "int32" else 1) >> self.config.addr_width:
            raise CompileError(
                f"{buffer.name} {buffer.dtype}{list(buffer.shape)} is larger than the memory of "
                f"2^{self.config.addr_width} bytes")
        # A last tile that is not full is computed like the others: lanes do not mix, and memory is
        # given out in whole tiles.
        return -(-total // self.tile)

    def _offset(self, nest: _Nest, read: Read) -> int:
        """Where in its source a read begins that goes through it as the stage's own index does."""
        own = flatten(nest.assign.indices, nest.target.shape)
        there = flatten(read.indices, read.source.shape)
        assert own is not None
        if there is None or dict(there.factors) != dict(own.factors):
            raise CompileError(
                f"{nest.where()} reads {read.source.name} in another order than it is written "
                "(transposed, strided or broadcast); each element must read the element of the "
                "same position")
        return there.offset

    def _whole(self, nest: _Nest, read: Read) -> None:
        source = read.source
        offset = self._offset(nest, read)
        if offset or self.sizes[source.name] != self._tiles(nest.target):
            raise CompileError(
                f"{nest.where()} {list(nest.target.shape)} reads a part of {source.name} "
                f"{list(source.shape)}; in the accumulator buffer only whole tensors of the same "
                "size go together")


def _reads(nest: _Nest) -> list[Read]:
    return [node for node in walk(nest.assign.value) if isinstance(node, Read)]


def _buffer(read: Read) -> Buffer:
    assert isinstance(read.source, Buffer), "only loops read tensors, and they replaced them"
    return read.source


def _groups(ops: list[Copy | Compute | Put], sizes: dict[str, int]) -> tuple[Group, ...]:
    """Operations that share values, or a buffer that one stores and another loads, together."""
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    roots = []
    for op in ops:
        if isinstance(op, Copy):
            # An argument that nobody stores may be read by any number of groups.
            names = [op.dst] + ([op.buffer.name] if op.buffer.name in sizes else [])
        elif isinstance(op, Put):
            names = [op.buffer.name, op.src]
        else:
            names = [op.dst] + [node.source.name for node in walk(op.value)
                                if isinstance(node, Read)]
        for name in names[1:]:
            parent[find(name)] = find(names[0])
        roots.append(names[0])
    members: dict[str, list[TileOp]] = {}
    for op, name in zip(ops, roots, strict=True):
        members.setdefault(find(name), []).append(op)
    return tuple(Group(sizes[root], tuple(part)) for root, part in members.items())
