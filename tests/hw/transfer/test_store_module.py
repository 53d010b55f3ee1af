"""The store module: its instructions, their errors, its tokens."""

import pytest

from tests.hw.axi import WriteBus
from tests.hw.modules import ModuleBench
from vta.config import PRESETS
from vta.hw.transfer.store_module import StoreModule
from vta.isa import Cause, Isa, MemoryType, Opcode

CONFIG = PRESETS["tiny"]
MEM = Isa(CONFIG).mem


def store(kind=MemoryType.OUT, *, sram=0, dram=0, y=1, x=1, stride=None, **more):
    return MEM.pack(
        opcode=Opcode.STORE,
        memory_type=kind,
        sram_base=sram,
        dram_base=dram,
        y_size=y,
        x_size=x,
        x_stride=x if stride is None else stride,
        **more,
    )


def tile(addr):
    return addr.to_bytes(1, "little") * 8


def run(insns, *, tokens=(0, 0), retire=None, bad=(), latency=5, stalls="none"):
    dut = StoreModule(CONFIG)
    bench = ModuleBench(dut, tokens=tokens)
    bus = WriteBus(CONFIG, dut.bus, bad=bad, latency=latency, stalls=stalls)

    async def base(ctx):
        ctx.set(dut.out_base, 0x2000)

    async def buffer(ctx):
        trigger = ctx.tick().sample(dut.read_en, dut.read_addr)
        while True:
            _, _, en, addr = await trigger
            if en:
                ctx.set(dut.read_data, int.from_bytes(tile(addr), "little"))

    status = bench.run(insns, retire=retire, background=[base, buffer, *bus.benches])
    return bench, status, bus


@pytest.mark.parametrize("stalls", ["none", "short"])
def test_stores(stalls):
    insns = [
        store(sram=5, dram=3, y=2, x=2, stride=7, pop_prev=1, push_prev=1),
        store(sram=0, dram=100, y=4, x=3, push_prev=1),
    ]
    bench, status, bus = run(insns, tokens=(1, 0), stalls=stalls)
    expected = {}
    for number, (sram, elem) in enumerate(
        [(5, 3), (6, 4), (7, 10), (8, 11)] + [(index, 100 + index) for index in range(12)]
    ):
        assert number >= 0
        for byte in range(8):
            expected[0x2000 + 8 * elem + byte] = sram
    assert bus.memory == expected
    assert bench.retired == [(MemoryType.OUT, 4), (MemoryType.OUT, 12)]
    assert bench.pushed == {"push_prev": 2, "push_next": 0}
    assert status["idle"]


@pytest.mark.parametrize(
    ("insn", "cause"),
    [
        (store(pop_next=1), Cause.ILLEGAL_TOKEN),
        (store(push_next=1), Cause.ILLEGAL_TOKEN),
        (store(y=0, push_next=1), Cause.ILLEGAL_TOKEN),
        *((store(kind), Cause.ILLEGAL_MEMORY_TYPE) for kind in (0, 1, 2, 3, 5, 6, 7)),
        (store(3, x_pad_0=1), Cause.ILLEGAL_MEMORY_TYPE),
        *(
            (store(**{pad: 1}), Cause.ILLEGAL_PADDING)
            for pad in ("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1")
        ),
        (store(sram=9999, x_pad_1=15), Cause.ILLEGAL_PADDING),
        (store(sram=63, x=2), Cause.SRAM_RANGE),
        (store(y=65535, x=65535), Cause.SRAM_RANGE),
        (store(dram=(1 << 29) - 1025, x=2), Cause.MEMORY_RESPONSE),
    ],
)
def test_static_errors(insn, cause):
    bench, status, bus = run(
        [store(push_prev=1), insn, store(push_prev=1)], tokens=(9, 9), retire=1
    )
    assert (status["cause"], status["index"]) == (cause, 1)
    assert bench.pushed == {"push_prev": 1, "push_next": 0}
    assert len(bus.bursts) == 1


@pytest.mark.parametrize(
    "insn",
    [
        store(x=0, y=5, kind=3, x_pad_0=1, sram=9999),
        store(y=0, x=5, kind=7, y_pad_1=3),
        store(x=0, y=0, dram=(1 << 32) - 1),
    ],
)
def test_stores_of_nothing(insn):
    tokens = MEM.pack(pop_prev=1, push_prev=1)
    bench, status, bus = run([insn | tokens], tokens=(1, 0))
    assert bench.retired == [(MemoryType.OUT, 0)]
    assert bench.pushed["push_prev"] == 1
    assert not bus.bursts
    assert status["cause"] == Cause.NONE


def test_the_token_follows_the_response():
    bench, _, bus = run([store(push_prev=1)], latency=70)
    assert bench.times[0] > bus.beat_times[0] + 70


def test_a_bad_response():
    insns = [store(dram=0), store(dram=512, y=3, stride=9, push_prev=1), store(dram=1024)]
    bench, status, _ = run(insns, bad=[0x2000 + 8 * (512 + 9)], retire=1)
    assert (status["cause"], status["index"]) == (Cause.MEMORY_RESPONSE, 1)
    assert bench.pushed["push_prev"] == 0
