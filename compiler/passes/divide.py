"""Removes divisions from indices by splitting loops, one operation at a time.

The addresses of an operation grow by equal steps in each of its loops, so no index may divide a
loop index of the same operation. To read ``i // 4``, the loop over ``i`` is split into two. The
inner one has 4 rounds, and the index of the outer one is the quotient. If the loop begins or ends
in the middle of a block, a guard says which rounds count. If the blocks are not equal, the loop
moves out of the operation, which then runs once for each round; `unroll` can compute the quotient
of every round.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping

from vta.compiler.ir.affine import (
    Affine,
    Quotient,
    affine,
    as_expression,
    flatten,
    has_division,
    simple,
    variables,
)
from vta.compiler.ir.loop_ir import Assign, For, LoopProgram, PragmaBlock, Stmt
from vta.compiler.te.expr import Expr, Read, Select, Var, substitute, walk
from vta.compiler.te.expr_text import show_expr
from vta.config import Config
from vta.errors import CompileError

__all__ = ["divide"]

MOST_OPERATIONS = 1 << 12
"""The most operations that one operation of the schedule may become; more are refused."""


def divide(program: LoopProgram, config: Config | None = None) -> LoopProgram:
    """The same program, in which no operation divides its own loop indices.

    Raises
    ------
    CompileError
        If one operation would become too many; the message shows the index with the division.
    """
    return dataclasses.replace(program, body=tuple(_divided(stmt, {}) for stmt in program.body))


def _divided(stmt: Stmt, outside: Mapping[Var, int]) -> Stmt:
    if isinstance(stmt, For):
        inside = {**outside, stmt.var: stmt.extent}
        return dataclasses.replace(stmt, body=tuple(_divided(item, inside) for item in stmt.body))
    if isinstance(stmt, Assign):
        return stmt
    chain: list[For | PragmaBlock] = []
    inner: Stmt = stmt
    while not isinstance(inner, Assign):
        chain.append(inner)
        assert len(inner.body) == 1, "an operation's loops are a perfect nest"
        inner = inner.body[0]
    divisions = _shown(inner)
    return _DividedNest(chain, inner, divisions, outside).done() if divisions else stmt


def _shown(assign: Assign) -> str:
    """The text of the reads and conditions that divide an index; "" if there are none."""
    found = dict.fromkeys(
        show_expr(node)
        for node in walk(assign.value)
        if isinstance(node, Read) and any(map(has_division, node.indices))
    )
    conditions = [
        *assign.guards,
        *(
            item.value
            for node in walk(assign.value)
            if isinstance(node, Select)
            for item in node.conditions
        ),
    ]
    found.update({f"{show_expr(item)} >= 0": None for item in conditions if has_division(item)})
    found.update({show_expr(item): None for item in assign.indices if has_division(item)})
    return " and ".join(found)


class _DividedNest:
    """The loops of one operation around its statement."""

    def __init__(
        self,
        chain: list[For | PragmaBlock],
        assign: Assign,
        divisions: str,
        outside: Mapping[Var, int],
    ) -> None:
        self.chain = chain
        self.divisions = divisions
        self.extents = dict(outside)
        self.own: dict[Var, int] = {}
        """The operation's loops and their numbers of rounds."""
        for item in chain:
            if isinstance(item, For):
                self.own[item.var] = item.extent
        self.extents.update(self.own)
        self.taken: list[For] = []
        """The loops moved out of the operation."""
        self.assign = self._simple(assign, {})

    def done(self) -> Stmt:
        """The nest without divisions of its own loop indices."""
        while (found := next(self._quotients(), None)) is not None:
            self._remove(found)
        body: Stmt = self.assign
        for item in reversed(self.chain):
            if isinstance(item, PragmaBlock):
                note = self.divisions if item is self.chain[0] else ""
                body = PragmaBlock(item.key, item.axis, (body,), note)
            else:
                body = dataclasses.replace(item, body=(body,))
        for loop in reversed(self.taken):
            body = dataclasses.replace(loop, body=(body,))
        return body

    def _quotients(self) -> Iterator[Quotient]:
        """Divisions of the operation's own loop indices, in its write, reads and conditions."""
        assign = self.assign
        forms = [flatten(assign.indices, assign.buffer.shape), *map(affine, assign.guards)]
        for node in walk(assign.value):
            if isinstance(node, Read):
                forms.append(flatten(node.indices, node.source.shape))
            elif isinstance(node, Select):
                forms += [affine(item.value) for item in node.conditions]
        for form in forms:
            for item in form.quotients() if form is not None else ():
                if not variables([item]).isdisjoint(self.own):
                    yield item

    def _remove(self, item: Quotient) -> None:
        """Splits one loop, or moves one out of the operation, so that `item` can be simplified."""
        inner = item.form.quotients()
        for deeper in inner:
            if not variables([deeper]).isdisjoint(self.own):
                self._remove(deeper)
                return
        factors = item.form.factors
        own = sorted((var for var in factors if var in self.own), key=lambda var: self.own[var])
        for var in reversed(own):
            # All other terms are multiples of `step`: only this loop decides the rest.
            others = (factor for other, factor in factors.items() if other is not var)
            step = math.gcd(item.divisor, *others)
            factor = abs(factors[var])
            block = step // factor
            if step % factor == 0 and block > 1:
                begin = item.form.offset % step // factor
                shift = begin if factors[var] > 0 else block - 1 - begin
                if self.own[var] + shift > block:
                    self._cut(var, block, shift)
                    return
        for var in reversed(own):
            period = item.divisor // math.gcd(item.divisor, factors[var])
            if period < self.own[var]:
                self._cut(var, period, 0)
                return
        self._take_out(own[0])

    def _cut(self, var: Var, block: int, shift: int) -> None:
        """Splits a loop into two: ``var = outer * block + inner - shift``."""
        extent = self.own.pop(var)
        rounds = (extent - 1 + shift) // block + 1
        outer, inner = (Var("int32", f"{var.name}.{part}") for part in ("outer", "inner"))
        for own, count in ((outer, rounds), (inner, block)):
            self.own[own] = self.extents[own] = count
        place = next(
            number
            for number, item in enumerate(self.chain)
            if isinstance(item, For) and item.var is var
        )
        loop = self.chain[place]
        assert isinstance(loop, For)
        self.chain[place : place + 1] = [
            dataclasses.replace(loop, var=outer, extent=rounds),
            dataclasses.replace(loop, var=inner, extent=block),
        ]
        value = Affine(-shift, {outer: block, inner: 1})
        guards = [value] if shift else []
        if rounds * block - shift > extent:
            guards.append(Affine(extent - 1, {}).plus(value.scaled(-1)))
        self.assign = self._simple(self.assign, {var: as_expression(value)})
        self.assign = dataclasses.replace(
            self.assign, guards=(*self.assign.guards, *map(as_expression, guards))
        )

    def _take_out(self, var: Var) -> None:
        """Runs the operation once for each round of a loop."""
        loop = next(item for item in self.chain if isinstance(item, For) and item.var is var)
        self.chain.remove(loop)
        self.taken.append(loop)
        del self.own[var]
        count = math.prod(item.extent for item in self.taken)
        if count > MOST_OPERATIONS:
            raise CompileError(
                f"stage {self.assign.buffer.name}: no split of a loop makes the divisions in "
                f"{self.divisions} exact, so the stage would take {count} operations, more than "
                f"{MOST_OPERATIONS}; split its loops at multiples of the divisor"
            )

    def _simple(self, assign: Assign, known: Mapping[Var, Expr]) -> Assign:
        def changed(index: Expr) -> Expr:
            return simple(substitute(index, known), self.extents)

        def read(item: Read) -> Expr:
            return Read(
                item.dtype,
                item.source,
                tuple(simple(index, self.extents) for index in item.indices),
            )

        return dataclasses.replace(
            assign,
            indices=tuple(map(changed, assign.indices)),
            value=substitute(assign.value, known, read, lambda value: simple(value, self.extents)),
            guards=tuple(map(changed, assign.guards)),
        )
