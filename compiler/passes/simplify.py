"""Drops loops of one round, so that the remaining loops show the shape of the work."""

from __future__ import annotations

import dataclasses

from vta.compiler.ir.affine import simple
from vta.compiler.ir.loop_ir import For, LoopProgram, PragmaBlock, Stmt
from vta.compiler.te.expr import Const, Expr, Read, Var, substitute
from vta.config import Config

__all__ = ["simplify"]


def simplify(program: LoopProgram, config: Config | None = None) -> LoopProgram:
    """The same program, in which every loop has at least two rounds."""
    return dataclasses.replace(program, body=_body(program.body, {}))


def _body(body: tuple[Stmt, ...], known: dict[Var, Expr]) -> tuple[Stmt, ...]:
    return tuple(simple for stmt in body for simple in _stmt(stmt, known))


def _stmt(stmt: Stmt, known: dict[Var, Expr]) -> tuple[Stmt, ...]:
    if isinstance(stmt, For):
        if stmt.extent == 1:
            return _body(stmt.body, {**known, stmt.var: Const(stmt.var.dtype, 0)})
        return (dataclasses.replace(stmt, body=_body(stmt.body, known)),)
    if isinstance(stmt, PragmaBlock):
        return (dataclasses.replace(stmt, body=_body(stmt.body, known)),)

    def simpler(index: Expr) -> Expr:
        return simple(substitute(index, known))

    def read(item: Read) -> Expr:
        return Read(item.dtype, item.source, tuple(map(simple, item.indices)))

    return (
        dataclasses.replace(
            stmt,
            indices=tuple(map(simpler, stmt.indices)),
            value=substitute(stmt.value, known, read),
            guards=tuple(map(simpler, stmt.guards)),
        ),
    )
