"""Links the programs of a region's operators into one, which runs them in their order.

Each program's operations are decoded, moved to where the region keeps its tensors, and joined.
Tokens are then inserted anew over the whole, so that a layer waits only for the tiles that it
reads: its weights load while the layer before still computes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vta.compiler.check.proof import verify_program
from vta.compiler.encode.decode import decode
from vta.compiler.encode.emit import emit
from vta.compiler.ir.insn_ir import Finish, InsnProgram, Kernel, Op, Transfer
from vta.compiler.ir.loop_ir import Buffer
from vta.compiler.passes.tokens.insert_tokens import insert_tokens
from vta.config import Config
from vta.isa import MAX_SIZE, Isa, MemoryType, Opcode
from vta.program import DramBuffer, Program

__all__ = ["CONSTANTS", "LinkedPart", "View", "fill", "link"]

CONSTANTS = "constants"
"""The buffer of a region's weights, biases and scales."""


@dataclass(frozen=True, kw_only=True)
class View:
    """Where a program's array, dense planes of rows of columns of tiles, lies in another buffer.

    Parameters
    ----------
    buffer : str
    offset : int
        Bytes before it.
    rows, columns : int
        Of a plane of the program's array; 0 if the array lies in the buffer as it is.
    plane_pitch, row_pitch, column_pitch : int
        Tiles from one plane, row or column to the next in the buffer.
    """

    buffer: str
    offset: int = 0
    rows: int = 0
    columns: int = 0
    plane_pitch: int = 0
    row_pitch: int = 0
    column_pitch: int = 1

    @property
    def dense(self) -> bool:
        """Whether the tiles follow one another in the buffer too."""
        return not self.rows or (
            (self.row_pitch == self.columns or self.rows == 1)
            and self.plane_pitch == self.rows * self.columns
            and self.column_pitch == 1
        )

    def place(self, tile: int) -> int:
        """The tile's number in the buffer, counted from `offset`."""
        plane, rest = divmod(tile, self.rows * self.columns)
        row, column = divmod(rest, self.columns)
        return plane * self.plane_pitch + row * self.row_pitch + column * self.column_pitch


@dataclass(frozen=True)
class LinkedPart:
    """An operator's program, and where each of its buffers lies; or operations as they are."""

    program: Program | None
    places: Mapping[str, View]
    ops: tuple[Op, ...] = ()


@dataclass(frozen=True)
class _Segment:
    """A row of tiles of a transfer, with its padding."""

    sram: int
    dram: int
    size: int
    before: int
    after: int

    @property
    def width(self) -> int:
        return self.before + self.size + self.after


def link(
    name: str,
    parts: Sequence[LinkedPart],
    buffers: Sequence[DramBuffer],
    constants: NDArray[np.uint8],
    config: Config,
) -> tuple[Program, tuple[int, ...]]:
    """One program for all parts, proved sound, and the first instruction of each part.

    Parameters
    ----------
    name : str
    parts : sequence of LinkedPart
        In the order in which they run.
    buffers : sequence of DramBuffer
        The inputs, outputs and temporaries that the parts' views are in.
    constants : (n,) uint8
        The contents of the buffer `CONSTANTS`.
    config : Config
    """
    ops: list[Op] = []
    for number, part in enumerate(parts):
        ops += (dataclasses.replace(op, note=str(number)) for op in part.ops)
        if part.program is not None:
            moved: list[Op] = []
            for op in decode(part.program, str(number)):
                if isinstance(op, Transfer):
                    moved += _moved(op, part.places[op.buffer], config)
                else:
                    moved.append(op)
            ops += _weights_first(moved)
    data = DramBuffer(
        name=CONSTANTS, role="const", shape=constants.shape, dtype="uint8", data=constants
    )
    every = [*buffers, *([data] if len(constants) else [])]
    program = InsnProgram(
        name=name,
        args=tuple(Buffer(item.name, item.shape, item.dtype, "") for item in every),
        temps=(),
        outputs=tuple(item.name for item in buffers if item.role == "output"),
        ops=(*ops, Finish()),
    )
    ordered = insert_tokens(program, config)
    emitted = emit(ordered, config)
    known = {item.name: item for item in every}
    linked = dataclasses.replace(
        emitted, buffers=tuple(known.get(item.name, item) for item in emitted.buffers)
    )
    verify_program(linked)
    return linked, _firsts(ordered, linked, len(parts))


def _firsts(program: InsnProgram, linked: Program, parts: int) -> tuple[int, ...]:
    """The first instruction of each part, in an encoded program."""
    mem = Isa(linked.config).mem.unpack_array(linked.insns)
    added = (mem["opcode"] == Opcode.LOAD) & (mem["memory_type"] == MemoryType.UOP)
    # `emit` adds nothing but LOADs of micro-ops; those of nothing pass tokens on.
    places = np.flatnonzero(~(added & (mem["x_size"] > 0))).tolist()
    found: dict[int, int] = {}
    for op, place in zip(program.ops, places, strict=True):
        if op.note:
            found.setdefault(int(op.note), place)
    return tuple(found[number] for number in range(parts))


