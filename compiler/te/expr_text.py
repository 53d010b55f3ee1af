"""Expressions as text, with as few brackets as possible."""

from __future__ import annotations

import itertools

import numpy as np

from vta.compiler.te.dtypes import SCALE
from vta.compiler.te.expr import (
    Binary,
    Cast,
    Const,
    Expr,
    Read,
    Requantize,
    Select,
    Var,
    parts,
    walk,
)

__all__ = ["PRECEDENCE", "show_expr"]

PRECEDENCE = {"<<": 1, ">>": 1, "+": 2, "-": 2, "*": 3, "//": 3, "%": 3}
MOST_NODES = 300


def show_expr(expr: Expr) -> str:
    """The text of an expression; only its size if the text would be too long to read."""
    nodes = sum(1 for _ in itertools.islice(walk(expr), MOST_NODES + 1))
    if nodes > MOST_NODES or _text_nodes(expr, {}) > MOST_NODES:
        return f"<{sum(isinstance(node, Binary) for node in walk(expr))} operations>"
    return _expr(expr)


def _text_nodes(expr: Expr, known: dict[int, int]) -> int:
    """How many nodes the text has; shared nodes count each time they appear."""
    if id(expr) not in known:
        known[id(expr)] = 1 + sum(_text_nodes(part, known) for part in parts(expr))
    return known[id(expr)]


def _expr(expr: Expr, outer: int = 0) -> str:
    """The text of an expression, in brackets if the operator around it binds tighter (`outer`)."""
    if isinstance(expr, Const):
        if expr.dtype == SCALE:
            return str(np.int32(expr.number).view(SCALE))
        return str(expr.number)
    if isinstance(expr, Var):
        return expr.name
    if isinstance(expr, Cast):
        return f"{expr.dtype}({_expr(expr.value)})"
    if isinstance(expr, Read):
        indices = ", ".join(map(_expr, expr.indices))
        return f"{expr.source.name}[{indices}]" if indices else expr.source.name
    if isinstance(expr, Binary):
        if expr.op not in PRECEDENCE:
            return f"{expr.op}({_expr(expr.a)}, {_expr(expr.b)})"
        strength = PRECEDENCE[expr.op]
        text = f"{_expr(expr.a, strength)} {expr.op} {_expr(expr.b, strength + 1)}"
        return f"({text})" if strength < outer else text
    if isinstance(expr, Select):
        inside = " and ".join(f"{_expr(item.value)} >= 0" for item in expr.conditions)
        return f"select({inside}, {_expr(expr.then)}, {_expr(expr.other)})"
    if isinstance(expr, Requantize):
        value, scale = _expr(expr.value), _expr(expr.scale)
        return f"requantize({value}, {scale}, {expr.zero_point}, {expr.lower})"
    raise AssertionError(f"no such expression: {expr!r}")
