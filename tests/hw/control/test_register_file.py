"""The registers: access, strobes, launch and its errors, reset, interrupts."""

import random

import pytest

from tests.hw.control.register_bench import (
    CONTROL,
    COUNT,
    CYCLES,
    DONE,
    ERROR,
    ERROR_INDEX,
    INSN_PTR,
    IRQ_ENABLE,
    IRQ_STATUS,
    LAUNCH,
    POINTERS,
    RESET,
    WATCHDOG,
    Bench,
)
from tests.hw.streams import rest
from vta.config import PRESETS
from vta.hw.control.register_file import READ_FROM_CORE
from vta.isa import Cause, ModuleId
from vta.registers import BY_NAME, REGISTERS


def writable():
    """Registers that keep what the host writes, and the bits that they keep (32-bit addresses)."""
    names = {
        "insn_count": 32,
        "irq_enable": 2,
        "watchdog": 32,
        **{f"{name}_ptr": 32 for name in POINTERS},
    }
    return {BY_NAME[name].offset: bits for name, bits in names.items()}


def test_the_map_of_the_isa():
    """Offsets that existing drivers know (docs/isa.md, "Registers")."""
    assert [
        BY_NAME[name].offset
        for name in (
            "control",
            "cycle_count",
            "insn_count",
            "insn_ptr",
            "uop_ptr",
            "inp_ptr",
            "wgt_ptr",
            "acc_ptr",
            "out_ptr",
            "tile_count",
        )
    ] == list(range(0, 0x28, 4))
    assert BY_NAME["id"].offset == 0x40
    assert len({register.offset for register in REGISTERS}) == len(REGISTERS)


def test_power_on():
    async def body(ctx, bench):
        for name in READ_FROM_CORE:
            ctx.set(getattr(bench.dut, name), BY_NAME[name].offset * 0x1_0001)
        tiny = PRESETS["tiny"]
        for register in REGISTERS:
            expected = 0
            if register.name in READ_FROM_CORE:
                expected = register.offset * 0x1_0001
            elif register.name == "id":
                expected = int.from_bytes(b"VTA-", "little")
            elif register.name == "version":
                expected = 0x300
            elif register.name == "watchdog":
                expected = 1 << 20
            elif register.name == "config_0":
                expected = 3 | 3 << 4 | 5 << 8 | 0 << 12 | 3 << 16 | 6 << 20
            elif register.name == "config_1":
                expected = (
                    tiny.log_uop_buff_size
                    | tiny.log_inp_buff_size << 8
                    | tiny.log_wgt_buff_size << 16
                    | tiny.log_acc_buff_size << 24
                )
            elif register.name == "config_2":
                expected = 32 | 9 << 8 | 64 << 16
            assert await bench.read(ctx, register.offset) == expected, register.name
        # Where there is no register: zero, and no error.
        used = {register.offset for register in REGISTERS}
        for addr in (0x28, 0x3C, 0x88, 0xB0, 0x200, 0xFFC):
            assert addr not in used
            assert await bench.read(ctx, addr) == 0

    Bench().run(body)


def test_every_register_keeps_what_it_may():
    async def body(ctx, bench):
        for register in REGISTERS:
            if register.name in ("control", "irq_status"):
                continue
            before = await bench.read(ctx, register.offset)
            await bench.write(ctx, register.offset, 0xA5C3_9E71)
            bits = writable().get(register.offset)
            expected = before if bits is None else 0xA5C3_9E71 & (1 << bits) - 1
            assert await bench.read(ctx, register.offset) == expected, register.name

    Bench().run(body)


def test_byte_strobes():
    async def body(ctx, bench):
        for addr in (COUNT, WATCHDOG, INSN_PTR):
            await bench.write(ctx, addr, 0x1122_3344)
            value = 0x1122_3344
            for strobes in range(16):
                await bench.write(ctx, addr, 0x0101_0101 * (strobes + 0x80), strobes)
                for byte in range(4):
                    if strobes >> byte & 1:
                        value = value & ~(0xFF << 8 * byte) | (strobes + 0x80) << 8 * byte
                assert await bench.read(ctx, addr) == value
        # A launch whose byte is not written is none.
        await bench.write(ctx, CONTROL, 0xFFFF_FFFF, 0b1110)
        await rest(ctx, 5)
        assert not ctx.get(bench.dut.running)
        assert await bench.read(ctx, CONTROL) == 0

    Bench().run(body)


