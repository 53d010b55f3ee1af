"""The loop nest of one operation, and the queries that all kinds of operations share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vta.compiler.ir.affine import Affine, affine, flatten
from vta.compiler.ir.loop_ir import Assign, Buffer, For, PragmaBlock, Stmt
from vta.compiler.ir.tile_ir import Domain
from vta.compiler.passes.loops.loop_nests import TENSORIZE
from vta.compiler.passes.match.tile_loops import TileLoops, Whole, tile_loops, whole_tensor
from vta.compiler.te.dtypes import ABILITIES
from vta.compiler.te.expr import Expr, Read
from vta.compiler.te.expr_text import show_expr
from vta.compiler.te.stage import WGT_SCOPE
from vta.config import Config
from vta.errors import CompileError, ScheduleError

__all__ = [
    "StatementNest",
    "buffer_of",
    "domain_of",
    "flat",
    "require_pragma",
    "statement_nest",
    "tile_numbers",
    "tiling_of",
]


@dataclass(frozen=True)
class StatementNest:
    """One statement, with the loops around it that belong to its operation.

    Attributes
    ----------
    inside : tuple of str
        The names of the tensorized loops.
    at_root : bool
        Whether it stands outside all other loops.
    """

    loops: tuple[For, ...]
    inside: tuple[str, ...]
    assign: Assign
    pragma: PragmaBlock
    at_root: bool

    @property
    def where(self) -> str:
        """The prefix of messages."""
        return f"stage {self.assign.buffer.name}"


def statement_nest(pragma: PragmaBlock, at_root: bool) -> StatementNest:
    """The nest that a pragma covers.

    Raises
    ------
    ScheduleError
        The nest contains a second pragma or virtual threads.
    """
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
    return StatementNest(tuple(loops), tuple(inside), stmt, pragma, at_root)


def tile_numbers(config: Config, scope: str) -> int:
    """The number of elements in a tile of a memory; main memory has result tiles."""
    rows = config.block if scope == WGT_SCOPE else config.batch
    return rows * config.block


def tiling_of(
    nest: StatementNest, config: Config, reads: Sequence[Affine] | None = ()
) -> TileLoops | Whole:
    """The loops over tiles; `reads` are the positions that must advance with the write."""
    target = nest.assign.buffer
    size = tile_numbers(config, target.scope)
    loops = tuple((loop.var, loop.extent) for loop in nest.loops)
    written = flat(nest, nest.assign.indices, target.shape)
    if reads is not None and nest.at_root and not nest.assign.guards and not nest.assign.reduce:
        whole = whole_tensor(loops, written, math.prod(target.shape), size)
        if whole is not None and all(map(whole.fits, reads)):
            return whole
    return tile_loops(loops, written, size, f"{nest.where}: the loops inside {nest.pragma.axis}")


def domain_of(
    nest: StatementNest, tiling: TileLoops | Whole, guards: tuple[Expr, ...] | None = None
) -> Domain:
    """The operation's loops, limited to the iterations that pass the statement's guards."""
    forms: list[Affine] = []
    for guard in nest.assign.guards if guards is None else guards:
        form = affine(guard)
        if form is None:
            raise CompileError(f"{nest.where}: a condition must be on a sum of indices")
        forms.append(tiling.guard(form, f"{nest.where}: a split or a condition"))
    return Domain(
        tiling.loops, tuple(forms), frozenset(loop.var for loop in nest.loops if loop.unrolled)
    )


def flat(nest: StatementNest, indices: tuple[Expr, ...], shape: tuple[int, ...]) -> Affine:
    """The flat position of indices in a tensor, in elements."""
    form = flatten(indices, shape)
    if form is None:
        shown = next(show_expr(index) for index in indices if affine(index) is None)
        raise CompileError(
            f"{nest.where}: an index must be a sum of loop indices (// and % are allowed), "
            f"not {shown}; {ABILITIES}"
        )
    return form


def buffer_of(read: Read) -> Buffer:
    """The buffer of a read."""
    assert isinstance(read.source, Buffer), "only loops read tensors, and they replaced them"
    return read.source


def require_pragma(nest: StatementNest, key: str, does: str) -> None:
    """Raises `ScheduleError` unless the nest's pragma fits its operation."""
    if nest.pragma.key != key:
        raise ScheduleError(
            f"{nest.where} {does}: axis {nest.pragma.axis} must have the pragma "
            f"{key!r}, not {nest.pragma.key!r}"
        )
