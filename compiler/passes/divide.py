"""Divisions in indices, one operation at a time: its loops are cut where a division cuts them.

An operation goes through its loops in even steps, so no index in it may be the quotient of a loop
of its own. Where ``i // 4`` is read, the loop over ``i`` becomes two, the inner one of 4 rounds:
the outer one is the quotient. If the loop begins in the middle of a block, or ends there, a guard
says which rounds count. Where blocks do not come out even, a loop is taken out of the operation,
which is then done once for each of its rounds; `unroll` knows the quotient in every round.
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
"""For one operation of the schedule; more are a mistake in it."""


def divide(program: LoopProgram, config: Config | None = None) -> LoopProgram:
    """The same program, in which no operation divides a loop of its own in an index.

    Raises
    ------
    CompileError
        An index that would take an operation apart into too many; the message shows it.
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
    """The reads and conditions that divide an index, as the program has them; "" if none does."""
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
        """The operation's loops and how many rounds they have."""
        for item in chain:
            if isinstance(item, For):
                self.own[item.var] = item.extent
        self.extents.update(self.own)
        self.taken: list[For] = []
        """The loops taken out of it."""
        self.assign = self._simple(assign, {})

    def done(self) -> Stmt:
        """The nest without a division of its own loops."""
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
        """Divisions of the operation's own loops, in what it writes, reads and asks."""
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
        """A step towards a program without a division: a loop is cut, or taken out."""
        inner = item.form.quotients()
        for deeper in inner:
            if not variables([deeper]).isdisjoint(self.own):
                self._remove(deeper)
                return
        factors = item.form.factors
        own = sorted((var for var in factors if var in self.own), key=lambda var: self.own[var])
        for var in reversed(own):
            # What else there is goes in steps of `step`: below that, only this loop counts.
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
        """Two loops for one: ``var = outer * block + inner - shift``."""
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
        """Does the operation once for each round of a loop."""
        loop = next(item for item in self.chain if isinstance(item, For) and item.var is var)
        self.chain.remove(loop)
        self.taken.append(loop)
        del self.own[var]
        count = math.prod(item.extent for item in self.taken)
        if count > MOST_OPERATIONS:
            raise CompileError(
                f"stage {self.assign.buffer.name}: what is divided in {self.divisions} comes out "
                f"even in no loop, and would take {count} operations; split its loops where the "
                "division cuts them"
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
