"""cocotb benches of the top. `test_top.py` builds it and runs each of them."""

from __future__ import annotations

import os

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge, Timer

from tests.rtl.host import BASE, DONE, LAUNCH, RESET, Host
from vta.image import Image
from vta.isa import AluOp, Cause, ModuleId, Opcode
from vta.registers import BY_NAME, REGISTERS


def _alu(host, op, *, uops=(0, 1), iters=(1, 1), dst=(0, 0), src=(0, 0), imm=None, **more):
    return host.isa.alu.pack(
        opcode=Opcode.ALU,
        alu_opcode=op,
        uop_bgn=uops[0],
        uop_end=uops[1],
        iter_out=iters[0],
        iter_in=iters[1],
        dst_factor_out=dst[0],
        dst_factor_in=dst[1],
        src_factor_out=src[0],
        src_factor_in=src[1],
        use_imm=imm is not None,
        imm=imm or 0,
        **more,
    )


def _gemm(host, *, uops=(0, 1), iters=(1, 1), dst=(0, 0), src=(0, 0), wgt=(0, 0), **more):
    return host.isa.gemm.pack(
        opcode=Opcode.GEMM,
        uop_bgn=uops[0],
        uop_end=uops[1],
        iter_out=iters[0],
        iter_in=iters[1],
        dst_factor_out=dst[0],
        dst_factor_in=dst[1],
        src_factor_out=src[0],
        src_factor_in=src[1],
        wgt_factor_out=wgt[0],
        wgt_factor_in=wgt[1],
        **more,
    )


async def add_vectors(host, seed: int) -> None:
    """a + b of 16 tiles, in two halves whose stores run beside the next half's loads."""
    config, rng = host.config, np.random.default_rng(seed)
    a, b = (
        rng.integers(-(2**31), 2**31, (16, config.batch, config.block)).astype(np.int32)
        for _ in range(2)
    )
    host.put("acc", a)
    host.put("acc", b, 1000)
    host.put_uops(dst_idx=[0, 0], src_idx=[0, 8], wgt_idx=[0, 0])
    host.put("out", np.full((16, config.batch, config.block), 0x55, np.int8), 3)
    insns = [host.load("UOP", x=2)]
    for half in range(2):
        again = {"pop_next": 1} if half else {}
        insns += [
            host.load("ACC", dram=8 * half, x=8, **again),
            host.load("ACC", sram=8, dram=1000 + 8 * half, y=2, x=4),
            _alu(host, AluOp.ADD, uops=(1, 2), iters=(2, 4), dst=(4, 1), src=(4, 1), push_next=1),
            host.store(dram=3 + 8 * half, x=8, pop_prev=1, push_prev=1),
        ]
    await host.launch([*insns, host.finish(pop_next=1)])
    assert await host.end(), await host.fault()
    np.testing.assert_array_equal(host.out(16, 3), (a + b).astype(np.int8))


@cocotb.test()
async def vector_add(dut):
    host = await Host(dut, seed="vector add").start()
    for seed in range(3):
        await add_vectors(host, seed)
    assert await host.read("tile_count") == 16
    assert await host.read("alu_ops") == 16
    assert await host.read("acc_bytes") == 2 * 16 * host.config.acc_elem_bytes
    assert await host.read("out_bytes") == 16 * host.config.out_elem_bytes
    assert await host.read("compute_insns") == 8
    assert await host.read("tokens_next") == 0


@cocotb.test()
async def matrix_product(dut):
    """(4 x 2 tiles) times (2 x 3 tiles), shifted right, from loads with padding and strides."""
    host = await Host(dut, seed="product").start()
    config, rng = host.config, np.random.default_rng(7)
    rows, depth, columns = 3, 2, 2
    x = rng.integers(-128, 128, (rows, depth, config.batch, config.block)).astype(np.int8)
    w = rng.integers(-128, 128, (columns, depth, config.block, config.block)).astype(np.int8)
    # In memory a row of INP is five tiles apart from the next; on chip there is a zero tile
    # before each row, and a row of zeros above all.
    for row in range(rows):
        host.put("inp", x[row], 5 * row)
    host.put("wgt", w)
    host.put_uops(dst_idx=[0] * depth, src_idx=[4, 5], wgt_idx=[0, 1])
    await host.run(
        host.load("UOP", x=depth),
        host.load("INP", y=rows, x=depth, stride=5, y_pad_0=1, x_pad_0=1),
        host.load("WGT", x=columns * depth, push_next=1),
        _gemm(host, uops=(0, 1), iters=(rows, columns), dst=(columns, 1), reset=1),
        _gemm(
            host,
            uops=(0, depth),
            iters=(rows, columns),
            dst=(columns, 1),
            src=(3, 0),
            wgt=(0, depth),
            pop_prev=1,
        ),
        _alu(host, AluOp.SHR, iters=(1, rows * columns), dst=(0, 1), imm=5, push_next=1),
        host.store(y=rows, x=columns, stride=7, pop_prev=1),
    )
    expected = np.einsum("rdbi,cdoi->rcbo", x.astype(np.int64), w.astype(np.int64)) >> 5
    for row in range(rows):
        np.testing.assert_array_equal(host.out(columns, 7 * row), expected[row].astype(np.int8))
    assert await host.read("gemm_ops") == rows * columns * depth
    assert await host.read("reset_ops") == rows * columns


