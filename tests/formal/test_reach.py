"""What the index generator says of a loop's reach is right: later iterations stay within it.

Bounded: any jobs, one after the other, with counts of 2 or 4 bits instead of 14 and up to two
micro-ops; what is behind takes iterations when it likes. Without jobs that end in an error.
"""

from __future__ import annotations

import pytest
from amaranth import *

from tests.formal.prover import SMALLEST, Proof, fails, planted, prove
from vta.hw.compute.index_generator import IndexGenerator, iteration_layout, reach_layout
from vta.isa import UOP_BITS, Isa

CONFIG = SMALLEST.replace(hw_ver="0.0.2")

UOPS = 2
DEPTH = 9


def has_src(context: Value) -> Value:
    return context.is_alu & ~context.use_imm


class StaysWithinReach(Proof):
    """From any one cycle on in which the reach is known."""

    def __init__(self, dut: IndexGenerator, count_bits: int) -> None:
        super().__init__(dut)
        self.count_bits = count_bits

    def properties(self, m: Module) -> None:
        dut, job, iteration = self.dut, self.dut.job, self.dut.iteration
        uops = [self.constant(m, f"uop_{number}", UOP_BITS) for number in range(UOPS)]
        self._fetch(m, uops)
        self._assume_legal(m, uops)
        self.assume(m, ~iteration.valid | ~iteration.payload.fault)

        begins, taken = job.valid & job.ready, iteration.valid & iteration.ready
        ends = taken & iteration.payload.last
        left, recent = Signal(4), Signal()
        m.d.sync += [left.eq(left + begins - ends), recent.eq(begins)]
        # The guard behind may still hold the iteration that was taken last.
        newest, any_taken = Signal(iteration_layout(CONFIG)), Signal()
        with m.If(taken):
            m.d.sync += [newest.eq(iteration.payload), any_taken.eq(1)]
        snap = self.free("snap") & dut.reach.known & ~recent & ~begins
        reach, snapped, later = Signal(reach_layout(CONFIG)), Signal(), Signal(4)
        with m.If(snap & ~snapped):
            m.d.sync += [snapped.eq(1), reach.eq(dut.reach), later.eq(left - ends)]
        with m.Elif(ends & (later != 0)):
            m.d.sync += later.eq(later - 1)

        what = "an iteration stays within the reach"
        self.always(m, ~(snap & any_taken) | self._within(newest, dut.reach), what)
        self.always(m, ~(snap & taken) | self._within(iteration.payload, dut.reach), what)
        self.always(
            m, ~(snapped & (later != 0) & taken) | self._within(iteration.payload, reach), what
        )
        self.always(m, dut.busy == (left != 0), "busy while an iteration has not been taken")

    def _fetch(self, m: Module, uops: list[Signal]) -> None:
        """The UOP buffer: what is read does not change while a loop runs."""
        dut, read = self.dut, Signal(UOP_BITS)
        with m.If(dut.uop_en):
            m.d.sync += read.eq(Array(uops)[dut.uop_addr[:1]])
        m.d.comb += dut.uop_data.eq(read)

    def _assume_legal(self, m: Module, uops: list[Signal]) -> None:
        """A job has iterations, and its ACC indices are in range."""
        job = self.dut.job.payload
        self.assume(m, (job.iter_out != 0) & (job.iter_in != 0))
        self.assume(m, (job.uop_bgn < job.uop_end) & (job.uop_end <= UOPS))
        spans = {
            name: (job.iter_out - 1)[: self.count_bits] * job[f"{name}_factor_out"]
            + (job.iter_in - 1)[: self.count_bits] * job[f"{name}_factor_in"]
            for name in ("dst", "src")
        }
        for number, uop in enumerate(uops):
            fields = Isa(CONFIG).uop.layout(uop)
            used = (job.uop_bgn <= number) & (number < job.uop_end)
            self.assume(m, ~used | (fields.dst_idx + spans["dst"] < CONFIG.acc_depth))
            self.assume(
                m,
                ~(used & has_src(job.context)) | (fields.src_idx + spans["src"] < CONFIG.acc_depth),
            )

    def _within(self, iteration, reach) -> Value:
        def between(index, tiles):
            return (index >= tiles.first) & (index <= tiles.last)

        src = iteration.src[: CONFIG.log_acc_depth]
        return between(iteration.dst, reach.dst) & (
            ~has_src(iteration.context) | (reach.has_src & between(src, reach.src))
        )


@pytest.fixture
def count_bits(request, monkeypatch):
    """Counts have so few bits that a loop's reach is known early."""
    monkeypatch.setattr("vta.hw.compute.index_generator.LOOP_BITS", request.param)
    return request.param


@pytest.mark.parametrize(
    ("count_bits", "depth"),
    [(2, 8), *(pytest.param(bits, DEPTH, marks=pytest.mark.full) for bits in (2, 4))],
    indirect=["count_bits"],
)
def test_reach(tmp_path, count_bits, depth):
    prove(StaysWithinReach(IndexGenerator(CONFIG), count_bits), tmp_path, depth=depth)


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
    proof = StaysWithinReach(faulty(CONFIG), count_bits)
    assert "within the reach" in fails(proof, tmp_path, depth=DEPTH)
