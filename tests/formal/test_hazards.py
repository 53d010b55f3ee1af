"""LOADs and loops of the compute module pass each other only where neither can notice.

`Hazards` and `AccGuard` with everything around them as free as the blocks there allow: any
instructions come to the head at any time, loops have any number of iterations, the pipeline takes
iterations and loaded tiles when it likes. By induction.

Assumed: `reach`, where it is known two cycles after the last loop came, covers all iterations that
are still to come and the one that the guard holds; no iteration has a fault.
"""

from __future__ import annotations

import pytest
from amaranth import *

from tests.formal.prover import SMALLEST, Proof, fails, planted, prove
from vta.hw.bus.payloads import COUNT_BITS
from vta.hw.compute.hazards import AccGuard, Hazards
from vta.hw.compute.index_generator import reach_layout
from vta.hw.issue.sequencer import IN_FLIGHT

CONFIG = SMALLEST.replace(hw_ver="0.0.2")

LOOPS = 6
"""Loops that may be open at once: more than the index generator can hold."""

AGE = 2
"""Cycles that a LOAD has been at the head before it is issued; the range check takes longer."""

OTHER, LOAD_UOP, LOAD_ACC, LOOP = range(4)
"""What an instruction is, as far as hazards go."""


def meets(begin: Value, end: Value, other_begin: Value, other_end: Value) -> Value:
    return (begin < other_end) & (other_begin < end)


def has_src(iteration):
    return iteration.context.is_alu & ~iteration.context.use_imm


