"""Block RAM returns anything for a tile that is being written: nothing may depend on it."""

import random

import pytest
from amaranth import Elaboratable, Module, Signal
from amaranth.lib import memory

from vta.hw.bus import streams
from vta.hw.compute import accumulator, lane
from vta.hw.transfer import scratchpad
from vta.hw.verilog import generate
from vta.sim.rtl.rtl_machine import RtlMachine
from vta.tools.fuzz.configurations import CONFIGURATIONS
from vta.tools.fuzz.machines import Machines
from vta.tools.fuzz.random_launches import KINDS, LaunchBuilder, LaunchPlan


class InvertedMemory(Elaboratable):
    """Returns every bit inverted where a read meets a write."""

    def __init__(self, *, shape, depth):
        self._inner = memory.Memory(shape=shape, depth=depth, init=[])

    def write_port(self):
        self._write = self._inner.write_port()
        return self._write

    def read_port(self):
        self._inside = self._inner.read_port()
        self._read = self._inside.signature.flip().create()
        return self._read

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = self._inner
        inside, read, write = self._inside, self._read, self._write
        meets = Signal()
        with m.If(read.en):
            m.d.sync += meets.eq(write.en & (write.addr == read.addr))
        m.d.comb += [
            inside.en.eq(read.en),
            inside.addr.eq(read.addr),
            read.data.eq(inside.data ^ meets.replicate(len(inside.data))),
        ]
        return m


# A simulator of its own for each.
@pytest.mark.full
@pytest.mark.parametrize("name", ["tiny", "small"])
def test_what_a_read_returns_that_meets_a_write_does_not_matter(monkeypatch, name):
    config = CONFIGURATIONS[name]
    for user in (streams, accumulator, lane, scratchpad):
        monkeypatch.setattr(user, "block_memory", InvertedMemory)
    text = generate(config, assertions=True)
    assert "no_rw_check" not in text
    monkeypatch.undo()

    rng, builder = random.Random(f"block memory {name}"), LaunchBuilder(config)
    with Machines(config, lambda config, memory: RtlMachine(config, text, memory), 1) as machines:
        for _ in range(60):
            steps = tuple((rng.choice(KINDS), rng.randrange(1 << 20)) for _ in range(12))
            launch = builder.build(LaunchPlan(rng.randrange(1 << 20), steps))
            machines.write(launch)
            assert machines.run(launch).fault is None
