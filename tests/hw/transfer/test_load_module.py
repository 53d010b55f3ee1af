"""The load module: its instructions, their errors, its tokens, its rate."""

import random

import pytest

from tests.hw.memory import ReadMemory
from tests.hw.modules import ModuleBench
from tests.hw.streams import record
from vta.config import PRESETS
from vta.hw.transfer.load_module import LoadModule
from vta.isa import Cause, Isa, MemoryType

CONFIG = PRESETS["tiny"]
MEM = Isa(CONFIG).mem
NEXT = {"pop_next": 1, "push_next": 1}


def load(kind=MemoryType.INP, *, sram=0, dram=0, y=1, x=1, stride=None, **more):
    return MEM.pack(
        memory_type=kind,
        sram_base=sram,
        dram_base=dram,
        y_size=y,
        x_size=x,
        x_stride=x if stride is None else stride,
        **more,
    )


def run(insns, *, tokens=(0, 0), base=(0, 0), bad=(), retire=None, latency=5):
    """Retired, final status, the bench, and the tiles that were written."""
    dut = LoadModule(CONFIG)
    bench = ModuleBench(dut, tokens=tokens)
    memory = ReadMemory(CONFIG, dut, latency=latency)
    memory.write(0, bytes(random.Random("load").randrange(256) for _ in range(1 << 16)))
    memory.bad = set(bad)
    written = []

    async def bases(ctx):
        ctx.set(dut.inp_base, base[0])
        ctx.set(dut.wgt_base, base[1])

    status = bench.run(
        insns,
        retire=retire,
        background=[bases, *memory.benches, record(written, dut.write_en, dut.write)],
    )
    return bench, status, [write for (write,) in written], memory


def test_loads_both_memories():
    """From their own base registers; the token comes once all is written."""
    insns = [
        load(sram=3, dram=5, x=4, push_next=1),
        load(MemoryType.WGT, sram=7, dram=2, push_next=1),
    ]
    bench, status, written, memory = run(insns, base=(0x1000, 0x4000))
    inp = [write for write in written if write.kind == MemoryType.INP]
    assert [write.addr for write in inp] == [3, 4, 5, 6]
    assert (
        b"".join(write.data.to_bytes(8, "little") for write in inp)
        == memory.data[0x1000 + 5 * 8 : 0x1000 + 9 * 8]
    )
    wgt = [write for write in written if write.kind == MemoryType.WGT]
    assert {write.addr for write in wgt} == {7}
    assert [write.lanes for write in wgt] == [1 << lane for lane in range(8)]
    assert (
        b"".join(write.data.to_bytes(8, "little") for write in wgt)
        == memory.data[0x4000 + 2 * 64 : 0x4000 + 3 * 64]
    )
    assert bench.retired == [(MemoryType.INP, 4), (MemoryType.WGT, 1)]
    assert bench.pushed == {"push_prev": 0, "push_next": 2}
    assert status["idle"]
    assert status["cause"] == Cause.NONE


@pytest.mark.parametrize(
    ("insn", "cause"),
    [
        (load(pop_prev=1), Cause.ILLEGAL_TOKEN),
        (load(push_prev=1), Cause.ILLEGAL_TOKEN),
        # The tokens' error holds for a LOAD of nothing, too, and comes before others.
        (load(x=0, push_prev=1), Cause.ILLEGAL_TOKEN),
        (load(sram=64, push_prev=1), Cause.ILLEGAL_TOKEN),
        (load(sram=60, x=5), Cause.SRAM_RANGE),
        (load(MemoryType.WGT, sram=30, x=1, x_pad_1=2), Cause.SRAM_RANGE),
        (load(sram=60, x=5, dram=(1 << 32) - 1), Cause.SRAM_RANGE),
        (load(dram=(1 << 29) - 1, x=2), Cause.MEMORY_RESPONSE),
    ],
)
def test_static_errors(insn, cause):
    """The module stops there: nothing is read, nothing pushed; what is behind it stays."""
    good = load(push_next=1)
    bench, status, written, memory = run([good, insn, good], tokens=(9, 9), retire=1)
    assert (status["cause"], status["index"]) == (cause, 1)
    assert not status["active"]
    assert bench.pushed == {"push_prev": 0, "push_next": 1}
    assert len(memory.bursts) == 1
    assert len(written) == 1


def test_loads_of_nothing():
    """Tokens only, whatever the rest says; padding rows alone read nothing."""
    insns = [
        load(x=0, sram=9999, dram=(1 << 32) - 1, y_pad_0=15, **NEXT),
        load(y=0, x=2, sram=5, y_pad_0=1, x_pad_1=1),
        load(y=0, x=2, sram=60000),
    ]
    bench, status, written, memory = run(insns, tokens=(0, 1))
    assert [moved for _, moved in bench.retired] == [0, 0, 0]
    assert not memory.bursts
    assert sorted(write.addr for write in written) == [5, 6, 7]
    assert all(write.zero for write in written)
    assert status["cause"] == Cause.NONE


def test_a_bad_response():
    insns = [load(dram=0, x=4), load(dram=512, x=4, push_next=1), load(dram=1024, x=4)]
    bench, status, _, _ = run(insns, bad=[512 * 8 + 24], retire=1)
    assert (status["cause"], status["index"]) == (Cause.MEMORY_RESPONSE, 1)
    assert bench.pushed["push_next"] == 0


def test_an_error_is_found_before_tokens_are_waited_for():
    bench, status, _, _ = run([load(sram=9999, pop_next=1)], retire=0)
    assert (status["cause"], status["index"]) == (Cause.SRAM_RANGE, 0)
    bench, status, _, _ = run([load(pop_next=1)], retire=0)
    assert status["cause"] == Cause.NONE
    assert status["pop_next"]
    assert not bench.retired


def test_loads_overlap():
    """The latency of memory is paid once for a row of LOADs, not for each."""
    insns = [load(sram=8 * index % 64, dram=64 * index, x=8) for index in range(8)]
    bench, *_ = run(insns, latency=60)
    assert len(bench.times) == 8
    # Alone, each would take its 60 cycles and more.
    assert bench.times[-1] - bench.times[0] < 3 * 60