async def check_power_on(host) -> None:
    """Every register has its value of after power-on."""
    for register in REGISTERS:
        assert await host.registers.read_dword(register.offset) == {
            "id": int.from_bytes(b"VTA-", "little"),
            "version": 0x300 if host.config.requantises else 0x200,
            "watchdog": 1 << 20,
            "config_0": 3
            | 3 << 4
            | 5 << 8
            | host.config.log_batch << 12
            | host.config.log_block << 16
            | host.config.log_bus_width << 20,
            "config_1": host.config.log_uop_buff_size
            | host.config.log_inp_buff_size << 8
            | host.config.log_wgt_buff_size << 16
            | host.config.log_acc_buff_size << 24,
            "config_2": host.config.addr_width
            | host.config.log_insn_queue << 8
            | host.config.max_burst << 16,
        }.get(register.name, 0), register.name


@cocotb.test()
async def register_map(dut):
    host = await Host(dut, seed="registers").start()
    await check_power_on(host)
    writable = ("insn_count", *BASE_REGISTERS, "watchdog")
    for index, name in enumerate(writable):
        await host.write(name, 0x1234_5678 + index)
    for index, name in enumerate(writable):
        assert await host.read(name) == 0x1234_5678 + index
    # A byte alone.
    await host.registers.write(BY_NAME["insn_count"].offset + 2, b"\xee")
    assert await host.read("insn_count") == 0x12EE_5678
    # Reading what only reads leaves it as it is.
    await host.write("id", 0)
    assert await host.read("id") == int.from_bytes(b"VTA-", "little")


BASE_REGISTERS = tuple(f"{name}_ptr" for name in ("insn", "uop", "inp", "wgt", "acc", "out"))


@cocotb.test()
async def interrupts(dut):
    """On done and on error; a level until it is cleared."""
    host = await Host(dut, seed="interrupts").start()
    await host.write("irq_enable", 3)
    assert not int(dut.irq.value)
    await host.launch([host.finish()])
    await RisingEdge(dut.irq)
    assert await host.read("control") == DONE
    assert await host.read("irq_status") == 1
    await host.write("irq_status", 1)
    await ClockCycles(dut.clk, 5)
    assert not int(dut.irq.value)
    await host.launch([host.isa.common.pack(opcode=7)])
    await RisingEdge(dut.irq)
    assert await host.read("irq_status") == 2
    assert await host.fault() == (Cause.ILLEGAL_OPCODE, ModuleId.COMPUTE, 0)
    await host.reset()
    # Reset takes the error away, the event has happened all the same.
    assert int(dut.irq.value)
    await host.write("irq_status", 2)
    await ClockCycles(dut.clk, 5)
    assert not int(dut.irq.value)
    # Not enabled, not raised.
    await host.write("irq_enable", 2)
    await host.launch([host.finish()])
    assert await host.end()
    assert await host.read("irq_status") == 1
    assert not int(dut.irq.value)


