"""The bridge from a processor's AXI port to the registers, against the standard's own formulas."""

from __future__ import annotations

import gc
import itertools
import random
from collections import deque

import pytest

from tests.hw.streams import STALLS, Pauses, rest, simulate, until
from vta.hw.boards.register_bridge import RegisterBridge
from vta.hw.bus.axi import Axi3Signature, AxiSignature

BASE = 0x4000_0000
AXI3 = Axi3Signature(addr_width=32, data_width=32, id_width=12)
AXI4 = AxiSignature(addr_width=40, data_width=32, id_width=16)
FIXED, INCR, WRAP = range(3)
OKAY, SLVERR, DECERR = 0, 2, 3
BAD = {0x10: SLVERR, 0x24: DECERR, 0x30: SLVERR}
"""Registers that answer with an error, by their offset."""


def addresses(start: int, size: int, burst: int, beats: int) -> list[int]:
    """The address of each beat (IHI 0022, A3.4.1)."""
    nbytes = 1 << size
    aligned = start // nbytes * nbytes
    boundary = start // (nbytes * beats) * (nbytes * beats)
    found = [start]
    for index in range(1, beats):
        address = start if burst == FIXED else aligned + index * nbytes
        if burst == WRAP and address >= boundary + nbytes * beats:
            address -= nbytes * beats
        found.append(address)
    return found


class Registers:
    """1024 words behind AXI4-Lite; the initial value of each is its offset, inverted."""

    def __init__(self, bus, stalls):
        self.bus, self.stalls = bus, stalls
        self.words = {offset: ~offset & 0xFFFF_FFFF for offset in range(0, 4096, 4)}
        self.benches = [self._reads, self._writes]
        self.writes = 0

    async def _reads(self, ctx):
        bus, pauses = self.bus, Pauses(self.stalls, "registers r")
        while True:
            await rest(ctx, pauses.next())
            ctx.set(bus.arready, 1)
            (offset,) = await until(ctx, bus.arvalid, bus.araddr)
            ctx.set(bus.arready, 0)
            assert offset % 4 == 0
            await rest(ctx, pauses.next())
            ctx.set(bus.rdata, self.words[offset])
            ctx.set(bus.rresp, BAD.get(offset, OKAY))
            ctx.set(bus.rvalid, 1)
            await until(ctx, bus.rready)
            ctx.set(bus.rvalid, 0)

    async def _writes(self, ctx):
        bus, pauses = self.bus, Pauses(self.stalls, "registers w")
        rng = random.Random("registers")
        while True:
            found = {}
            for channel in rng.sample(("aw", "w"), 2):
                await rest(ctx, pauses.next())
                ready, valid = getattr(bus, f"{channel}ready"), getattr(bus, f"{channel}valid")
                ctx.set(ready, 1)
                values = (bus.awaddr,) if channel == "aw" else (bus.wdata, bus.wstrb)
                found[channel] = await until(ctx, valid, *values)
                ctx.set(ready, 0)
            (offset,), (data, strobes) = found["aw"], found["w"]
            self.writes += 1
            for byte in range(4):
                if strobes >> byte & 1:
                    mask = 0xFF << 8 * byte
                    self.words[offset] = self.words[offset] & ~mask | data & mask
            await rest(ctx, pauses.next())
            ctx.set(bus.bresp, BAD.get(offset, OKAY))
            ctx.set(bus.bvalid, 1)
            await until(ctx, bus.bready)
            ctx.set(bus.bvalid, 0)


