"""The host's side of the register file, for its tests."""

import random

from tests.hw.streams import rest, simulate
from vta.config import PRESETS
from vta.hw.control.register_file import RegisterFile

CONTROL, CYCLES, COUNT, INSN_PTR = 0x00, 0x04, 0x08, 0x0C
ERROR, ERROR_INDEX, IRQ_ENABLE, IRQ_STATUS, WATCHDOG = 0x54, 0x58, 0x5C, 0x60, 0x64
LAUNCH, DONE, RESET = 1, 2, 4
POINTERS = {
    "insn": (0x0C, 16),
    "uop": (0x10, 4),
    "inp": (0x14, 8),
    "wgt": (0x18, 64),
    "acc": (0x1C, 32),
    "out": (0x20, 8),
}
"""Offset, and bytes of an element of the tiny configuration."""


class Bench:
    """The host's side of the register file."""

    def __init__(self, config=PRESETS["tiny"]):
        self.dut = RegisterFile(config)
        self.rng = random.Random("control")

    async def write(self, ctx, addr, value, strobes=0b1111):
        bus = self.dut.bus
        ctx.set(bus.awaddr, addr)
        ctx.set(bus.wdata, value)
        ctx.set(bus.wstrb, strobes)
        # Address and data may come in either order, and the answer may have to wait.
        order = ["aw", "w"]
        self.rng.shuffle(order)
        apart = self.rng.randrange(3)
        await self._send(ctx, *(order if apart == 0 else order[:1]))
        if apart:
            await rest(ctx, apart - 1)
            await self._send(ctx, order[1])
        while not ctx.get(bus.bvalid):
            await ctx.tick()
        await rest(ctx, self.rng.randrange(3))
        assert ctx.get(bus.bvalid)
        assert ctx.get(bus.bresp).value == 0
        ctx.set(bus.bready, 1)
        await ctx.tick()
        ctx.set(bus.bready, 0)
        assert not ctx.get(bus.bvalid)

    async def _send(self, ctx, *channels):
        """Raises `valid` of these channels until each is taken."""
        waiting = set(channels)
        for name in waiting:
            ctx.set(getattr(self.dut.bus, f"{name}valid"), 1)
        while waiting:
            taken = {name for name in waiting if ctx.get(getattr(self.dut.bus, f"{name}ready"))}
            await ctx.tick()
            for name in taken:
                ctx.set(getattr(self.dut.bus, f"{name}valid"), 0)
            waiting -= taken

    async def read(self, ctx, addr):
        bus = self.dut.bus
        ctx.set(bus.araddr, addr)
        ctx.set(bus.arvalid, 1)
        while not ctx.get(bus.arready):
            await ctx.tick()
        await ctx.tick()
        ctx.set(bus.arvalid, 0)
        await rest(ctx, self.rng.randrange(3))
        assert ctx.get(bus.rvalid)
        assert ctx.get(bus.rresp).value == 0
        data = ctx.get(bus.rdata)
        ctx.set(bus.rready, 1)
        await ctx.tick()
        ctx.set(bus.rready, 0)
        return data

    async def launch(self, ctx, count=5):
        await self.write(ctx, COUNT, count)
        await self.write(ctx, CONTROL, LAUNCH)

    async def pulse(self, ctx, name, **verdict):
        ctx.set(self.dut.verdict, verdict)
        ctx.set(getattr(self.dut, name), 1)
        await ctx.tick()
        ctx.set(getattr(self.dut, name), 0)

    def run(self, body):
        async def bench(ctx):
            await body(ctx, self)

        simulate(self.dut, bench)
