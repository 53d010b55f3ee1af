"""The interrupt: enabled, cleared, and never lost."""

import pytest

from tests.hw.control.register_bench import IRQ_ENABLE, IRQ_STATUS, Bench
from tests.hw.streams import rest
from vta.isa import Cause


@pytest.mark.parametrize("enable", range(4))
def test_interrupts(enable):
    """A level: while an enabled event has happened and was not cleared."""

    async def body(ctx, bench):
        dut = bench.dut
        ctx.set(dut.bus_quiet, 1)
        await bench.write(ctx, IRQ_ENABLE, enable)
        assert not ctx.get(dut.irq)
        await bench.launch(ctx)
        await bench.pulse(ctx, "done")
        await rest(ctx, 2)
        assert await bench.read(ctx, IRQ_STATUS) == 1
        assert ctx.get(dut.irq) == (enable & 1)
        # The wrong bit, or zero, clears nothing; nor does a byte that is not written.
        await bench.write(ctx, IRQ_STATUS, 0b10)
        await bench.write(ctx, IRQ_STATUS, 0b11, 0b1110)
        await rest(ctx, 2)
        assert ctx.get(dut.irq) == (enable & 1)
        # Enabling later shows what has happened.
        await bench.write(ctx, IRQ_ENABLE, 1)
        await rest(ctx, 2)
        assert ctx.get(dut.irq)
        await bench.write(ctx, IRQ_ENABLE, enable)
        await bench.write(ctx, IRQ_STATUS, 1)
        await rest(ctx, 2)
        assert not ctx.get(dut.irq)
        await bench.launch(ctx)
        await bench.pulse(ctx, "halt", cause=Cause.TIMEOUT, module=0, index=0)
        await rest(ctx, 2)
        assert await bench.read(ctx, IRQ_STATUS) == 2
        assert ctx.get(dut.irq) == enable >> 1
        # It is an event: the halt lasts, the cleared interrupt does not come back.
        await bench.write(ctx, IRQ_STATUS, 2)
        await rest(ctx, 5)
        assert await bench.read(ctx, IRQ_STATUS) == 0
        assert not ctx.get(dut.irq)

    Bench().run(body)


def test_an_event_in_the_cycle_of_its_clearing_is_kept():
    async def body(ctx, bench):
        dut, bus = bench.dut, bench.dut.bus
        for delay in range(6):
            await bench.launch(ctx)
            ctx.set(bus.awaddr, IRQ_STATUS)
            ctx.set(bus.wdata, 1)
            ctx.set(bus.wstrb, 1)
            ctx.set(bus.awvalid, 1)
            ctx.set(bus.wvalid, 1)
            ctx.set(bus.bready, 1)
            await ctx.tick()
            ctx.set(bus.awvalid, 0)
            ctx.set(bus.wvalid, 0)
            # The write takes effect in the cycle after this one.
            await rest(ctx, delay) if delay else None
            await bench.pulse(ctx, "done")
            await rest(ctx, 3)
            ctx.set(bus.bready, 0)
            assert await bench.read(ctx, IRQ_STATUS) == 1
            await bench.write(ctx, IRQ_STATUS, 1)
            assert await bench.read(ctx, IRQ_STATUS) == 0
            assert not ctx.get(dut.running)

    Bench().run(body)
