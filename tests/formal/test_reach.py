"""What the index generator says of a loop's reach is right: later iterations stay within it.

By induction: any jobs, one after the other; what is behind takes iterations when it likes. A job
with an ACC index out of range has no reach.
"""

from __future__ import annotations

from typing import Any

import pytest
from amaranth import *
from amaranth.lib import data

from tests.formal.prover import SMALLEST, Proof, fails, planted, prove
from tests.formal.reach_inside import SaysWhatIsInside
from vta.hw.compute.index_generator import (
    IndexGenerator,
    iteration_layout,
    loop_layout,
    reach_layout,
)
from vta.isa import LOOP_BITS, UOP_BITS, Isa

CONFIG = SMALLEST.replace(hw_ver="0.0.2")
UOPS = 1 << CONFIG.log_uop_depth


class StaysWithinReach(Proof):
    """Of any one job, which is followed from when it comes.

    Its micro-ops stay as they are until it is over; it uses the first `uops` of them at most.
    `hints` are what a proof by induction needs; without them a fault breaks the property itself.
    """

    def __init__(
        self, dut: IndexGenerator, count_bits: int, *, uops: int = UOPS, hints: bool = True
    ) -> None:
        super().__init__(dut)
        self.count_bits, self.uop_count, self.hints = count_bits, uops, hints

    def properties(self, m: Module) -> None:
        dut, job, iteration = self.dut, self.dut.job, self.dut.iteration
        self.uops = [
            self.constant(m, f"uop_{number}", UOP_BITS) for number in range(self.uop_count)
        ]
        comes, taken = job.valid & job.ready, iteration.valid & iteration.ready
        ends = taken & iteration.payload.last

        # Jobs inside, and how many of them end before the one that is followed.
        self.left, self.ahead, recent = Signal(4), Signal(4), Signal()
        m.d.sync += [self.left.eq(self.left + comes - ends), recent.eq(comes)]
        self.chosen, self.over, self.youngest = (
            Signal(name=name) for name in ("chosen", "over", "youngest")
        )
        self.followed = Signal(loop_layout(CONFIG))
        self.chooses = Signal()
        m.d.comb += self.chooses.eq(comes & ~self.chosen & self.free("follow"))
        self.assume(m, ~self.chooses | self.legal(job.payload))
        its_turn = self.chosen & ~self.over & (self.ahead == 0)
        with m.If(self.chooses):
            m.d.sync += [
                self.chosen.eq(1),
                self.youngest.eq(1),
                self.followed.eq(job.payload),
                self.ahead.eq(self.left - ends),
            ]
        with m.Else():
            with m.If(comes):
                m.d.sync += self.youngest.eq(0)
            with m.If(ends):
                m.d.sync += [
                    self.ahead.eq(self.ahead - (self.ahead != 0)),
                    self.over.eq(self.over | its_turn),
                ]
        self._fetch(m)

        # The guard behind may still hold the iteration that was taken last.
        self.newest, self.newest_is_its = Signal(iteration_layout(CONFIG)), Signal()
        with m.If(taken):
            m.d.sync += [self.newest.eq(iteration.payload), self.newest_is_its.eq(its_turn)]
        said = dut.reach.known & ~recent & ~comes & self.youngest
        self.always(m, ~said | (self.ahead == 0), "no iteration of an older job is to come")
        what = "an iteration stays within the reach"
        self.always(m, ~said | (self.newest_is_its & self._within(self.newest, dut.reach)), what)
        self.reach, self.kept = Signal(reach_layout(CONFIG)), Signal()
        with m.If(said & self.free("keep") & ~self.kept):
            m.d.sync += [self.kept.eq(1), self.reach.eq(dut.reach)]
        for holds, reach in ((said, dut.reach), (self.kept, self.reach)):
            shown = holds & taken & its_turn
            self.always(m, ~shown | self._within(iteration.payload, reach), what)
        self.always(m, dut.busy == (self.left != 0), "busy while an iteration has not been taken")
        if self.hints:
            SaysWhatIsInside(self, m).say(said)

    def _fetch(self, m: Module) -> None:
        """The UOP buffer: other micro-ops than the job's may change at any time."""
        dut, self.fetched = self.dut, Signal(UOP_BITS)
        is_its = self.chosen & ~self.over & self.uses(self.followed, dut.uop_addr)
        with m.If(dut.uop_en):
            other = self.free("other_uop", UOP_BITS)
            m.d.sync += self.fetched.eq(Mux(is_its, self.uop(dut.uop_addr), other))
        m.d.comb += dut.uop_data.eq(self.fetched)

    def uop(self, number: Value) -> Value:
        return Array(self.uops)[number[: (len(self.uops) - 1).bit_length()]]

    def fields(self, uop: Value) -> data.View:
        return Isa(CONFIG).uop.layout(uop)

    @staticmethod
    def has_src(context: data.View) -> Value:
        return context.is_alu & ~context.use_imm

    def uses(self, job: data.View, number: Any) -> Value:
        return (job.uop_bgn <= number) & (number < job.uop_end)

    def span(self, job: data.View, name: str) -> Value:
        """The largest offset."""
        outer, inner = ((job[count] - 1)[: self.count_bits] for count in ("iter_out", "iter_in"))
        return outer * job[f"{name}_factor_out"] + inner * job[f"{name}_factor_in"]

    def legal(self, job: data.View) -> Value:
        """It has iterations, and its ACC indices are in range."""
        holds = (job.iter_out != 0) & (job.iter_in != 0)
        holds &= (job.uop_bgn < job.uop_end) & (job.uop_end <= len(self.uops))
        dst, src = self.span(job, "dst"), self.span(job, "src")
        for number, uop in enumerate(self.uops):
            fields = self.fields(uop)
            fits_dst = fields.dst_idx + dst < CONFIG.acc_depth
            fits_src = ~self.has_src(job.context) | (fields.src_idx + src < CONFIG.acc_depth)
            holds &= ~self.uses(job, number) | (fits_dst & fits_src)
        return holds

    def _within(self, iteration: data.View, reach: data.View) -> Value:
        def between(index: Value, tiles: data.View) -> Value:
            return (index >= tiles.first) & (index <= tiles.last)

        src = iteration.src[: CONFIG.log_acc_depth]
        return between(iteration.dst, reach.dst) & (
            ~self.has_src(iteration.context) | (reach.has_src & between(src, reach.src))
        )


