"""Issue and retirement: in order, whatever units do; tokens; errors in order; rates."""

import random
from collections import deque
from dataclasses import dataclass

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped

from tests.hw.streams import STALLS, Clock, Pauses, put, record, rest, simulate
from vta.hw.issue.sequencer import IN_FLIGHT, ModuleSignature, Sequencer
from vta.isa import Cause

UNITS = 2
LATENCY = 5


@dataclass(frozen=True)
class Insn:
    """An instruction as the bench encodes it: what a module would make of it."""

    unit: int = UNITS
    cause: int = 0
    tokens: int = 0
    quick: bool = False
    moved: int = 0
    kind: int = 0
    fails: int = 0
    delay: int = 0

    @property
    def word(self) -> int:
        return (
            self.unit
            | self.cause << 4
            | self.tokens << 8
            | self.quick << 12
            | self.moved << 16
            | self.kind << 40
        )


class Harness(wiring.Component):
    """A sequencer, and a decoder of the bench's own encoding."""

    def __init__(self):
        super().__init__(
            {
                "port": Out(ModuleSignature()),
                "hindered": wiring.In(1),
                "done": wiring.In(UNITS),
                "failed": wiring.In(4).array(UNITS),
                "unit": Out(range(UNITS + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = Sequencer(units=UNITS, check_latency=LATENCY)
        connect(m, flipped(self.port), inner.port)
        word = inner.head.insn
        m.d.comb += [
            self.unit.eq(word[:2]),
            inner.unit.eq(word[:2]),
            inner.cause.eq(word[4:8]),
            inner.faulty.eq(word[4:8] != 0),
            inner.tokens.eq(word[8:12]),
            inner.quick.eq(inner.port.insn.payload.insn[12]),
            inner.moved.moved.eq(word[16:33]),
            inner.moved.kind.eq(word[40:43]),
            inner.hindered.eq(self.hindered),
            inner.done.eq(self.done),
            *(inner.failed[unit].eq(self.failed[unit]) for unit in range(UNITS)),
        ]
        return m


POP_PREV, POP_NEXT, PUSH_PREV, PUSH_NEXT = 1, 2, 4, 8


class Bench:
    """Feeds instructions, finishes what is issued, and notes what happens."""

    def __init__(self, insns, *, stalls="none", available=(0, 0)):
        self.insns, self.stalls = list(insns), stalls
        self.dut = Harness()
        self.clock = Clock()
        self.tokens = list(available)
        self.issued: list[tuple[int, int]] = []
        self.retired: list[tuple[int, int, int]] = []
        self.pushes = [0, 0]
        self.log: list[str] = []
        self._units = [deque() for _ in range(UNITS)]

    def run(self, *benches, background=(), cycles=None):
        port = self.dut.port

        async def send(ctx):
            items = [{"insn": insn.word, "index": index} for index, insn in enumerate(self.insns)]
            await put(ctx, port.insn, items, Pauses(self.stalls, "insn"))

        async def wait(ctx):
            if cycles is not None:
                await rest(ctx, cycles)
            while cycles is None and len(self.retired) < len(self.insns):
                await ctx.tick()

        # An instruction that stops the module blocks `send`: it is no part of the end.
        simulate(
            self.dut,
            wait,
            *benches,
            background=[send, self.clock.run, self._watch, self._finish, *background],
        )

    async def _watch(self, ctx):
        port = self.dut.port
        trigger = ctx.tick().sample(
            port.issue, self.dut.unit, port.moves, port.retire, port.retired
        )
        self._offer(ctx)
        while True:
            _, _, issue, unit, moves, retire, retired = await trigger
            if issue:
                index = len(self.issued)
                self.issued.append((self.clock.now, index))
                insn = self.insns[index]
                assert moves.pop_prev == bool(insn.tokens & POP_PREV)
                assert moves.pop_next == bool(insn.tokens & POP_NEXT)
                self.log.append(f"issue {index}")
                if unit < UNITS:
                    self._units[unit].append((self.clock.now + insn.delay, insn.fails))
            else:
                assert not moves.pop_prev
                assert not moves.pop_next
            self.tokens[0] -= moves.pop_prev
            self.tokens[1] -= moves.pop_next
            if retire:
                index = len(self.retired)
                self.retired.append((self.clock.now, retired.kind, retired.moved))
                self.log.append(f"retire {index}")
                insn = self.insns[index]
                assert moves.push_prev == bool(insn.tokens & PUSH_PREV)
                assert moves.push_next == bool(insn.tokens & PUSH_NEXT)
            else:
                assert not moves.push_prev
                assert not moves.push_next
            self.pushes[0] += moves.push_prev
            self.pushes[1] += moves.push_next
            self._offer(ctx)

    def _offer(self, ctx):
        assert min(self.tokens) >= 0
        ctx.set(self.dut.port.available.pop_prev, self.tokens[0] > 0)
        ctx.set(self.dut.port.available.pop_next, self.tokens[1] > 0)

    async def _finish(self, ctx):
        """Each unit finishes its own instructions in order, after their delays."""
        while True:
            done = 0
            for unit, queue in enumerate(self._units):
                if queue and queue[0][0] < self.clock.now:
                    done |= 1 << unit
                    ctx.set(self.dut.failed[unit], queue.popleft()[1])
            ctx.set(self.dut.done, done)
            await ctx.tick()


@pytest.mark.parametrize("stalls", STALLS)
def test_retires_in_order(stalls):
    rng = random.Random(f"sequencer {stalls}")
    insns = [
        Insn(
            unit=rng.randrange(UNITS + 1),
            tokens=rng.choice((0, 0, rng.randrange(16))),
            quick=rng.random() < 0.5,
            moved=rng.randrange(1 << 17),
            kind=rng.randrange(8),
            delay=rng.choice((0, 0, 2, 30)),
        )
        for _ in range(250)
    ]
    bench = Bench(insns, stalls=stalls)

    async def neighbours(ctx):
        """Tokens arrive at random; room and hazards come and go."""
        while True:
            if rng.random() < 0.2:
                bench.tokens[rng.randrange(2)] += 1
                bench._offer(ctx)
            if stalls != "none":
                ctx.set(bench.dut.hindered, rng.random() < 0.3)
                ctx.set(bench.dut.port.full.push_prev, rng.random() < 0.2)
                ctx.set(bench.dut.port.full.push_next, rng.random() < 0.2)
            await ctx.tick()

    bench.run(background=[neighbours])
    # What came out is what went in, in order: kind and bytes tell who it was.
    assert [entry[1:] for entry in bench.retired] == [(insn.kind, insn.moved) for insn in insns]
    assert bench.pushes == [
        sum(bool(insn.tokens & bit) for insn in insns) for bit in (PUSH_PREV, PUSH_NEXT)
    ]


def test_units_finish_out_of_order():
    bench = Bench([Insn(unit=0, delay=40, quick=True), Insn(unit=1, quick=True), Insn(quick=True)])
    bench.run()
    assert bench.log == [f"issue {i}" for i in range(3)] + [f"retire {i}" for i in range(3)]
    # All three wait for the first, and then leave one a cycle.
    times = [entry[0] for entry in bench.retired]
    assert times == [times[0], times[0] + 1, times[0] + 2]
    assert times[0] > 40


def test_one_instruction_a_cycle_without_checks():
    bench = Bench([Insn(quick=True)] * 30)
    bench.run()
    times = [time for time, _ in bench.issued]
    assert times == list(range(times[0], times[0] + 30))
    assert [entry[0] for entry in bench.retired] == [time + 1 for time in times]


def test_checks_take_their_latency():
    bench = Bench([Insn()] * 10)
    bench.run()
    times = [time for time, _ in bench.issued]
    assert times == list(range(times[0], times[0] + 10 * (LATENCY + 1), LATENCY + 1))


def test_holds_no_more_than_it_may():
    bench = Bench([Insn(unit=0, delay=100, quick=True)] * 30)
    counts = []

    async def count(ctx):
        while True:
            counts.append(len(bench.issued) - len(bench.retired))
            await ctx.tick()

    bench.run(background=[count])
    assert max(counts) == IN_FLIGHT


@pytest.mark.parametrize(
    ("insns", "cause", "index", "retired"),
    [
        # A static error at the head waits for what is in flight ...
        (
            [Insn(unit=0, delay=30), Insn(cause=Cause.SRAM_RANGE, quick=True), Insn()],
            Cause.SRAM_RANGE,
            1,
            1,
        ),
        # ... because that may fail first.
        (
            [
                Insn(unit=0, delay=30, fails=Cause.MEMORY_RESPONSE),
                Insn(cause=Cause.ILLEGAL_OPCODE, quick=True),
            ],
            Cause.MEMORY_RESPONSE,
            0,
            0,
        ),
        # A unit's failure waits for older instructions of other units.
        (
            [
                Insn(unit=0, delay=30, quick=True, fails=Cause.MEMORY_RESPONSE),
                Insn(unit=1, quick=True, fails=Cause.SRAM_RANGE),
            ],
            Cause.MEMORY_RESPONSE,
            0,
            0,
        ),
        (
            [
                Insn(unit=0, delay=30, quick=True),
                Insn(unit=1, quick=True, fails=Cause.SRAM_RANGE),
                Insn(quick=True),
            ],
            Cause.SRAM_RANGE,
            1,
            1,
        ),
        # An error is found before tokens are waited for, and neither popped nor pushed.
        ([Insn(cause=Cause.ILLEGAL_TOKEN, tokens=POP_PREV | PUSH_NEXT)], Cause.ILLEGAL_TOKEN, 0, 0),
    ],
)
def test_errors_in_order(insns, cause, index, retired):
    bench = Bench(insns)

    async def look(ctx):
        await rest(ctx, 80)
        status = ctx.get(bench.dut.port.status)
        assert (status.cause, status.index) == (cause, index)
        assert not status.active
        assert not any((status.pop_prev, status.pop_next, status.push_prev, status.push_next))

    bench.run(look, cycles=120)
    assert len(bench.retired) == retired
    assert bench.pushes == [0, 0]


@pytest.mark.parametrize(
    ("insn", "flag"),
    [
        (Insn(tokens=POP_PREV), "pop_prev"),
        (Insn(tokens=POP_NEXT), "pop_next"),
        (Insn(tokens=PUSH_PREV), "push_prev"),
        (Insn(tokens=PUSH_NEXT), "push_next"),
    ],
)
def test_says_what_it_waits_for(insn, flag):
    bench = Bench([Insn(), insn])

    async def look(ctx):
        port = bench.dut.port
        ctx.set(port.full.push_prev, 1)
        ctx.set(port.full.push_next, 1)
        await rest(ctx, 40)
        status = ctx.get(port.status)
        flags = ("pop_prev", "pop_next", "push_prev", "push_next")
        assert [name for name in flags if status[name]] == [flag]
        assert status.index == 1
        assert status.active == flag.startswith("push")
        assert not ctx.get(port.idle)
        # Whatever it waits for comes.
        ctx.set(port.full, {})
        bench.tokens = [1, 1]
        bench._offer(ctx)
        await rest(ctx, 10)
        assert ctx.get(port.idle)

    bench.run(look, cycles=80)
    assert len(bench.retired) == 2


def test_a_wait_shows_only_when_nothing_is_in_flight():
    """While an older instruction runs, the module is not stuck."""
    bench = Bench([Insn(unit=0, delay=60), Insn(tokens=POP_PREV)])
    seen = []
    bench.run(
        cycles=100,
        background=[record(seen, 1, bench.dut.port.status.active, bench.dut.port.status.pop_prev)],
    )
    assert (1, 1) not in seen
    assert (1, 0) in seen
    assert seen[-1] == (0, 1)
