"""On-chip buffers that a loader writes and a pipeline reads: INP, WGT and UOP."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from vta.config import Config

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
    write_data : In(lane bits)
    read_en : In(1)
    read_addr : In(range(depth))
    read_data : Out(elem_bits)
        The tile, in the cycle after `read_en`; holds until the next one.

    Timing: writes are registered once on their way, so a read sees what was written two cycles
    before or earlier. Tokens and retirement take longer than that.
    """

    def __init__(self, config: Config, *, elem_bits: int, depth: int) -> None:
        self._depth = depth
        self._lane_bits = min(elem_bits, config.bus_width)
        self._lanes = elem_bits // self._lane_bits
        super().__init__(
            {
                "write_en": In(1),
                "write_addr": In(range(depth)),
                "write_lanes": In(self._lanes),
                "write_zero": In(1),
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
        m.d.sync += [
            addr.eq(self.write_addr),
            lanes.eq(
                Mux(self.write_en, self.write_lanes | self.write_zero.replicate(self._lanes), 0)
            ),
            value.eq(Mux(self.write_zero, 0, self.write_data)),
        ]
        for lane in range(self._lanes):
            m.submodules[f"lane_{lane}"] = tiles = memory.Memory(
                shape=self._lane_bits, depth=self._depth, init=[]
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
