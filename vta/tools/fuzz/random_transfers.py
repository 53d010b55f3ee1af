"""The memory that random programs work on, and their LOADs and STOREs, micro-ops included."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vta.config import Config
from vta.insn_format import Format
from vta.isa import Isa, MemoryType, ModuleId, Opcode
from vta.tools.fuzz.token_order import (
    BITS,
    COMPUTE,
    LOAD,
    QUEUES,
    STORE,
    DraftInsn,
    InsnSequence,
    Touched,
)
from vta.tools.fuzz.wrong_insns import BASE_OF, LOADED, transfer

__all__ = ["ARENA_BYTES", "TransferBuilder", "unnamed"]

ARENA_BYTES = 1 << 17
"""Memory for INP, WGT, ACC and OUT, which overlap in it at random."""

UOP_BYTES = 1 << 15


class TransferBuilder:
    """Makes the transfers of one machine's launches; `random_launches` makes the rest.

    Attributes
    ----------
    depth, nbytes : dict of str to int
        Elements of each buffer, bytes of an element in memory.
    uops : (uop_depth,) uint32
        What the UOP buffer holds after the instructions so far.
    base : dict of str to int
        Base registers of the launch.
    recent : list of int
        Where micro-ops were loaded recently.
    tokens : dict of str to int
        Left over by the launches so far.
    added : int
        Instructions of the launch so far, those left out included.
    """

    _rng: random.Random
    _sequence: InsnSequence
    _writes: list[tuple[int, NDArray[np.uint8]]]
    _focus: list[int]

    def __init__(self, config: Config) -> None:
        self.config = config
        self.isa = Isa(config)
        self.added = 0
        self._dropped: frozenset[int] = frozenset()
        self.base: dict[str, int] = {}
        self.recent = [0]
        self.uops: NDArray[np.uint32] = np.zeros(config.uop_depth, np.uint32)
        self.tokens = dict.fromkeys(QUEUES.values(), 0)
        self.depth = {kind.name.lower(): config.depth(kind) for kind in MemoryType}
        self.nbytes = {kind.name.lower(): config.elem_bytes(kind) for kind in MemoryType}
        self._arena = self._uop_region = self._uop_used = 0

    @property
    def arena(self) -> int:
        """The first byte of the `ARENA_BYTES` that hold all data but micro-ops."""
        return self._arena

    # -- memory ----------------------------------------------------------------------------------

    def _place_memory(self, rng: random.Random) -> None:
        size = 1 << self.config.addr_width
        if not self._arena:
            # In the middle of a half, across the sign bit, at the very end.
            self._arena = rng.choice(
                (0x10_0000, 0x8000_0000 - ARENA_BYTES // 2, size - ARENA_BYTES)
            )
            self._write(
                self._arena, _arena_bytes(rng.randrange(2**32), scales=self.config.requantises)
            )
        self._uop_region = self._arena - UOP_BYTES * rng.randrange(1, 9)
        self._uop_used = 0
        self.base = {}
        for name in ("uop", "inp", "wgt", "acc", "out"):
            # dram_base has 32 bits, which need not reach all of memory from base 0.
            nbytes = self.nbytes[name]
            reach = self.nbytes["acc_8bit" if name == "acc" else name] * (2**32 - 1)
            lowest = max(0, self._arena + ARENA_BYTES - reach)
            first = self._uop_region if name == "uop" else self._arena
            base = rng.choice((lowest, first, rng.randrange(lowest, first + 1)))
            self.base[name] = -(-base // nbytes) * nbytes

    def _write(self, addr: int, data: NDArray[Any]) -> None:
        self._writes.append((addr, np.ascontiguousarray(data).reshape(-1).view(np.uint8)))

    def _first(self, name: str) -> int:
        """The first element of a memory that lies in the arena."""
        return max(0, -((self.base[BASE_OF[name]] - self._arena) // self.nbytes[name]))

    def _room(self, name: str) -> int:
        """How many elements of a memory lie in the arena."""
        end = (self._arena + ARENA_BYTES - self.base[BASE_OF[name]]) // self.nbytes[name]
        return end - self._first(name)

    def _dram(
        self, rng: random.Random, name: str, rows: int, columns: int
    ) -> tuple[int, int, list[tuple[int, int]]]:
        """Where in the arena a transfer lies: (dram_base, x_stride, byte ranges)."""
        nbytes, base = self.nbytes[name], self.base[BASE_OF[name]]
        first, room = self._first(name), self._room(name)
        widest = 65_535 if rows < 2 else (room - columns) // (rows - 1)
        stride = rng.choice(
            (
                0,
                columns,
                columns,
                columns + 1,
                max(0, columns - 1),
                rng.randrange(4 * columns + 1),
                rng.randrange(65_536),
            )
        )
        stride = min(stride, widest, 65_535)
        span = columns + (0 if rows < 2 else (rows - 1) * stride)
        start = rng.choice(
            (
                0,
                1,
                room - span,
                rng.randrange(room - span + 1),
                rng.randrange(min(64, room - span + 1)),
            )
        )
        dram_base = first + min(start, room - span)
        lines = [base + (dram_base + row * stride) * nbytes for row in range(rows)]
        return dram_base, stride, [(addr, addr + columns * nbytes) for addr in lines]

    # -- LOAD and STORE --------------------------------------------------------------------------

    def _shape(
        self, rng: random.Random, depth: int, *, pads: bool, least: int = 0, flat: bool = False
    ) -> tuple[int, int, list[int]]:
        """(y_size, x_size, pads) that fit a buffer; if `flat`, of one row."""
        rows = rng.choice((1, 1, 1, 2, 3, rng.randrange(least, 9)))
        columns = rng.choice((1, 1, 2, 3, rng.randrange(1, 13), rng.randrange(1, 40)))
        if rng.random() < 0.03:
            rows, columns = rng.choice(
                ((rng.randrange(1, 40), columns), (rows, rng.randrange(1, 300)))
            )
        rows = 1 if flat else rows
        amounts = [rng.choice((0, 0, 0, 1, 2, rng.randrange(16))) if pads else 0 for _ in range(4)]
        if rng.random() < 0.4:
            amounts = [0] * 4
        while (amounts[0] + rows + amounts[1]) * (amounts[2] + columns + amounts[3]) > depth:
            amounts = [amount // 2 for amount in amounts]
            rows, columns = (rows + 1) // 2, (columns + 1) // 2
        return rows, columns, amounts

    def _sram(self, rng: random.Random, name: str, count: int) -> int:
        """Where in a buffer; in ACC preferably where others work."""
        last = self.depth[name] - count
        if name in ("acc", "acc_8bit", "out") and rng.random() < 0.7:
            near = rng.choice(self._focus) - rng.randrange(count) if count else 0
            return min(max(near, 0), last)
        return rng.choice((0, last, rng.randrange(last + 1), rng.randrange(min(12, last + 1))))

    def _load(self, rng: random.Random, name: str, *, tile: int | None = None) -> None:
        rows, columns, pads = self._shape(rng, self.depth[name], pads=True)
        columns = min(columns, self._room(name))
        if tile is not None:
            rows, columns, pads = 1, 1, [0] * 4
        count = (pads[0] + rows + pads[1]) * (pads[2] + columns + pads[3])
        sram = self._sram(rng, name, count) if tile is None else tile
        dram, stride, ranges = self._dram(rng, name, rows, columns)
        if rows == 0:
            # Nothing is read, so the address does not matter.
            dram, stride = rng.randrange(2**32), rng.randrange(65_536)
        buffer = BASE_OF[name]
        self._add(
            rng,
            DraftInsn(
                LOADED[name],
                "mem",
                {
                    "opcode": Opcode.LOAD,
                    "memory_type": MemoryType[name.upper()],
                    **transfer(sram, dram, rows, columns, stride, pads),
                    **self._pad_min(rng),
                },
                reads=Touched(dram=ranges),
                writes=Touched({buffer: ((1 << count) - 1) << sram}),
            ),
        )

    def _store(self, rng: random.Random, *, tile: int | None = None) -> None:
        rows, columns, pads = self._shape(rng, self.depth["out"], pads=False, least=1)
        columns = min(columns, self._room("out"))
        if tile is not None:
            rows, columns = 1, 1
        sram = self._sram(rng, "out", rows * columns) if tile is None else tile
        dram, stride, ranges = self._dram(rng, "out", rows, columns)
        self._add(
            rng,
            DraftInsn(
                STORE,
                "mem",
                {
                    "opcode": Opcode.STORE,
                    "memory_type": MemoryType.OUT,
                    **transfer(sram, dram, rows, columns, stride, pads),
                    **self._pad_min(rng),
                },
                reads=Touched({"acc": ((1 << rows * columns) - 1) << sram}),
                writes=Touched(dram=ranges),
            ),
        )

    def _uop(self, rng: random.Random, *, tile: int | None = None) -> tuple[int, int]:
        """New micro-ops, preferably over some that were just used; returns their range."""
        rows, columns, pads = self._shape(
            rng,
            self.depth["uop"],
            pads=tile is None and rng.random() < 0.2,
            flat=tile is not None or rng.random() < 0.5,
        )
        pitch = pads[2] + columns + pads[3]
        count = (pads[0] + rows + pads[1]) * pitch
        sram = max(0, rng.choice(self.recent) + rng.randrange(-3, 4))
        if rng.random() < 0.3:
            sram = rng.randrange(self.depth["uop"])
        # A loop may begin here, and cannot begin at the end of the buffer.
        sram = min(sram, self.depth["uop"] - max(1, count))
        stride = rng.choice((0, columns, columns, columns + rng.randrange(5)))
        span = columns + max(0, rows - 1) * stride
        if self._uop_used + 4 * span > UOP_BYTES:
            return 0, 1
        words = np.array([self._micro_op(rng, tile) for _ in range(span)], np.uint32)
        addr = self._uop_region + self._uop_used
        self._write(addr, words)
        self._uop_used += 4 * (span + rng.choice((0, 0, 1, 3)))
        if self.added not in self._dropped:
            self.uops[sram : sram + count] = 0
            for row in range(rows):
                first = sram + (pads[0] + row) * pitch + pads[2]
                self.uops[first : first + columns] = words[row * stride : row * stride + columns]
        self.recent = [*self.recent[-3:], sram]
        self._add(
            rng,
            DraftInsn(
                COMPUTE,
                "mem",
                {
                    "opcode": Opcode.LOAD,
                    "memory_type": MemoryType.UOP,
                    **transfer(sram, (addr - self.base["uop"]) // 4, rows, columns, stride, pads),
                    **self._pad_min(rng),
                },
            ),
        )
        return sram, count

    def _noop(self, module: ModuleId) -> DraftInsn:
        return self.make_noop(self._rng, module)

    def make_noop(self, rng: random.Random, module: ModuleId) -> DraftInsn:
        """A transfer of nothing; its other fields may be anything."""
        values = {field.name: rng.randrange(field.max + 1) for field in self.isa.mem.fields}
        for name in BITS.values():
            values[name] = 0
        if module == STORE:
            values |= {"opcode": Opcode.STORE, rng.choice(("x_size", "y_size")): 0}
        else:
            values |= {
                "opcode": Opcode.LOAD,
                "x_size": 0,
                "memory_type": rng.choice(
                    (MemoryType.INP, MemoryType.WGT) if module == LOAD else (0, 3, 4, 5, 6, 7)
                ),
            }
        return DraftInsn(module, "mem", values)

    def _pad_min(self, rng: random.Random) -> dict[str, int]:
        """Encoding 0.0.3's choice of padding; for UOP and for STORE it means nothing."""
        return {"pad_min": rng.randrange(2)} if self.config.requantises else {}

    def _micro_op(self, rng: random.Random, tile: int | None) -> int:
        """Indices that lie together often, and fit both GEMM and ALU nearly always."""
        acc, both = self.depth["acc"], min(self.depth["acc"], self.depth["inp"])
        dst = tile
        if dst is None:
            dst = rng.choice(
                (rng.choice(self._focus), rng.randrange(min(acc, 6)), rng.randrange(acc))
            )
        src = rng.choice(
            (
                dst % both,
                rng.choice(self._focus) % both,
                rng.randrange(min(both, 6)),
                rng.randrange(both),
            )
        )
        if rng.random() < 0.02:
            src = rng.randrange(max(self.depth["acc"], self.depth["inp"]))
        word = self.isa.uop.pack(
            dst_idx=dst, src_idx=src, wgt_idx=rng.choice((0, rng.randrange(self.depth["wgt"])))
        )
        return word | unnamed(self.isa.uop) & rng.getrandbits(32)

    def _add(self, rng: random.Random, item: DraftInsn) -> None:
        """Puts an instruction into the stream, perhaps with more tokens than it needs."""
        greedy = rng.random() < 0.1
        more = [
            queue
            for (producer, _), queue in QUEUES.items()
            if producer == item.module and rng.random() < 0.04
        ]
        self.added += 1
        if self.added - 1 in self._dropped:
            return
        self._sequence.add(item, greedy=greedy)
        for queue in more:
            self._sequence.push(item, queue)


