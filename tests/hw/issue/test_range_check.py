"""The checks of LOAD and STORE over the whole range of their fields, against plain numbers."""

import random

import pytest

from tests.hw.streams import simulate
from tests.hw.transfers import Move, depth, elem_bytes
from vta.config import PRESETS
from vta.hw.issue.range_check import RangeCheck
from vta.isa import Cause, Isa, MemoryType

CONFIGS = {
    "tiny": PRESETS["tiny"],
    "default": PRESETS["default"],
    "wide40": PRESETS["wide"].replace(addr_width=40),
    # Buffers of 65,536 tiles: sram_base, and sums with it, use their full width.
    "deep": PRESETS["tiny"].replace(
        log_uop_buff_size=14, log_inp_buff_size=18, log_wgt_buff_size=9, log_acc_buff_size=15
    ),
}
KINDS = (
    MemoryType.UOP,
    MemoryType.WGT,
    MemoryType.INP,
    MemoryType.ACC,
    MemoryType.OUT,
    MemoryType.ACC_8BIT,
)
WIDTHS = {
    "sram_base": 16,
    "dram_base": 32,
    "y_size": 16,
    "x_size": 16,
    "x_stride": 16,
    "y_pad_0": 4,
    "y_pad_1": 4,
    "x_pad_0": 4,
    "x_pad_1": 4,
}


def verdict(config, kind, base, f):
    """The rules of docs/isa.md for a LOAD or STORE with x_size > 0, in unlimited numbers."""
    total = (f["y_pad_0"] + f["y_size"] + f["y_pad_1"]) * (
        f["x_pad_0"] + f["x_size"] + f["x_pad_1"]
    )
    if total and f["sram_base"] + total > depth(config, kind):
        return Cause.SRAM_RANGE
    last = f["dram_base"] + (f["y_size"] - 1) * f["x_stride"] + f["x_size"]
    if f["y_size"] and base + last * elem_bytes(config, kind) > 1 << config.addr_width:
        return Cause.MEMORY_RESPONSE
    return Cause.NONE


def cases(config, rng, count):
    """Base, kind and fields: random ones, extremes, and those at the edges of what is legal."""
    for _ in range(count):
        kind = rng.choice(KINDS)
        size, room = elem_bytes(config, kind), depth(config, kind)
        extreme = {
            name: rng.choice((0, 1, (1 << bits) - 1, rng.randrange(1 << bits)))
            for name, bits in WIDTHS.items()
        }
        extreme["x_size"] = max(1, extreme["x_size"])
        base = rng.choice(
            (
                0,
                (1 << config.addr_width) - size,
                rng.randrange(1 << config.addr_width) // size * size,
            )
        )
        yield kind, base, extreme

        # A tile that ends within one element of the buffer's end.
        pads = [rng.choice((0, 0, rng.randrange(16))) for _ in range(4)]
        y = rng.choice((0, 1, 2, rng.randrange(64)))
        x = rng.randrange(1, 64)
        total = (pads[0] + y + pads[1]) * (pads[2] + x + pads[3])
        sram = room - total + rng.choice((-1, 0, 0, 1))
        stride = rng.choice((x, 0, rng.randrange(1 << 16)))
        fields = {
            "sram_base": sram,
            "dram_base": 0,
            "y_size": y,
            "x_size": x,
            "x_stride": stride,
            "y_pad_0": pads[0],
            "y_pad_1": pads[1],
            "x_pad_0": pads[2],
            "x_pad_1": pads[3],
        }
        if not 0 <= sram < 1 << 16:
            continue
        # Memory that ends within one element of the last byte there is.
        span = max(0, (y - 1) * stride + x)
        room_before = ((1 << config.addr_width) - span * size) // size
        fields["dram_base"] = min(rng.randrange(1 << 32), max(0, room_before))
        end = room_before - fields["dram_base"] + rng.choice((-1, 0, 0, 1))
        if 0 <= end * size < 1 << config.addr_width:
            yield kind, end * size, fields


@pytest.mark.parametrize("name", CONFIGS)
def test_against_plain_numbers(name):
    config = CONFIGS[name]
    dut = RangeCheck(config, KINDS)
    mem = Isa(config).mem
    seen = set()

    async def bench(ctx):
        for kind, base, fields in cases(config, random.Random(f"transfer {name}"), 600):
            ctx.set(dut.insn, mem.layout.from_bits(mem.pack(memory_type=kind, **fields)))
            ctx.set(dut.base, base)
            await ctx.tick().repeat(RangeCheck.LATENCY)
            expected = verdict(config, kind, base, fields)
            assert ctx.get(dut.cause) == expected, (kind, base, fields)
            seen.add((expected, fields["y_size"] == 0))
            if expected != Cause.NONE:
                continue
            move = Move(
                kind,
                base + fields["dram_base"] * elem_bytes(config, kind),
                fields["sram_base"],
                fields["y_size"],
                fields["x_size"],
                fields["x_stride"],
                tuple(fields[pad] for pad in WIDTHS if "pad" in pad),
            )
            transfer, job = ctx.get(dut.transfer), move.job(config)
            # Nothing is read of these where they mean nothing.
            if not job["runs"]:
                for unused in ("addr", "run_elems", "data_addr", "run_stride"):
                    del job[unused]
            if not job["tail"]:
                del job["tail_addr"]
            for field, value in job.items():
                assert transfer[field] == value, (field, kind, base, fields)

    simulate(dut, bench)
    assert {cause for cause, _ in seen} == {Cause.NONE, Cause.SRAM_RANGE, Cause.MEMORY_RESPONSE}
    assert (Cause.NONE, True) in seen


def test_it_takes_its_latency_and_no_more():
    """The last of its stages is used: one cycle less would be too few."""
    config = PRESETS["tiny"]
    dut = RangeCheck(config, KINDS)
    mem = Isa(config).mem
    # The longest way: rows by stride, added to the address of memory's last but one element.
    first = {"memory_type": MemoryType.INP, "x_size": 1, "x_stride": 2, "dram_base": (1 << 29) - 2}
    good, bad = mem.pack(y_size=1, **first), mem.pack(y_size=2, **first)

    async def bench(ctx):
        ctx.set(dut.insn, mem.layout.from_bits(good))
        await ctx.tick().repeat(RangeCheck.LATENCY)
        assert ctx.get(dut.cause) == Cause.NONE
        ctx.set(dut.insn, mem.layout.from_bits(bad))
        await ctx.tick().repeat(RangeCheck.LATENCY - 1)
        assert ctx.get(dut.cause) == Cause.NONE
        await ctx.tick()
        assert ctx.get(dut.cause) == Cause.MEMORY_RESPONSE

    simulate(dut, bench)
