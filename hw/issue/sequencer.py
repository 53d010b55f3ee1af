"""In-order issue and retirement: what load, compute and store have in common."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from vta.hw.bus.payloads import COUNT_BITS, INDEX_BITS, QueuedInsn, Status, TokenBits
from vta.hw.bus.streams import Queue
from vta.isa import MEMORY_TYPE_BITS, Cause

__all__ = ["IN_FLIGHT", "ModuleSignature", "Retired", "Sequencer"]

IN_FLIGHT = 8
"""Instructions that a module may have issued and not yet retired."""


class Retired(data.Struct):
    """What an instruction that retires has moved, for the counters."""

    kind: MEMORY_TYPE_BITS
    moved: COUNT_BITS


class ModuleSignature(wiring.Signature):
    """How load, compute and store face the rest of the core.

    Members, from the module's side
    -------------------------------
    insn : In(stream of QueuedInsn)
    available, full : In(TokenBits)
        `pop_*` of `available`: a token is there. `push_*` of `full`: no room for one.
    moves : Out(TokenBits)
        Pulses that pop and push tokens.
    issue : Out(1)
        An instruction's tokens are popped.
    retire : Out(1)
    retired : Out(Retired)
        With `retire`.
    status : Out(Status)
    idle : Out(1)
        Nothing is held or in flight.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "insn": In(stream.Signature(QueuedInsn)),
                "available": In(TokenBits),
                "full": In(TokenBits),
                "moves": Out(TokenBits),
                "issue": Out(1),
                "retire": Out(1),
                "retired": Out(Retired),
                "status": Out(Status),
                "idle": Out(1),
            }
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModuleSignature)

    def __repr__(self) -> str:
        return "ModuleSignature()"


