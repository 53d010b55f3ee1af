"""From loops to operations on tiles: which nest is a load, a store, GEMM or ALU work."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vta.compiler.ir.affine import Affine, affine, flatten
from vta.compiler.ir.loop_ir import Assign, Buffer, For, LoopProgram, PragmaBlock, Stmt
from vta.compiler.ir.tile_ir import (
    Domain,
    Gemm,
    Load,
    Loop,
    Node,
    Reset,
    Store,
    TileOperand,
    TileProgram,
    Value,
)
from vta.compiler.passes.loops.loop_nests import GEMM, TENSORIZE
from vta.compiler.passes.match.alu_operations import Expressions
from vta.compiler.passes.match.tile_loops import TileLoops, Whole, tile_loops, whole_tensor
from vta.compiler.te.expr import ABILITIES, Binary, Cast, Const, Expr, Read, Select, Var, walk
from vta.compiler.te.intrinsics import neutral
from vta.compiler.te.stage import ACC_SCOPE, ALU, DMA_COPY, GLOBAL, INP_SCOPE, SCOPES, WGT_SCOPE
from vta.config import Config
from vta.errors import CompileError, ScheduleError
from vta.isa import MemoryType

__all__ = ["match"]


def match(program: LoopProgram, config: Config) -> TileProgram:
    """The program as loops around operations on tiles.

    Raises
    ------
    ScheduleError
        A stage whose scope, pragma or loops do not fit what it does; the message names the stage.
    CompileError
        A computation, a dtype or a size that VTA does not have.
    """
    matcher = _Matcher(config)
    matcher.passed.update(buffer.name for buffer in program.args)
    for buffer in (*program.args, *program.allocs):
        matcher.declare(buffer)
    # The last statement of a stage, behind a reduction's neutral value, says what it does.
    matcher.rules = {item.buffer.name: item for item in _assigns(program.body)}
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


@dataclass(frozen=True)
class StatementNest:
    """One statement with the loops around it that its operation does."""

    loops: tuple[For, ...]
    inside: tuple[str, ...]
    assign: Assign
    pragma: PragmaBlock

    @property
    def where(self) -> str:
        return f"stage {self.assign.buffer.name}"


def _nest(pragma: PragmaBlock) -> StatementNest:
    loops: list[For] = []
    inside: list[str] = []
    tensorized = False
    stmt: Stmt = pragma
    while not isinstance(stmt, Assign):
        if isinstance(stmt, PragmaBlock):
            tensorized = tensorized or stmt.key == TENSORIZE
            if stmt is not pragma and stmt.key != TENSORIZE:
                raise ScheduleError(
                    f"a stage has two pragmas, {pragma.key} at {pragma.axis} and "
                    f"{stmt.key} at {stmt.axis}; keep one"
                )
        else:
            if stmt.thread:
                raise ScheduleError(
                    f"virtual threads over {stmt.var.name} are inside the "
                    f"{pragma.key} of {pragma.axis}; bind an outer axis"
                )
            loops.append(stmt)
            inside += [stmt.var.name] if tensorized else []
        assert len(stmt.body) == 1, "an operation's loops are a perfect nest"
        stmt = stmt.body[0]
    return StatementNest(tuple(loops), tuple(inside), stmt, pragma)


class _Matcher:
    def __init__(self, config: Config) -> None:
        self.config = config
        tile = config.batch * config.block
        self.tile = {
            INP_SCOPE: tile,
            ACC_SCOPE: tile,
            GLOBAL: tile,
            WGT_SCOPE: config.block * config.block,
        }
        self.values: dict[str, Value] = {}
        self.rules: dict[str, Assign] = {}
        self.depth = 0
        self.passed: set[str] = set()
        self.expressions = Expressions(config, self.values)

    def declare(self, buffer: Buffer) -> None:
        total = math.prod(buffer.shape)
        if buffer.scope == GLOBAL:
            if total * (4 if buffer.dtype == "int32" else 1) >> self.config.addr_width:
                raise CompileError(
                    f"{buffer.name} {buffer.dtype}{list(buffer.shape)} is larger than the memory "
                    f"of 2^{self.config.addr_width} bytes"
                )
            return
        tiles = -(-total // self.tile[buffer.scope])
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
        nest = _nest(stmt)
        if stmt.key == GEMM:
            return (self._gemm(nest),)
        target = nest.assign.buffer
        reads = [node for node in walk(nest.assign.value) if isinstance(node, Read)]
        if target.scope == GLOBAL:
            return (self._store(nest),)
        if any(_buffer(read).scope == GLOBAL for read in reads):
            return (self._load(nest),)
        if stmt.key != ALU:
            raise ScheduleError(
                f"{nest.where} computes in the accumulator buffer: axis "
                f"{stmt.axis} must have the pragma {ALU!r}, not {stmt.key!r}"
            )
        return self._compute(nest)

    # -- moves -------------------------------------------------------------------------------

    def _load(self, nest: StatementNest) -> Load:
        target = nest.assign.buffer
        if nest.assign.reduce:
            raise _computes_on_memory(nest)
        value, pads = _padded(nest)
        inner = value.value if isinstance(value, Cast) else value
        if not isinstance(inner, Read):
            raise _computes_on_memory(nest)
        _require_pragma(nest, DMA_COPY, "loads from main memory")
        source = _buffer(inner)
        kind = self._kind(nest, source, value)
        self.expressions.define(
            target.name, exact=source.dtype == target.dtype or target.dtype == "int32"
        )
        there = _flat(nest, inner.indices, source.shape)
        tiling = self._tiling(nest, None if pads else (there,))
        return Load(
            TileOperand(
                target.name,
                tiling.tiles(
                    _flat(nest, nest.assign.indices, target.shape), f"{nest.where}: {target.name}"
                ),
            ),
            source,
            tiling.tiles(there, f"{nest.where}: what it reads of {source.name}"),
            kind,
            self._domain(nest, tiling),
            tuple(tiling.guard(form, f"{nest.where}: its padding") for form in pads),
        )

    def _kind(self, nest: StatementNest, source: Buffer, value: Expr) -> MemoryType:
        target = nest.assign.buffer
        if math.prod(source.shape) % self.tile[WGT_SCOPE] and target.scope == WGT_SCOPE:
            raise ScheduleError(
                f"{nest.where} reads {source.name} {list(source.shape)}, which is "
                f"not in whole tiles of weights, {self.tile[WGT_SCOPE]} numbers "
                "each; pad the tensor"
            )
        if target.scope == ACC_SCOPE:
            return MemoryType.ACC if source.dtype == "int32" else MemoryType.ACC_8BIT
        if source.dtype != "int8" or target.dtype != "int8" or isinstance(value, Cast):
            raise ScheduleError(
                f"{nest.where} is {target.dtype}, read from {source.name} of "
                f"{source.dtype}; {SCOPES[target.scope]} holds int8 as it is in "
                "main memory"
            )
        return MemoryType.INP if target.scope == INP_SCOPE else MemoryType.WGT

    def _store(self, nest: StatementNest) -> Store:
        target, inner = nest.assign.buffer, nest.assign.value
        while isinstance(inner, Cast):  # all that counts is the low bits
            inner = inner.value
        if not isinstance(inner, Read) or nest.assign.reduce:
            raise ScheduleError(
                f"{nest.where} is in main memory, where a stage can only copy; compute it in a "
                f"stage with set_scope({ACC_SCOPE!r}) and the pragma {ALU!r}, and copy the result"
            )
        source = _buffer(inner)
        if source.scope == GLOBAL:
            raise ScheduleError(
                f"{nest.where} copies {source.name} from main memory to main memory; put a "
                f"stage with set_scope({ACC_SCOPE!r}) in between, or give {nest.where} itself the "
                "scope that its readers need"
            )
        if source.scope != ACC_SCOPE:
            raise ScheduleError(
                f"{nest.where} stores {source.name}, which is in {SCOPES[source.scope]}; VTA "
                f"stores from the accumulator buffer: put a stage with set_scope({ACC_SCOPE!r}) "
                "in between"
            )
        _require_pragma(nest, DMA_COPY, "stores to main memory")
        if target.dtype != "int8":
            raise CompileError(
                f"{nest.where} would store {target.dtype}; VTA stores int8 only: end it with "
                ".astype('int8')"
            )
        there = _flat(nest, inner.indices, source.shape)
        tiling = self._tiling(nest, (there,))
        name = self.expressions.resolve(source.name)
        return Store(
            target,
            tiling.tiles(
                _flat(nest, nest.assign.indices, target.shape), f"{nest.where}: {target.name}"
            ),
            TileOperand(name, tiling.tiles(there, f"{nest.where}: what it reads of {source.name}")),
            self._domain(nest, tiling),
        )

    # -- computing ---------------------------------------------------------------------------

    def _gemm(self, nest: StatementNest) -> Gemm | Reset:
        assign, target = nest.assign, nest.assign.buffer
        if target.scope != ACC_SCOPE:
            raise ScheduleError(
                f"{nest.where} is in {SCOPES[target.scope]}; env.gemm adds into "
                f"the accumulator buffer: set_scope({ACC_SCOPE!r})"
            )
        self.expressions.define(target.name)
        written = _flat(nest, assign.indices, target.shape)
        if isinstance(assign.value, Const):
            tiling = self._tiling(nest)
            return Reset(
                TileOperand(target.name, tiling.tiles(written, nest.where)),
                self._domain(nest, tiling),
            )
        inp, wgt = _operands(nest)
        forms = (
            written,
            _flat(nest, inp.indices, inp.source.shape),
            _flat(nest, wgt.indices, wgt.source.shape),
        )
        tile = self._gemm_tile(nest, forms)
        rest = tuple((loop.var, loop.extent) for loop in nest.loops if loop.var not in tile)
        operands = []
        for name, form, size in zip(
            (target.name, inp.source.name, wgt.source.name),
            forms,
            (self.tile[ACC_SCOPE], self.tile[INP_SCOPE], self.tile[WGT_SCOPE]),
            strict=True,
        ):
            form = Affine(
                form.offset,
                {var: factor for var, factor in form.factors.items() if var not in tile},
            )
            tiling = TileLoops(rest, {}, {}, size)
            operands.append(TileOperand(name, tiling.tiles(form, f"{nest.where}: {name}")))
        guards = [affine(guard) for guard in assign.guards]
        if any(guard is None or tile & set(guard.factors) for guard in guards):
            raise ScheduleError(
                f"{nest.where}: the tensorized loops are cut by a split that does not divide them"
            )
        domain = Domain(
            rest,
            tuple(guard for guard in guards if guard is not None),
            frozenset(loop.var for loop in nest.loops if loop.unrolled),
        )
        return Gemm(operands[0], operands[1], operands[2], domain)

    def _gemm_tile(self, nest: StatementNest, forms: tuple[Affine, Affine, Affine]) -> set[Var]:
        """The loops of one tile's product; all others must be outside the tensorized axis."""
        batch, block = self.config.batch, self.config.block
        wanted = {
            (block, block, 0): ("rows of a tile", batch),
            (1, 0, block): ("outputs", block),
            (0, 1, 1): ("sums", block),
        }
        found: set[Var] = set()
        for steps, (what, extent) in wanted.items():
            if extent == 1:
                continue
            loop = next(
                (
                    loop
                    for loop in nest.loops
                    if loop.extent == extent
                    and steps == tuple(form.factors.get(loop.var, 0) for form in forms)
                ),
                None,
            )
            if loop is None:
                shown = ", ".join(f"{item.var.name}: {item.extent}" for item in nest.loops)
                raise ScheduleError(
                    f"{nest.where}: tensorize at {nest.pragma.axis} needs tiles of inputs "
                    f"({batch}, {block}), weights ({block} outputs, {block} inputs) and "
                    f"outputs ({batch}, {block}), their innermost dimensions; no loop of "
                    f"{extent} runs through the {what} (loops: {shown})" + _transposed(nest, forms)
                )
            found.add(loop.var)
        names = {var.name for var in found}
        if set(nest.inside) != names:
            extra = sorted(set(nest.inside) - names)
            missing = sorted(names - set(nest.inside))
            raise ScheduleError(
                f"{nest.where}: tensorize at {nest.pragma.axis} must have exactly the tile's "
                f"loops {', '.join(sorted(names))} inside"
                + (f"; {', '.join(extra)} must go outside" if extra else "")
                + (f"; {', '.join(missing)} must go inside" if missing else "")
                + " (reorder)"
            )
        return found

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
            same = neutral(nest.assign.reduce, value.dtype) if nest.assign.reduce else None
            if not isinstance(value.other, Const) or value.other.number != same:
                raise CompileError(
                    f"{nest.where} chooses between two values; VTA can only leave out what does "
                    "not change a reduction: "
                    + (
                        f"the other value must be {same}"
                        if same is not None
                        else "if_then_else belongs inside te.sum, te.max or te.min, or a copy's "
                        "zeros"
                    )
                )
            guards += [item.value for item in value.conditions]
            value = value.then
        for node in walk(value):
            if isinstance(node, Select):
                raise CompileError(
                    f"{nest.where} chooses within an expression; if_then_else must be outermost"
                )
            if isinstance(node, Read) and _buffer(node).scope != ACC_SCOPE:
                raise ScheduleError(
                    f"{nest.where} computes on {node.source.name}, which is in "
                    f"{SCOPES[_buffer(node).scope]}; the ALU works in {ACC_SCOPE}"
                )
        reads = [
            _flat(nest, node.indices, node.source.shape)
            for node in walk(value)
            if isinstance(node, Read)
        ]
        tiling = self._tiling(nest, None if guards else reads)
        domain = self._domain(nest, tiling, tuple(guards))
        at = tiling.tiles(_flat(nest, nest.assign.indices, target.shape), nest.where)

        def position(read: Read) -> Affine:
            return tiling.tiles(
                _flat(nest, read.indices, read.source.shape),
                f"{nest.where}: what it reads of {read.source.name}",
            )

        return self.expressions.compute(
            target.name, at, value, position, domain, nest.assign.reduce
        )

    # -- helpers -----------------------------------------------------------------------------

    def _tiling(
        self, nest: StatementNest, reads: Sequence[Affine] | None = ()
    ) -> TileLoops | Whole:
        """The loops over tiles; `reads` are what goes along with what is written, if anything."""
        target = nest.assign.buffer
        size = self.tile[target.scope]
        loops = tuple((loop.var, loop.extent) for loop in nest.loops)
        written = _flat(nest, nest.assign.indices, target.shape)
        if (
            reads is not None
            and not self.depth
            and not nest.assign.guards
            and not nest.assign.reduce
        ):
            whole = whole_tensor(loops, written, math.prod(target.shape), size)
            if whole is not None and all(map(whole.fits, reads)):
                return whole
        return tile_loops(
            loops, written, size, f"{nest.where}: the loops inside {nest.pragma.axis}"
        )

    @staticmethod
    def _domain(
        nest: StatementNest, tiling: TileLoops | Whole, guards: tuple[Expr, ...] | None = None
    ) -> Domain:
        forms: list[Affine] = []
        for guard in nest.assign.guards if guards is None else guards:
            form = affine(guard)
            if form is None:
                raise CompileError(f"{nest.where}: a condition is no sum of indices")
            forms.append(tiling.guard(form, f"{nest.where}: a split or a condition"))
        return Domain(
            tiling.loops, tuple(forms), frozenset(loop.var for loop in nest.loops if loop.unrolled)
        )


