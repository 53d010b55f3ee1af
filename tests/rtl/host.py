"""A cocotb host for the top: memory on its master port, registers on its slave port."""

from __future__ import annotations

import json
import logging
import os
import random
from typing import Self

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

from vta.config import Config
from vta.isa import Cause, Isa, MemoryType, ModuleId, Opcode
from vta.registers import BY_NAME

__all__ = ["BASE", "DONE", "INSNS", "LAUNCH", "RESET", "Host"]

LAUNCH, DONE, RESET = 1, 2, 4
INSNS = 0x0010_0000
BASE = {"uop": 0x20_0000, "inp": 0x30_0000, "wgt": 0x40_0000, "acc": 0x50_0000, "out": 0x60_0000}


def _pauses(seed: str, share: float):
    """Random rests of a channel, some of them long."""
    rng = random.Random(seed)
    while True:
        paused = rng.random() < share
        for _ in range(rng.choice((1, 1, 2, 3, 20 if paused else 3))):
            yield paused


class Host:
    """The top with a clock, memory and a register master.

    Attributes
    ----------
    ram : AxiRam
    written : list of (address, bytes)
        Everything that the machine wrote, in order.
    """

    def __init__(self, dut, *, stalls: float = 0.3, seed: str = "") -> None:
        self.dut = dut
        self.config = Config.from_dict(json.loads(os.environ["VTA_BENCH_CONFIG"]))
        self.isa = Isa(self.config)
        self.clk = self._clock()
        self.ram, self.registers = self._connect()
        self.written: list[tuple[int, bytes]] = []
        keep = self.ram.write_if._write

        async def note(address, data):
            self.written.append((address, bytes(data)))
            await keep(address, data)

        self.ram.write_if._write = note
        self.channels = {
            "aw": self.ram.write_if.aw_channel,
            "w": self.ram.write_if.w_channel,
            "b": self.ram.write_if.b_channel,
            "ar": self.ram.read_if.ar_channel,
            "r": self.ram.read_if.r_channel,
            "s_aw": self.registers.write_if.aw_channel,
            "s_w": self.registers.write_if.w_channel,
            "s_b": self.registers.write_if.b_channel,
            "s_ar": self.registers.read_if.ar_channel,
            "s_r": self.registers.read_if.r_channel,
        }
        if stalls:
            for name, channel in self.channels.items():
                channel.set_pause_generator(_pauses(f"{seed} {name}", stalls))

    def _clock(self):
        """The signal that benches drive as the clock, whose edges they wait for."""
        return self.dut.clk

    def _connect(self):
        """Starts the clock and the reset; memory and the registers' master."""
        dut = self.dut
        for name in ("m_axi", "s_axi"):
            logging.getLogger(f"cocotb.{dut._name}.{name}").setLevel(logging.WARNING)
        cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
        dut.rst.value = 1
        ram = AxiRam(
            AxiBus.from_prefix(dut, "m_axi", bus_separator="__"),
            dut.clk,
            dut.rst,
            size=1 << self.config.addr_width,
        )
        return ram, AxiLiteMaster(
            AxiLiteBus.from_prefix(dut, "s_axi", bus_separator="__"), dut.clk, dut.rst
        )

    def _end_reset(self) -> None:
        self.dut.rst.value = 0

    @property
    def in_reset(self) -> bool:
        return bool(int(self.dut.rst.value))

    def _memory_signal(self, name: str):
        """A signal of the memory port, by its name in the standard."""
        return getattr(self.dut, f"m_axi__{name}")

    async def start(self) -> Self:
        """Power-on: a few cycles of reset; from there on the bus is watched."""
        await ClockCycles(self.clk, 4)
        self._end_reset()
        await ClockCycles(self.clk, 2)
        cocotb.start_soon(self._watch("ar"))
        cocotb.start_soon(self._watch("aw"))
        return self

    async def _watch(self, channel: str) -> None:
        """AXI's rules for requests: once valid they stand; none is too long or crosses a page."""
        names = ("valid", "ready", "addr", "len", "size", "burst")
        valid, ready, *fields = (self._memory_signal(channel + name) for name in names)
        held = None
        while True:
            await RisingEdge(self.clk)
            if self.in_reset:
                held = None
                continue
            if not int(valid.value):
                assert held is None, f"{channel}valid was withdrawn"
                continue
            request = [int(field.value) for field in fields]
            assert held is None or request == held, f"{channel} changed while it waited"
            held = None if int(ready.value) else request
            addr, length, size, burst = request
            assert burst == 1
            assert 1 << size == self.config.bus_bytes
            assert length < self.config.max_burst
            assert addr % self.config.bus_bytes == 0
            assert addr % 4096 + (length + 1) * self.config.bus_bytes <= 4096

    # -- registers -------------------------------------------------------------------------------

    async def read(self, name: str) -> int:
        return await self.registers.read_dword(BY_NAME[name].offset)

    async def write(self, name: str, value: int) -> None:
        await self.registers.write_dword(BY_NAME[name].offset, value)

    async def fault(self) -> tuple[Cause, ModuleId, int]:
        """What the error registers say."""
        error = await self.read("error")
        return Cause(error & 15), ModuleId(error >> 4 & 3), await self.read("error_index")

    # -- runs ------------------------------------------------------------------------------------

    async def launch(
        self, insns: list[int], *, base=BASE, addr: int = INSNS, count: int | None = None
    ) -> None:
        """Writes the stream and the registers, and starts the machine."""
        if insns:
            self.ram.write(addr, Isa.words(insns).tobytes())
        await self.write("insn_count", len(insns) if count is None else count)
        await self.write("insn_ptr", addr)
        for name, value in base.items():
            await self.write(f"{name}_ptr", value)
        await self.write("control", LAUNCH)

    async def end(self, limit: int = 20_000) -> bool:
        """Waits until the machine stops; whether it did so without an error."""
        for _ in range(limit // 20):
            await ClockCycles(self.clk, 20)
            control = await self.read("control")
            if not control & LAUNCH:
                return bool(control & DONE)
        raise AssertionError(f"still running: {await self.state()}")

    async def run(self, *insns: int, **options) -> None:
        """Runs these instructions and FINISH; they must end well."""
        await self.launch([*insns, self.finish()], **options)
        assert await self.end(), await self.fault()

    async def reset(self) -> None:
        await self.write("control", RESET)
        while await self.read("control") & RESET:
            await ClockCycles(self.clk, 5)

    async def state(self) -> dict[str, int]:
        return {
            name: await self.read(name)
            for name in (
                "control",
                "error",
                "tokens_prev",
                "tokens_next",
                "fetch_status",
                "fetch_index",
                "load_status",
                "load_index",
                "compute_status",
                "compute_index",
                "store_status",
                "store_index",
            )
        }

    # -- instructions and data -------------------------------------------------------------------

    def finish(self, **tokens: int) -> int:
        return self.isa.common.pack(opcode=Opcode.FINISH, **tokens)

    def load(self, memory: str, *, sram=0, dram=0, y=1, x=1, stride=None, **more: int) -> int:
        return self._transfer(Opcode.LOAD, memory, sram, dram, y, x, stride, more)

    def store(self, *, sram=0, dram=0, y=1, x=1, stride=None, **more: int) -> int:
        return self._transfer(Opcode.STORE, "OUT", sram, dram, y, x, stride, more)

    def _transfer(self, opcode, memory, sram, dram, y, x, stride, more) -> int:
        return self.isa.mem.pack(
            opcode=opcode,
            memory_type=MemoryType[memory],
            sram_base=sram,
            dram_base=dram,
            y_size=y,
            x_size=x,
            x_stride=x if stride is None else stride,
            **more,
        )

    def put(self, memory: str, array, elem: int = 0) -> None:
        """An array into memory, from an element of a base register's memory on."""
        size = self.config.elem_bytes(MemoryType[memory.upper()])
        self.ram.write(BASE[memory] + elem * size, np.ascontiguousarray(array).tobytes())

    def put_uops(self, **fields) -> None:
        self.put("uop", self.isa.uop.pack_array(**fields))

    def out(self, count: int, elem: int = 0) -> np.ndarray:
        """`count` tiles of OUT's memory, (count, BATCH, BLOCK) int8."""
        size = self.config.out_elem_bytes
        raw = bytes(self.ram.read(BASE["out"] + elem * size, count * size))
        return np.frombuffer(raw, np.int8).reshape(count, self.config.batch, self.config.block)
