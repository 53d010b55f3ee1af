"""On-chip buffers that a loader writes and a pipeline reads: INP, WGT and UOP."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from vta.config import Config
from vta.hw.bus.block_memory import block_memory

__all__ = ["Scratchpad"]


class Scratchpad(wiring.Component):
    """A simple dual-port memory of tiles, in lanes as wide as the bus.

    Each lane is a memory of its own, so that a beat is written where it belongs without a
    register that collects a whole tile first.

    Parameters
    ----------
    config : Config
    elem_bits : int
        Bits of a tile.
    depth : int
        Tiles.

    Members
    -------
    write_en : In(1)
    write_addr : In(range(depth))
    write_lanes : In(lanes)
        Which lanes get `write_data`.
    write_zero : In(1)
        All lanes get zero.
    write_least : In(1)
        All lanes get -128 in each byte, if the configuration `requantises`.
    write_data : In(lane bits)
    read_en : In(1)
    read_addr : In(range(depth))
    read_data : Out(elem_bits)
        The tile, in the cycle after `read_en`; holds until the next one.

    Timing: writes are registered once on their way, so a read sees what was written two cycles
    before or earlier. A tile that was written one cycle before must not be read: hardware may
    return anything. Tokens and retirement take longer than that.
    """

    def __init__(self, config: Config, *, elem_bits: int, depth: int) -> None:
        self._depth, self._requantises = depth, config.requantises
        self._lane_bits = min(elem_bits, config.bus_width)
        self._lanes = elem_bits // self._lane_bits
        super().__init__(
            {
                "write_en": In(1),
                "write_addr": In(range(depth)),
                "write_lanes": In(self._lanes),
                "write_zero": In(1),
                **({"write_least": In(1)} if config.requantises else {}),
                "write_data": In(self._lane_bits),
                "read_en": In(1),
                "read_addr": In(range(depth)),
                "read_data": Out(elem_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        addr = Signal.like(self.write_addr)
        lanes = Signal(self._lanes)
        value = Signal(self._lane_bits)
        padding: Value = self.write_zero
        m.d.sync += value.eq(Mux(self.write_zero, 0, self.write_data))
        if self._requantises:
            padding |= self.write_least
            with m.If(self.write_least):
                m.d.sync += value.eq(Const(0x80, 8).replicate(self._lane_bits // 8))
        m.d.sync += [
            addr.eq(self.write_addr),
            lanes.eq(Mux(self.write_en, self.write_lanes | padding.replicate(self._lanes), 0)),
        ]
        for lane in range(self._lanes):
            m.submodules[f"lane_{lane}"] = tiles = block_memory(
                shape=self._lane_bits, depth=self._depth
            )
            write, read = tiles.write_port(), tiles.read_port()
            m.d.comb += [
                write.addr.eq(addr),
                write.data.eq(value),
                write.en.eq(lanes[lane]),
                read.addr.eq(self.read_addr),
                read.en.eq(self.read_en),
                self.read_data[lane * self._lane_bits : (lane + 1) * self._lane_bits].eq(read.data),
            ]
        return m
