"""From three operands to the ALU's two: an operation overwrites its first operand.

Where that operand is read again later, it is copied first; the ALU has no move, so a copy is a
reset and an addition. An operation that commutes overwrites whichever operand is not needed.
"""

from __future__ import annotations

import dataclasses

from vta.compiler.ir import Alu, Copy, Fill, Group, Put, Reset, TileOp, TileProgram
from vta.config import Config
from vta.isa import AluOp

__all__ = ["inplace"]

COMMUTATIVE = (AluOp.ADD, AluOp.MUL, AluOp.MIN, AluOp.MAX)


def inplace(program: TileProgram, config: Config) -> TileProgram:
    """The program with `dst` the same as `a` in every `Alu`, and without `Fill`."""
    return dataclasses.replace(program, groups=tuple(_group(group) for group in program.groups))


def _group(group: Group) -> Group:
    last: dict[str, int] = {}
    for index, op in enumerate(group.ops):
        for name in _uses(op):
            last[name] = index
    place: dict[str, str] = {}
    """The value whose storage each value lives in: its own, or one that it overwrote."""
    ops: list[TileOp] = []
    for index, op in enumerate(group.ops):
        if isinstance(op, Put):
            ops.append(dataclasses.replace(op, src=place[op.src], value=op.src))
        elif isinstance(op, Fill):
            place[op.dst] = op.dst
            ops.append(Reset(op.dst, op.run))
            if op.number != 0:
                ops.append(Alu(AluOp.ADD, op.dst, op.dst, op.number, op.run, op.dst))
        elif isinstance(op, Alu):
            ops += _alu(op, place, {name for name in _uses(op) if last[name] == index})
        else:
            assert isinstance(op, Copy), op
            place[op.dst] = op.dst
            ops.append(op)
    return Group(group.tiles, tuple(ops))


def _uses(op: TileOp) -> tuple[str, ...]:
    if isinstance(op, Alu):
        return (op.a, op.b) if isinstance(op.b, str) else (op.a,)
    return (op.src,) if isinstance(op, Put) else ()


def _alu(op: Alu, place: dict[str, str], dying: set[str]) -> list[TileOp]:
    a, b = op.a, op.b
    if a not in dying and op.op in COMMUTATIVE and b in dying and b in place:
        assert isinstance(b, str)
        a, b = b, a
    # A constant of the program has no place in the group and keeps its name.
    second = place.get(b, b) if isinstance(b, str) else b
    if a in dying:
        place[op.dst] = place[a]
        return [Alu(op.op, place[a], place[a], second, op.run, op.dst)]
    place[op.dst] = op.dst
    return [Reset(op.dst, op.run), Alu(AluOp.ADD, op.dst, op.dst, place[a], op.run, a),
            Alu(op.op, op.dst, op.dst, second, op.run, op.dst)]
