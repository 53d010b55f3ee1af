"""cocotb benches of the Zynq shells: the processor system is a stand-in that they drive."""

from __future__ import annotations

import logging
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiBus, AxiMaster, AxiRam, AxiResp
from cocotbext.axi.axi_channels import AxiARSink, AxiARSource, AxiAWSink, AxiAWSource

from tests.rtl.benches import add_vectors
from tests.rtl.host import DONE, Host
from vta.registers import BY_NAME, ID


class ProcessorHost(Host):
    """A machine behind a processor system's ports, as the environment describes it."""

    def _clock(self):
        return getattr(self.dut, os.environ["VTA_BENCH_SYSTEM"]).fabric_clock

    def _connect(self):
        self.system = getattr(self.dut, os.environ["VTA_BENCH_SYSTEM"])
        self.base = int(os.environ["VTA_BENCH_REGISTERS"], 0)
        self.memory, gp = os.environ["VTA_BENCH_MEMORY"], os.environ["VTA_BENCH_PROCESSOR"]
        for name in (self.memory, gp):
            logging.getLogger(f"cocotb.{self.dut._name}.{self.system._name}.{name}").setLevel(
                logging.WARNING
            )
        self._reset_n = os.environ["VTA_BENCH_RESET"]
        if self._reset_n:
            getattr(self.system, self._reset_n).value = 0
        cocotb.start_soon(Clock(self.clk, 10, "ns").start())
        if int(os.environ["VTA_BENCH_BURST"]) == 16:
            # The models are for AXI4 and compare the widths of signals with its own.
            for kind in (AxiARSink, AxiARSource, AxiAWSink, AxiAWSource):
                channel = kind.__name__[3:5].lower()
                kind._signal_widths |= {
                    f"{channel}len": 4,
                    f"{channel}size": 2,
                    f"{channel}lock": 2,
                }
        bus = AxiBus.from_prefix(self.system, self.memory, bus_separator="")
        ram = AxiRam(bus, self.clk, size=1 << self.config.addr_width)
        return ram, AxiMaster(
            AxiBus.from_prefix(self.system, gp, bus_separator=""),
            self.clk,
            max_burst_len=int(os.environ["VTA_BENCH_BURST"]),
        )

    def _end_reset(self) -> None:
        if not self._reset_n:
            return
        assert self.in_reset
        signal = getattr(self.system, self._reset_n)
        signal.value = (1 << len(signal)) - 1

    def _memory_signal(self, name: str):
        return getattr(self.system, self.memory + name.upper())

    async def start(self):
        await super().start()
        await ClockCycles(self.clk, 8)
        assert not self.in_reset
        return self

    @property
    def in_reset(self) -> bool:
        """The last of the three flip-flops that the processor's reset goes through."""
        if not self._reset_n:
            return bool(int(self.dut.held.value) & 4)
        return bool(int(self.dut.reset.rst.value))

    async def read(self, name: str) -> int:
        return await self.registers.read_dword(self.base + BY_NAME[name].offset)

    async def write(self, name: str, value: int) -> None:
        await self.registers.write_dword(self.base + BY_NAME[name].offset, value)

    @property
    def interrupts(self) -> int:
        return int(getattr(self.system, os.environ["VTA_BENCH_IRQ"]).value)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def vector_add(dut):
    host = await ProcessorHost(dut, seed="zynq").start()
    assert await host.read("id") == ID
    for seed in range(3):
        await add_vectors(host, seed)
    assert await host.read("alu_ops") == 16


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def interrupt(dut):
    """The machine's interrupt is the lowest line to the processor, and no other line is used."""
    host = await ProcessorHost(dut).start()
    await host.write("irq_enable", 1)
    assert host.interrupts == 0
    await host.launch([host.finish()])
    for _ in range(500):
        await RisingEdge(host.clk)
        if host.interrupts:
            break
    assert host.interrupts == 1
    assert await host.read("control") == DONE
    await host.write("irq_status", 1)
    await ClockCycles(host.clk, 5)
    assert host.interrupts == 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def bursts(dut):
    """What memcpy makes of registers: bursts, bytes alone, and addresses where nothing is."""
    host = await ProcessorHost(dut, seed="bursts").start()
    pointers = host.base + BY_NAME["insn_ptr"].offset
    data = np.random.default_rng(1).integers(0, 256, 24, np.uint8).tobytes()
    await host.registers.write(pointers, data)
    assert (await host.registers.read(pointers, 24)).data == data
    await host.registers.write(pointers + 5, b"\xaa\xbb")
    expected = data[:5] + b"\xaa\xbb" + data[7:]
    assert (await host.registers.read(pointers, 24)).data == expected
    assert (await host.registers.read(pointers + 3, 9, size=0)).data == expected[3:12]
    whole = await host.registers.read(host.base, 4096 - 4)
    assert whole.resp == AxiResp.OKAY
    assert whole.data[:4] == ID.to_bytes(4, "little") or ID in np.frombuffer(whole.data, "<u4")
    for wrong in (host.base + 4096, host.base + (1 << 16)):
        assert (await host.registers.read(wrong, 4)).resp == AxiResp.DECERR
        assert (await host.registers.write(wrong, b"1234")).resp == AxiResp.DECERR
    assert await host.read("id") == ID


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reset(dut):
    """The processor's reset of the FPGA resets the machine."""
    host = await ProcessorHost(dut).start()
    await host.write("insn_count", 77)
    signal = getattr(host.system, host._reset_n)
    signal.value = 0
    await ClockCycles(host.clk, 5)
    host._end_reset()
    await ClockCycles(host.clk, 5)
    assert not host.in_reset
    assert await host.read("insn_count") == 0
    await add_vectors(host, 1)
