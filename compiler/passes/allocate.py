"""Gives every value a slot: a place in ACC that it has to itself for as long as it lives."""

from __future__ import annotations

import dataclasses

from vta.compiler.ir import Alu, Group, Put, TileOp, TileProgram
from vta.config import Config

__all__ = ["allocate"]


def allocate(program: TileProgram, config: Config) -> TileProgram:
    """The program with `Group.slots`: as few as values are alive at once."""
    return dataclasses.replace(program, groups=tuple(_group(group) for group in program.groups))


def _group(group: Group) -> Group:
    last: dict[str, int] = {}
    for index, op in enumerate(group.ops):
        for name in _names(op):
            last[name] = index
    slots: dict[str, int] = {}
    live: dict[int, str] = {}
    for index, op in enumerate(group.ops):
        for slot in [slot for slot, name in live.items() if last[name] < index]:
            del live[slot]
        if not isinstance(op, Put) and op.dst not in slots:
            slot = next(slot for slot in range(len(live) + 1) if slot not in live)
            slots[op.dst] = slot
            live[slot] = op.dst
    return dataclasses.replace(group, slots=tuple(slots.items()))


def _names(op: TileOp) -> tuple[str, ...]:
    if isinstance(op, Put):
        return (op.src,)
    if isinstance(op, Alu) and isinstance(op.b, str):
        return (op.dst, op.b)
    return (op.dst,)
