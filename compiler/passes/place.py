"""From values to instructions: splits tensors into parts that fit ACC and gives them addresses.

A tensor that fits is done in one go. A larger one is cut into even parts that alternate between
two halves of ACC, so that storing one part and working on the next can overlap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vta.compiler.ir import (
    Alu,
    Copy,
    Finish,
    Group,
    Kernel,
    MicroOp,
    Op,
    Put,
    Reset,
    TileOp,
    TileProgram,
    Transfer,
    UopLoop,
    VtaProgram,
)
from vta.config import Config
from vta.errors import CompileError
from vta.isa import AluOp, MemoryType, Opcode

__all__ = ["place"]


def place(program: TileProgram, config: Config) -> VtaProgram:
    """The instructions, in an order that is right if they are executed one after the other.

    Raises
    ------
    CompileError
        More values alive at once than ACC has tiles.
    """
    room = config.acc_depth - len(program.constants)
    fixed = {item.name: room + index for index, item in enumerate(program.constants)}
    ops: list[Op] = []
    for item in program.constants:
        ops += _constant(item.number, fixed[item.name], item.name)
    for group in program.groups:
        ops += _group(group, room, fixed, config)
    ops.append(Finish())
    return VtaProgram(program.name, program.args, program.temps, program.outputs, tuple(ops))


def _constant(number: int, tile: int, name: str) -> Iterator[Op]:
    """`number` in every lane of a tile, put together from two immediates of 16 bits."""
    low = (number + 0x8000) % 0x10000 - 0x8000
    high = (((number - low) >> 16) + 0x8000) % 0x10000 - 0x8000  # 2**15 << 16 wraps like -2**15
    once = (UopLoop(1, 0, 0),)
    uops = (MicroOp(tile, tile),)
    note = f"{name} = {number}"
    yield Kernel(Opcode.GEMM, once, (MicroOp(tile, 0),), reset=True, note=note)
    for op, imm in ((AluOp.ADD, high), (AluOp.SHR, -16), (AluOp.ADD, low)):
        yield Kernel(Opcode.ALU, once, uops, alu_opcode=op, imm=imm, note=note)


def _group(group: Group, room: int, fixed: dict[str, int], config: Config) -> Iterator[Op]:
    slots = 1 + max((slot for _, slot in group.slots), default=0)
    if room < slots:
        names = ", ".join(name for name, _ in group.slots)
        raise CompileError(
            f"the accumulator buffer has {config.acc_depth} tiles, but {slots} values are alive at "
            f"once ({names}) beside {len(fixed)} constants; split the computation with a stage "
            "that stores an intermediate result")
    # A part never has more tiles than ACC, whose depth the ALU's encoding bounds to 2^11: every
    # count of a transfer and of a loop holds that.
    halves, pitch = 1, room // slots
    if group.tiles > pitch and room // (2 * slots):
        halves, pitch = 2, room // (2 * slots)
    parts = -(-group.tiles // pitch)
    pitch = -(-group.tiles // parts)
    for part in range(parts):
        start = part * group.tiles // parts
        end = (part + 1) * group.tiles // parts
        base = part % halves * slots * pitch
        where = {name: base + slot * pitch for name, slot in group.slots}
        for op in group.ops:
            yield from _Part(start, end, where, fixed).emit(op)


@dataclass(frozen=True)
class _Part:
    """Tiles `start` to `end` of every value, kept from `where` on; constants are at `fixed`."""

    start: int
    end: int
    where: dict[str, int]
    fixed: dict[str, int]

    def emit(self, op: TileOp) -> Iterator[Op]:
        tile = self.start
        while tile < self.end:
            # Where a pragma sits on an inner axis, no instruction crosses from one round of the
            # loops outside it into the next.
            count = min(self.end, (tile // op.run + 1) * op.run) - tile
            yield self._one(op, tile, count)
            tile += count

    def _one(self, op: TileOp, tile: int, count: int) -> Op:
        into = tile - self.start
        if isinstance(op, Put):
            return Transfer(Opcode.STORE, MemoryType.OUT, op.buffer.name, tile,
                            self.where[op.src] + into, count, x_stride=count,
                            note=f"{op.buffer.name}[{tile}:{tile + count}] = {op.value}")
        dst = self.where[op.dst] + into
        name = f"{op.dst}[{tile}:{tile + count}]"
        if isinstance(op, Copy):
            first = tile + op.offset
            return Transfer(Opcode.LOAD, op.memory_type, op.buffer.name, first, dst, count,
                            x_stride=count,
                            note=f"{name} = {op.buffer.name}[{first}:{first + count}]")
        if isinstance(op, Reset):
            return Kernel(Opcode.GEMM, (UopLoop(count, 1, 0),), (MicroOp(dst, 0),), reset=True,
                          note=f"{name} = 0")
        assert isinstance(op, Alu), op
        note = f"{op.makes}[{tile}:{tile + count}] = {op.op.name.lower()}({op.a}, {op.b})"
        if isinstance(op.b, int):
            return Kernel(Opcode.ALU, (UopLoop(count, 1, 1),), (MicroOp(dst, dst),),
                          alu_opcode=op.op, imm=op.b, note=note)
        # A constant is one tile, which every round of the loop reads again.
        step, src = (1, self.where[op.b] + into) if op.b in self.where else (0, self.fixed[op.b])
        return Kernel(Opcode.ALU, (UopLoop(count, 1, step),), (MicroOp(dst, src),),
                      alu_opcode=op.op, note=note)
