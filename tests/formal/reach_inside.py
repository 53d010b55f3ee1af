"""Where the job is inside the index generator whose reach is proved, and what is known of it there.

From the oldest to the youngest, jobs are in `spare`, `summed`, `read` (iterations on their way),
in the loops, and in the queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from amaranth import *

if TYPE_CHECKING:
    from tests.formal.test_reach import StaysWithinReach

NAMES = ("dst", "src")

QUEUED = 2
"""Jobs that the queue holds."""


@dataclass
class Stage:
    """A place for an iteration. Of what is in it: whether it is of the job that is followed or of a
    younger one, its micro-op's number, and whether it is of the job's first pass."""

    valid: Value
    item: Any
    its: Signal
    younger: Signal
    uop: Signal
    first_pass: Signal

    @property
    def tags(self) -> Value:
        return Cat(self.its, self.younger, self.uop, self.first_pass)


class SaysWhatIsInside:
    """The hints of `StaysWithinReach`."""

    def __init__(self, proof: StaysWithinReach, m: Module) -> None:
        self.proof, self.m = proof, m
        self.jobs, self.loops = self.inside("jobs"), self.inside("loops")
        self.active, self.moves = self.inside("active"), self.inside("moves")
        self.begins, self.leaves = self.inside("begins"), self.inside("leaves")
        # Where the job is: in the queue (at `place`), in the loops, or past them.
        self.waits, self.runs, self.passed = (
            Signal(name=name) for name in ("waits", "runs", "passed")
        )
        self.place = Signal(range(QUEUED), name="place")
        # Micro-ops below this one have left the last stage in the first pass, or are not the job's.
        self.covered = Signal.like(self.loops.uop, name="covered")
        self.first_has_left = proof.chosen & (self.covered > proof.followed.uop_bgn)
        self.stages = {
            name: Stage(
                self.inside(valid),
                self.inside(item),
                Signal(name=f"{name}_its"),
                Signal(name=f"{name}_younger"),
                Signal.like(self.loops.uop, name=f"{name}_uop"),
                Signal(name=f"{name}_first_pass"),
            )
            for name, valid, item in (
                ("read", "read_valid", "read"),
                # Its indices with the bits that say that they are out of range.
                ("summed", "summed_valid", "_add_up.sums"),
                ("spare", "spare_full", "spare"),
            )
        }

    def inside(self, *path: str) -> Any:
        return self.proof.inside(self.proof.block, *path)

    def hint(self, holds: Any, what: str) -> None:
        self.proof.always(self.m, holds, f"inside: {what}")

    def say(self, said: Value) -> None:
        self._follow()
        self._queue()
        self._chain()
        self._loops()
        self._spans()
        self._iterations()
        self._extremes()
        self._known(said)

    def _follow(self) -> None:
        """The job's way, and that of its iterations."""
        m, proof, jobs = self.m, self.proof, self.jobs
        pops = jobs.o.valid & self.begins
        read, summed, spare = (self.stages[name] for name in ("read", "summed", "spare"))
        with m.If(self.runs & self.begins):
            m.d.sync += [self.runs.eq(0), self.passed.eq(1)]
        with m.If(proof.chooses):
            direct = self.begins & ~jobs.o.valid
            m.d.sync += [
                self.runs.eq(direct),
                self.waits.eq(~direct),
                self.place.eq(jobs.level - pops),
                self.covered.eq(proof.dut.job.payload.uop_bgn),
            ]
        with m.Elif(self.waits & pops):
            m.d.sync += [
                self.waits.eq(self.place != 0),
                self.runs.eq(self.place == 0),
                self.place.eq(0),
            ]
        with m.If(self.moves):
            m.d.sync += [
                read.its.eq(self.runs),
                read.younger.eq(self.passed),
                read.uop.eq(self.loops.uop),
                read.first_pass.eq(~self.loops.passes),
                summed.tags.eq(read.tags),
            ]
        with m.If(~spare.valid):
            m.d.sync += spare.tags.eq(summed.tags)
        with m.If(self.leaves & summed.its & summed.first_pass):
            m.d.sync += self.covered.eq(self.covered + 1)

    def _queue(self) -> None:
        proof, jobs = self.proof, self.jobs
        consume, produce = (self.inside("jobs", "fifo", name) for name in ("consume", "produce"))
        self.hint(jobs.level <= QUEUED, "jobs in the queue")
        self.hint(produce == (consume + jobs.level)[: len(produce)], "the queue's ends")
        kept = proof.stored(
            self.m,
            proof.block,
            "jobs",
            "fifo",
            "storage",
            addr=(consume + self.place)[: len(consume)],
        )
        self.hint(
            ~self.waits | ((self.place < jobs.level) & (kept == proof.followed.as_value())),
            "the job waits in its place",
        )
        self.hint(
            Cat(self.waits, self.runs, self.passed).any() == proof.chosen, "the job is somewhere"
        )
        self.hint(self.waits + self.runs + self.passed < 2, "the job is in one place")
        self.hint(~self.runs | self.active, "a loop that runs is active")
        self.hint(
            ~self.runs | (self.loops.loop.as_value() == proof.followed.as_value()),
            "it is the job's",
        )
        self.hint(~proof.chosen | proof.legal(proof.followed), "the job is legal")
        self.hint(proof.chosen | ~(proof.youngest | proof.over), "it has come")
        is_last = jobs.level - self.place == 1
        self.hint(
            ~proof.youngest
            | Mux(self.waits, is_last, (jobs.level == 0) & (self.runs | ~self.active)),
            "nothing is younger than the youngest",
        )
        behind = Cat(stage.valid & stage.younger for stage in self.stages.values()).any()
        self.hint(~(proof.youngest & behind), "no iteration of a younger job")

    def _chain(self) -> None:
        """Iterations of a job follow each other, and jobs too."""
        proof, m = self.proof, self.m
        order = [self.stages[name] for name in ("spare", "summed", "read")]
        before_loops = self.active & ~self.runs & ~self.passed
        for number, stage in enumerate(order):
            its, younger, valid = Signal(), Signal(), Signal()
            m.d.comb += [its.eq(self.runs), younger.eq(self.passed), valid.eq(self.active)]
            for other in reversed(order[number + 1 :]):
                with m.If(other.valid):
                    m.d.comb += [its.eq(other.its), younger.eq(other.younger), valid.eq(1)]
            same = valid & (its == stage.its) & (younger == stage.younger)
            later = ~valid | Mux(stage.its | stage.younger, younger & ~its, ~younger)
            self.hint(
                ~stage.valid | Mux(stage.item.last, later, same), "iterations follow each other"
            )
            self.hint(~stage.valid | ~(stage.its & stage.younger), "an iteration has one job")
            self.hint(~(stage.valid & stage.its) | self.runs | self.passed, "the job has begun")
            self.hint(~(stage.valid & stage.its & stage.item.last) | self.passed, "it has ended")
            self.hint(~(stage.valid & stage.younger) | self.passed, "it has ended before")
        lasts = [stage.valid & stage.item.last for stage in order]
        self.hint(proof.left == self.jobs.level + self.active + sum(lasts), "jobs that are inside")
        older = [stage.valid & stage.item.last & ~stage.its & ~stage.younger for stage in order]
        self.hint(
            ~proof.chosen
            | proof.over
            | (proof.ahead == sum(older) + before_loops + Mux(self.waits, self.place, 0)),
            "jobs that are ahead",
        )
        ending = Cat(stage.valid & stage.its & stage.item.last for stage in order).any()
        self.hint(
            proof.over == (self.passed & ~ending), "the job is over when its last iteration is out"
        )
        self.hint(
            ~proof.over | ~Cat(stage.valid & stage.its for stage in order).any(), "nothing is left"
        )

    def _loops(self) -> None:
        """The loops count, and offsets are products."""
        job, loops = self.proof.followed, self.loops
        outer, inner = loops._out_left, loops._in_left
        holds = [
            (loops.uop >= job.uop_bgn) & (loops.uop < job.uop_end),
            loops.uop_last == (loops.uop + 1 == job.uop_end),
            loops._only_uop == (job.uop_bgn + 1 == job.uop_end),
            loops._only_in == (job.iter_in == 1),
            (inner != 0) & (inner <= job.iter_in) & (loops._in_last == (inner == 1)),
            (outer != 0) & (outer <= job.iter_out) & (loops._out_last == (outer == 1)),
            loops.passes | ((inner == job.iter_in) & (outer == job.iter_out)),
            loops.first == (~loops.passes & (loops.uop == job.uop_bgn)),
        ]
        for name in NAMES:
            offset = loops.offsets[name]
            done_outer = (job.iter_out - outer)[: len(outer)] * job[f"{name}_factor_out"]
            done_inner = (job.iter_in - inner)[: len(inner)] * job[f"{name}_factor_in"]
            right = (offset.outer == done_outer) & (offset.total == done_outer + done_inner)
            holds.append(right | ~self._counts(name))
        self.hint(~self.runs | Cat(holds).all(), "the loops' state")

    def _counts(self, name: str) -> Value:
        """Whether the job uses indices of this name."""
        return C(1) if name == "dst" else self.proof.has_src(self.proof.followed.context)

    def _spans(self) -> None:
        """Each span is worked out from the counts' highest bit down."""
        job, bits = self.proof.followed, self.proof.count_bits
        left = self.inside("_follow_reach.bits_left")
        outer, inner = ((count - 1)[:bits] for count in (job.iter_out, job.iter_in))
        self.hint(left <= bits, "bits that are left")
        for name, count in (("outer", outer), ("inner", inner)):
            register = self.inside(f"_follow_reach.{name}")
            self.hint(
                ~self.runs | (register == (count << (bits - left)[: len(left)])[:bits]),
                "bits in turn",
            )
        for name in NAMES:
            total = self.inside("_follow_reach.spans")[name].total
            expected = (outer >> left) * job[f"{name}_factor_out"] + (inner >> left) * job[
                f"{name}_factor_in"
            ]
            self.hint(
                ~self.runs | ~self._counts(name) | (total == expected[: len(total)]),
                "a span so far",
            )

    def _iterations(self) -> None:
        """What is known of an iteration of the job, wherever it is."""
        proof, job = self.proof, self.proof.followed
        for where, stage in self.stages.items():
            item = stage.item
            holds = [
                item.context.as_value() == job.context.as_value(),
                (stage.uop >= job.uop_bgn) & (stage.uop < job.uop_end),
                item.seen == (~stage.first_pass | (stage.uop + 1 == job.uop_end)),
                item.first == (stage.first_pass & (stage.uop == job.uop_bgn)),
            ]
            if where == "read":
                holds.append(proof.fetched == proof.uop(stage.uop))
            for name in NAMES:
                span = proof.span(job, name)
                start = proof.fields(proof.uop(stage.uop))[f"{name}_idx"]
                offset = item[name] if where == "read" else item[name] - start
                fits = (offset >= 0) & (offset <= span) & (~stage.first_pass | (offset == 0))
                holds.append(fits | ~self._counts(name))
            self.hint(~(stage.valid & stage.its) | Cat(holds).all(), f"an iteration in {where}")
        newest = proof.newest
        holds = [newest.context.as_value() == job.context.as_value()]
        for name in NAMES:
            fits = Cat(
                proof.uses(job, number)
                & (newest[name] >= proof.fields(uop)[f"{name}_idx"])
                & (newest[name] <= proof.fields(uop)[f"{name}_idx"] + proof.span(job, name))
                for number, uop in enumerate(proof.uops)
            ).any()
            holds.append(fits | ~self._counts(name))
        self.hint(~proof.newest_is_its | self.first_has_left, "the first iteration came before")
        self.hint(~proof.newest_is_its | Cat(holds).all(), "the iteration that was taken last")

    def _extremes(self) -> None:
        """The lowest and the highest index of the micro-ops that have left."""
        proof, job = self.proof, self.proof.followed
        read, summed = self.stages["read"], self.stages["summed"]
        on_their_way = sum(stage.valid & stage.its & stage.first_pass for stage in (read, summed))
        up_to = Mux(
            self.waits,
            job.uop_bgn,
            Mux(self.runs & ~self.loops.passes, self.loops.uop, job.uop_end),
        )
        self.hint(~proof.chosen | (self.covered + on_their_way == up_to), "micro-ops on their way")
        self.hint(
            ~(summed.valid & summed.its & summed.first_pass) | (summed.uop == self.covered),
            "the next micro-op",
        )
        self.hint(
            ~(read.valid & read.its & read.first_pass)
            | (read.uop == self.covered + (summed.valid & summed.its & summed.first_pass)),
            "the one after it",
        )
        self.hint(
            ~(summed.valid & summed.its & ~summed.first_pass) | (self.covered == job.uop_end),
            "a later pass follows the first",
        )
        self.hint(
            ~(read.valid & read.its & ~read.first_pass) | (up_to == job.uop_end),
            "a later pass follows the first in the loops",
        )
        spare = self.stages["spare"]
        self.hint(
            ~(spare.valid & spare.its)
            | (self.first_has_left & (~spare.first_pass | (spare.uop + 1 == self.covered))),
            "what waits has left the last stage",
        )
        seen = self.inside("_follow_reach.seen")
        # They hold until a younger job's first iteration leaves: that starts the extremes anew.
        others = Signal(name="younger_has_left")
        with self.m.If(self.leaves & summed.younger):
            self.m.d.sync += others.eq(1)
        self.hint(~others | (self.passed & ~proof.youngest), "a younger job's have left")
        counts = self.first_has_left & ~others
        self.hint(~counts | (seen == (self.covered == job.uop_end)), "all have been seen")
        for name in NAMES:
            lowest, highest = self.inside(f"{name}_min"), self.inside(f"{name}_max")
            for number, uop in enumerate(proof.uops):
                index = proof.fields(uop)[f"{name}_idx"]
                has_left = proof.uses(job, number) & (number < self.covered)
                self.hint(
                    ~(counts & has_left & self._counts(name))
                    | ((lowest <= index) & (index <= highest)),
                    "an extreme",
                )
            self.hint(
                ~(counts & self._counts(name))
                | Cat(
                    proof.uses(job, number) & (highest == proof.fields(uop)[f"{name}_idx"])
                    for number, uop in enumerate(proof.uops)
                ).any(),
                "the highest is one of them",
            )
        # Once the first iteration has left, nothing older is there.
        for stage in self.stages.values():
            self.hint(
                ~(self.first_has_left & stage.valid) | stage.its | stage.younger,
                "nothing older is left",
            )
        first_waits = spare.valid & spare.its & spare.item.first
        self.hint(
            ~(proof.youngest & self.first_has_left) | first_waits | proof.newest_is_its,
            "an iteration has been taken",
        )

    def _known(self, said: Value) -> None:
        """What makes the reach right from the cycle on in which it is known."""
        proof, job = self.proof, self.proof.followed
        for condition, reach in ((said, proof.dut.reach), (proof.kept, proof.reach)):
            holds = [reach.has_src == proof.has_src(job.context)]
            for name in NAMES:
                for number, uop in enumerate(proof.uops):
                    index = proof.fields(uop)[f"{name}_idx"]
                    within = (reach[name].first <= index) & (
                        index + proof.span(job, name) <= reach[name].last
                    )
                    holds.append(within | ~proof.uses(job, number) | ~self._counts(name))
            self.hint(~condition | Cat(holds).all(), "the reach of all its micro-ops")
        self.hint(~proof.kept | proof.chosen, "kept of a job")
        self.hint(~said | (self.covered == job.uop_end), "all its micro-ops have been seen")