class Sequencer(wiring.Component):
    """Takes a module's instructions in order, waits for tokens, and retires them in order.

    An instruction stays at `head` until it is checked, its tokens are there and it is not
    `hindered`; `issue` then hands it to one of the module's units. Units finish their own
    instructions in order; an instruction retires, and pushes its tokens, when it is the oldest
    and its unit has finished it. A module that meets an error stops: nothing more is issued or
    retired.

    Parameters
    ----------
    units : int
        Units that execute instructions. Unit number `units` means none: such an instruction is
        finished as soon as it is issued.
    check_latency : int
        Cycles that the checks of `head` take.

    Members
    -------
    port : Out(ModuleSignature)
    head : Out(QueuedInsn)
    head_valid : Out(1)
    quick : In(1)
        The instruction that comes on `port` needs no checks that take time.
    cause : In(4)
        A static error of `head`, found before it waits for any token. Like `unit`, `tokens` and
        `moved` it must be valid `check_latency` cycles after `head` changed, or at once if it was
        `quick`.
    faulty : In(1)
        `cause` is not `NONE`. Much depends on it, so it comes from where it is known early.
    tokens : In(TokenBits)
        The token bits of `head`.
    unit : In(range(units + 1))
    moved : In(Retired)
        What to report when `head` retires.
    hindered : In(1)
        `head` must not be issued yet (a hazard, or its unit has no room).
    done : In(units)
        Per unit, pulses when it finishes its oldest instruction.
    failed : In(4 bits per unit)
        With `done`: the cause with which it failed, or 0.
    """

    def __init__(self, *, units: int, check_latency: int) -> None:
        self._units, self._check_latency = units, check_latency
        super().__init__(
            {
                "port": Out(ModuleSignature()),
                "head": Out(QueuedInsn),
                "head_valid": Out(1),
                "quick": In(1),
                "cause": In(4),
                "faulty": In(1),
                "tokens": In(TokenBits),
                "unit": In(range(units + 1)),
                "moved": In(Retired),
                "hindered": In(1),
                "done": In(units),
                "failed": In(data.ArrayLayout(4, units)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        port = self.port
        entry_layout = data.StructLayout(
            {
                "unit": self._units + 1,
                "push_prev": 1,
                "push_next": 1,
                "index": INDEX_BITS,
                "moved": Retired,
            }
        )
        m.submodules.flight = flight = Queue(entry_layout, IN_FLIGHT)
        stopped, cause, index = Signal(), Signal(4), Signal(INDEX_BITS)
        ready = Signal()
        m.d.comb += ready.eq(self._hold_head(m) & ~stopped)

        m.d.sync += Assert(
            ~ready | (self.faulty == (self.cause != Cause.NONE)),
            "an instruction must be faulty if, and only if, it has a cause",
        )

        # Issue.
        lacks_prev = self.tokens.pop_prev & ~port.available.pop_prev
        lacks_next = self.tokens.pop_next & ~port.available.pop_next
        m.d.comb += [
            port.issue.eq(
                ready & ~self.faulty & ~lacks_prev & ~lacks_next & ~self.hindered & flight.i.ready
            ),
            port.moves.pop_prev.eq(port.issue & self.tokens.pop_prev),
            port.moves.pop_next.eq(port.issue & self.tokens.pop_next),
            flight.i.valid.eq(port.issue),
            flight.i.payload.unit.eq(1 << self.unit),
            flight.i.payload.push_prev.eq(self.tokens.push_prev),
            flight.i.payload.push_next.eq(self.tokens.push_next),
            flight.i.payload.index.eq(self.head.index),
            flight.i.payload.moved.eq(self.moved),
        ]

        # Retire.
        oldest = flight.o.payload
        finished, has_failed, failure = self._collect_outcomes(m, oldest.unit)
        lacks_room = (oldest.push_prev & port.full.push_prev) | (
            oldest.push_next & port.full.push_next
        )
        m.d.comb += [
            port.retire.eq(flight.o.valid & finished & ~lacks_room & ~stopped),
            flight.o.ready.eq(port.retire),
            port.moves.push_prev.eq(port.retire & oldest.push_prev),
            port.moves.push_next.eq(port.retire & oldest.push_next),
            port.retired.eq(oldest.moved),
        ]

        # Errors, in order: one in flight before one at the head.
        with m.If(~stopped):
            with m.If(flight.o.valid & has_failed):
                m.d.sync += [stopped.eq(1), cause.eq(failure), index.eq(oldest.index)]
            with m.Elif(ready & self.faulty & ~flight.o.valid):
                m.d.sync += [stopped.eq(1), cause.eq(self.cause), index.eq(self.head.index)]

        stuck_push = flight.o.valid & finished & ~stopped
        stuck_pop = ready & ~self.faulty & ~flight.o.valid
        m.d.comb += [
            port.status.active.eq(flight.o.valid & ~stopped),
            port.status.pop_prev.eq(stuck_pop & lacks_prev),
            port.status.pop_next.eq(stuck_pop & lacks_next),
            port.status.push_prev.eq(stuck_push & oldest.push_prev & port.full.push_prev),
            port.status.push_next.eq(stuck_push & oldest.push_next & port.full.push_next),
            port.status.cause.eq(cause),
            port.status.index.eq(
                Mux(stopped, index, Mux(flight.o.valid, oldest.index, self.head.index))
            ),
            port.idle.eq(~self.head_valid & ~flight.o.valid),
        ]
        return m

    def _hold_head(self, m: Module) -> Signal:
        """Takes an instruction as soon as the one before is issued; whether one is checked."""
        port = self.port
        m.d.comb += port.insn.ready.eq(~self.head_valid | port.issue)
        age, checked = Signal(range(self._check_latency)), Signal()
        with m.If(port.insn.ready):
            m.d.sync += [age.eq(0), checked.eq(port.insn.valid & self.quick)]
            m.d.sync += self.head_valid.eq(port.insn.valid)
            with m.If(port.insn.valid):
                m.d.sync += self.head.eq(port.insn.payload)
        with m.Else():
            m.d.sync += [age.eq(age + 1), checked.eq(checked | (age == self._check_latency - 1))]
        return checked

    def _collect_outcomes(self, m: Module, oldest_unit: Value) -> tuple[Value, Value, Signal]:
        """Whether the oldest instruction's unit has finished it, or failed, and with which cause.

        Units finish in their own order, perhaps before an older instruction of another unit.
        """
        finished, has_failed, failure = oldest_unit[self._units], Const(0), Signal(4)
        for unit in range(self._units):
            m.submodules[f"outcomes_{unit}"] = outcomes = Queue(4, IN_FLIGHT)
            m.d.comb += [
                outcomes.i.valid.eq(self.done[unit]),
                outcomes.i.payload.eq(self.failed[unit]),
            ]
            m.d.sync += Assert(
                ~outcomes.i.valid | outcomes.i.ready, "a unit finished more than was issued"
            )
            is_oldest = oldest_unit[unit] & outcomes.o.valid
            is_failure = outcomes.o.payload != Cause.NONE
            finished |= is_oldest & ~is_failure
            has_failed |= is_oldest & is_failure
            with m.If(oldest_unit[unit]):
                m.d.comb += [failure.eq(outcomes.o.payload), outcomes.o.ready.eq(self.port.retire)]
        return finished, has_failed, failure
