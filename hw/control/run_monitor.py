"""Detects how a run ends: done, an error, a deadlock, or a memory that never answers."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from vta.hw.bus.payloads import INDEX_BITS, Status
from vta.isa import Cause, ModuleId

__all__ = ["RunMonitor", "HaltReport"]

STABLE_CYCLES = 6
"""Whatever travels from one module to another shows in one of them within fewer cycles."""

EXECUTORS = (ModuleId.LOAD, ModuleId.COMPUTE, ModuleId.STORE)


class HaltReport(data.Struct):
    """Why a run was halted."""

    cause: 4
    module: 2
    index: INDEX_BITS


class RunMonitor(wiring.Component):
    """Watches the modules of a running machine.

    The run is over when no module has been able to move for a few cycles. It ends with the error of
    the lowest instruction if a module has stopped; else with a deadlock at the lowest waiting
    instruction if a module waits; else with `done` if FINISH was dispatched; else with `NO_FINISH`.

    Members
    -------
    running : In(1)
    load_status, compute_status, store_status : In(Status)
    settled : In(3)
        Per executor: it holds nothing, waits for a neighbour, or has stopped.
    fetch_settled : In(1)
        Fetch has finished, or its next instruction's queue is full.
    fetch_finished : In(1)
        It has seen FINISH.
    fetch_cause : In(4)
    fetch_index : In(32)
    bus_quiet : In(1)
        Nothing is outstanding.
    progress : In(1)
        Something moved in this cycle.
    watchdog : In(32)
        Cycles without progress that are a timeout; 0 for never.
    done : Out(1)
        Pulses when the run ends without an error.
    halt : Out(1)
        Pulses when it ends with one.
    verdict : Out(HaltReport)
        With `halt`.

    Source: docs/isa.md, "FINISH" and "Errors".
    """

    running: In(1)
    load_status: In(Status)
    compute_status: In(Status)
    store_status: In(Status)
    settled: In(3)
    fetch_settled: In(1)
    fetch_finished: In(1)
    fetch_cause: In(4)
    fetch_index: In(INDEX_BITS)
    bus_quiet: In(1)
    progress: In(1)
    watchdog: In(32)
    done: Out(1)
    halt: Out(1)
    verdict: Out(HaltReport)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Both depend on the whole core, so they are registered; a cycle later is soon enough.
        still, progress = Signal(), Signal()
        m.d.sync += [
            still.eq(self.running & self.settled.all() & self.fetch_settled & self.bus_quiet),
            progress.eq(self.progress),
        ]
        age = Signal(range(STABLE_CYCLES + 1))
        over = Signal()
        m.d.comb += over.eq(self.running & (age == STABLE_CYCLES))
        with m.If(~still):
            m.d.sync += age.eq(0)
        with m.Elif(~over):
            m.d.sync += age.eq(age + 1)

        quiet_for = Signal(32)
        with m.If(~self.running | progress):
            m.d.sync += quiet_for.eq(0)
        with m.Else():
            m.d.sync += quiet_for.eq(quiet_for + 1)
        timeout = Signal()
        m.d.comb += timeout.eq(
            self.running & (self.watchdog != 0) & ~still & (quiet_for >= self.watchdog)
        )

        lowest = self._find_lowest(m, timeout)
        timed_out = Signal(3)
        m.d.sync += timed_out.eq(Cat(timeout, timed_out))

        with m.If(lowest.valid):
            m.d.comb += self.verdict.eq(lowest.verdict)
        with m.Else():
            # No module is late: memory did not answer what fetch reads beyond FINISH.
            m.d.comb += [
                self.verdict.cause.eq(Mux(over, Cause.NO_FINISH, Cause.TIMEOUT)),
                self.verdict.module.eq(ModuleId.FETCH),
                self.verdict.index.eq(self.fetch_index),
            ]
        good = over & ~lowest.valid & self.fetch_finished
        m.d.comb += [
            self.done.eq(good),
            self.halt.eq((over & ~good) | (self.running & timed_out.all())),
        ]
        return m

    def _find_lowest(self, m: Module, timeout: Signal) -> Signal:
        """The module whose report counts: the one with the lowest instruction index.

        The modules with an error report; if there is none, those that wait for a token; on a
        timeout, those that have not finished. Finding the lowest index takes two cycles, and
        everything has been still for longer by then.
        """
        statuses = [self.load_status, self.compute_status, self.store_status]
        causes = [self.fetch_cause, *(status.cause for status in statuses)]
        indices = [self.fetch_index, *(status.index for status in statuses)]
        waits = [
            Const(0),
            *(
                status.pop_prev | status.pop_next | status.push_prev | status.push_next
                for status in statuses
            ),
        ]
        unfinished = [~self.fetch_settled, *(~settled for settled in self.settled)]
        any_error = Cat(cause != 0 for cause in causes).any()
        candidate = data.StructLayout({"valid": 1, "verdict": HaltReport})
        entrants = []
        for who, cause, index, wait, late in zip(
            ModuleId, causes, indices, waits, unfinished, strict=True
        ):
            entrant = Signal(candidate, name=f"entrant_{who.name.lower()}")
            m.d.comb += [
                entrant.valid.eq(Mux(timeout, late | wait, Mux(any_error, cause != 0, wait))),
                entrant.verdict.cause.eq(
                    Mux(timeout, Cause.TIMEOUT, Mux(any_error, cause, Cause.DEADLOCK))
                ),
                entrant.verdict.module.eq(who),
                entrant.verdict.index.eq(index),
            ]
            entrants.append(entrant)
        while len(entrants) > 1:
            winners: list[Signal] = []
            for first, second in zip(entrants[::2], entrants[1::2], strict=True):
                winner = Signal(candidate, name=f"winner_{len(entrants)}_{len(winners)}")
                takes_second = second.valid & (
                    ~first.valid | (second.verdict.index < first.verdict.index)
                )
                m.d.sync += winner.eq(Mux(takes_second, second.as_value(), first.as_value()))
                winners.append(winner)
            entrants = winners
        return entrants[0]