class Front(Proof):
    """The compute module's front end around both blocks, with free instructions.

    The range of a LOAD must be right from the cycle before it is issued on. What the index
    generator says of `reach` is assumed.
    """

    def __init__(self, hazards: Hazards, guard: AccGuard, *, hints: bool) -> None:
        super().__init__(guard)
        self.hazards, self.hints = hazards, hints

    def properties(self, m: Module) -> None:
        self.hazards_block = self.add(m, self.hazards, "hazards")
        self._head(m)
        self._loops(m)
        self._loads(m)
        self._rules(m)

    def _head(self, m: Module) -> None:
        """The instruction at the head; a LOAD is there for some cycles before it is issued."""
        hazards, guard = self.hazards, self.dut
        self.valid, self.kind = Signal(), Signal(2)
        comes, arrives, kind = Signal(), self.free("arrives"), self.free("arriving_kind", 2)
        uops = [self.free(f"coming_{end}", len(hazards.coming_begin)) for end in ("begin", "end")]
        self.assume(m, (uops[0] < uops[1]) & (uops[1] <= CONFIG.uop_depth))
        self.issue, age = Signal(), Signal(2)
        self.loop_uops = Signal.like(uops[0]), Signal.like(uops[1])
        m.d.comb += [
            comes.eq(~self.valid | self.issue),
            self.issue.eq(self.valid & self.free("goes") & ~hazards.hinders),
        ]
        with m.If(comes):
            m.d.sync += [self.valid.eq(arrives), age.eq(0)]
            with m.If(arrives):
                m.d.sync += [
                    self.kind.eq(kind),
                    *(kept.eq(uop) for kept, uop in zip(self.loop_uops, uops, strict=True)),
                ]
        with m.Elif(age != 3):
            m.d.sync += age.eq(age + 1)
        self.begin, self.end = self.free("begin", COUNT_BITS), self.free("end", COUNT_BITS)
        earlier = Signal(2 * COUNT_BITS)
        m.d.sync += earlier.eq(Cat(self.begin, self.end))
        self.is_load = (self.kind == LOAD_UOP) | (self.kind == LOAD_ACC)
        self.assume(
            m,
            ~self.issue
            | ~self.is_load
            | (
                (age >= AGE)
                & (self.begin < self.end)
                & (self.end <= CONFIG.acc_depth)
                & (earlier == Cat(self.begin, self.end))
            ),
        )
        self.issues = [self.issue & (self.kind == kind) for kind in range(4)]
        m.d.comb += [
            hazards.load_uop.eq(self.kind == LOAD_UOP),
            hazards.load_acc.eq(self.kind == LOAD_ACC),
            hazards.loop.eq(self.kind == LOOP),
            hazards.issue.eq(self.issue),
            hazards.comes.eq(comes),
            hazards.coming_begin.eq(uops[0]),
            hazards.coming_end.eq(uops[1]),
            hazards.load_begin.eq(self.begin),
            hazards.load_end.eq(self.end),
            guard.load.eq(self.issues[LOAD_ACC]),
            guard.load_begin.eq(self.begin),
            guard.load_end.eq(self.end),
        ]

    def _loops(self, m: Module) -> None:
        """Loops that still have iterations to come, and the one whose iteration the guard holds.

        What is known of them is relative to one LOAD of ACC and to one loop, both arbitrary.
        """
        hazards, guard = self.hazards, self.dut
        iteration = guard.i.payload
        self.assume(m, self.held(m, guard.i.valid, guard.i.ready, iteration))
        self.assume(m, ~iteration.fault)
        self.enters = guard.i.valid & guard.i.ready
        ends = self.enters & iteration.last
        self.open = Signal(range(LOOPS + 2))
        m.d.sync += self.open.eq(self.open + self.issues[LOOP] - ends)
        self.assume(m, ~guard.i.valid | (self.open != 0))
        self.assume(m, ~self.issues[LOOP] | (self.open < LOOPS))
        self.always(m, self.open <= LOOPS, "sane: loops")
        m.d.comb += hazards.loops_busy.eq((self.open != 0) | guard.busy)

        # One loop: how many are open up to it.
        pick = self.free("pick_loop")
        self.loop, self.loop_upto = Signal(), Signal(range(LOOPS + 2))
        self.loop_range = Signal.like(self.loop_uops[0]), Signal.like(self.loop_uops[1])
        with m.If(self.issues[LOOP] & pick & ~self.loop):
            m.d.sync += [
                self.loop.eq(1),
                self.loop_upto.eq(self.open + 1 - ends),
                *(k.eq(u) for k, u in zip(self.loop_range, self.loop_uops, strict=True)),
            ]
        with m.Elif(self.loop & ends & (self.loop_upto != 0)):
            m.d.sync += self.loop_upto.eq(self.loop_upto - 1)

    def _loads(self, m: Module) -> None:
        """LOADs that are not finished, and one of each kind, arbitrary ones."""
        hazards, guard = self.hazards, self.dut
        iteration = guard.i.payload
        ends = self.enters & iteration.last
        done = {LOAD_UOP: self.free("load_uop_done"), LOAD_ACC: self.free("load_acc_done")}
        m.d.comb += [hazards.load_uop_done.eq(done[LOAD_UOP]), guard.load_done.eq(done[LOAD_ACC])]
        self.pending, self.picked, self.ahead, self.range, self.left = {}, {}, {}, {}, {}
        self.picks = {}
        for kind, name in ((LOAD_UOP, "uop"), (LOAD_ACC, "acc")):
            pending = Signal(range(IN_FLIGHT + 1), name=f"{name}_pending")
            picked, left = Signal(name=f"{name}_picked"), Signal(name=f"{name}_left")
            ahead = Signal(range(IN_FLIGHT + 1), name=f"{name}_ahead")
            begin, end = (Signal(4, name=f"{name}_{edge}") for edge in ("begin", "end"))
            self.assume(m, ~self.issues[kind] | (pending < IN_FLIGHT))
            self.assume(m, ~done[kind] | (pending != 0))
            m.d.sync += pending.eq(pending + self.issues[kind] - done[kind])
            picks = self.issues[kind] & self.free(f"pick_{name}") & ~picked
            with m.If(picks):
                m.d.sync += [
                    picked.eq(1),
                    ahead.eq(pending - done[kind]),
                    begin.eq(self.begin),
                    end.eq(self.end),
                ]
            with m.Elif(picked & done[kind] & ~left):
                m.d.sync += [ahead.eq(ahead - 1), left.eq(ahead == 0)]
            self.pending[kind], self.picked[kind], self.ahead[kind] = pending, picked, ahead
            self.range[kind], self.left[kind], self.picks[kind] = (begin, end), left, picks
        # Loops before the LOAD of ACC that are still open; whether the guard's iteration is of a
        # later one.
        self.before, self.younger = Signal(range(LOOPS + 2)), Signal()
        picks, picked = self.picks[LOAD_ACC], self.picked[LOAD_ACC]
        with m.If(picks):
            m.d.sync += self.before.eq(self.open - ends)
        with m.Elif(picked & ends & (self.before != 0)):
            m.d.sync += self.before.eq(self.before - 1)
        with m.If(self.enters):
            m.d.sync += self.younger.eq(picked & (self.before == 0))
        # What `reach` promised in the cycle before the LOAD was issued.
        issued = Signal()
        m.d.sync += issued.eq(self.issues[LOOP])
        now = hazards.reach
        reach, promised = Signal(reach_layout(CONFIG)), Signal()
        last_reach, fresh = Signal(reach_layout(CONFIG)), Signal()
        m.d.sync += [last_reach.eq(now), fresh.eq(now.known & ~issued & ~self.issues[LOOP])]
        with m.If(picks):
            m.d.sync += [reach.eq(last_reach), promised.eq(fresh)]
        held = guard.o.payload
        src = held.src[: CONFIG.log_acc_depth]

        def within(index, tiles):
            return (index >= tiles.first) & (index <= tiles.last)

        self.assume(
            m,
            ~(picked & promised & guard.busy & ~self.younger)
            | (
                within(held.dst, reach.dst)
                & (~has_src(held) | (reach.has_src & within(src, reach.src)))
            ),
        )
        self.reach, self.promised = reach, promised

    def _touches(self, iteration) -> Value:
        """The iteration touches a tile that the LOAD of ACC writes."""
        begin, end = self.range[LOAD_ACC]
        src = iteration.src[: CONFIG.log_acc_depth]
        return ((iteration.dst >= begin) & (iteration.dst < end)) | (
            has_src(iteration) & (src >= begin) & (src < end)
        )

    def _rules(self, m: Module) -> None:
        hazards, guard = self.hazards, self.dut
        goes = guard.o.valid & guard.o.ready
        picked, left = self.picked[LOAD_ACC], self.left[LOAD_ACC]
        touches = self._touches(guard.o.payload)
        self.always(
            m,
            ~(goes & picked & self.younger & touches) | left,
            "no iteration passes an older LOAD that writes one of its tiles",
        )
        self.always(
            m,
            ~(goes & picked & ~self.younger & touches),
            "no LOAD passes an older iteration that touches its tiles",
        )
        # Waiting. An instruction at the head is the youngest, so all that matters is that it waits
        # for nothing at all only where nothing is under way.
        stuck = guard.busy & ~guard.o.valid
        stops = Signal(2)
        m.d.sync += stops.eq(Cat(guard.stop, stops))
        recent = Signal(2)
        m.d.sync += recent.eq(Cat(self.issues[LOOP], recent))
        loops = hazards.loops_busy | recent.any()
        self.always(
            m,
            ~hazards.hinders
            | Mux(self.kind == LOOP, self.pending[LOAD_UOP] != 0, self.is_load & loops),
            "a LOAD waits for older loops only, a loop for older LOADs only",
        )
        # Micro-ops.
        loop_runs = self.loop & (self.loop_upto != 0)
        self.always(
            m,
            ~(self.issues[LOAD_UOP] & loop_runs) | ~meets(self.begin, self.end, *self.loop_range),
            "no LOAD writes micro-ops that an older loop still reads",
        )
        self.always(
            m,
            ~(self.issues[LOOP] & self.picked[LOAD_UOP] & ~self.left[LOAD_UOP])
            | ~meets(*self.range[LOAD_UOP], *self.loop_uops),
            "no loop reads micro-ops that an older LOAD still writes",
        )
        self._blame(m, stuck, stops)
        if self.hints:
            self._acc_invariants(m)
            self._uop_invariants(m)

    def _blame(self, m: Module, stuck: Value, stops: Value) -> None:
        """No iteration waits for a LOAD that is younger than it, nor without a reason."""
        guard = self.block
        met, running = self.inside(guard, "met"), self.inside(guard, "running")
        newest = self.inside(guard, "newest")
        picked, left = self.picked[LOAD_ACC], self.left[LOAD_ACC]
        self.slot = slot = Signal(range(IN_FLIGHT))
        with m.If(self.picks[LOAD_ACC]):
            m.d.sync += slot.eq(newest)
        under_way = picked & ~left
        self.always(
            m,
            ~(under_way & self.dut.busy & ~self.younger & met.bit_select(slot, 1)),
            "no iteration waits for a younger LOAD",
        )
        waited, entered = Signal(), Signal()
        m.d.sync += [waited.eq((met & running).any()), entered.eq(self.enters)]
        self.always(
            m,
            ~stuck | Mux(entered, met.any(), waited) | stops[0],
            "an iteration waits only while a LOAD that it met is under way",
        )

    def _acc_invariants(self, m: Module) -> None:
        """What holds inside about tiles, for the induction."""
        guard, inside = self.block, self.inside
        pending = self.pending[LOAD_ACC]
        running, met, held = (inside(guard, name) for name in ("running", "met", "held"))
        newest, oldest = inside(guard, "newest"), inside(guard, "oldest")
        for number in range(IN_FLIGHT):
            place = (number - oldest)[:3]
            self.always(m, running[number] == (place < pending), "inside: LOADs in their turn")
        self.always(m, pending <= IN_FLIGHT, "inside: LOADs pending")
        self.always(m, newest == (oldest + pending)[:3], "inside: the newest LOAD")
        picked, left, ahead = (kept[LOAD_ACC] for kept in (self.picked, self.left, self.ahead))
        begin, end = self.range[LOAD_ACC]
        slot = self.slot
        under_way = picked & ~left
        begins = Array(inside(guard, f"begin_{number}") for number in range(IN_FLIGHT))
        ends = Array(inside(guard, f"end_{number}") for number in range(IN_FLIGHT))
        self.always(
            m,
            ~under_way
            | (
                (ahead < pending)
                & (slot == (oldest + ahead)[:3])
                & (begins[slot] == begin)
                & (ends[slot] == end)
                & (begin < end)
            ),
            "inside: the LOAD in its place",
        )
        self.always(m, picked | ~left, "inside: a LOAD ends once")
        touches = self._touches(self.dut.o.payload)
        self.always(
            m,
            ~(under_way & self.dut.busy & self.younger & touches)
            | (met.bit_select(slot, 1) & held),
            "inside: the guard remembers what an iteration met",
        )
        self.always(m, ~(met.any() & ~held & (met & running).any()), "inside: held")
        older = (self.before != 0) | (self.dut.busy & ~self.younger)
        self.always(m, picked | ((self.before == 0) & ~self.younger), "inside: younger")
        self.always(m, ~picked | (self.before <= self.open), "inside: loops before")
        self.always(
            m, ~(picked & self.younger) | (self.before == 0), "inside: younger ones come last"
        )

        def apart(tiles):
            return (end <= tiles.first) | (begin > tiles.last)

        reach = self.reach
        self.always(
            m,
            ~(picked & older)
            | (self.promised & apart(reach.dst) & (~reach.has_src | apart(reach.src))),
            "inside: what the LOAD relied on",
        )

    def _uop_invariants(self, m: Module) -> None:
        """What holds inside about micro-ops."""
        hazards, inside = self.hazards_block, self.inside
        uop_loads = inside(hazards, "uop_loads")
        self.always(m, uop_loads == self.pending[LOAD_UOP], "inside: LOADs of UOP")
        self.always(m, uop_loads <= IN_FLIGHT, "inside: LOADs of UOP pending")
        self.always(m, inside(hazards, "writing") == (uop_loads != 0), "inside: UOP is written")
        picked, left, ahead = (kept[LOAD_UOP] for kept in (self.picked, self.left, self.ahead))
        begin, end = self.range[LOAD_UOP]
        self.always(m, picked | ~left, "inside: a LOAD of UOP ends once")
        writes = picked & ~left
        self.always(
            m,
            ~writes
            | (
                (ahead < uop_loads)
                & (inside(hazards, "written_begin") <= begin)
                & (inside(hazards, "written_end") >= end)
                & (begin < end)
            ),
            "inside: the LOAD of UOP is in the range",
        )
        runs = self.loop & (self.loop_upto != 0)
        self.always(m, ~runs | (self.loop_upto <= self.open), "inside: loops up to one")
        self.always(
            m,
            ~runs
            | (
                (inside(hazards, "read_begin") <= self.loop_range[0])
                & (inside(hazards, "read_end") >= self.loop_range[1])
                & (self.loop_range[0] < self.loop_range[1])
            ),
            "inside: the loop is in the range",
        )
        self.always(
            m,
            ~(self.valid & (self.kind == LOOP))
            | (
                (self.loop_uops[0] < self.loop_uops[1])
                & (inside(hazards, "loop_begin") == self.loop_uops[0])
                & (inside(hazards, "loop_end") == self.loop_uops[1])
                & (~(writes & meets(begin, end, *self.loop_uops)) | inside(hazards, "loop_meets"))
            ),
            "inside: what the loop at the head meets",
        )


