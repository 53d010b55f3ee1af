"""The bursts that the machine asks for are legal AXI, and they cover a transfer exactly."""

from __future__ import annotations

import pytest
from amaranth import *

from tests.formal.prover import Proof, fails, planted, prove
from vta.config import PRESETS
from vta.hw.bus.axi import PAGE_BYTES
from vta.hw.bus.burst_splitter import BurstSplitter
from vta.isa import MemoryType

CONFIGS = {
    "tiny": PRESETS["tiny"],
    "axi3": PRESETS["tiny"].replace(max_burst=16),
    "default": PRESETS["default"],
    "wide": PRESETS["wide"],
}
KINDS = (MemoryType.INP, MemoryType.WGT)


class LegalBursts(Proof):
    """Whatever the transfer: no burst is empty, too long, misaligned, or crosses 4 KiB."""

    def __init__(self, dut, config) -> None:
        super().__init__(dut)
        self.config = config

    def properties(self, m: Module) -> None:
        burst, nbytes = self.dut.burst, self.config.bus_bytes
        beats, addr = burst.payload.beats, burst.payload.addr
        offers = burst.valid
        self.always(m, ~offers | (beats != 0), "no burst is empty")
        self.always(m, ~offers | (beats <= self.config.max_burst), "no burst is too long")
        self.always(m, ~offers | (addr % nbytes == 0), "a burst starts with a whole beat")
        self.always(
            m,
            ~offers | (addr % PAGE_BYTES + beats * nbytes <= PAGE_BYTES),
            "no burst crosses 4 KiB",
        )
        held = self.held(m, offers, burst.ready, Cat(beats, addr))
        self.always(m, held, "a burst is offered until it is taken")


class CoversTheTransfer(Proof):
    """The bursts of one transfer are the beats of its runs, one after the other."""

    def __init__(self, dut, config) -> None:
        super().__init__(dut)
        self.config = config

    def properties(self, m: Module) -> None:
        dut, config = self.dut, self.config
        job, burst, nbytes = dut.job, dut.burst, config.bus_bytes
        elem = config.elem_bytes(MemoryType.INP)
        size, stride = job.payload.run_elems * elem, job.payload.run_stride * elem
        # Small enough for few cycles; a run fits its buffer.
        self.assume(m, ~job.valid | ((job.payload.runs != 0) & (job.payload.runs <= 3)))
        self.assume(m, ~job.valid | ((job.payload.run_elems != 0) & (size <= 20 * nbytes)))
        self.assume(m, ~job.valid | (job.payload.kind == MemoryType.INP))
        started = Signal()
        run_addr, run_bytes, run_stride = (
            Signal(config.addr_width, name=name) for name in ("run_addr", "run_bytes", "run_stride")
        )
        runs, done = Signal(3), Signal(range(256))
        self.assume(m, ~(started & job.valid & job.ready))
        with m.If(job.valid & job.ready):
            m.d.sync += [
                started.eq(1),
                run_addr.eq(job.payload.addr),
                run_bytes.eq(size),
                run_stride.eq(stride),
                runs.eq(job.payload.runs),
            ]
        beats = Signal(range(256))
        m.d.comb += beats.eq((run_addr % nbytes + run_bytes + nbytes - 1) // nbytes)
        taken = burst.valid & burst.ready
        ends = done + burst.payload.beats == beats
        with m.If(taken):
            m.d.sync += done.eq(done + burst.payload.beats)
            with m.If(ends):
                m.d.sync += [done.eq(0), run_addr.eq(run_addr + run_stride), runs.eq(runs - 1)]
        place = ((run_addr // nbytes + done) * nbytes)[: config.addr_width]
        self.always(m, ~burst.valid | (runs != 0), "no burst without a run")
        self.always(m, ~burst.valid | (burst.payload.addr == place), "beats follow each other")
        self.always(m, ~burst.valid | (done + burst.payload.beats <= beats), "no beat too many")
        self.always(
            m, ~burst.valid | (dut.last == (ends & (runs == 1))), "the last burst is marked"
        )
        idle = Signal(2)
        m.d.sync += idle.eq(Mux((runs != 0) & ~burst.valid, idle + 1, 0))
        self.always(m, idle < 2, "no beat too few: a run left over is asked for")


# `tiny` takes as long as the other three together.
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.full if name == "tiny" else ()) for name in CONFIGS],
)
def test_bursts_are_legal(tmp_path, name):
    config = CONFIGS[name]
    prove(LegalBursts(BurstSplitter(config, KINDS), config), tmp_path, depth=2, induction=True)


@pytest.mark.full
@pytest.mark.parametrize(
    ("old", "new", "property"),
    [
        (" - addr[:log_chunk]", "", "no burst crosses 4 KiB"),
        ("- addr[:log_chunk] + 1", "- addr[:log_chunk]", "no burst is empty"),
        ("self.burst.valid.eq(has_beats)", "self.burst.valid.eq(1)", "until it"),
        (
            "addr << log_bus",
            "Mux(last_beat == 1, 1, addr << log_bus)",
            "a burst starts with a whole beat",
        ),
        ("taken = self.burst.valid & self.burst.ready", "taken = self.burst.valid", "until it"),
    ],
)
def test_bursts_with_a_fault(tmp_path, old, new, property):
    config = PRESETS["default"]
    proof = LegalBursts(planted(BurstSplitter, {old: new})(config, KINDS), config)
    assert property in fails(proof, tmp_path, depth=2, induction=True)


@pytest.mark.full
def test_bursts_cover_the_transfer(tmp_path):
    config = PRESETS["tiny"].replace(max_burst=16)
    prove(CoversTheTransfer(BurstSplitter(config, (MemoryType.INP,)), config), tmp_path, depth=7)


@pytest.mark.full
@pytest.mark.parametrize(
    ("old", "new", "property"),
    [
        ("last.eq(chunks_left == 1)", "last.eq(chunks_left == 2)", "marked"),
        ("run_addr + stride_bytes", "run_addr + last_byte", "beats follow each other"),
        ("last_run.eq(runs_left == 1)", "last_run.eq(0)", "the last burst is marked"),
        ("(job.run_elems << shift) - 1", "job.run_elems << shift", "no beat too many"),
    ],
)
def test_bursts_that_do_not_cover_it(tmp_path, old, new, property):
    config = PRESETS["tiny"].replace(max_burst=16)
    faulty = planted(BurstSplitter, {old: new})
    proof = CoversTheTransfer(faulty(config, (MemoryType.INP,)), config)
    assert property in fails(proof, tmp_path, depth=7)
