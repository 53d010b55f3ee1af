"""Cuts elementwise work on whole tensors into parts that fit the accumulator buffer.

Tensors that fit are done in one go. Larger ones become even parts that alternate between two halves
of ACC, as two virtual threads, so that storing one part and working on the next can overlap. What a
schedule tiles itself is left as it is.
"""

from __future__ import annotations

import dataclasses

from vta.compiler.affine import Affine
from vta.compiler.expr import Var
from vta.compiler.nests import (
    Domain,
    Load,
    Loop,
    Nested,
    Node,
    Operand,
    Operation,
    Store,
    names_of,
    with_operands,
)
from vta.compiler.passes.place import places_at_once
from vta.config import Config
from vta.errors import CompileError

__all__ = ["cut"]


def cut(program: Nested, config: Config) -> Nested:
    """The program with whole tensors in parts, where they do not fit.

    Raises
    ------
    CompileError
        More values alive at once than ACC has tiles; a part of a tensor that the program stores
        itself, read elsewhere than where it is stored.
    """
    constants = {name for name, value in program.values.items() if value.constant is not None}
    room = config.acc_depth - len(constants)
    body: list[Node] = []
    values = dict(program.values)
    for group in _groups(program.body, constants):
        tiles = _tiles(group)
        names = sorted({name for op in group if not isinstance(op, Loop)
                        for name in names_of(op)} - constants)
        if not tiles or not names:
            body += group
            continue
        ops = [op for op in group if not isinstance(op, Loop)]
        slots = places_at_once(ops, {name: values[name] for name in names})
        if slots * tiles <= room:
            body += group
            continue
        if slots > room:
            raise CompileError(
                f"the accumulator buffer has {config.acc_depth} tiles, but {slots} values are "
                f"alive at once ({', '.join(names)}) beside {len(constants)} constants; split the "
                "computation with a stage that stores an intermediate result")
        _check_stored(ops)
        halves = 2 if room >= 2 * slots else 1
        parts = -(-tiles // (room // (halves * slots)))
        pitch = -(-tiles // parts)
        values.update({name: dataclasses.replace(values[name], tiles=pitch) for name in names})
        body.append(_in_parts(ops, tiles, pitch, parts, halves))
    return dataclasses.replace(program, body=tuple(body), values=values)


def _groups(body: tuple[Node, ...], constants: set[str]) -> list[list[Node]]:
    """Nodes that share values, or a buffer that one stores and another loads, together."""
    stored = {node.buffer.name for node in body if isinstance(node, Store)}
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    keys: list[str] = []
    for number, node in enumerate(body):
        # A loop is a schedule's own, and so is what it shares values with: never cut, but in order.
        names = [f"node {number}"] if isinstance(node, Loop) else [
            *(name for name in names_of(node) if name not in constants)]
        if isinstance(node, Load | Store) and node.buffer.name in stored:
            names.append(f"buffer {node.buffer.name}")
        names = names or [f"node {number}"]
        for name in names[1:]:
            parent[find(name)] = find(names[0])
        keys.append(names[0])
    groups: dict[str, list[Node]] = {}
    for node, key in zip(body, keys, strict=True):
        groups.setdefault(find(key), []).append(node)
    if any(isinstance(node, Loop) for node in body):
        return [[node] for node in body]
    return list(groups.values())


def _tiles(group: list[Node]) -> int:
    """How many tiles every operation of a group goes through in one loop; 0 if they do not."""
    counts = set()
    for node in group:
        if isinstance(node, Loop) or len(node.domain.loops) != 1 or node.domain.guards:
            return 0
        counts.add(node.domain.loops[0][1])
    return counts.pop() if len(counts) == 1 else 0


def _check_stored(ops: list[Operation]) -> None:
    """A part that is loaded again must be the one that was stored."""
    stored = {op.buffer.name: op.target.offset for op in ops if isinstance(op, Store)}
    for op in ops:
        if isinstance(op, Load) and stored.get(op.buffer.name, op.source.offset) != (
                op.source.offset):
            raise CompileError(
                f"stage {op.dst.value} reads a part of {op.buffer.name}, which the program itself "
                "stores; it must read all of it")


def _in_parts(ops: list[Operation], tiles: int, pitch: int, parts: int, halves: int) -> Loop:
    rounds, half, tile = (Var("int32", name) for name in ("part", "half", "tile"))
    start = Affine(0, {rounds: halves * pitch, half: pitch})
    here = Affine(0, {tile: 1})
    left = Affine(tiles - 1, {}).plus(start.plus(here).scaled(-1))
    domain = Domain(((tile, pitch),), (left,))

    def moved(op: Operation) -> Operation:
        (own, _), = op.domain.loops

        def on_chip(item: Operand) -> Operand:
            step = item.at.factors.get(own, 0)
            return dataclasses.replace(
                item, at=Affine(item.at.offset, {tile: step} if step else {}))

        op = dataclasses.replace(with_operands(op, on_chip), domain=domain)
        if isinstance(op, Load):
            return dataclasses.replace(op, source=start.plus(here).plus(
                Affine(op.source.offset, {})))
        if isinstance(op, Store):
            return dataclasses.replace(op, target=start.plus(here))
        return op

    body: tuple[Node, ...] = tuple(map(moved, ops))
    if halves > 1:
        body = (Loop(half, halves, True, body),)
    return Loop(rounds, -(-parts // halves), False, body)
