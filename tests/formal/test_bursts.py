"""The bursts that the machine asks for are legal AXI, and they cover a transfer exactly.

By induction, whatever transfers come, each with runs that fit their buffer.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from amaranth import *

from tests.formal.prover import Proof, fails, planted, prove
from vta.config import PRESETS
from vta.hw.bus.axi import PAGE_BYTES
from vta.hw.bus.burst_splitter import BurstSplitter
from vta.hw.bus.payloads import burst_beats
from vta.hw.compute import compute_module
from vta.hw.transfer import load_module
from vta.isa import SIZE_BITS, MemoryType

AXI3 = PRESETS["tiny"].replace(max_burst=16)
CASES = {
    "tiny": (PRESETS["tiny"], load_module.KINDS),
    "axi3": (AXI3, (MemoryType.OUT,)),
    "default": (PRESETS["default"], compute_module.KINDS),
    "wide": (PRESETS["wide"], load_module.KINDS),
}
"""Configurations, and the types that one of the modules moves."""

FAULTY = AXI3, load_module.KINDS
"""For blocks with a fault."""


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
    """The bursts of a transfer, any, are the beats of its runs, one after the other.

    `hints` are what a proof by induction needs; without them a fault breaks the property itself.
    """

    def __init__(self, dut, config, kinds, *, hints: bool = True) -> None:
        super().__init__(dut)
        self.config, self.kinds, self.hints = config, kinds, hints

    def properties(self, m: Module) -> None:
        dut, config = self.dut, self.config
        job, burst, nbytes = dut.job, dut.burst, config.bus_bytes
        arrives, taken = job.valid & job.ready, burst.valid & burst.ready
        size, stride = self._in_bytes(m, job.payload)

        # Transfers under way, and how many of them are before the one that is followed.
        jobs, ahead, active = Signal(3), Signal(3), Signal()
        ends_job = taken & dut.last
        m.d.sync += jobs.eq(jobs + arrives - ends_job)
        # Its run that is asked for now, the runs that are left with that, and its beats so far.
        run_addr, run_bytes, run_stride = (
            Signal(config.addr_width, name=name) for name in ("run_addr", "run_bytes", "run_stride")
        )
        runs, done, beats = Signal(SIZE_BITS), Signal(24), Signal(24)
        m.d.comb += beats.eq((run_addr % nbytes + run_bytes + nbytes - 1) // nbytes)
        mine = active & (ahead == 0)
        ends_run = done + burst.payload.beats == beats
        with m.If(arrives & ~active & self.free("follow")):
            m.d.sync += [
                active.eq(1),
                ahead.eq(jobs - ends_job),
                run_addr.eq(job.payload.addr),
                run_bytes.eq(size),
                run_stride.eq(stride),
                runs.eq(job.payload.runs),
                done.eq(0),
            ]
        with m.Elif(active & ~mine):
            m.d.sync += ahead.eq(ahead - ends_job)
        with m.Elif(mine & taken):
            m.d.sync += done.eq(done + burst.payload.beats)
            with m.If(ends_run):
                m.d.sync += [done.eq(0), run_addr.eq(run_addr + run_stride), runs.eq(runs - 1)]
            with m.If(dut.last):
                m.d.sync += active.eq(0)

        place = ((run_addr // nbytes + done) * nbytes)[: config.addr_width]
        asks = mine & burst.valid
        self.always(m, ~burst.valid | (jobs != 0), "no burst without a transfer")
        self.always(m, ~asks | (burst.payload.addr == place), "beats follow each other")
        self.always(m, ~asks | (done + burst.payload.beats <= beats), "no beat too many")
        self.always(m, ~asks | (dut.last == (ends_run & (runs == 1))), "the last burst is marked")
        idle = Signal(2)
        m.d.sync += idle.eq(Mux((jobs != 0) & ~burst.valid, idle + 1, 0))
        self.always(m, idle < 2, "no beat too few: a run left over is asked for")
        if self.hints:
            self._say_what_is_inside(m, jobs, idle)
            self._place(m, active, ahead, (run_addr, run_bytes, run_stride, runs), done)

    def _in_bytes(self, m: Module, job: Any) -> tuple[Value, Value]:
        """Size and distance of a job's runs. It has a run at least, and each fits its buffer."""
        size, stride = Signal(self.config.addr_width), Signal(self.config.addr_width)
        legal = (job.runs != 0) & (job.run_elems != 0)
        legal &= Cat(job.kind == kind for kind in self.kinds).any()
        for kind in self.kinds:
            elem = self.config.elem_bytes(kind)
            with m.If(job.kind == kind):
                m.d.comb += [size.eq(job.run_elems * elem), stride.eq(job.run_stride * elem)]
            legal &= (job.kind != kind) | (job.run_elems <= self.config.depth(kind))
        self.assume(m, ~self.dut.job.valid | legal)
        return size, stride

    def _say_what_is_inside(self, m: Module, jobs: Signal, idle: Signal) -> None:
        """A transfer has runs to be asked for, or its last one is being asked for."""
        has_runs, has_beats, last_run = (
            self.inside(self.block, name) for name in ("has_runs", "has_beats", "last_run")
        )
        waits = has_runs & (~has_beats | last_run)
        self.always(m, jobs == has_beats + waits, "inside: transfers under way")
        self.always(m, ~has_beats | last_run | has_runs, "inside: more runs unless it is the last")
        self.always(m, (idle == 0) | ~has_runs | has_beats, "inside: the next run is loaded")

    def _place(self, m: Module, active: Value, ahead: Value, run: Any, done: Value) -> None:
        """Where the transfer is that is followed: still to be begun, or in its run."""
        config = self.config
        log_bus = config.bus_bytes.bit_length() - 1
        log_chunk = burst_beats(config).bit_length() - 1
        run_addr, run_bytes, run_stride, runs = run
        has_runs, has_beats, last_run = (
            self.inside(self.block, name) for name in ("has_runs", "has_beats", "last_run")
        )
        next_addr, last_byte, stride_bytes, runs_left = (
            self.inside(self.block, name)
            for name in ("run_addr", "last_byte", "stride_bytes", "runs_left")
        )
        same = (last_byte == run_bytes - 1) & (stride_bytes == run_stride)
        in_run = active & (ahead == 0) & has_beats
        waits = active & ~in_run
        longest = max(config.depth(kind) * config.elem_bytes(kind) for kind in self.kinds)
        fits = (run_bytes != 0) & (run_bytes <= longest)
        self.always(m, ~active | ((runs != 0) & fits), "inside: a run is left, and has its size")
        self.always(
            m,
            ~waits
            | (
                (has_runs & same & (next_addr == run_addr) & (runs_left == runs) & (done == 0))
                & (ahead == (has_beats & last_run))
            ),
            "inside: a transfer that waits",
        )
        more = has_runs & same & (next_addr == (run_addr + run_stride)[: len(run_addr)])
        self.always(
            m,
            ~in_run | ((last_run == (runs == 1)) & (last_run | (more & (runs_left == runs - 1)))),
            "inside: the runs that are left",
        )
        # In beats from the start of the chunk in which the run begins.
        first = run_addr[log_bus : log_bus + log_chunk]
        end = (run_addr[: log_bus + log_chunk] + run_bytes - 1) >> log_bus
        now = first + done
        addr, chunks_left, last_beat = (
            self.inside(self.block, name) for name in ("addr", "chunks_left", "last_beat")
        )
        self.always(
            m,
            ~in_run
            | (
                (addr == ((run_addr >> log_bus) + done)[: len(addr)])
                & (now <= end)
                & (chunks_left == (end >> log_chunk) - (now >> log_chunk))
                & (last_beat == end[:log_chunk])
            ),
            "inside: the beats that are left",
        )