def _assigns(body: tuple[Stmt, ...]) -> Iterator[Assign]:
    for stmt in body:
        if isinstance(stmt, Assign):
            yield stmt
        else:
            yield from _assigns(stmt.body)


def _padded(nest: StatementNest) -> tuple[Expr, list[Affine]]:
    """A load's value without the zeros around it, and where it is not those."""
    value = nest.assign.value
    pads: list[Affine] = []
    while True:
        inner = value.value if isinstance(value, Cast) else value
        if not isinstance(inner, Select):
            return value, pads
        if not isinstance(inner.other, Const) or inner.other.number != 0:
            raise CompileError(
                f"{nest.where} pads with something else than 0, which a load cannot do"
            )
        for item in inner.conditions:
            form = affine(item.value)
            if form is None:
                raise CompileError(f"{nest.where}: a condition is no sum of indices")
            pads.append(form)
        value = inner.then.astype(value.dtype)


def _operands(nest: StatementNest) -> tuple[Read, Read]:
    """What a GEMM multiplies: the input's and the weight's read."""
    value = nest.assign.value
    sides = [value.a, value.b] if isinstance(value, Binary) and value.op == "*" else []
    factors = [side for side in map(_uncast, sides) if isinstance(side, Read)]
    reads = {_buffer(read).scope: read for read in factors}
    if len(factors) != 2 or nest.assign.reduce != "+":
        raise ScheduleError(
            f"{nest.where}: env.gemm sums products of two tensors, "
            "te.sum(a * b, axis=[...]); the rule here is another"
        )
    if set(reads) != {INP_SCOPE, WGT_SCOPE}:
        places = " and ".join(f"{read.source.name} is in {_buffer(read).scope}" for read in factors)
        raise ScheduleError(
            f"{nest.where}: env.gemm multiplies a tensor in {INP_SCOPE} by one in "
            f"{WGT_SCOPE}; {places}"
        )
    if value.dtype != "int32":
        raise ScheduleError(
            f"{nest.where}: env.gemm sums in 32 bits; both factors need .astype('int32')"
        )
    return reads[INP_SCOPE], reads[WGT_SCOPE]


