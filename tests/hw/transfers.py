"""LOADs and STOREs in plain Python, from docs/isa.md: which bytes they move, and which tiles."""

from __future__ import annotations

from dataclasses import dataclass

from vta.isa import MemoryType

__all__ = ["PAGE", "Move", "check_bursts", "elem_bytes", "random_move"]

PAGE = 4096


def elem_bytes(config, kind) -> int:
    """Bytes in DRAM of an element, from the table in docs/isa.md, "Memories"."""
    tile = config.batch * config.block
    return {
        MemoryType.UOP: 4,
        MemoryType.WGT: config.block**2,
        MemoryType.INP: tile,
        MemoryType.ACC: 4 * tile,
        MemoryType.OUT: tile,
        MemoryType.ACC_8BIT: tile,
    }[kind]


def depth(config, kind) -> int:
    """Tiles of a memory type's buffer."""
    size = {
        MemoryType.UOP: config.log_uop_buff_size,
        MemoryType.WGT: config.log_wgt_buff_size,
        MemoryType.INP: config.log_inp_buff_size,
    }.get(kind, config.log_acc_buff_size)
    kind = MemoryType.ACC if kind in (MemoryType.OUT, MemoryType.ACC_8BIT) else kind
    return (1 << size) // elem_bytes(config, kind)


@dataclass(frozen=True)
class Move:
    """A legal LOAD or STORE of at least one row and column, or of padding alone."""

    kind: MemoryType
    addr: int
    sram: int
    y: int
    x: int
    stride: int
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    pad_min: int = 0
    """Of encoding 0.0.3."""

    def rows(self, config) -> list[tuple[int, int]]:
        """Byte address and size of each row in DRAM."""
        size = elem_bytes(config, self.kind)
        return [(self.addr + row * self.stride * size, self.x * size) for row in range(self.y)]

    def tiles(self, config) -> list[tuple[int, int | None]]:
        """SRAM index, and the byte address that it is loaded from (None: zero), of each tile."""
        size = elem_bytes(config, self.kind)
        top, bottom, left, right = self.pads
        result: list[tuple[int, int | None]] = []
        for row in range(-top, self.y + bottom):
            for column in range(-left, self.x + right):
                inside = 0 <= row < self.y and 0 <= column < self.x
                result.append(
                    (
                        self.sram + len(result),
                        self.addr + (row * self.stride + column) * size if inside else None,
                    )
                )
        return result

    def padding(self, config) -> bytes:
        """What a tile of padding holds, as it would lie in DRAM."""
        least = {MemoryType.UOP: bytes(4), MemoryType.ACC: b"\0\0\0\x80"}.get(self.kind, b"\x80")
        size = elem_bytes(config, self.kind)
        return least * (size // len(least)) if self.pad_min else bytes(size)

    def job(self, config) -> dict[str, int]:
        """What the transfer check is to make of it (`transfer_layout`)."""
        top, bottom, left, right = self.pads
        pitch = left + self.x + right
        total = (top + self.y + bottom) * pitch
        joined = self.y > 0 and (self.y == 1 or self.stride == self.x)
        lead = top * pitch + left if self.y else total
        tail = bottom * pitch + right if self.y else 0
        new = {"pad_min": self.pad_min} if config.requantises else {}
        return {
            **new,
            "kind": int(self.kind),
            "addr": self.addr,
            "moves": self.y != 0,
            "runs": 1 if joined else self.y,
            "run_elems": self.y * self.x if joined else self.x,
            "run_stride": self.stride,
            "sram_base": self.sram,
            "data_addr": self.sram + lead,
            "rows": self.y,
            "cols": self.x,
            "gap": left + right,
            "lead": lead,
            "tail": tail,
            "tail_addr": self.sram + total - tail,
            "moved": self.y * self.x,
            "sram_end": self.sram + total,
        }


def random_move(config, rng, kinds, *, pads=True, limit=None, span=1 << 14) -> Move:
    """A random move, mostly small, in the first `span` elements of memory."""
    kind = rng.choice(kinds)
    room = min(depth(config, kind), limit or 1 << 16)
    while True:
        pad = (0,) * 4
        if pads:
            pad = tuple(rng.choice((0, 0, 1, rng.randrange(16))) for _ in range(4))
        y, x = rng.choice((0, 1, 2, 3, rng.randrange(1, 12))), rng.randrange(1, room + 1)
        if not pads and y == 0:
            continue
        if rng.random() < 0.7:
            x = rng.randrange(1, 9)
        total = (pad[0] + y + pad[1]) * (pad[2] + x + pad[3])
        if total > room:
            continue
        stride = rng.choice((x, x, x + 1, 0, rng.randrange(0, 40)))
        size = elem_bytes(config, kind)
        first = rng.randrange(span)
        if first + (y - 1) * stride + x > span:
            continue
        sram = rng.randrange(depth(config, kind) - total + 1)
        pad_min = rng.randrange(2) if config.requantises else 0
        return Move(kind, first * size, sram, y, x, stride, pad, pad_min)


def check_bursts(config, bursts, *, limit=None) -> None:
    """Every (address, beats): aligned to the bus, not too long, inside a 4 KiB page."""
    for addr, beats in bursts:
        assert addr % config.bus_bytes == 0
        assert 1 <= beats <= (limit or config.max_burst)
        assert addr // PAGE == (addr + beats * config.bus_bytes - 1) // PAGE