def unnamed(fmt: Format) -> int:
    """The bits of a word that no field names."""
    named = 0
    for field in fmt.fields:
        named |= ((1 << field.bits) - 1) << fmt.offset(field.name)
    return ((1 << fmt.bits) - 1) & ~named


def _arena_bytes(seed: int, *, scales: bool) -> NDArray[np.uint8]:
    """Bytes in stretches of different kinds: anything, extremes, small 32-bit numbers; with
    `scales`, binary32 numbers that bring small numbers into the range of an int8 too."""
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (ARENA_BYTES // 64, 64), np.uint8)
    taste = rng.integers(0, 5 if scales else 3, len(data))
    extremes = np.array([0, 1, 0x7F, 0x80, 0xFF], np.uint8)
    data[taste == 1] = rng.choice(extremes, (int((taste == 1).sum()), 64))
    small = rng.integers(-40, 41, (int((taste == 2).sum()), 16)).astype("<i4")
    data[taste == 2] = small.view(np.uint8)
    size = (int((taste >= 3).sum()), 16)
    numbers = (
        rng.uniform(1, 2, size) * 2.0 ** rng.integers(-20, 2, size) * rng.choice((1, -1), size)
    )
    data[taste >= 3] = numbers.astype("<f4").view(np.uint8)
    return data.reshape(-1)