def front(*, hazards=Hazards, guard=AccGuard, hints=True):
    return Front(hazards(CONFIG), guard(CONFIG), hints=hints)


def test_order(tmp_path):
    prove(front(), tmp_path, depth=4, induction=True)


PASSES_LOAD = "no iteration passes an older LOAD"
PASSES_LOOP = "no LOAD passes an older iteration"
YOUNGER = "no iteration waits for a younger LOAD"
OLDER_ONLY = "a LOAD waits for older loops only"
STILL_READS = "no LOAD writes micro-ops that an older loop still reads"
STILL_WRITES = "no loop reads micro-ops that an older LOAD still writes"


@pytest.mark.full
@pytest.mark.parametrize(
    ("kind", "old", "new", "property"),
    [
        (AccGuard, "(iteration.dst < end)", "(iteration.dst + 1 < end)", PASSES_LOAD),
        (AccGuard, "(has_src & (src >= begin)", "(has_src & (src > begin)", PASSES_LOAD),
        (AccGuard, "held & ((met & running).any()", "held & (met.all()", PASSES_LOAD),
        (AccGuard, "oldest.eq(oldest + self.load_done)", "oldest.eq(oldest + 1)", PASSES_LOAD),
        (AccGuard, "(iteration.dst >= begin)", "1", YOUNGER),
        (AccGuard, "met.eq(met & running)", "met.eq(met)", YOUNGER),
        (AccGuard, "met.eq(hits & running)", "met.eq(hits)", YOUNGER),
        (AccGuard, "held.eq(held & (", "held.eq(held | (", "waits only while"),
        (Hazards, "reach.known & self._apart", "self._apart", PASSES_LOOP),
        (Hazards, "(~reach.has_src | self._apart(reach.src))", "1", PASSES_LOOP),
        (Hazards, "(self.load_begin > tiles.last)", "(self.load_begin >= tiles.last)", PASSES_LOOP),
        (Hazards, "self.load_acc & loops_busy & ~apart", "self.load_acc & ~apart", OLDER_ONLY),
        (Hazards, "load_waits = loops_busy &", "load_waits = issued_loop.any() &", STILL_READS),
        (Hazards, "written.extended_meets(*coming)", "written.meets(*coming)", STILL_WRITES),
        (Hazards, "- self.load_uop_done", "- (self.load_uop_done & (uop_loads > 2))", OLDER_ONLY),
        (Hazards, "loop_waits = writing &", "loop_waits = (uop_loads > 1) &", STILL_WRITES),
    ],
)
def test_order_with_a_fault(tmp_path, monkeypatch, kind, old, new, property):
    # With few LOADs in flight, their places are soon used again.
    for module in ("vta.hw.compute.hazards", __name__):
        monkeypatch.setattr(f"{module}.IN_FLIGHT", 2)
    faulty = planted(kind, {old: new})
    proof = front(**{"hazards" if kind is Hazards else "guard": faulty}, hints=False)
    assert property in fails(proof, tmp_path, depth=14)