@pytest.mark.parametrize("width", [32, 36, 40])
def test_pointers_of_more_than_32_bits(width):
    async def body(ctx, bench):
        for index, name in enumerate(POINTERS):
            await bench.write(ctx, POINTERS[name][0], 0x8000_0000 + 64 * index)
            await bench.write(ctx, 0x70 + 4 * index, 0xFFFF_FFA0 + index)
            high = (0xA0 + index) & (1 << width - 32) - 1
            assert await bench.read(ctx, 0x70 + 4 * index) == high
            assert ctx.get(getattr(bench.dut, f"{name}_ptr")) == (
                high << 32 | 0x8000_0000 + 64 * index
            )

    Bench(PRESETS["tiny"].replace(addr_width=width)).run(body)


def test_a_run():
    """Launch, running, done; what is written meanwhile is ignored but for the interrupt's."""

    async def body(ctx, bench):
        dut = bench.dut
        starts = []

        await bench.launch(ctx, 5)
        assert ctx.get(dut.running)
        assert await bench.read(ctx, CONTROL) == LAUNCH
        for register in REGISTERS:
            if register.offset not in (CONTROL, IRQ_ENABLE, IRQ_STATUS):
                await bench.write(ctx, register.offset, 0xFFFF_FFFF)
        assert await bench.read(ctx, COUNT) == 5
        assert await bench.read(ctx, WATCHDOG) == 1 << 20
        for addr, _ in POINTERS.values():
            assert await bench.read(ctx, addr) == 0
        await bench.write(ctx, IRQ_ENABLE, 3)
        assert await bench.read(ctx, IRQ_ENABLE) == 3
        # Launching again does nothing.
        cycles = await bench.read(ctx, CYCLES)
        await bench.write(ctx, CONTROL, LAUNCH)
        assert await bench.read(ctx, CYCLES) > cycles
        assert not starts
        await bench.pulse(ctx, "done")
        assert not ctx.get(dut.running)
        assert await bench.read(ctx, CONTROL) == DONE
        # The cycle count stops, and starts from zero with the next launch.
        cycles = await bench.read(ctx, CYCLES)
        await rest(ctx, 20)
        assert await bench.read(ctx, CYCLES) == cycles
        await bench.write(ctx, CONTROL, LAUNCH)
        await rest(ctx, 3)
        assert await bench.read(ctx, CONTROL) == LAUNCH
        assert await bench.read(ctx, CYCLES) < cycles

    Bench().run(body)


@pytest.mark.parametrize("lead", [-2, -1, 0, 1, 2])
def test_a_launch_clears_done_for_every_later_read(lead):
    """A master without latency that reads all the time: from the cycle after the write is taken, no
    read returns what the run before left. `lead`: cycles from the write's address to its data."""

    async def body(ctx, bench):
        dut, bus = bench.dut, bench.dut.bus
        await bench.launch(ctx)
        await rest(ctx, 100)
        await bench.pulse(ctx, "done")
        for register in (CONTROL, CYCLES):
            before = await bench.read(ctx, register)
            ctx.set(bus.araddr, register)
            ctx.set(bus.arvalid, 1)
            ctx.set(bus.rready, 1)
            ctx.set(bus.bready, 1)
            ctx.set(bus.awaddr, CONTROL)
            ctx.set(bus.wdata, LAUNCH)
            ctx.set(bus.wstrb, 1)
            sent, reads = {"aw": False, "w": False}, []
            for cycle in range(16):
                ctx.set(bus.awvalid, not sent["aw"] and cycle >= max(-lead, 0) + 2)
                ctx.set(bus.wvalid, not sent["w"] and cycle >= max(lead, 0) + 2)
                written = all(sent.values())
                accepted = ctx.get(bus.arready)
                for channel in sent:
                    valid, ready = getattr(bus, f"{channel}valid"), getattr(bus, f"{channel}ready")
                    sent[channel] |= bool(ctx.get(valid) and ctx.get(ready))
                await ctx.tick()
                if accepted:
                    assert ctx.get(bus.rvalid)
                    reads.append((written, ctx.get(bus.rdata)))
            ctx.set(bus.arvalid, 0)
            await ctx.tick()
            later = [value for written, value in reads if written]
            assert len(later) >= 3
            assert [value for written, value in reads if not written][0] == before
            if register == CONTROL:
                assert before == DONE
                assert later == [LAUNCH] * len(later)
            else:
                # The count starts from 0 again.
                assert before > 100
                assert later[0] == 0
                assert later == sorted(later)
            ctx.set(bus.rready, 0)
            ctx.set(bus.bready, 0)
            await rest(ctx, 100)
            await bench.pulse(ctx, "done")
            await bench.write(ctx, IRQ_STATUS, 3)
            assert not ctx.get(dut.running)

    Bench().run(body)


