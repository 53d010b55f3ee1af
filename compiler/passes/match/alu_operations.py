"""Lowers expressions of tiled stages to ALU operations and the tiles they touch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from vta.compiler.ir.affine import Affine
from vta.compiler.ir.tile_ir import Alu, Domain, Loop, Node, Reset, TileOperand, Value
from vta.compiler.passes.match.alu_selection import AluStep, Fill, Selected, Selector
from vta.compiler.te.dtypes import ABILITIES
from vta.compiler.te.expr import Expr, Read, Var, parts
from vta.compiler.te.stage import ACC_SCOPE
from vta.config import Config
from vta.errors import CompileError
from vta.isa import AluOp

__all__ = ["Expressions", "spelled_constant"]

REDUCTIONS = {"+": AluOp.ADD, "max": AluOp.MAX, "min": AluOp.MIN}
HERE = Affine(0, {})


def spelled_constant(number: int) -> tuple[tuple[AluOp, int], ...]:
    """The ALU operations that build a 32-bit number from 0 with 16-bit immediates."""
    low = (number + 0x8000) % 0x10000 - 0x8000
    high = (((number - low) >> 16) + 0x8000) % 0x10000 - 0x8000  # 2**15 << 16 wraps like -2**15
    return ((AluOp.ADD, high), (AluOp.SHR, -16), (AluOp.ADD, low))


class Expressions:
    """The expressions that the stages of one program compute.

    A stage may read a tensor at the index it writes, and may then overwrite it. A read at another
    index (a bias, a neighbour) has its own name in the operations that `Selector` makes.

    Parameters
    ----------
    config : Config
    values : dict of str to Value
        The program's values so far.
    """

    def __init__(self, config: Config, values: dict[str, Value]) -> None:
        self.selector = Selector(config, set())
        self.values = values
        self.made: dict[str, Value] = {}
        self.same: dict[str, str] = {}
        self.exact: dict[str, bool] = {}

    def define(self, name: str, exact: bool = True) -> None:
        """Defines a stage's tensor, and whether the upper bits of its numbers are correct.

        If a stage has several cases, the bits must be correct in all of them.
        """
        self.exact[name] = exact and self.exact.get(name, True)

    def resolve(self, name: str) -> str:
        """The value of a stage's tensor; a plain copy or cast resolves to its source."""
        return self.same.get(name, name)

    def values_made(self) -> dict[str, Value]:
        """The values that belong to no stage: intermediate results and constants."""
        found = {name: value for name, value in self.made.items() if name not in self.same}
        for item in self.selector.constants:
            found[item.name] = Value(item.name, item.name, ACC_SCOPE, 1, item.number)
        return found

    def constants(self) -> tuple[Node, ...]:
        """The operations that make the program's constants."""
        once = Domain(())
        found: list[Node] = []
        for item in self.selector.constants:
            at = TileOperand(item.name, HERE)
            (_, high), *steps = spelled_constant(item.number)
            found += self._filled(at, high, once, keep_zero=True)
            found += [Alu(op, at, at, imm, once) for op, imm in steps]
        return tuple(found)

    def compute(
        self,
        name: str,
        at: Affine,
        value: Expr,
        position: Callable[[Read], Affine],
        domain: Domain,
        reduce: str,
        *,
        partly: bool = False,
        begins: bool = False,
    ) -> tuple[Node, ...]:
        """The operations of a stage that writes its tensor at the tiles `at`.

        If they write it only `partly`, all parts must write the tensor to the same place. If a
        reduction `begins` with the value, the tensor must be no other name of what is read.

        Raises
        ------
        CompileError
            An index is used as a value.
        """
        selector, own = self.selector, self.values[name]
        selector.taken |= self.values.keys()
        elsewhere: dict[str, TileOperand] = {}
        places: dict[tuple[str, int, frozenset[tuple[Var, int]]], str] = {}

        def operand(read: Read) -> Selected:
            tensor = read.source.name
            source, there = self.resolve(tensor), position(read)
            ref = source
            if there != at or self.values[tensor].tiles != own.tiles or reduce or source == name:
                place = source, there.offset, frozenset(there.factors.items())
                if place not in places:
                    places[place] = selector.unique(f"{source}@", len(places))
                    elsewhere[places[place]] = TileOperand(source, there)
                ref = places[place]
            return Selected(ref, self.exact[tensor])

        _no_indices(name, value)
        narrow = value.dtype == "int8"
        if reduce in ("max", "min"):
            value = value.astype("int32")  # the comparison needs the sign of the int8
        ops, result = selector.expression(name, value, operand)
        if reduce:
            self.define(name, exact=reduce != "+" or not narrow)  # an int8 sum wraps around
            return self._reduction(name, at, ops, result, elsewhere, domain, reduce)
        ref = result.ref
        if isinstance(ref, int):
            ops, ref = [*ops, Fill(name, selector.second(ref))], name
        elif ops and ops[-1].dst == ref and not partly:
            # Rename the result to the stage's tensor.
            ops, ref = [*ops[:-1], dataclasses.replace(ops[-1], dst=name)], name
        elif ref in elsewhere or domain.guards or partly or begins:
            ops, ref = [*ops, *self.selector.copy(name, ref)], name
        if ref != name:
            self.same[name] = ref
        self.define(name, result.exact)
        return self._nodes(ops, at, elsewhere, domain, own)

    def _reduction(
        self,
        name: str,
        at: Affine,
        ops: list[AluStep | Fill],
        result: Selected,
        elsewhere: dict[str, TileOperand],
        domain: Domain,
        reduce: str,
    ) -> tuple[Node, ...]:
        own = self.values[name]
        target = TileOperand(name, at)
        op = REDUCTIONS[reduce]
        if not ops:
            ref = result.ref if isinstance(result.ref, str) else self.selector.second(result.ref)
            b = self._operand(ref, at, elsewhere)
            return (Alu(op, target, target, b, domain, reduces=True),)
        # The expression is computed for one iteration of the reduction at a time.
        outer = [(var, extent) for var, extent in domain.loops if var not in at.factors]
        inner = dataclasses.replace(
            domain, loops=tuple(loop for loop in domain.loops if loop not in outer)
        )
        body = self._nodes(ops, at, elsewhere, inner, own)
        body += (Alu(op, target, target, self._operand(result.ref, at, elsewhere), inner),)
        for var, extent in reversed(outer):
            body = (Loop(var, extent, False, body),)
        return body

    def _nodes(
        self,
        ops: list[AluStep | Fill],
        at: Affine,
        elsewhere: dict[str, TileOperand],
        domain: Domain,
        own: Value,
    ) -> tuple[Node, ...]:
        found: list[Node] = []
        for op in ops:
            if op.dst not in self.values:
                self.made[op.dst] = Value(op.dst, own.stage, ACC_SCOPE, own.tiles)
            dst = TileOperand(op.dst, at)
            if isinstance(op, Fill):
                found += self._filled(dst, self._operand(op.number, at, elsewhere), domain)
                continue
            a, b = self._operand(op.a, at, elsewhere), self._operand(op.b, at, elsewhere)
            assert isinstance(a, TileOperand)
            found.append(Alu(op.op, dst, a, b, domain, offsets=op.offsets))
        return tuple(found)

    def _filled(
        self,
        dst: TileOperand,
        number: TileOperand | int,
        domain: Domain,
        *,
        keep_zero: bool = False,
    ) -> tuple[Node, ...]:
        """Sets tiles to a number; without `keep_zero`, nothing is added for 0."""
        if number == 0 and not keep_zero:
            return (Reset(dst, domain),)
        if self.selector.moves:
            return (Alu(AluOp.MOV, dst, dst, number, domain),)
        return Reset(dst, domain), Alu(AluOp.ADD, dst, dst, number, domain)

    def _operand(
        self, ref: str | int, at: Affine, elsewhere: dict[str, TileOperand]
    ) -> TileOperand | int:
        if isinstance(ref, int):
            return ref
        if any(item.name == ref for item in self.selector.constants):
            return TileOperand(ref, HERE)
        return elsewhere.get(ref, TileOperand(ref, at))


def _no_indices(name: str, value: Expr) -> None:
    """Checks that no index is used as a value; an index may only select what is read."""
    todo = [value]
    seen: set[int] = set()
    while todo:
        node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Var):
            raise CompileError(f"stage {name} uses the index {node.name} as a value; {ABILITIES}")
        if not isinstance(node, Read):
            todo += parts(node)
