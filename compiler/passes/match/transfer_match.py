"""Matches copies between main memory and the buffers to loads and stores of tiles."""

from __future__ import annotations

import math

from vta.compiler.ir.affine import Affine, affine
from vta.compiler.ir.loop_ir import Buffer
from vta.compiler.ir.tile_ir import Load, Store, TileOperand
from vta.compiler.passes.match.alu_operations import Expressions
from vta.compiler.passes.match.statement_nest import (
    StatementNest,
    buffer_of,
    domain_of,
    flat,
    require_pragma,
    tile_numbers,
    tiling_of,
)
from vta.compiler.te.dtypes import check_requantises
from vta.compiler.te.expr import Cast, Const, Expr, Read, Select, walk
from vta.compiler.te.intrinsics import min_value
from vta.compiler.te.stage import ACC_SCOPE, ALU, DMA_COPY, GLOBAL, INP_SCOPE, SCOPES, WGT_SCOPE
from vta.config import Config
from vta.errors import CompileError, ScheduleError
from vta.isa import MemoryType

__all__ = ["match_load", "match_store"]


def match_load(nest: StatementNest, config: Config, expressions: Expressions) -> Load:
    """Matches a copy from main memory into a buffer, with its zero padding.

    Raises
    ------
    ScheduleError, CompileError
        A LOAD cannot make this copy; the message names the stage.
    """
    target = nest.assign.buffer
    if nest.assign.reduce:
        raise _computes_on_memory(nest)
    value, pads, pad_min = _padded(nest, config)
    inner = value.value if isinstance(value, Cast) else value
    if not isinstance(inner, Read):
        raise _computes_on_memory(nest)
    require_pragma(nest, DMA_COPY, "loads from main memory")
    source = buffer_of(inner)
    kind = _kind(nest, source, value, config)
    expressions.define(target.name, exact=source.dtype == target.dtype or target.dtype == "int32")
    there = flat(nest, inner.indices, source.shape)
    tiling = tiling_of(nest, config, None if pads else (there,))
    return Load(
        TileOperand(
            target.name,
            tiling.tiles(
                flat(nest, nest.assign.indices, target.shape), f"{nest.where}: {target.name}"
            ),
        ),
        source,
        tiling.tiles(there, f"{nest.where}: what it reads of {source.name}"),
        kind,
        domain_of(nest, tiling),
        tuple(tiling.guard(form, f"{nest.where}: its padding") for form in pads),
        pad_min,
    )


def _kind(nest: StatementNest, source: Buffer, value: Expr, config: Config) -> MemoryType:
    target = nest.assign.buffer
    if math.prod(source.shape) % tile_numbers(config, WGT_SCOPE) and target.scope == WGT_SCOPE:
        raise ScheduleError(
            f"{nest.where} reads {source.name} {list(source.shape)}, which is "
            f"not in whole tiles of weights, {tile_numbers(config, WGT_SCOPE)} numbers "
            "each; pad the tensor"
        )
    if target.scope == ACC_SCOPE:
        return MemoryType.ACC_8BIT if source.dtype == "int8" else MemoryType.ACC
    if source.dtype != "int8" or target.dtype != "int8" or isinstance(value, Cast):
        raise ScheduleError(
            f"{nest.where} is {target.dtype}, read from {source.name} of "
            f"{source.dtype}; {SCOPES[target.scope]} holds int8, unchanged from "
            "main memory"
        )
    return MemoryType.INP if target.scope == INP_SCOPE else MemoryType.WGT


def match_store(nest: StatementNest, config: Config, expressions: Expressions) -> Store:
    """Matches a copy from the accumulator buffer to main memory.

    Raises
    ------
    ScheduleError, CompileError
        A stage in main memory is not such a copy; the message names the stage.
    """
    target, inner = nest.assign.buffer, nest.assign.value
    while isinstance(inner, Cast):  # only the low bits matter
        inner = inner.value
    if not isinstance(inner, Read) or nest.assign.reduce:
        raise ScheduleError(
            f"{nest.where} is in main memory, where a stage can only copy; compute it in a "
            f"stage with set_scope({ACC_SCOPE!r}) and the pragma {ALU!r}, and copy the result"
        )
    source = buffer_of(inner)
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
    require_pragma(nest, DMA_COPY, "stores to main memory")
    if target.dtype != "int8":
        raise CompileError(
            f"{nest.where} would store {target.dtype}; VTA stores int8 only: end it with "
            ".astype('int8')"
        )
    there = flat(nest, inner.indices, source.shape)
    tiling = tiling_of(nest, config, (there,))
    name = expressions.resolve(source.name)
    return Store(
        target,
        tiling.tiles(flat(nest, nest.assign.indices, target.shape), f"{nest.where}: {target.name}"),
        TileOperand(name, tiling.tiles(there, f"{nest.where}: what it reads of {source.name}")),
        domain_of(nest, tiling),
    )


def _padded(nest: StatementNest, config: Config) -> tuple[Expr, list[Affine], bool]:
    """A load's value without its padding, and the conditions where it is not padding.

    The last is whether the padding is the least number of what is loaded, not zero.
    """
    value = nest.assign.value
    pads: list[Affine] = []
    numbers: set[int] = set()
    while isinstance(inner := value.value if isinstance(value, Cast) else value, Select):
        numbers.add(inner.other.number if isinstance(inner.other, Const) else 1)
        for item in inner.conditions:
            form = affine(item.value)
            if form is None:
                raise CompileError(f"{nest.where}: a condition must be on a sum of indices")
            pads.append(form)
        value = inner.then.astype(value.dtype)
    loaded = value.value if isinstance(value, Cast) else value
    least = min_value(loaded.dtype).number if numbers else 0
    if not numbers <= {0} and numbers != {least}:
        raise CompileError(
            f"{nest.where} pads with a value other than 0"
            + (f" or with {least} alone" if config.requantises else "")
            + ", which a load cannot do"
        )
    if least in numbers:
        check_requantises(f"{nest.where}: padding with {least}", config)
    return value, pads, least in numbers


def _computes_on_memory(nest: StatementNest) -> ScheduleError:
    name = next(
        node.source.name
        for node in walk(nest.assign.value)
        if isinstance(node, Read) and buffer_of(node).scope == GLOBAL
    )
    return ScheduleError(
        f"{nest.where} computes on {name}, which is in main memory; copy it into {ACC_SCOPE} "
        f"first: a stage `lambda *i: {name}(*i)` with set_scope and the pragma {DMA_COPY!r}"
    )