def _weights_first(ops: list[Op]) -> list[Op]:
    """The operations with the LOADs of the first weights at the front.

    They wait for nothing that the layer before stores.
    """
    first = next((index for index, op in enumerate(ops) if isinstance(op, Kernel)), len(ops))
    start = ops[:first]
    weights = [op for op in start if _loads_weights(op)]
    return [*weights, *(op for op in start if not _loads_weights(op)), *ops[first:]]


def _loads_weights(op: Op) -> bool:
    return isinstance(op, Transfer) and op.memory_type == MemoryType.WGT


def _moved(op: Transfer, view: View, config: Config) -> Iterator[Transfer]:
    """A transfer of a program's array as transfers of the buffer that the array lies in."""
    element = config.elem_bytes(op.memory_type)
    assert view.offset % element == 0, "the arena aligns for every kind of element"
    first = view.offset // element
    if view.dense:
        yield dataclasses.replace(op, buffer=view.buffer, dram_base=first + op.dram_base)
        return
    assert element == config.out_elem_bytes, "only tiles of data lie apart"
    y_before, y_after, before, after = op.pads
    pitch = before + op.x_size + after
    rows = [
        list(_segments(op, view, op.sram_base + (y_before + row) * pitch, row))
        for row in range(op.y_size)
    ]
    whole = all(len(segments) == 1 for segments in rows) and rows
    found = list(_joined([each for segments in rows for each in segments], op, view, first))
    if whole:
        # The first one and the last one add the rows of padding.
        head = found[0]
        found[0] = dataclasses.replace(
            head, sram_base=op.sram_base, pads=(y_before, 0, *head.pads[2:])
        )
        last = found[-1]
        found[-1] = dataclasses.replace(last, pads=(last.pads[0], y_after, *last.pads[2:]))
        yield from found
        return
    for count, at in ((y_before, 0), (y_after, y_before + op.y_size)):
        if count:
            yield dataclasses.replace(
                op,
                buffer=view.buffer,
                dram_base=first,
                sram_base=op.sram_base + at * pitch,
                y_size=0,
                pads=(count, 0, before, after),
            )
    yield from found


def _segments(op: Transfer, view: View, sram: int, row: int) -> Iterator[_Segment]:
    """The parts of one row of a transfer that lie together in the view's buffer."""
    start = op.dram_base + row * op.x_stride
    end = start + op.x_size
    before, after = op.pads[2:]
    tile = start
    while tile < end:
        size = 1 if view.column_pitch != 1 else min(view.columns - tile % view.columns, end - tile)
        pads = (before if tile == start else 0, after if tile + size == end else 0)
        yield _Segment(sram, view.place(tile), size, *pads)
        sram += pads[0] + size + pads[1]
        tile += size


def _joined(
    segments: Sequence[_Segment], op: Transfer, view: View, first: int
) -> Iterator[Transfer]:
    """Few transfers for the segments: runs at equal distances become the rows of one."""
    index = 0
    while index < len(segments):
        head = segments[index]
        shape = (head.size, head.before, head.after)
        count, stride = 1, head.size
        for other in segments[index + 1 :]:
            step = other.dram - segments[index + count - 1].dram
            stride = step if count == 1 else stride
            if (
                (other.size, other.before, other.after) != shape
                or step != stride
                or not 0 <= step <= MAX_SIZE
                or other.sram != head.sram + count * head.width
                or count == MAX_SIZE
            ):
                break
            count += 1
        yield dataclasses.replace(
            op,
            buffer=view.buffer,
            dram_base=first + head.dram,
            sram_base=head.sram,
            x_size=head.size,
            y_size=count,
            x_stride=stride if count > 1 else head.size,
            pads=(0, 0, head.before, head.after),
        )
        index += count


def fill(
    buffer: str, strips: Sequence[tuple[int, int, int, int]], constant: int, count: int
) -> tuple[Op, ...]:
    """Operations that store a tile of the constants in rectangles of a buffer.

    Parameters
    ----------
    buffer : str
    strips : sequence of (first, rows, columns, pitch)
        In tiles of the buffer.
    constant : int
        The tile's place in `CONSTANTS`, in tiles.
    count : int
        How many copies of it are there; they fit in ACC.
    """
    ops = [
        Transfer(
            opcode=Opcode.LOAD,
            memory_type=MemoryType.ACC_8BIT,
            buffer=CONSTANTS,
            dram_base=constant,
            sram_base=0,
            x_size=count,
        )
    ]
    for first, rows, columns, pitch in strips:
        wide = min(columns, count)
        for left in range(0, columns, wide):
            size = min(wide, columns - left)
            tall = count // size
            for top in range(0, rows, tall):
                ops.append(
                    Transfer(
                        opcode=Opcode.STORE,
                        memory_type=MemoryType.OUT,
                        buffer=buffer,
                        dram_base=first + top * pitch + left,
                        sram_base=0,
                        x_size=size,
                        y_size=min(tall, rows - top),
                        x_stride=pitch,
                    )
                )
    return tuple(ops)
