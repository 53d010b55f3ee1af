"""The machine's memory port on an AXI3 port: each wire, and the configurations that do not fit."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Value
from amaranth.lib.wiring import Out
from amaranth.sim import Simulator

from vta.config import PRESETS
from vta.errors import ConfigError
from vta.hw.boards.axi3_master import Axi3Master, require_axi3

AXI3 = PRESETS["tiny"].replace(max_burst=16)


def test_each_wire():
    """Random values on all inputs; each arrives at the output of the same name."""
    dut, rng = Axi3Master(AXI3, id_width=6), random.Random("wires")
    names = [name for name in dut.memory.signature.members if name != "wid"]
    assert len(dut.memory.awlen) == 4
    assert len(dut.memory.awlock) == 2
    assert len(dut.memory.wid) == 6

    async def bench(ctx):
        for _ in range(100):
            values = {}
            for name in names:
                source, sink = getattr(dut.machine, name), getattr(dut.memory, name)
                if dut.memory.signature.members[name].flow != Out:
                    source, sink = sink, source
                # The machine's bursts have at most 16 beats and its identifiers 3 bits.
                width = min(len(Value.cast(source)), len(Value.cast(sink)))
                values[name] = (sink, rng.randrange(1 << width))
                ctx.set(Value.cast(source), values[name][1])
            await ctx.delay(1e-6)
            for name, (sink, value) in values.items():
                assert ctx.get(Value.cast(sink)) == value, name
            assert ctx.get(dut.memory.wid) == 0

    simulator = Simulator(dut)
    simulator.add_testbench(bench)
    simulator.run()


def test_what_it_refuses():
    with pytest.raises(ConfigError, match="MAX_BURST must be at most 16 for .* AXI3, not 64"):
        require_axi3(PRESETS["tiny"])
    with pytest.raises(ConfigError, match="LOG_BUS_WIDTH must be 6 for this memory port, not 7"):
        require_axi3(AXI3.replace(log_bus_width=7))
