"""Once everything is settled, as the core tells its monitor, nothing can move any more.

By induction, about the core's own wiring with the real sequencers and token queues. Fetch sends any
instructions, units finish theirs at any time or never, and memory is as quiet as it likes.
"""

from __future__ import annotations

import pytest
from amaranth import *
from amaranth.lib.wiring import connect, flipped

from tests.formal.prover import Proof, fails, planted, prove
from vta.config import PRESETS, Config
from vta.hw import core
from vta.hw.bus.read_dma import ReadDma
from vta.hw.compute.compute_module import ComputeModule
from vta.hw.core import Core
from vta.hw.issue import executor
from vta.hw.issue.fetch import MODULES, Fetch
from vta.hw.transfer.load_module import LoadModule
from vta.hw.transfer.store_module import StoreModule
from vta.isa import MAX_TOKENS, TOKEN_LINKS

CONFIG = PRESETS["tiny"]
FREE: list[Signal] = []
"""The signals of the blocks below that have any value."""


def free(name: str, shape: object = 1) -> Signal:
    FREE.append(signal := Signal(shape, name=name))
    return signal


def front_end(module: executor.Executor) -> Module:
    """A module whose instructions say what becomes of them, in their lowest bits."""
    m = Module()
    m.submodules.sequencer = sequencer = executor.Sequencer(units=1, check_latency=2)
    connect(m, flipped(module.port), sequencer.port)
    insn, name = sequencer.head.insn, module._module.name.lower()
    flags = ("pop_prev", "pop_next", "push_prev", "push_next")
    for bit, flag in enumerate(flags):
        if (module._module, flag.split("_")[1]) in TOKEN_LINKS:
            m.d.comb += sequencer.tokens[flag].eq(insn[bit])
    m.d.comb += [
        sequencer.unit.eq(insn[4]),
        sequencer.quick.eq(sequencer.port.insn.payload.insn[5]),
        sequencer.cause.eq(insn[6:8]),
        sequencer.faulty.eq(insn[6:8] != 0),
        sequencer.hindered.eq(free(f"{name}_hindered")),
        sequencer.done.eq(free(f"{name}_done")),
        sequencer.failed.eq(free(f"{name}_failed", 4)),
    ]
    return m


class AnyLoad(LoadModule):
    def elaborate(self, platform: object) -> Module:
        return front_end(self)


class AnyCompute(ComputeModule):
    def elaborate(self, platform: object) -> Module:
        return front_end(self)


class AnyStore(StoreModule):
    def elaborate(self, platform: object) -> Module:
        m = front_end(self)
        m.d.comb += self.quiet.eq(free("store_quiet"))
        return m


class AnyMemory(ReadDma):
    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.quiet.eq(free("dma_quiet"))
        return m