# `tiny` takes as long as the other three together.
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.full if name == "tiny" else ()) for name in CASES]
)
def test_bursts_are_legal(tmp_path, name):
    config, kinds = CASES[name]
    prove(LegalBursts(BurstSplitter(config, kinds), config), tmp_path, depth=2, induction=True)


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
    config, kinds = CASES["default"]
    proof = LegalBursts(planted(BurstSplitter, {old: new})(config, kinds), config)
    assert property in fails(proof, tmp_path, depth=2, induction=True)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "axi3" else pytest.mark.full) for name in CASES]
)
def test_bursts_cover_the_transfer(tmp_path, name):
    config, kinds = CASES[name]
    proof = CoversTheTransfer(BurstSplitter(config, kinds), config, kinds)
    prove(proof, tmp_path, depth=2, induction=True)


@pytest.mark.full
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("last.eq(chunks_left == 1)", "last.eq(chunks_left == 2)"),
        ("run_addr + stride_bytes", "run_addr + last_byte"),
        ("last_run.eq(runs_left == 1)", "last_run.eq(0)"),
        ("(job.run_elems << shift) - 1", "job.run_elems << shift"),
    ],
)
def test_bursts_that_do_not_cover_it(tmp_path, old, new):
    """Such a fault breaks several properties; which of them is found is the solver's choice."""
    config, kinds = FAULTY
    faulty = planted(BurstSplitter, {old: new})
    proof = CoversTheTransfer(faulty(config, kinds), config, kinds, hints=False)
    found = fails(proof, tmp_path, depth=7)
    assert re.search("no beat too|beats follow each other|the last burst is marked", found)
