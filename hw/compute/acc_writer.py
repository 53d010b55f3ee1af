"""What LOAD ACC and LOAD ACC_8BIT write, collected into whole tiles."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from vta.config import Config
from vta.hw.bus.streams import Queue
from vta.hw.compute.delay_line import acc_load_layout
from vta.hw.transfer.load_engine import write_layout
from vta.isa import MemoryType

__all__ = ["AccWriter"]

TILES = 16
"""Tiles on their way through the pipeline; it has fewer stages."""


class AccWriter(wiring.Component):
    """Collects a loader's writes into ACC tiles and sends them down the execution pipeline.

    Parameters
    ----------
    config : Config
    kinds : tuple of MemoryType
        What the loader loads; only ACC and ACC_8BIT concern this block.

    Members
    -------
    write, write_en, room
        From the loader, as in `LoadEngine`.
    done, error : In(1)
        The loader finished a LOAD of ACC or ACC_8BIT.
    load : Out(stream of acc_load_layout)
    tile : Out(8 * acc_elem_bytes)
        The oldest tile that `take` has not taken.
    take : In(1)
    """

    def __init__(self, config: Config, kinds: tuple[MemoryType, ...]) -> None:
        self._config, self._kinds = config, kinds
        super().__init__(
            {
                "write": In(write_layout(config, kinds)),
                "write_en": In(1),
                "room": Out(1),
                "done": In(1),
                "error": In(1),
                "load": Out(stream.Signature(acc_load_layout(config))),
                "tile": Out(8 * config.acc_elem_bytes),
                "take": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, write = self._config, self.write
        tile_bits = 8 * config.acc_elem_bytes
        m.submodules.tiles = tiles = Queue(tile_bits, TILES)
        partial, merged = Signal(tile_bits), Signal(tile_bits)
        m.d.comb += merged.eq(partial)
        is_acc = Signal()
        for kind in (MemoryType.ACC, MemoryType.ACC_8BIT):
            lane_bits = min(config.bus_width, 8 * config.elem_bytes(kind))
            lanes = 8 * config.elem_bytes(kind) // lane_bits
            value = write.data[:lane_bits]
            if kind == MemoryType.ACC_8BIT:
                value = Cat(
                    _sign_extend(value.word_select(index, 8), config.acc_width)
                    for index in range(lane_bits // 8)
                )
            width = len(value)
            with m.If(write.kind == kind):
                m.d.comb += is_acc.eq(1)
                for lane in range(lanes):
                    with m.If(write.lanes[lane]):
                        m.d.comb += merged[lane * width : (lane + 1) * width].eq(value)

        if config.requantises:
            with m.If(write.least):
                least = Mux(write.kind == MemoryType.ACC, 1 << 31, -128)[: config.acc_width]
                m.d.comb += merged.eq(least.replicate(tile_bits // config.acc_width))
        takes = self.write_en & is_acc
        complete = takes & write.last
        # Padding may come while a tile is not complete yet.
        is_padding = write.zero | write.least if config.requantises else write.zero
        with m.If(takes & ~is_padding):
            m.d.sync += partial.eq(merged)

        # A mark and a tile never come together, because a loader that is done writes nothing. A
        # mark has room because the pipeline takes one entry a cycle.
        m.submodules.loads = loads = Queue(acc_load_layout(config), 4)
        m.d.comb += [
            self.room.eq(tiles.i.ready & (loads.level < 3)),
            tiles.i.payload.eq(merged),
            tiles.i.valid.eq(complete & ~write.zero),
            tiles.o.ready.eq(self.take),
            self.tile.eq(tiles.o.payload),
            loads.i.payload.addr.eq(write.addr),
            loads.i.payload.zero.eq(write.zero),
            loads.i.payload.mark.eq(self.done),
            loads.i.payload.error.eq(self.done & self.error),
            loads.i.valid.eq(complete | self.done),
        ]
        m.d.sync += [
            Assert(~tiles.i.valid | tiles.i.ready, "a tile arrived while the queue was full"),
            Assert(~loads.i.valid | loads.i.ready, "a LOAD entry arrived while the queue was full"),
            Assert(~self.take | tiles.o.valid, "a tile is taken before it is there"),
        ]
        wiring.connect(m, loads.o, wiring.flipped(self.load))
        return m


def _sign_extend(value: Value, width: int) -> Value:
    return Cat(value, value[-1].replicate(width - len(value)))