@pytest.fixture
def count_bits(request: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many bits counts have: with few, a loop's reach is known early."""
    monkeypatch.setattr("vta.hw.compute.index_generator.LOOP_BITS", request.param)
    return request.param


@pytest.mark.parametrize(
    ("count_bits", "uops"),
    [(2, 2), pytest.param(LOOP_BITS, UOPS, marks=pytest.mark.full)],
    indirect=["count_bits"],
)
def test_reach(tmp_path, count_bits, uops):
    proof = StaysWithinReach(IndexGenerator(CONFIG), count_bits, uops=uops)
    prove(proof, tmp_path, depth=2, induction=True)


@pytest.mark.full
@pytest.mark.parametrize(
    ("count_bits", "old", "new"),
    [
        (4, "alone & seen & (bits_left == 0)", "alone & seen"),
        (2, "alone & seen & (bits_left == 0)", "alone & (bits_left == 0)"),
        (2, "alone & seen & (bits_left == 0)", "seen & (bits_left == 0)"),
        (2, "~seen & (index > highest)", "index > lowest"),
        (2, "(highest + span.total)", "(highest + span.total - 1)"),
        (2, "& ~first\n            & ~jobs.o.valid", "& ~first"),
        (2, "& ~(read_valid & read.first)", ""),
        (2, "& ~(summed_valid & summed.first)", ""),
        (2, "& ~(spare_full & spare.first)", ""),
    ],
    indirect=["count_bits"],
)
def test_reach_with_a_fault(tmp_path, count_bits, old, new):
    faulty = planted(IndexGenerator, {old: new})
    proof = StaysWithinReach(faulty(CONFIG), count_bits, uops=2, hints=False)
    assert "within the reach" in fails(proof, tmp_path, depth=9)
