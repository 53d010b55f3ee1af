"""What watches the memory port: it says nothing of right answers, and names each wrong one."""

from __future__ import annotations

import pytest

from tests.hw.streams import rest, simulate
from vta.config import PRESETS
from vta.driver.verilog_cache import cached_verilog
from vta.hw.bus.answer_check import AnswerCheck

CONFIG = PRESETS["tiny"]


async def cycle(ctx, dut, **values):
    """One cycle in which these signals have these values, and all other ones are 0."""
    for name, value in values.items():
        ctx.set(getattr(dut.bus, name), value)
    await ctx.tick()
    for name in values:
        ctx.set(getattr(dut.bus, name), 0)


async def ask(ctx, dut, reader, beats):
    await cycle(ctx, dut, arvalid=1, arready=1, arid=reader, arlen=beats - 1)


async def beat(ctx, dut, reader, last):
    await cycle(ctx, dut, rvalid=1, rready=1, rid=reader, rlast=last)


async def write(ctx, dut, beats=2):
    await cycle(ctx, dut, awvalid=1, awready=1, awlen=beats - 1)
    for number in range(beats):
        await cycle(ctx, dut, wvalid=1, wready=1, wlast=number == beats - 1)


async def answer(ctx, dut, bid=0):
    await cycle(ctx, dut, bvalid=1, bready=1, bid=bid)


def run(bench) -> None:
    dut = AnswerCheck(CONFIG, 3)

    async def whole(ctx):
        await bench(ctx, dut)
        await rest(ctx, 2)

    simulate(dut, whole)


def test_right_answers_pass():
    """Interleaved ones, of bursts of different lengths, and those that are not taken yet."""

    async def bench(ctx, dut):
        await ask(ctx, dut, 1, 3)
        await ask(ctx, dut, 0, 1)
        await ask(ctx, dut, 1, 2)
        await beat(ctx, dut, 1, 0)
        await beat(ctx, dut, 0, 1)
        await cycle(ctx, dut, rvalid=1, rready=0, rid=2, rlast=1)
        await beat(ctx, dut, 1, 0)
        await ask(ctx, dut, 2, 1)
        await beat(ctx, dut, 1, 1)
        await beat(ctx, dut, 2, 1)
        await beat(ctx, dut, 1, 0)
        await beat(ctx, dut, 1, 1)
        await write(ctx, dut)
        await write(ctx, dut, 1)
        await answer(ctx, dut)
        await answer(ctx, dut)

    run(bench)


async def last_is_missing(ctx, dut):
    await ask(ctx, dut, 0, 2)
    await beat(ctx, dut, 0, 0)
    await beat(ctx, dut, 0, 0)


async def last_is_early(ctx, dut):
    await ask(ctx, dut, 0, 2)
    await ask(ctx, dut, 1, 1)
    await beat(ctx, dut, 0, 1)


async def last_of_the_second_burst(ctx, dut):
    await ask(ctx, dut, 0, 1)
    await ask(ctx, dut, 0, 2)
    await beat(ctx, dut, 0, 1)
    await beat(ctx, dut, 0, 1)


async def nobody_asked(ctx, dut):
    await ask(ctx, dut, 0, 1)
    await beat(ctx, dut, 0, 1)
    await beat(ctx, dut, 0, 1)


async def of_nobody(ctx, dut):
    await ask(ctx, dut, 0, 1)
    await beat(ctx, dut, 5, 1)


async def wrong_bid(ctx, dut):
    await write(ctx, dut)
    await answer(ctx, dut, bid=1)


async def answered_before_the_data(ctx, dut):
    await cycle(ctx, dut, awvalid=1, awready=1, awlen=1)
    await cycle(ctx, dut, wvalid=1, wready=1, wlast=0)
    await answer(ctx, dut)


async def answered_before_the_address(ctx, dut):
    await cycle(ctx, dut, wvalid=1, wready=1, wlast=1)
    await answer(ctx, dut)


async def answered_twice(ctx, dut):
    await write(ctx, dut)
    await answer(ctx, dut)
    await answer(ctx, dut)


@pytest.mark.parametrize(
    ("bench", "message"),
    [
        (last_is_missing, "RLAST must be set on the last beat"),
        (last_is_early, "RLAST must be set on the last beat"),
        (last_of_the_second_burst, "RLAST must be set on the last beat"),
        (nobody_asked, "a beat came for no burst"),
        (of_nobody, "RID must be the identifier of a read"),
        (wrong_bid, "BID must be 0"),
        (answered_before_the_data, "a write was answered before its address and all of its data"),
        (answered_before_the_address, "a write was answered before its address"),
        (answered_twice, "a write was answered before its address"),
    ],
)
def test_wrong_answers_stop_the_simulation(bench, message):
    with pytest.raises(AssertionError, match=message):
        run(bench)


def test_it_watches_where_assertions_are_wanted():
    """And takes nothing of an FPGA."""
    assert "RLAST must be set on the last beat" in cached_verilog(CONFIG, assertions=True)
    without = cached_verilog(CONFIG)
    assert "RLAST" not in without
    assert "answers" not in without
