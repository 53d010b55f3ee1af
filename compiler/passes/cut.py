"""Cuts elementwise work on whole tensors into parts that fit the accumulator buffer.

Tensors that fit are computed at once. Larger ones are cut into equal parts, which alternate between
two halves of ACC as two virtual threads. So one part can be stored while the next is computed. If
the schedule tiles the work itself, the program does not change.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from vta.compiler.ir.affine import Affine
from vta.compiler.ir.tile_ir import (
    Domain,
    Load,
    Loop,
    Node,
    Store,
    TileOperand,
    TileOperation,
    TileProgram,
    names_of,
    operands_of,
    with_operands,
)
from vta.compiler.passes.place import places_at_once
from vta.compiler.te.expr import Var
from vta.config import Config
from vta.errors import CompileError

__all__ = ["cut"]


def cut(program: TileProgram, config: Config) -> TileProgram:
    """The program, in which tensors that do not fit are computed in parts.

    Raises
    ------
    CompileError
        If more values are alive at once than ACC has tiles, or if an operation reads only a part
        of a tensor that the program itself stores.
    """
    ops = [node for node in program.body if not isinstance(node, Loop)]
    if len(ops) < len(program.body):
        return program  # a schedule's own tiling
    constants = {name for name, value in program.values.items() if value.constant is not None}
    room = config.acc_depth - len(constants)
    body: list[Node] = []
    values = dict(program.values)
    for group in _groups(ops, constants):
        tiles = _tiles(group, constants)
        names = sorted({name for op in group for name in names_of(op)} - constants)
        at_once = places_at_once(group, {name: values[name] for name in names})
        if at_once * tiles <= room:
            body += group
            continue
        if at_once > room:
            raise CompileError(
                f"the accumulator buffer has {config.acc_depth} tiles, but {at_once} values are "
                f"alive at once ({', '.join(names)}) beside {len(constants)} constants; split the "
                "computation with a stage that stores an intermediate result"
            )
        _check_stored(group)
        halves = 2 if room >= 2 * at_once else 1
        parts = -(-tiles // (room // (halves * at_once)))
        pitch = -(-tiles // parts)
        values.update({name: dataclasses.replace(values[name], tiles=pitch) for name in names})
        body.append(_in_parts(group, tiles, pitch, parts, halves))
    return dataclasses.replace(program, body=tuple(body), values=values)


def _groups(ops: Sequence[TileOperation], constants: set[str]) -> list[list[TileOperation]]:
    """Groups of operations that share values, or a buffer that one stores and another loads."""
    stored = {op.buffer.name for op in ops if isinstance(op, Store)}
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    keys: list[str] = []
    for number, op in enumerate(ops):
        names = [name for name in names_of(op) if name not in constants]
        if isinstance(op, Load | Store) and op.buffer.name in stored:
            names.append(f"buffer {op.buffer.name}")
        names = names or [f"operation {number}"]
        for name in names[1:]:
            parent[find(name)] = find(names[0])
        keys.append(names[0])
    groups: dict[str, list[TileOperation]] = {}
    for op, key in zip(ops, keys, strict=True):
        groups.setdefault(find(key), []).append(op)
    return list(groups.values())


def _tiles(ops: list[TileOperation], constants: set[str]) -> int:
    """The number of tiles that each operation of a group goes through; 0 if they differ."""
    counts = set()
    for op in ops:
        if len(op.domain.loops) != 1 or op.domain.guards:
            return 0
        ((own, count),) = op.domain.loops
        counts.add(count)
        step = {own: 1}
        places = [item.at for item in operands_of(op) if item.value not in constants]
        if isinstance(op, Load):
            if op.pads or op.source.factors != step:
                return 0
        elif isinstance(op, Store):
            places.append(op.target)
        if any(place.offset or place.factors != step for place in places):
            return 0
    return counts.pop() if len(counts) == 1 else 0


def _check_stored(ops: list[TileOperation]) -> None:
    """Checks that a part that is loaded again is the part that was stored."""
    stored = {op.buffer.name: op.target.offset for op in ops if isinstance(op, Store)}
    for op in ops:
        if isinstance(op, Load) and stored.get(op.buffer.name, op.source.offset) != (
            op.source.offset
        ):
            raise CompileError(
                f"stage {op.dst.value} reads a part of {op.buffer.name}, which the program itself "
                "stores; it must read all of it"
            )


def _in_parts(ops: list[TileOperation], tiles: int, pitch: int, parts: int, halves: int) -> Loop:
    rounds, half, tile = (Var("int32", name) for name in ("part", "half", "tile"))
    start = Affine(0, {rounds: halves * pitch} | ({half: pitch} if halves > 1 else {}))
    here = Affine(0, {tile: 1})
    left = Affine(tiles - 1, {}).plus(start.plus(here).scaled(-1))
    domain = Domain(((tile, pitch),), (left,))

    def moved(op: TileOperation) -> TileOperation:
        ((own, _),) = op.domain.loops

        def on_chip(item: TileOperand) -> TileOperand:
            step = item.at.factors.get(own, 0)
            return dataclasses.replace(
                item, at=Affine(item.at.offset, {tile: step} if step else {})
            )

        op = dataclasses.replace(with_operands(op, on_chip), domain=domain)
        if isinstance(op, Load):
            return dataclasses.replace(
                op, source=start.plus(here).plus(Affine(op.source.offset, {}))
            )
        if isinstance(op, Store):
            return dataclasses.replace(op, target=start.plus(here))
        return op

    body: tuple[Node, ...] = tuple(map(moved, ops))
    if halves > 1:
        body = (Loop(half, halves, True, body),)
    return Loop(rounds, -(-parts // halves), False, body)