@cocotb.test()
async def errors(dut):
    """Each is reported, and after a reset the machine works as before."""
    host = await Host(dut, seed="errors").start()
    config = host.config
    past = host.load("INP", sram=config.inp_depth - 1, x=2)
    cases = [
        (
            [host.load("INP", push_next=1), past, host.finish(pop_prev=1)],
            (Cause.SRAM_RANGE, ModuleId.LOAD, 1),
        ),
        # Compute waits for a token that is never pushed, so FINISH behind it is never reached.
        (
            [host.load("UOP"), _gemm(host, pop_prev=1), host.finish()],
            (Cause.DEADLOCK, ModuleId.COMPUTE, 1),
        ),
        # A module still waits after FINISH.
        ([host.store(pop_prev=1), host.finish()], (Cause.DEADLOCK, ModuleId.STORE, 0)),
        # Of two errors the lower index counts, whichever happened first.
        (
            [host.load("UOP", x=8), _alu(host, 7), past, host.finish()],
            (Cause.ILLEGAL_ALU_OPCODE, ModuleId.COMPUTE, 1),
        ),
        ([host.load("UOP")] * 3, (Cause.NO_FINISH, ModuleId.FETCH, 3)),
        ([host.store(x_pad_0=1), host.finish()], (Cause.ILLEGAL_PADDING, ModuleId.STORE, 0)),
        ([host.load("WGT", push_prev=1), host.finish()], (Cause.ILLEGAL_TOKEN, ModuleId.LOAD, 0)),
        ([host.load("OUT"), host.finish()], (Cause.ILLEGAL_MEMORY_TYPE, ModuleId.COMPUTE, 0)),
        (
            [host.load("ACC", dram=(1 << 32) - 1), host.finish()],
            (Cause.MEMORY_RESPONSE, ModuleId.COMPUTE, 0),
        ),
    ]
    for insns, expected in cases:
        await host.launch(insns)
        assert not await host.end()
        assert await host.fault() == expected
        # Halted: launching does nothing until reset.
        await host.write("control", LAUNCH)
        assert await host.read("control") == 0
        await host.reset()
        assert await host.fault() == (Cause.NONE, ModuleId.FETCH, 0)
        assert await host.read("tokens_prev") == 0
    await host.launch([host.finish()], base=BASE | {"wgt": 8})
    await ClockCycles(dut.clk, 10)
    assert await host.fault() == (Cause.MISALIGNED_BASE, ModuleId.FETCH, 0)
    await host.reset()
    await host.launch([], count=0)
    await ClockCycles(dut.clk, 10)
    assert await host.fault() == (Cause.NO_FINISH, ModuleId.FETCH, 0)
    await host.reset()
    await add_vectors(host, 5)


@cocotb.test()
async def watchdog(dut):
    """Memory that never answers."""
    host = await Host(dut, stalls=0).start()
    await host.write("watchdog", 500)
    host.channels["r"].pause = True
    await host.launch([host.finish()])
    assert not await host.end()
    assert await host.fault() == (Cause.TIMEOUT, ModuleId.FETCH, 0)
    # Reset waits for the bus, however long it takes.
    await host.write("control", RESET)
    await ClockCycles(dut.clk, 300)
    assert await host.read("control") == RESET
    host.channels["r"].pause = False
    await ClockCycles(dut.clk, 50)
    assert await host.read("control") == 0
    await add_vectors(host, 1)


HELD = (("r",), ("b",), ("r", "b"), ("ar", "aw"), ("w",), ())
"""Channels that memory holds when a reset comes."""


async def interrupt_a_run(host, moment: int, channels) -> None:
    """Launches LOADs and STOREs, then memory holds these channels while they still run."""
    insns = [host.load("INP", x=32, push_next=1), host.load("WGT", x=16, push_next=1)]
    insns += [host.load("UOP", x=2)] + [host.store(sram=0, dram=64, x=24)] * 6
    insns += [host.load("INP", x=32)] * 20
    await host.launch([*insns, host.finish()])
    await ClockCycles(host.clk, 60 + 17 * moment)
    for name in channels:
        host.channels[name].pause = True
    await ClockCycles(host.clk, 60)
    assert await host.read("control") & LAUNCH


@cocotb.test()
async def reset_in_the_middle(dut):
    """With reads and writes outstanding; afterwards a good run, without resetting anything else."""
    host = await Host(dut, stalls=0).start()
    config = host.config
    rng = np.random.default_rng(3)
    values = rng.integers(-128, 128, (8, config.batch, config.block)).astype(np.int32)
    host.put("acc", values)
    top = config.acc_depth - 8
    await host.run(host.load("ACC", sram=top, x=8))
    for moment, channels in enumerate(HELD):
        await interrupt_a_run(host, moment, channels)
        await host.write("control", RESET)
        await ClockCycles(dut.clk, 100)
        if channels:
            assert await host.read("control") & RESET, channels
        for name in channels:
            host.channels[name].pause = False
        await ClockCycles(dut.clk, 300)
        assert await host.read("control") == 0, channels
        assert await host.read("tokens_prev") == 0
        assert await host.read("cycle_count") == 0
        # Nothing is outstanding, and nothing is asked for any more.
        for name in ("m_axi__arvalid", "m_axi__awvalid", "m_axi__wvalid"):
            assert not int(getattr(dut, name).value)
        before = len(host.written)
        await ClockCycles(dut.clk, 100)
        assert len(host.written) == before
        # Buffers stay; a run is as good as on a new machine.
        await host.run(host.store(sram=top, dram=200, x=8))
        np.testing.assert_array_equal(host.out(8, 200), values.astype(np.int8))
        await add_vectors(host, moment)


