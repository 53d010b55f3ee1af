"""Matches loop nests to operations on tiles: loads, stores, GEMM or ALU operations."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from vta.compiler.ir.affine import Affine
from vta.compiler.ir.loop_ir import Assign, Buffer, For, LoopProgram, PragmaBlock, Stmt
from vta.compiler.ir.tile_ir import Loop, Node, TileProgram, Value
from vta.compiler.passes.loops.loop_nests import GEMM
from vta.compiler.passes.match.alu_operations import Expressions
from vta.compiler.passes.match.gemm_match import is_zero, match_gemm
from vta.compiler.passes.match.statement_nest import (
    StatementNest,
    buffer_of,
    domain_of,
    flat,
    statement_nest,
    tile_numbers,
    tiling_of,
)
from vta.compiler.passes.match.transfer_match import match_load, match_store
from vta.compiler.te.dtypes import nbytes_of
from vta.compiler.te.expr import Cast, Const, Read, Select, walk
from vta.compiler.te.intrinsics import neutral
from vta.compiler.te.stage import ACC_SCOPE, ALU, DMA_COPY, GLOBAL, INP_SCOPE, SCOPES, WGT_SCOPE
from vta.config import Config
from vta.errors import CompileError, ScheduleError

__all__ = ["match"]


def match(program: LoopProgram, config: Config) -> TileProgram:
    """Lowers the program to loops around operations on tiles.

    Raises
    ------
    ScheduleError
        A stage's scope, pragma or loops do not fit what it does; the message names the stage.
    CompileError
        VTA does not support a computation, a dtype or a size.
    """
    matcher = _Matcher(config)
    matcher.passed.update(buffer.name for buffer in program.args)
    for buffer in (*program.args, *program.allocs):
        matcher.declare(buffer)
    # A stage's last statement, after any initialization, determines its operation.
    matcher.rules = {item.buffer.name: item for item in _assigns(program.body)}
    written = Counter(item.buffer.name for item in _assigns(program.body) if not item.reduce)
    matcher.partly = {name for name, count in written.items() if count > 1}
    body = matcher.body(program.body)
    values = {**matcher.values, **matcher.expressions.values_made()}
    return TileProgram(
        program.name,
        program.args,
        tuple(item for item in program.allocs if item.scope == GLOBAL),
        program.outputs,
        matcher.expressions.constants() + body,
        values,
    )


class _Matcher:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.values: dict[str, Value] = {}
        self.rules: dict[str, Assign] = {}
        self.partly: set[str] = set()
        """Stages with several cases, each computed by a separate operation."""
        self.depth = 0
        self.passed: set[str] = set()
        self.expressions = Expressions(config, self.values)

    def declare(self, buffer: Buffer) -> None:
        total = math.prod(buffer.shape)
        if buffer.scope == GLOBAL:
            if total * nbytes_of(buffer.dtype) >> self.config.addr_width:
                raise CompileError(
                    f"{buffer.name} {buffer.dtype}{list(buffer.shape)} is larger than the memory "
                    f"of 2^{self.config.addr_width} bytes"
                )
            return
        tiles = -(-total // tile_numbers(self.config, buffer.scope))
        self.values[buffer.name] = Value(buffer.name, buffer.name, buffer.scope, tiles)

    def body(self, body: tuple[Stmt, ...]) -> tuple[Node, ...]:
        return tuple(node for stmt in body for node in self._statement(stmt))

    def _statement(self, stmt: Stmt) -> tuple[Node, ...]:
        if isinstance(stmt, For):
            self.depth += 1
            body = self.body(stmt.body)
            self.depth -= 1
            return (Loop(stmt.var, stmt.extent, stmt.thread, body),)
        if isinstance(stmt, Assign):
            raise _missing_pragma(self.rules[stmt.buffer.name], self.passed)
        try:
            return self._operation(stmt)
        except (CompileError, ScheduleError) as error:
            if not stmt.note:
                raise
            raise type(error)(f"{error} (its indices: {stmt.note})") from None

    def _operation(self, stmt: PragmaBlock) -> tuple[Node, ...]:
        nest = statement_nest(stmt, at_root=not self.depth)
        target = nest.assign.buffer
        if stmt.key == GEMM:
            if not nest.assign.reduce and not is_zero(nest.assign.value):
                return self._compute(nest)
            return (match_gemm(nest, self.config, self.expressions),)
        reads = [node for node in walk(nest.assign.value) if isinstance(node, Read)]
        if target.scope == GLOBAL:
            return (match_store(nest, self.config, self.expressions),)
        if any(buffer_of(read).scope == GLOBAL for read in reads):
            return (match_load(nest, self.config, self.expressions),)
        if stmt.key != ALU:
            raise ScheduleError(
                f"{nest.where} computes in the accumulator buffer: axis "
                f"{stmt.axis} must have the pragma {ALU!r}, not {stmt.key!r}"
            )
        return self._compute(nest)

    def _compute(self, nest: StatementNest) -> tuple[Node, ...]:
        target = nest.assign.buffer
        if target.scope != ACC_SCOPE:
            raise ScheduleError(
                f"{nest.where} is in {target.scope}, {SCOPES[target.scope]}; the "
                f"ALU works in {ACC_SCOPE}"
            )
        value, guards = nest.assign.value, list(nest.assign.guards)
        while isinstance(value, Cast) and isinstance(value.value, Select):
            select = value.value
            value = Select(
                value.dtype,
                select.conditions,
                select.then.astype(value.dtype),
                select.other.astype(value.dtype),
            )
        if isinstance(value, Select):
            assert nest.assign.reduce, "other choices are statements of their own"
            same = neutral(nest.assign.reduce, value.dtype)
            if not isinstance(value.other, Const) or value.other.number != same:
                raise CompileError(
                    f"{nest.where} chooses between two values; VTA can only leave out what does "
                    f"not change a reduction: the other value must be {same}"
                )
            guards += [item.value for item in value.conditions]
            value = value.then
        for node in walk(value):
            if isinstance(node, Read) and buffer_of(node).scope != ACC_SCOPE:
                raise ScheduleError(
                    f"{nest.where} computes on {node.source.name}, which is in "
                    f"{SCOPES[buffer_of(node).scope]}; the ALU works in {ACC_SCOPE}"
                )
        reads = [
            flat(nest, node.indices, node.source.shape)
            for node in walk(value)
            if isinstance(node, Read)
        ]
        tiling = tiling_of(nest, self.config, None if guards else reads)
        domain = domain_of(nest, tiling, tuple(guards))
        at = tiling.tiles(flat(nest, nest.assign.indices, target.shape), nest.where)

        def position(read: Read) -> Affine:
            return tiling.tiles(
                flat(nest, read.indices, read.source.shape),
                f"{nest.where}: what it reads of {read.source.name}",
            )

        return self.expressions.compute(
            target.name,
            at,
            value,
            position,
            domain,
            nest.assign.reduce,
            partly=target.name in self.partly,
            begins=self.rules[target.name].reduce != nest.assign.reduce,
        )


def _assigns(body: tuple[Stmt, ...]) -> Iterator[Assign]:
    for stmt in body:
        if isinstance(stmt, Assign):
            yield stmt
        else:
            yield from _assigns(stmt.body)


def _missing_pragma(assign: Assign, passed: set[str]) -> ScheduleError:
    name, scope = assign.buffer.name, assign.buffer.scope
    reads = [node for node in walk(assign.value) if isinstance(node, Read)]
    on_chip = [read for read in reads if buffer_of(read).scope in (INP_SCOPE, WGT_SCOPE)]
    if assign.reduce == "+" and on_chip:
        return ScheduleError(
            f"stage {name} sums products of {on_chip[0].source.name}; add "
            f"s[{name}].tensorize(axis, env.gemm) at the outermost of a tile's "
            "loops"
        )
    from_memory = any(buffer_of(read).scope == GLOBAL for read in reads)
    does, key = ("computes in the accumulator buffer", ALU)
    if scope == GLOBAL:
        does, key = "stores to main memory", DMA_COPY
    elif from_memory:
        does, key = "loads from main memory", DMA_COPY
    axis = f"s[{name}].op.axis[0]"
    elsewhere = (
        ""
        if scope != GLOBAL or name in passed
        else "; or, if it is meant to be on the chip, give it a scope by set_scope"
    )
    return ScheduleError(
        f"stage {name} {does}, but no axis has the pragma {key!r}; add "
        f"s[{name}].pragma({axis}, {key!r}){elsewhere}"
    )
