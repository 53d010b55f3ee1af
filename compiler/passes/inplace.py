"""Turns operations with three operands into the ALU's form with two, which overwrites the first.

An operand may be overwritten if nothing reads it afterwards, if it was computed in the same round
of the same loops, and if it is read where the result is written. Otherwise it is copied first. An
ALU without a move copies by a reset and an addition.
"""

from __future__ import annotations

import dataclasses

from vta.compiler.ir.tile_ir import (
    Alu,
    Loop,
    Node,
    Reset,
    TileOperand,
    TileOperation,
    TileProgram,
    Value,
    names_of,
    walk_operations,
    with_operands,
)
from vta.config import Config
from vta.isa import AluOp

__all__ = ["homes", "inplace"]

COMMUTATIVE = (AluOp.ADD, AluOp.MUL, AluOp.MIN, AluOp.MAX)


def homes(body: tuple[Node, ...]) -> set[str]:
    """The values that belong to a round of `body`: used directly, or by several inner loops."""
    found: set[str] = set()
    seen: set[str] = set()
    for node in body:
        if isinstance(node, Loop):
            inside = {name for op in walk_operations(node.body) for name in names_of(op)}
            found |= inside & seen
            seen |= inside
        else:
            found |= set(names_of(node))
            seen |= set(names_of(node))
    return found


def inplace(program: TileProgram, config: Config) -> TileProgram:
    """The program with `dst` the same as `a` in every `Alu`."""
    rewriter = _Rewriter(program.values, config)
    body = rewriter.body(program.body, set())
    used = {name for op in walk_operations(body) for name in names_of(op)}
    return dataclasses.replace(
        program,
        body=body,
        values={name: value for name, value in program.values.items() if name in used},
    )


class _Rewriter:
    def __init__(self, values: dict[str, Value], config: Config) -> None:
        self.values, self.moves = values, config.requantises
        self.place: dict[str, str] = {}
        """The value whose storage each value lives in: its own, or one that it overwrote."""

    def body(self, body: tuple[Node, ...], outside: set[str]) -> tuple[Node, ...]:
        own = homes(body) - outside
        last: dict[str, int] = {}
        for index, node in enumerate(body):
            inside = walk_operations(node.body) if isinstance(node, Loop) else (node,)
            for op in inside:
                last.update(dict.fromkeys(names_of(op), index))
        found: list[Node] = []
        for index, node in enumerate(body):
            if isinstance(node, Loop):
                found.append(dataclasses.replace(node, body=self.body(node.body, outside | own)))
            elif isinstance(node, Alu) and node.dst.value != node.a.value:
                # A value that lives longer than a round must not share storage with one that every
                # round computes again.
                dying = {
                    name
                    for name in own
                    if last[name] == index
                    and self.values[name].constant is None
                    and node.dst.value in own
                }
                found += self._alu(node, dying)
            else:
                found.append(with_operands(node, self._operand))
        return tuple(found)

    def _operand(self, item: TileOperand) -> TileOperand:
        return TileOperand(self.place.setdefault(item.value, item.value), item.at, item.shown)

    def _alu(self, op: Alu, dying: set[str]) -> list[TileOperation]:
        a, b = op.a, op.b
        if (
            not self._ends(a, op, dying)
            and op.op in COMMUTATIVE
            and isinstance(b, TileOperand)
            and self._ends(b, dataclasses.replace(op, a=b, b=a), dying)
        ):
            a, b = b, a
        second = self._operand(b) if isinstance(b, TileOperand) else b
        if self._ends(a, dataclasses.replace(op, a=a, b=b), dying):
            self.place[op.dst.value] = self._operand(a).value
            return [
                dataclasses.replace(op, dst=self._operand(op.dst), a=self._operand(a), b=second)
            ]
        dst = self._operand(op.dst)
        copy: list[TileOperation] = [Alu(AluOp.MOV, dst, dst, self._operand(a), op.domain)]
        if not self.moves:
            copy = [Reset(dst, op.domain), Alu(AluOp.ADD, dst, dst, self._operand(a), op.domain)]
        return [*copy, dataclasses.replace(op, dst=dst, a=dst, b=second)]

    def _ends(self, a: TileOperand, op: Alu, dying: set[str]) -> bool:
        """Whether `op` may overwrite its operand `a`."""
        return (
            a.value in dying
            and a.at == op.dst.at
            and self.values[a.value].tiles == self.values[op.dst.value].tiles
            and not (isinstance(op.b, TileOperand) and op.b.value == a.value and op.b.at != a.at)
        )