@pytest.mark.parametrize("seed", range(3))
def test_no_output_depends_on_an_input_of_its_own_cycle(seed):
    """Every output comes from flip-flops: whatever the inputs do in a cycle, it stays."""
    rng = random.Random(seed)

    async def body(ctx, bench):
        dut, bus = bench.dut, bench.dut.bus
        inputs = [bus.awvalid, bus.wvalid, bus.bready, bus.arvalid, bus.rready]
        inputs += [dut.bus_quiet, dut.done, dut.halt]
        outputs = [bus.awready, bus.wready, bus.bvalid, bus.arready, bus.rvalid, bus.rdata]
        outputs += [dut.irq, dut.clear, dut.stop, dut.running, dut.start, dut.launch]
        seen = [set() for _ in outputs]
        await bench.write(ctx, IRQ_ENABLE, 3)
        for _ in range(2000):
            ctx.set(bus.awaddr, rng.choice((CONTROL, CONTROL, COUNT, IRQ_STATUS)))
            ctx.set(bus.araddr, rng.choice((CONTROL, IRQ_STATUS)))
            ctx.set(bus.wdata, rng.choice((LAUNCH, LAUNCH, LAUNCH, RESET, 3)))
            ctx.set(bus.wstrb, 0xF)
            values = [rng.random() < (0.1 if signal is dut.halt else 0.5) for signal in inputs]
            for signal, value in zip(inputs, values, strict=True):
                ctx.set(signal, not value)
            before = [ctx.get(signal) for signal in outputs]
            for signal, value in zip(inputs, values, strict=True):
                ctx.set(signal, value)
                assert [ctx.get(signal) for signal in outputs] == before, signal.name
            for values_seen, value in zip(seen, before, strict=True):
                values_seen.add(value)
            await ctx.tick()
        assert all(len(values_seen) > 1 for values_seen in seen)

    Bench().run(body)


def test_cycles_are_counted_to_the_cycle():
    async def body(ctx, bench):
        await bench.launch(ctx)
        while not ctx.get(bench.dut.running):
            await ctx.tick()
        before = ctx.get(bench.dut.running)
        assert before
        first = await bench.read(ctx, CYCLES)
        await rest(ctx, 100)
        second = await bench.read(ctx, CYCLES)
        # Two reads take a few cycles of their own.
        assert 100 < second - first <= 106
        assert first < 10

    Bench().run(body)


