"""Writes collected into ACC tiles: order, sign extension, padding, marks."""

import random

import numpy as np
import pytest

from tests.hw.streams import QUICK_STALLS, Pauses, raw, rest, simulate
from vta.config import PRESETS
from vta.hw.compute.acc_writer import TILES, AccWriter
from vta.isa import MemoryType

CONFIGS = {
    **PRESETS,
    "tiny-old": PRESETS["tiny"].replace(hw_ver="0.0.2"),
    "wide-old": PRESETS["wide"].replace(hw_ver="0.0.2"),
}
KINDS = (MemoryType.UOP, MemoryType.ACC, MemoryType.ACC_8BIT)


def pad(config, rng, write):
    """Makes a write one of padding; the tile's values, or None for zeros."""
    if not config.requantises or rng.random() < 0.5:
        write["zero"] = 1
        return None
    is_acc = write["kind"] == MemoryType.ACC
    write["least"] = 1
    return np.full(config.batch * config.block, -(2**31) if is_acc else -128, np.int32)


def writes(config, rng, count):
    """Random loads as a loader writes them, and what is to come out."""
    shape = config.batch * config.block
    sent, expected = [], []
    for _ in range(count):
        kind = rng.choice(KINDS)
        for _ in range(rng.randint(1, 6)):
            addr = rng.randrange(config.acc_depth)
            if kind == MemoryType.UOP:
                sent.append(
                    {
                        "kind": kind,
                        "addr": addr,
                        "lanes": 1,
                        "last": 1,
                        "data": rng.randrange(1 << 32),
                    }
                )
                continue
            if rng.random() < 0.3:
                sent.append(
                    {
                        "kind": kind,
                        "addr": addr,
                        "last": 1,
                        "lanes": rng.randrange(2),
                        "data": rng.randrange(1 << 64),
                    }
                )
                expected.append((addr, pad(config, rng, sent[-1])))
                continue
            size = 4 * shape if kind == MemoryType.ACC else shape
            data = bytes(rng.randrange(256) for _ in range(size))
            lane = min(size, config.bus_bytes)
            parts = size // lane
            for part in range(parts):
                piece = data[part * lane : (part + 1) * lane] + bytes(
                    rng.randrange(256) for _ in range(config.bus_bytes - lane)
                )
                sent.append(
                    {
                        "kind": kind,
                        "addr": addr,
                        "lanes": 1 << part,
                        "last": part == parts - 1,
                        "data": int.from_bytes(piece, "little"),
                    }
                )
                if part != parts - 1 and rng.random() < 0.3:
                    # Padding is written while a tile still grows.
                    sent.append({"kind": kind, "addr": rng.randrange(config.acc_depth), "last": 1})
                    expected.append((sent[-1]["addr"], pad(config, rng, sent[-1])))
            values = np.frombuffer(data, "<i4" if kind == MemoryType.ACC else np.int8)
            expected.append((addr, values.astype(np.int32)))
        if kind != MemoryType.UOP:
            error = rng.random() < 0.3
            sent.append(error)
            expected.append(error)
    return sent, expected


@pytest.mark.parametrize("stalls", QUICK_STALLS)
@pytest.mark.parametrize("name", ["tiny", "small", "wide", "tiny-old", "wide-old"])
def test_random_writes(name, stalls):
    config = CONFIGS[name]
    rng = random.Random(f"acc writer {name} {stalls}")
    sent, expected = writes(config, rng, 12)
    dut = AccWriter(config, KINDS)
    found = []

    async def send(ctx):
        pauses = Pauses(stalls, "write")
        for item in sent:
            await rest(ctx, pauses.next())
            if isinstance(item, bool):
                ctx.set(dut.done, 1)
                ctx.set(dut.error, item)
                await ctx.tick()
                ctx.set(dut.done, 0)
                continue
            while not ctx.get(dut.room):
                await ctx.tick()
            new = {"least": 0} if config.requantises else {}
            ctx.set(dut.write, {"zero": 0, **new, **item})
            ctx.set(dut.write_en, 1)
            await ctx.tick()
            ctx.set(dut.write_en, 0)

    async def pipeline(ctx):
        """Takes a tile's news at once, and the tile some cycles later, as `Execute` does."""
        ctx.set(dut.load.ready, 1)
        trigger = ctx.tick().sample(dut.load.valid, dut.load.payload, raw(dut.tile))
        late = [None] * 5
        while len(found) < len(expected) or any(index is not None for index in late):
            take = late.pop(0)
            ctx.set(dut.take, take is not None)
            _, _, valid, load, tile = await trigger
            if take is not None:
                found[take] = (found[take][0], tile)
            late.append(None)
            if valid and load.mark:
                found.append(bool(load.error))
            elif valid:
                if not load.zero:
                    late[-1] = len(found)
                found.append((load.addr, None))
        ctx.set(dut.take, 0)

    simulate(dut, send, pipeline)
    mask = (1 << 8 * config.acc_elem_bytes) - 1
    plain = [
        item
        if isinstance(item, bool)
        else (
            item[0],
            None if item[1] is None else int.from_bytes(item[1].tobytes(), "little") & mask,
        )
        for item in expected
    ]
    assert found == plain


def test_room_ends_with_its_tiles():
    """If no tile is taken, writes stop, and none is lost."""
    config = PRESETS["tiny"]
    dut = AccWriter(config, KINDS)

    async def bench(ctx):
        ctx.set(dut.load.ready, 1)
        sent = 0
        for _ in range(40):
            ok = ctx.get(dut.room)
            ctx.set(dut.write_en, ok)
            ctx.set(
                dut.write,
                {"kind": MemoryType.ACC_8BIT, "addr": sent, "lanes": 1, "last": 1, "data": sent},
            )
            sent += ok
            await ctx.tick()
        assert sent == TILES
        ctx.set(dut.write_en, 0)
        ctx.set(dut.take, 1)
        for number in range(TILES):
            assert ctx.get(dut.tile) == number
            await ctx.tick()

    simulate(dut, bench)
