"""Matches tensorized sums of products to GEMM on tiles."""

from __future__ import annotations

from vta.compiler.ir.affine import Affine, affine
from vta.compiler.ir.tile_ir import Domain, Gemm, Reset, TileOperand
from vta.compiler.passes.match.alu_operations import Expressions
from vta.compiler.passes.match.statement_nest import (
    StatementNest,
    buffer_of,
    domain_of,
    flat,
    tile_numbers,
    tiling_of,
)
from vta.compiler.passes.match.tile_loops import TileLoops
from vta.compiler.te.expr import Binary, Cast, Const, Expr, Read, Var
from vta.compiler.te.stage import ACC_SCOPE, INP_SCOPE, SCOPES, WGT_SCOPE
from vta.config import Config
from vta.errors import ScheduleError

__all__ = ["is_zero", "match_gemm"]


def is_zero(value: Expr) -> bool:
    """Whether a sum that starts from `value` can start with a reset."""
    return isinstance(value, Const) and value.number == 0


def match_gemm(nest: StatementNest, config: Config, expressions: Expressions) -> Gemm | Reset:
    """Matches a tensorized sum of products, or its initialization with zeros.

    Raises
    ------
    ScheduleError
        The tensors, loops or rule do not fit env.gemm; the message names the stage.
    """
    assign, target = nest.assign, nest.assign.buffer
    if target.scope != ACC_SCOPE:
        raise ScheduleError(
            f"{nest.where} is in {SCOPES[target.scope]}; env.gemm adds into "
            f"the accumulator buffer: set_scope({ACC_SCOPE!r})"
        )
    expressions.define(target.name)
    written = flat(nest, assign.indices, target.shape)
    if is_zero(assign.value):
        tiling = tiling_of(nest, config)
        return Reset(
            TileOperand(target.name, tiling.tiles(written, nest.where)), domain_of(nest, tiling)
        )
    inp, wgt = _operands(nest)
    forms = (
        written,
        flat(nest, inp.indices, inp.source.shape),
        flat(nest, wgt.indices, wgt.source.shape),
    )
    tile = _gemm_tile(nest, forms, config)
    rest = tuple((loop.var, loop.extent) for loop in nest.loops if loop.var not in tile)
    operands = []
    for name, form, size in zip(
        (target.name, inp.source.name, wgt.source.name),
        forms,
        (
            tile_numbers(config, ACC_SCOPE),
            tile_numbers(config, INP_SCOPE),
            tile_numbers(config, WGT_SCOPE),
        ),
        strict=True,
    ):
        form = Affine(
            form.offset, {var: factor for var, factor in form.factors.items() if var not in tile}
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


def _gemm_tile(
    nest: StatementNest, forms: tuple[Affine, Affine, Affine], config: Config
) -> set[Var]:
    """The loops of one tile's product; all other loops must be outside the tensorized axis."""
    batch, block = config.batch, config.block
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


def _operands(nest: StatementNest) -> tuple[Read, Read]:
    """The two reads that a GEMM multiplies: the input and the weight."""
    value = nest.assign.value
    sides = [value.a, value.b] if isinstance(value, Binary) and value.op == "*" else []
    factors = [side for side in map(_uncast, sides) if isinstance(side, Read)]
    reads = {buffer_of(read).scope: read for read in factors}
    if len(factors) != 2 or nest.assign.reduce != "+":
        raise ScheduleError(
            f"{nest.where}: env.gemm sums products of two tensors, "
            "te.sum(a * b, axis=[...]); this rule does not"
        )
    if set(reads) != {INP_SCOPE, WGT_SCOPE}:
        places = " and ".join(
            f"{read.source.name} is in {buffer_of(read).scope}" for read in factors
        )
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
    """A hint for the message if the weight tile is transposed (inputs before outputs)."""
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
