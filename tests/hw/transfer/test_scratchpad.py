"""Scratchpads: lanes, zeros, when a write is seen, and that reads hold."""

import random

import pytest

from tests.hw.streams import simulate
from vta.config import PRESETS
from vta.hw.transfer.scratchpad import Scratchpad


@pytest.mark.parametrize(
    ("name", "bits"), [("tiny", 32), ("tiny", 64), ("tiny", 512), ("small", 128), ("wide", 512)]
)
def test_random_traffic(name, bits):
    config = PRESETS[name]
    depth = 16
    dut = Scratchpad(config, elem_bits=bits, depth=depth)
    lane_bits = min(bits, config.bus_width)
    lanes = bits // lane_bits
    rng = random.Random(f"scratchpad {name} {bits}")

    async def bench(ctx):
        tiles = [0] * depth
        late = []
        expected = 0
        for _ in range(600):
            assert ctx.get(dut.read_data) == expected
            write, zero = rng.random() < 0.7, rng.random() < 0.2
            addr, mask = rng.randrange(depth), rng.randrange(1 << lanes)
            data = rng.randrange(1 << lane_bits)
            read, where = rng.random() < 0.6, rng.randrange(depth)
            ctx.set(dut.write_en, write)
            ctx.set(dut.write_zero, zero)
            ctx.set(dut.write_addr, addr)
            ctx.set(dut.write_lanes, mask)
            ctx.set(dut.write_data, data)
            ctx.set(dut.read_en, read)
            ctx.set(dut.read_addr, where)
            await ctx.tick()
            # A read sees what was written two cycles before it.
            if read:
                expected = tiles[where]
            for place, value in late:
                tiles[place] = value(tiles[place])
            late = []
            if write:

                def value(old, mask=mask, data=data, zero=zero):
                    if zero:
                        return 0
                    for lane in range(lanes):
                        if mask >> lane & 1:
                            low = lane * lane_bits
                            old = old & ~(((1 << lane_bits) - 1) << low) | data << low
                    return old

                late = [(addr, value)]

    simulate(dut, bench)
