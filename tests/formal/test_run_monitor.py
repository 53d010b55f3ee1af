"""The monitor ends a run only after all was settled for long enough, with the right report.

By induction, about the monitor alone. `test_settled.py` is about what "settled" means.
"""

from __future__ import annotations

import pytest
from amaranth import *

from tests.formal.prover import Proof, fails, planted, prove
from vta.hw.control.run_monitor import STABLE_CYCLES, RunMonitor
from vta.isa import Cause, ModuleId


class EndsRuns(Proof):
    def __init__(self, dut, *, hints: bool = True) -> None:
        super().__init__(dut)
        self.hints = hints

    def properties(self, m: Module) -> None:
        dut = self.dut
        still = dut.running & dut.settled.all() & dut.fetch_settled & dut.bus_quiet
        # What is reported stays the same while nothing moves.
        reported = Cat(
            *(getattr(dut, f"{module}_status") for module in ("load", "compute", "store")),
            dut.fetch_finished,
            dut.fetch_cause,
            dut.fetch_index,
        )
        was_still, shown = Signal(), Signal.like(reported)
        m.d.sync += [was_still.eq(still), shown.eq(reported)]
        self.assume(m, ~(was_still & still) | (shown == reported))
        # Cycles without a break in which all was settled, up to the one before the last.
        settled, before = Signal(range(STABLE_CYCLES + 1)), Signal(range(STABLE_CYCLES + 1))
        with m.If(~still):
            m.d.sync += settled.eq(0)
        with m.Elif(settled != STABLE_CYCLES):
            m.d.sync += settled.eq(settled + 1)
        m.d.sync += before.eq(settled)
        over = before == STABLE_CYCLES
        # Cycles without progress, up to the one before the last.
        watchdog = self.constant(m, "watchdog_value", 32)
        self.assume(m, dut.watchdog == watchdog)
        # The cycle before the first one counts.
        idle, idle_before, late = Signal(33, init=1), Signal(33), Signal()
        with m.If(dut.progress):
            m.d.sync += idle.eq(0)
        with m.Elif(~idle.all()):
            m.d.sync += idle.eq(idle + 1)
        m.d.sync += [idle_before.eq(idle), late.eq((watchdog != 0) & (idle_before >= watchdog))]

        ran = Signal()
        m.d.sync += ran.eq(dut.running)

        ends = dut.done | dut.halt
        self.always(m, ~ends | dut.running, "only a run ends")
        self.always(m, ~(dut.done & dut.halt), "it ends in one way")
        self.always(m, ~dut.done | over, "done only after all was settled for long enough")
        self.always(
            m, ~dut.halt | over | late, "halted only when settled, or after the time that was set"
        )
        self.always(m, ~(over & ran & dut.running) | ends, "what is settled for long enough ends")
        self._verdict(m, over & ends & still & was_still)
        if self.hints:
            age, quiet_for = (self.inside(self.block, name) for name in ("age", "quiet_for"))
            self.always(m, ~ran | (age == before), "inside: cycles settled")
            self.always(m, quiet_for <= idle_before, "inside: cycles without progress")

    def _verdict(self, m: Module, ends: Value) -> None:
        """The report of a run that is over: the error, or else the wait, with the lowest index."""
        dut, verdict = self.dut, self.dut.verdict
        statuses = [dut.load_status, dut.compute_status, dut.store_status]
        causes = [dut.fetch_cause, *(status.cause for status in statuses)]
        indices = [dut.fetch_index, *(status.index for status in statuses)]
        waits = [
            C(0),
            *(
                status.pop_prev | status.pop_next | status.push_prev | status.push_next
                for status in statuses
            ),
        ]
        failed = Cat(cause != 0 for cause in causes).any()
        counts = [Mux(failed, cause != 0, wait) for cause, wait in zip(causes, waits, strict=True)]
        right = [
            count
            & (verdict.module == module)
            & (verdict.index == index)
            & (verdict.cause == Mux(failed, cause, Cause.DEADLOCK))
            for module, count, index, cause in zip(ModuleId, counts, indices, causes, strict=True)
        ]
        lowest = [
            ~count | (verdict.index <= index) for count, index in zip(counts, indices, strict=True)
        ]
        any_counts = Cat(counts).any()
        self.always(
            m,
            ~(ends & any_counts) | (dut.halt & Cat(right).any() & Cat(lowest).all()),
            "reports the lowest instruction with an error, or else that waits",
        )
        self.always(
            m,
            ~(ends & ~any_counts)
            | Mux(
                dut.fetch_finished,
                dut.done,
                dut.halt & (verdict.cause == Cause.NO_FINISH) & (verdict.index == dut.fetch_index),
            ),
            "done after FINISH, an error without",
        )


def test_runs_end(tmp_path):
    prove(EndsRuns(RunMonitor()), tmp_path, depth=5, induction=True)


@pytest.mark.full
@pytest.mark.parametrize(
    ("old", "new", "property"),
    [
        ("age == STABLE_CYCLES)", "age == STABLE_CYCLES - 1)", "halted only when settled"),
        ("self.settled.all()", "self.settled.any()", "halted only when settled"),
        ("with m.If(~still):", "with m.If(~self.running):", "halted only when settled"),
        ("~self.running | progress", "~self.running", "after the time that was set"),
        ("(self.watchdog != 0) &", "", "after the time that was set"),
        ("second.verdict.index < first", "second.verdict.index > first", "lowest"),
        ("~lowest.valid & self.fetch_finished", "self.fetch_finished", "lowest"),
        (
            "good = over & ~lowest.valid & self.fetch_finished",
            "good = over & ~lowest.valid",
            "FINISH",
        ),
    ],
)
def test_runs_end_with_a_fault(tmp_path, old, new, property):
    faulty = planted(RunMonitor, {old: new})
    assert property in fails(EndsRuns(faulty(), hints=False), tmp_path, depth=14)