@cocotb.test()
async def reset_pin_in_the_middle(dut):
    """It resets memory's ports too, and waits for nothing; then all is as after power-on."""
    host = await Host(dut, stalls=0).start()
    for moment, channels in enumerate(HELD):
        await host.write("irq_enable", 3)
        await interrupt_a_run(host, moment, channels)
        dut.rst.value = 1
        await ClockCycles(dut.clk, 2)
        for name in ("m_axi__arvalid", "m_axi__awvalid", "m_axi__wvalid", "s_axi__bvalid"):
            assert not int(getattr(dut, name).value), (name, channels)
        await ClockCycles(dut.clk, 2)
        for name in channels:
            host.channels[name].pause = False
        dut.rst.value = 0
        before = len(host.written)
        await ClockCycles(dut.clk, 100)
        assert len(host.written) == before
        await check_power_on(host)
        await add_vectors(host, moment)
        assert await host.read("tokens_prev") == 0


@cocotb.test()
async def left_over_tokens(dut):
    """Tokens survive from one launch to the next, and a reset removes them."""
    host = await Host(dut, seed="tokens").start()
    nothing = {"y": 0, "x": 0}
    await host.run(
        host.load("INP", **nothing, push_next=1),
        host.load("INP", **nothing, push_next=1),
        host.load("UOP", **nothing, push_prev=1, push_next=1),
    )
    assert await host.read("tokens_prev") == 2 | 1 << 16
    assert await host.read("tokens_next") == 1
    await host.launch(
        [
            host.load("UOP", **nothing, pop_prev=1),
            host.store(**nothing, pop_prev=1),
            host.finish(pop_prev=1),
        ]
    )
    assert await host.end()
    assert await host.read("tokens_prev") == 1 << 16
    assert await host.read("tokens_next") == 0
    await host.launch([host.finish(pop_prev=1)])
    assert not await host.end()
    assert await host.fault() == (Cause.DEADLOCK, ModuleId.COMPUTE, 0)
    await host.reset()
    assert await host.read("tokens_prev") == 0


@cocotb.test()
async def image(dut):
    """A memory image, byte for byte; nothing else is written."""
    given = Image.load(os.environ["VTA_BENCH_IMAGE"])
    host = await Host(dut, seed="image", stalls=0.2).start()
    assert host.config.hardware() == given.config.hardware()
    for segment in given.before:
        host.ram.write(segment.addr, segment.data.tobytes())
    expected = {}
    for segment in given.after:
        expected |= dict(enumerate(segment.data.tolist(), segment.addr))
    await host.launch([], base=given.base, addr=given.insn_addr, count=given.insn_count)
    assert await host.end(1_000_000), await host.fault()
    for segment in given.after:
        assert bytes(host.ram.read(segment.addr, len(segment.data))) == segment.data.tobytes()
    for addr, data in host.written:
        assert all(addr + index in expected for index in range(len(data))), hex(addr)


@cocotb.test()
async def an_assertion(dut):
    """Ten cycles of a design without an accelerator's ports."""
    for level in [0, 1] * 10:
        dut.clk.value = level
        await Timer(5, "ns")


@cocotb.test()
async def wrong_answers(dut):
    """Memory sets this signal of its answers in all of them: an assertion ends the simulation."""
    host = await Host(dut, stalls=0).start()
    signal = os.environ["VTA_BENCH_FAULT"]
    channel = host.channels[signal[0]]
    send = channel.send

    async def spoil(answer):
        setattr(answer, signal, 1)
        await send(answer)

    channel.send = spoil
    await add_vectors(host, 1)


@cocotb.test()
async def a_failure(dut):
    """Fails: the test of it is that pytest hears of it."""
    host = await Host(dut).start()
    assert await host.read("id") == 0
