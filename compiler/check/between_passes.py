"""What must hold of a program between two passes; run after every one of them.

Where a user's declaration can be at fault (an index out of bounds) the message says so; everything
else that is found here is a mistake of a pass, named as such.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from vta.compiler.check.proof import VerifyError
from vta.compiler.ir.access_history import Access
from vta.compiler.ir.accesses import accesses
from vta.compiler.ir.affine import Affine, affine
from vta.compiler.ir.loop_ir import (
    Assign,
    Buffer,
    Finish,
    For,
    InsnProgram,
    Kernel,
    LoopProgram,
    Stmt,
    Transfer,
)
from vta.compiler.ir.tile_ir import (
    Alu,
    Form,
    Load,
    Reset,
    Store,
    TileProgram,
    names_of,
    walk_operations,
)
from vta.compiler.passes.loops.bounds import inlined_body
from vta.compiler.te.expr import Binary, Cast, Expr, Read, Reduce, Select, Var, parts, walk
from vta.compiler.te.schedule import Schedule
from vta.compiler.te.tensor import ComputeOp
from vta.config import Config
from vta.errors import CompileError
from vta.isa import Isa, MemoryType

__all__ = ["check", "check_reads"]


def check(program: Form, config: Config | None) -> None:
    """Checks a program of any form; only `LoopProgram` goes without a configuration.

    Raises
    ------
    CompileError
        A read outside its tensor.
    VerifyError
        A program that no pass should have made.
    """
    if isinstance(program, LoopProgram):
        _loops(program)
        return
    assert config is not None, "what comes after loops depends on the configuration"
    if isinstance(program, TileProgram):
        _nested(program, config)
    else:
        _instructions(program, config)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise VerifyError(message)


def _unique(buffers: Iterable[Buffer]) -> dict[str, Buffer]:
    found: dict[str, Buffer] = {}
    for buffer in buffers:
        _require(buffer.name not in found, f"two buffers are named {buffer.name}")
        found[buffer.name] = buffer
    return found


# -- loops ---------------------------------------------------------------------------------------


def _loops(program: LoopProgram) -> None:
    buffers = _unique((*program.args, *program.allocs))
    defined = {item.name for item in program.args if item.name not in program.outputs}
    for assign, extents in _assigns(program.body, {}):
        target = assign.buffer
        _require(buffers.get(target.name) == target, f"{target.name} is not declared")
        roots = (*assign.indices, *assign.guards, assign.value)
        for node in (part for root in roots for part in walk(root)):
            _require(
                not isinstance(node, Var) or node in extents,
                f"{target.name} uses {getattr(node, 'name', '')} outside its loop",
            )
        _require(
            assign.value.dtype == target.dtype,
            f"{target.name} is {target.dtype}, what it is given {assign.value.dtype}",
        )
        for node in walk(assign.value):
            _typed(node)
            _require(
                not isinstance(node, Read) or node.source.name in defined,
                f"{target.name} reads {getattr(node, 'source', target).name} before it is computed",
            )
        defined.add(target.name)


def _assigns(
    body: Iterable[Stmt], extents: dict[Var, int]
) -> Iterator[tuple[Assign, dict[Var, int]]]:
    for stmt in body:
        if isinstance(stmt, Assign):
            yield stmt, extents
        else:
            inside = {**extents, stmt.var: stmt.extent} if isinstance(stmt, For) else extents
            yield from _assigns(stmt.body, inside)


def _typed(node: Expr) -> None:
    if isinstance(node, Binary):
        _require(node.a.dtype == node.b.dtype == node.dtype, f"{node.op} of mixed dtypes")
    elif isinstance(node, Cast):
        _require(node.value.dtype != node.dtype, f"a cast from {node.dtype} to itself")


def check_reads(schedule: Schedule) -> None:
    """Checks that every stage reads within its tensors, wherever it will be computed.

    Raises
    ------
    CompileError
        A read outside its tensor.
    """
    for stage in schedule.stages:
        if not isinstance(stage.op, ComputeOp) or stage.inlined:
            continue
        body = inlined_body(schedule, stage)
        extents = {axis.var: axis.extent for axis in stage.axes}
        for read, conditions in _guarded(body.value if isinstance(body, Reduce) else body, ()):
            _bounds(
                stage.name, read.source.name, read.indices, read.source.shape, extents, conditions
            )


def _guarded(expr: Expr, conditions: tuple[Expr, ...]) -> Iterator[tuple[Read, tuple[Expr, ...]]]:
    """Every read of an expression, with what is 0 or more where it is taken."""
    if isinstance(expr, Select):
        inside = (*conditions, *(item.value for item in expr.conditions))
        yield from _guarded(expr.then, inside)
        yield from _guarded(expr.other, conditions)
    elif any(isinstance(node, Select) for node in walk(expr)):
        for part in parts(expr):
            yield from _guarded(part, conditions)
    else:
        yield from ((node, conditions) for node in walk(expr) if isinstance(node, Read))


def _bounds(
    stage: str,
    name: str,
    indices: tuple[Expr, ...],
    shape: tuple[int, ...],
    extents: dict[Var, int],
    conditions: tuple[Expr, ...],
) -> None:
    guards = [form for form in map(affine, conditions) if form is not None]
    if any(guard.span(extents)[1] < 0 for guard in guards):
        return  # all padding: it is never read
    for place, (index, size) in enumerate(zip(indices, shape, strict=True)):
        form = affine(index)
        if form is None:
            continue  # matched to nothing later, and refused there
        high = min(item.span(extents)[1] for item in _sums(form, guards))
        low = -min(item.span(extents)[1] for item in _sums(form.scaled(-1), guards))
        if low < 0 or high >= size:
            raise CompileError(
                f"{stage} reads {name} {list(shape)} out of its bounds: index "
                f"{place} runs from {low} to {high}, but must be 0 to {size - 1}"
            )


def _sums(form: Affine, guards: Iterable[Affine]) -> list[Affine]:
    """What a form is at most: itself, or more by guards, which are 0 or more, of fewer indices."""
    found = [form]
    for guard in guards:
        for item in tuple(found):
            for times in {
                -(item.factors[var] // factor)
                for var, factor in guard.factors.items()
                if item.factors.get(var, 0) % factor == 0 and var in item.factors
            }:
                more = item.plus(guard.scaled(times))
                if times > 0 and len(more.factors) < len(item.factors):
                    found.append(more)
    return found


# -- operations on tiles ---------------------------------------------------------------------------


def _nested(program: TileProgram, config: Config) -> None:
    _unique((*program.args, *program.temps))
    imm = Isa(config).alu.field("imm")
    defined: set[str] = set()
    for op in walk_operations(program.body):
        for name in names_of(op):
            _require(name in program.values, f"{name} is no value of the program")
        written = op.dst.value if not isinstance(op, Store) else ""
        read = set(names_of(op)) - (
            {written}
            if isinstance(op, Load | Reset) or isinstance(op, Alu) and op.a.value != written
            else set()
        )
        for name in sorted(read):
            _require(name in defined, f"{name} is read before it is computed")
        if isinstance(op, Alu) and isinstance(op.b, int):
            _require(imm.min <= op.b <= imm.max, f"{op.b} does not fit an immediate")
        defined.add(written)


# -- instructions --------------------------------------------------------------------------------


def _instructions(program: InsnProgram, config: Config) -> None:
    buffers = _unique((*program.args, *program.temps))
    depths = {"acc": config.acc_depth, "inp": config.inp_depth, "wgt": config.wgt_depth}
    for op in program.ops[:-1]:
        _require(not isinstance(op, Finish), "FINISH is not last")
        for access in accesses(op, config):
            if access.space in depths:
                low, high = _reach(access)
                if low < 0 or high > depths[access.space]:
                    raise VerifyError(
                        f"{op} touches {access.space}[{low}:{high}] of {depths[access.space]}"
                    )
        if isinstance(op, Transfer):
            _require(op.buffer in buffers, f"{op.buffer} is not declared")
            _transfer(op, buffers[op.buffer], config)
        if isinstance(op, Kernel):
            _require(len(op.loops) <= 2, "a kernel has at most two loops")
    _require(bool(program.ops) and isinstance(program.ops[-1], Finish), "there is no FINISH")


def _reach(access: Access) -> tuple[int, int]:
    if isinstance(access.index, slice):
        return access.index.start, access.index.stop
    return int(access.index.min(initial=0)), int(access.index.max(initial=-1)) + 1


def _transfer(op: Transfer, buffer: Buffer, config: Config) -> None:
    kind = op.memory_type
    dtype = "int32" if kind == MemoryType.ACC else "int8"
    _require(
        kind != MemoryType.UOP and buffer.dtype == dtype,
        f"{buffer.name} is {buffer.dtype}, which {kind.name} does not move",
    )
    nbytes = math.prod(buffer.shape) * (4 if dtype == "int32" else 1)
    # The last element may be filled partly.
    elements = -(-nbytes // getattr(config, f"{kind.name.lower()}_elem_bytes"))
    end = op.dram_base + ((op.y_size - 1) * op.x_stride + op.x_size if op.y_size else 0)
    _require(
        op.dram_base >= 0 and end <= elements,
        f"{buffer.name}[{op.dram_base}:{end}] is beyond its {elements} elements",
    )