class AnyFetch(Fetch):
    """Sends any instructions to any modules, until it has had enough."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held, target, insn = Signal(), Signal(range(len(MODULES))), Signal(8)
        queues = [getattr(self, module) for module in MODULES]
        has_room = Array(queue.ready for queue in queues)[target]
        sends, moves = Signal(), Signal()
        m.d.comb += [
            sends.eq(held & has_room),
            moves.eq(~held | sends),
            self.blocked.eq(held & ~has_room),
            self.quiet.eq(free("fetch_quiet")),
        ]
        for number, queue in enumerate(queues):
            m.d.comb += [queue.valid.eq(held & (target == number)), queue.payload.insn.eq(insn)]
        comes, ends = free("comes"), free("ends")
        next_target = free("next_target", 2)
        with m.If(moves):
            m.d.sync += [
                held.eq(comes & ~self.over & ~ends),
                target.eq(Mux(next_target == 3, 0, next_target)),
                insn.eq(free("next_insn", 8)),
                self.over.eq(self.over | ends),
            ]
        with m.If(self.start):
            m.d.sync += [self.over.eq(0), held.eq(0)]
        return m


class StaysSettled(Proof):
    """What the monitor sees as settled stays so.

    Unless a module waits for room for a token, which takes 65,535 tokens in a queue.
    """

    def __init__(self, dut, *, hints: bool = True) -> None:
        super().__init__(dut)
        self.hints = hints

    def properties(self, m: Module) -> None:
        dut, block = self.dut, self.block
        self.inputs += FREE
        monitor = self.inside(block, "_monitor.monitor")
        blocks = self.inside(block, "blocks")
        modules, fetch = blocks.modules, blocks.fetch
        ports = [module.port for module in modules.values()]
        # The host starts a run after the one before has ended.
        self.assume(m, ~(dut.start & (~fetch.over | dut.running)))
        # No unit finishes more than was issued.
        for name in modules:
            sequencer = self.inside(block, name, "sequencer", "self")
            outcomes = self.inside(block, name, "sequencer", "_collect_outcomes.outcomes")
            self.assume(m, ~sequencer.done[0] | outcomes.i.ready)
        waits_for_room = Cat(port.status.push_prev | port.status.push_next for port in ports).any()
        settled = Signal()
        m.d.comb += settled.eq(
            monitor.settled.all() & (fetch.over | fetch.blocked) & ~waits_for_room & ~dut.start
        )
        was_settled, statuses = Signal(), [Signal.like(port.status.as_value()) for port in ports]
        m.d.sync += [
            was_settled.eq(settled),
            *(old.eq(port.status) for old, port in zip(statuses, ports, strict=True)),
        ]
        moves = Cat(
            *(port.issue | port.retire | port.moves.as_value().any() for port in ports),
            *(queue.valid & queue.ready for queue in (getattr(fetch, name) for name in modules)),
        ).any()
        self.always(m, ~settled | ~moves, "nothing moves when all is settled")
        self.always(m, ~was_settled | settled | dut.start, "what is settled stays so")
        for port, status in zip(ports, statuses, strict=True):
            self.always(
                m, ~was_settled | (port.status.as_value() == status), "nor does a report change"
            )
        self.always(
            m,
            ~(monitor.settled.all() & monitor.fetch_settled) | fetch.over | fetch.blocked,
            "the monitor's fetch is settled only when this one is",
        )
        if not self.hints:
            return
        held = self.inside(block, "fetch", "held")
        self.always(m, ~(held & fetch.over), "inside: fetch has sent all before it is over")
        for tokens in blocks.tokens.values():
            self.always(m, tokens.available == (tokens.count != 0), "inside: tokens available")
            self.always(m, tokens.full == (tokens.count == MAX_TOKENS), "inside: room for tokens")
        for name in modules:
            stopped, cause = (
                self.inside(block, name, "sequencer", signal) for signal in ("stopped", "cause")
            )
            self.always(m, stopped == (cause != 0), "inside: stopped for a cause")
            level = self.inside(block, f"{name}_queue", "fifo", "self").level
            head_valid = self.inside(block, name, "sequencer", "self").head_valid
            checked = self.inside(block, name, "sequencer", "_hold_head.checked")
            self.always(m, ~checked | head_valid, "inside: only an instruction is checked")
            self.always(
                m, blocks.pending[name] == level + head_valid, "inside: instructions pending"
            )


@pytest.fixture(autouse=True)
def free_blocks(monkeypatch):
    """The core's wiring around blocks that do anything, with short queues."""
    FREE.clear()
    for name, block in (
        ("Fetch", AnyFetch),
        ("LoadModule", AnyLoad),
        ("ComputeModule", AnyCompute),
        ("StoreModule", AnyStore),
        ("ReadDma", AnyMemory),
    ):
        monkeypatch.setattr(core, name, block)
    monkeypatch.setattr(Config, "insn_queue_depth", 2)


def test_what_is_settled_stays_so(tmp_path):
    prove(StaysSettled(Core(CONFIG)), tmp_path, depth=3, induction=True)


@pytest.mark.full
@pytest.mark.parametrize(
    ("old", "new", "property"),
    [
        ("(module.port.idle & (blocks.pending[name] == 0))", "module.port.idle", "a report change"),
        ("sent - issue)", "sent - module.port.insn.ready)", "settled"),
        ("| _waits(module)", "| ~status.active", "settled"),
        ("(fetch.over & fetch.quiet) | fetch.blocked", "fetch.quiet", "this one is"),
    ],
)
def test_what_is_settled_with_a_fault(tmp_path, old, new, property):
    faulty = planted(Core, {old: new})
    assert property in fails(StaysSettled(faulty(CONFIG), hints=False), tmp_path, depth=8)


@pytest.mark.full
@pytest.mark.parametrize(
    ("old", "new", "property"),
    [
        (
            "stuck_pop = ready & ~self.faulty & ~flight.o.valid",
            "stuck_pop = ready & ~self.faulty",
            "settled",
        ),
        ("self._hold_head(m) & ~stopped", "self._hold_head(m)", "settled"),
    ],
)
def test_what_is_settled_with_a_faulty_sequencer(tmp_path, monkeypatch, old, new, property):
    monkeypatch.setattr(executor, "Sequencer", planted(executor.Sequencer, {old: new}))
    assert property in fails(StaysSettled(Core(CONFIG), hints=False), tmp_path, depth=10)
