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


LAST = "RLAST must be set on the last beat"
EARLY = "a write was answered before its address and all of its data"
ADDRESS = {"awvalid": 1, "awready": 1, "awlen": 1}
DATA = {"wvalid": 1, "wready": 1}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        pytest.param([(ask, 0, 2), (beat, 0, 0), (beat, 0, 0)], LAST, id="missing"),
        pytest.param([(ask, 0, 2), (ask, 1, 1), (beat, 0, 1)], LAST, id="early"),
        pytest.param(
            [(ask, 0, 1), (ask, 0, 2), (beat, 0, 1), (beat, 0, 1)], LAST, id="second burst"
        ),
        pytest.param(
            [(ask, 0, 1), (beat, 0, 1), (beat, 0, 1)], "a beat came for no burst", id="no burst"
        ),
        pytest.param(
            [(ask, 0, 1), (beat, 5, 1)], "RID must be the identifier of a read", id="nobody's"
        ),
        pytest.param([(write,), (answer, 1)], "BID must be 0", id="wrong BID"),
        pytest.param([ADDRESS, {**DATA, "wlast": 0}, (answer,)], EARLY, id="before the data"),
        pytest.param([{**DATA, "wlast": 1}, (answer,)], EARLY, id="before the address"),
        pytest.param([(write,), (answer,), (answer,)], EARLY, id="twice"),
    ],
)
def test_wrong_answers_stop_the_simulation(steps, message):
    async def bench(ctx, dut):
        for step in steps:
            if isinstance(step, dict):
                await cycle(ctx, dut, **step)
            else:
                await step[0](ctx, dut, *step[1:])

    with pytest.raises(AssertionError, match=message):
        run(bench)


def test_it_watches_where_assertions_are_wanted():
    """And takes nothing of an FPGA."""
    assert "RLAST must be set on the last beat" in cached_verilog(CONFIG, assertions=True)
    without = cached_verilog(CONFIG)
    assert "RLAST" not in without
    assert "answers" not in without