@pytest.mark.parametrize("name", POINTERS)
def test_a_misaligned_base(name):
    async def body(ctx, bench):
        addr, size = POINTERS[name]
        await bench.write(ctx, addr, 0x1000 + size // 2)
        # An alignment error comes before an empty stream.
        for count in (5, 0):
            await bench.launch(ctx, count)
            assert not ctx.get(bench.dut.running)
            assert await bench.read(ctx, ERROR) == Cause.MISALIGNED_BASE | ModuleId.FETCH << 4
            assert await bench.read(ctx, ERROR_INDEX) == 0
            assert await bench.read(ctx, CONTROL) == 0
            assert await bench.read(ctx, IRQ_STATUS) == 2
            # Halted until reset: a good launch is ignored, too.
            await bench.write(ctx, addr, 0x1000)
            await bench.launch(ctx, 5)
            assert not ctx.get(bench.dut.running)
            ctx.set(bench.dut.bus_quiet, 1)
            await bench.write(ctx, CONTROL, RESET)
            await rest(ctx, 3)
            assert await bench.read(ctx, ERROR) == 0
            await bench.write(ctx, IRQ_STATUS, 3)
            await bench.write(ctx, addr, 0x1000 + size // 2)
        await bench.write(ctx, addr, 0x1000)
        await bench.launch(ctx)
        assert ctx.get(bench.dut.running)

    Bench().run(body)


def test_an_empty_stream():
    async def body(ctx, bench):
        await bench.launch(ctx, 0)
        assert await bench.read(ctx, ERROR) == Cause.NO_FINISH
        assert await bench.read(ctx, ERROR_INDEX) == 0

    Bench().run(body)


def test_start_and_launch_pulse_once():
    async def body(ctx, bench):
        seen = []

        async def count():
            for _ in range(20):
                seen.append((ctx.get(bench.dut.launch), ctx.get(bench.dut.start)))
                await ctx.tick()

        await bench.write(ctx, COUNT, 1)
        bus = bench.dut.bus
        ctx.set(bus.awaddr, CONTROL)
        ctx.set(bus.wdata, LAUNCH)
        ctx.set(bus.wstrb, 1)
        ctx.set(bus.awvalid, 1)
        ctx.set(bus.wvalid, 1)
        ctx.set(bus.bready, 1)
        await ctx.tick()
        ctx.set(bus.awvalid, 0)
        ctx.set(bus.wvalid, 0)
        await count()
        assert seen.count((1, 1)) == 1
        assert seen.count((0, 0)) == 19

    Bench().run(body)


def test_an_error():
    async def body(ctx, bench):
        await bench.launch(ctx)
        await bench.pulse(
            ctx, "halt", cause=Cause.DEADLOCK, module=ModuleId.STORE, index=0x1234_5678
        )
        assert not ctx.get(bench.dut.running)
        assert await bench.read(ctx, CONTROL) == 0
        assert await bench.read(ctx, ERROR) == Cause.DEADLOCK | ModuleId.STORE << 4
        assert await bench.read(ctx, ERROR_INDEX) == 0x1234_5678

    Bench().run(body)


def test_reset_waits_for_the_bus():
    """It stops issue, waits, clears for one cycle, and reads 1 until it is through."""

    async def body(ctx, bench):
        dut = bench.dut
        ctx.set(dut.bus_quiet, 0)
        await bench.launch(ctx)
        await bench.write(ctx, CONTROL, RESET)
        await rest(ctx, 2)
        for _ in range(10):
            assert ctx.get(dut.stop)
            assert not ctx.get(dut.clear)
            assert await bench.read(ctx, CONTROL) & RESET
        # Nothing is launched, and no register written, while it waits.
        await bench.write(ctx, CONTROL, LAUNCH)
        await bench.write(ctx, COUNT, 99)
        clears = []
        ctx.set(dut.bus_quiet, 1)
        for _ in range(6):
            clears.append(ctx.get(dut.clear))
            await ctx.tick()
        assert clears == [0, 1, 0, 0, 0, 0]
        assert not ctx.get(dut.stop)
        assert not ctx.get(dut.running)
        assert await bench.read(ctx, CONTROL) == 0
        assert await bench.read(ctx, CYCLES) == 0
        # What the host wrote before stays.
        assert await bench.read(ctx, COUNT) == 5

    Bench().run(body)


def test_reset_and_launch_at_once_is_reset():
    async def body(ctx, bench):
        ctx.set(bench.dut.bus_quiet, 1)
        await bench.write(ctx, COUNT, 5)
        await bench.write(ctx, CONTROL, LAUNCH | RESET)
        await rest(ctx, 5)
        assert not ctx.get(bench.dut.running)
        assert await bench.read(ctx, CONTROL) == 0

    Bench().run(body)


def test_a_slow_host_blocks_only_itself():
    """A write that is not acknowledged yet keeps the next one waiting, and no read."""

    async def body(ctx, bench):
        bus = bench.dut.bus
        ctx.set(bus.awaddr, COUNT)
        ctx.set(bus.wdata, 7)
        ctx.set(bus.wstrb, 0xF)
        ctx.set(bus.awvalid, 1)
        ctx.set(bus.wvalid, 1)
        await ctx.tick()
        ctx.set(bus.wdata, 8)
        await rest(ctx, 5)
        assert not ctx.get(bus.awready)
        assert await bench.read(ctx, COUNT) == 7
        ctx.set(bus.bready, 1)
        await rest(ctx, 2)
        ctx.set(bus.awvalid, 0)
        ctx.set(bus.wvalid, 0)
        await rest(ctx, 3)
        assert await bench.read(ctx, COUNT) == 8

    Bench().run(body)
