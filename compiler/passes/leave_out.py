"""Leaves the work of some stages out of a program, so that the rest can be timed alone.

A schedule asks for it with the pragmas and the intrinsic of `env.mock`. The remaining operations
read and store whatever the buffers hold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping

from vta.compiler.ir.tile_ir import (
    Loop,
    Node,
    Store,
    TileOperation,
    TileProgram,
    Value,
    names_of,
    walk_operations,
)
from vta.compiler.te.schedule import Schedule

__all__ = ["leave_out", "left_out_stages"]


def left_out_stages(schedule: Schedule) -> frozenset[str]:
    """The names of the stages whose work a schedule leaves out."""
    return frozenset(stage.name for stage in schedule.stages if stage.left_out)


def leave_out(
    program: TileProgram, stages: Collection[str], values: Mapping[str, Value]
) -> TileProgram:
    """The program without the operations of `stages` or the constants that only those read.

    Parameters
    ----------
    program : TileProgram
        Its values have places already, so the remaining operations keep their addresses.
    stages : names of stages
    values : dict
        All values before `inplace` gave some the storage of others; they name the stages.
    """
    if not stages:
        return program

    def stays(op: TileOperation) -> bool:
        name = op.buffer.name if isinstance(op, Store) else op.dst.shown
        return (values[name].stage if name in values else name) not in stages

    body = _only(program.body, stays)
    constants = {name for name, value in program.values.items() if value.constant is not None}
    needed = {
        name
        for op in walk_operations(body)
        for name in names_of(op)
        if isinstance(op, Store) or op.dst.value not in constants
    }
    unread = constants - needed
    return dataclasses.replace(
        program, body=_only(body, lambda op: isinstance(op, Store) or op.dst.value not in unread)
    )


def _only(body: tuple[Node, ...], stays: Callable[[TileOperation], bool]) -> tuple[Node, ...]:
    found: list[Node] = []
    for node in body:
        if not isinstance(node, Loop):
            found += [node] if stays(node) else []
        elif inside := _only(node.body, stays):
            found.append(dataclasses.replace(node, body=inside))
    return tuple(found)