class Processor:
    """Sends bursts (write, start, size, burst, beats) and compares what comes back."""

    def __init__(self, dut, bursts, stalls, base=BASE):
        self.dut, self.bus, self.stalls, self.base = dut, dut.bus, stalls, base
        self.registers = Registers(dut.registers, stalls)
        self.rng = random.Random(f"bursts {stalls}")
        self.words = dict(self.registers.words)
        self.reads = [self._named(burst[1:]) for burst in bursts if not burst[0]]
        self.writes = [self._named(burst[1:]) for burst in bursts if burst[0]]
        self.beats: deque = deque()
        for _, burst in self.writes:
            lanes = addresses(*burst)
            for index, address in enumerate(lanes):
                # The lanes from the address to the end of the beat's bytes; some are not written.
                end = (address >> burst[1]) + 1 << burst[1]
                lane_mask = sum(1 << at % 4 for at in range(address, end))
                strobes = lane_mask & self.rng.choice((0xF, 0xF, self.rng.randrange(16)))
                self.beats.append(
                    (self.rng.randrange(1 << 32), strobes, index == len(lanes) - 1, address)
                )

    def _named(self, burst):
        return self.rng.randrange(1 << len(self.bus.arid)), burst

    def run(self):
        simulate(
            self.dut,
            self._addresses("ar", self.reads),
            self._addresses("aw", self.writes),
            self._data,
            self._read_answers,
            self._write_answers,
            background=self.registers.benches,
        )
        for data, strobes, _, address in self.beats:
            for byte in range(4):
                if strobes >> byte & 1 and (offset := self._offset(address)) is not None:
                    mask = 0xFF << 8 * byte
                    self.words[offset] = self.words[offset] & ~mask | data & mask
        assert self.registers.words == self.words

    def _offset(self, address):
        offset = address - self.base
        return offset // 4 * 4 if 0 <= offset < 4096 else None

    def _response(self, address):
        offset = self._offset(address)
        return DECERR if offset is None else BAD.get(offset, OKAY)

    def _addresses(self, channel, bursts):
        async def bench(ctx):
            pauses = Pauses(self.stalls, channel)
            port = {
                name: getattr(self.bus, channel + name)
                for name in ("id", "addr", "size", "burst", "len", "valid", "ready")
            }
            for name, (start, size, burst, beats) in bursts:
                await rest(ctx, pauses.next())
                for key, value in zip(
                    ("id", "addr", "size", "burst", "len"),
                    (name, start, size, burst, beats - 1),
                    strict=True,
                ):
                    ctx.set(port[key], value)
                ctx.set(port["valid"], 1)
                await until(ctx, port["ready"])
                ctx.set(port["valid"], 0)

        return bench

    async def _data(self, ctx):
        bus, pauses = self.bus, Pauses(self.stalls, "w")
        for data, strobes, last, _ in self.beats:
            await rest(ctx, pauses.next())
            for signal, value in (
                (bus.wdata, data),
                (bus.wstrb, strobes),
                (bus.wlast, last),
                (bus.wvalid, 1),
            ):
                ctx.set(signal, value)
            await until(ctx, bus.wready)
            ctx.set(bus.wvalid, 0)

    async def _read_answers(self, ctx):
        bus, pauses = self.bus, Pauses(self.stalls, "r")
        for name, burst in self.reads:
            lanes = addresses(*burst)
            for index, address in enumerate(lanes):
                ctx.set(bus.rready, 0)
                await rest(ctx, pauses.next())
                ctx.set(bus.rready, 1)
                found, data, response, last = await until(
                    ctx, bus.rvalid, bus.rid, bus.rdata, bus.rresp, bus.rlast
                )
                assert (found, response.value, last) == (
                    name,
                    self._response(address),
                    index == len(lanes) - 1,
                )
                if response.value != DECERR and not self.writes:
                    assert data == self.words[self._offset(address)]
        ctx.set(bus.rready, 0)

    async def _write_answers(self, ctx):
        bus, pauses = self.bus, Pauses(self.stalls, "b")
        for name, burst in self.writes:
            ctx.set(bus.bready, 0)
            await rest(ctx, pauses.next())
            ctx.set(bus.bready, 1)
            found, response = await until(ctx, bus.bvalid, bus.bid, bus.bresp)
            assert found == name
            assert response.value == max(map(self._response, addresses(*burst)))
        ctx.set(bus.bready, 0)
        await rest(ctx, 20)
        assert self.registers.writes == sum(
            self._offset(address) is not None for _, _, _, address in self.beats
        )


def every_burst(write, longest=16):
    """Each kind, size and length, from several places in a word."""
    rng = random.Random(f"starts {write}")
    for burst, size, beats in itertools.product((FIXED, INCR, WRAP), range(3), range(1, 17)):
        if burst == WRAP and beats not in (2, 4, 8, 16):
            continue
        start = BASE + rng.randrange(0, 512)
        yield write, start if burst != WRAP else start >> size << size, size, burst, beats


@pytest.mark.parametrize("write", [False, True], ids=["reads", "writes"])
@pytest.mark.parametrize("stalls", STALLS)
def test_every_kind_of_burst(stalls, write):
    Processor(RegisterBridge(AXI3, BASE), list(every_burst(write)), stalls).run()


@pytest.mark.parametrize("start", range(BASE, BASE + 8))
@pytest.mark.parametrize("size", range(3))
def test_from_each_byte_of_a_word(size, start):
    bursts = [
        (write, start, size, burst, beats)
        for write in (False, True)
        for burst in (FIXED, INCR)
        for beats in (1, 3)
    ]
    for write in (False, True):
        Processor(
            RegisterBridge(AXI3, BASE), [found for found in bursts if found[0] == write], "none"
        ).run()


@pytest.mark.parametrize("stalls", STALLS)
def test_reads_and_writes_at_once(stalls):
    bursts = [*every_burst(False), *every_burst(True)]
    random.Random("mixed").shuffle(bursts)
    Processor(RegisterBridge(AXI3, BASE), bursts[:80], stalls).run()


def test_other_addresses_are_refused_and_nothing_is_written():
    bursts = [
        (write, start, 2, INCR, 4)
        for write in (False, True)
        for start in (BASE - 8, BASE + 4096 - 8, BASE + 4096, BASE + (1 << 20), 0, BASE * 2)
    ]
    Processor(RegisterBridge(AXI3, BASE), bursts, "short").run()


def test_long_bursts_of_axi4():
    base = 0xA000_0000
    bursts = [
        (write, base + 4 * 31, size, INCR, beats)
        for write in (False, True)
        for size in range(3)
        for beats in (17, 256)
    ]
    Processor(RegisterBridge(AXI4, base), bursts, "none", base).run()


def test_what_it_refuses(monkeypatch):
    monkeypatch.setattr(RegisterBridge, "_MustUse__silence", True)
    with pytest.raises(ValueError, match="the data must be 32 bits wide, not 64"):
        RegisterBridge(Axi3Signature(addr_width=32, data_width=64, id_width=12), BASE)
    with pytest.raises(ValueError, match="the base must be a multiple of 4096, not 0x40000800"):
        RegisterBridge(AXI3, BASE + 2048)
    gc.collect()