def _transposed(nest: StatementNest, forms: tuple[Affine, Affine, Affine]) -> str:
    """For a message: that the weights lie with their inputs outside their outputs, if they do."""
    steps = {
        tuple(form.factors.get(loop.var, 0) for form in forms): loop.var.name for loop in nest.loops
    }
    output, summed = (
        steps.get((1, 0, 1)),
        next((steps[key] for key in steps if key[:2] == (0, 1)), ""),
    )
    if output is None:
        return ""
    name = _operands(nest)[1].source.name
    return (
        f"; {name} is not transposed: {summed}, which is summed, must be its innermost dimension, "
        f"not {output}"
    )


def _uncast(expr: Expr) -> Expr:
    while isinstance(expr, Cast):
        expr = expr.value
    return expr


def _flat(nest: StatementNest, indices: tuple[Expr, ...], shape: tuple[int, ...]) -> Affine:
    form = flatten(indices, shape)
    if form is None:
        raise CompileError(f"{nest.where}: an index is no sum of loop indices; {ABILITIES}")
    return form


def _buffer(read: Read) -> Buffer:
    assert isinstance(read.source, Buffer), "only loops read tensors, and they replaced them"
    return read.source


def _require_pragma(nest: StatementNest, key: str, does: str) -> None:
    if nest.pragma.key != key:
        raise ScheduleError(
            f"{nest.where} {does}: axis {nest.pragma.axis} must have the pragma "
            f"{key!r}, not {nest.pragma.key!r}"
        )


def _computes_on_memory(nest: StatementNest) -> ScheduleError:
    name = next(
        node.source.name
        for node in walk(nest.assign.value)
        if isinstance(node, Read) and _buffer(node).scope == GLOBAL
    )
    return ScheduleError(
        f"{nest.where} computes on {name}, which is in main memory; copy it into {ACC_SCOPE} "
        f"first: a stage `lambda *i: {name}(*i)` with set_scope and the pragma {DMA_COPY!r}"
    )


def _missing_pragma(assign: Assign, passed: set[str]) -> ScheduleError:
    name, scope = assign.buffer.name, assign.buffer.scope
    reads = [node for node in walk(assign.value) if isinstance(node, Read)]
    on_chip = [read for read in reads if _buffer(read).scope in (INP_SCOPE, WGT_SCOPE)]
    if assign.reduce == "+" and on_chip:
        return ScheduleError(
            f"stage {name} sums products of {on_chip[0].source.name}; add "
            f"s[{name}].tensorize(axis, env.gemm) at the outermost of a tile's "
            "loops"
        )
    from_memory = any(_buffer(read).scope == GLOBAL for read in reads)
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
