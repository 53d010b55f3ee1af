"""Tokens for a sequence of instructions: as many as it takes, so that nothing races.

A sequence says what is meant: one instruction after the other. On the machine only the order within
a module holds by itself, so for every two instructions of different modules that touch the same,
the later must know that the earlier is over. `InsnSequence` tracks what each instruction knows and,
where that is not enough, has an earlier one push a token and the later one pop it; between load and
store the message goes through compute. Where no instruction can carry a token, a no-op does.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from vta.isa import ModuleId

__all__ = [
    "BITS",
    "COMPUTE",
    "LOAD",
    "MODULES",
    "QUEUES",
    "STORE",
    "DraftInsn",
    "InsnSequence",
    "Touched",
]

LOAD, COMPUTE, STORE = ModuleId.LOAD, ModuleId.COMPUTE, ModuleId.STORE
MODULES = (LOAD, COMPUTE, STORE)

QUEUES = {
    (LOAD, COMPUTE): "l2g",
    (COMPUTE, LOAD): "g2l",
    (COMPUTE, STORE): "g2s",
    (STORE, COMPUTE): "s2g",
}

BITS = {
    (LOAD, "pop", "g2l"): "pop_next",
    (LOAD, "push", "l2g"): "push_next",
    (COMPUTE, "pop", "l2g"): "pop_prev",
    (COMPUTE, "push", "g2l"): "push_prev",
    (COMPUTE, "pop", "s2g"): "pop_next",
    (COMPUTE, "push", "g2s"): "push_next",
    (STORE, "pop", "g2s"): "pop_prev",
    (STORE, "push", "s2g"): "push_prev",
}


@dataclass
class Touched:
    """What an instruction touches: bits by element of a buffer, byte ranges of memory."""

    buffers: dict[str, int] = field(default_factory=dict)
    dram: list[tuple[int, int]] = field(default_factory=list)

    def meets(self, other: Touched) -> bool:
        if any(bits & other.buffers.get(name, 0) for name, bits in self.buffers.items()):
            return True
        return any(
            low < other_high and other_low < high
            for low, high in self.dram
            for other_low, other_high in other.dram
        )


@dataclass(eq=False)
class DraftInsn:
    """An instruction that is not packed yet.

    `known` counts, by module, the instructions that are over when this one starts.
    """

    module: ModuleId
    kind: str
    values: dict[str, int]
    reads: Touched = field(default_factory=Touched)
    writes: Touched = field(default_factory=Touched)
    pops: set[str] = field(default_factory=set)
    pushes: set[str] = field(default_factory=set)
    place: int = -1
    known: dict[ModuleId, int] = field(default_factory=dict)

    def conflicts(self, other: DraftInsn) -> bool:
        return (
            self.writes.meets(other.writes)
            or self.writes.meets(other.reads)
            or self.reads.meets(other.writes)
        )

    def token_bits(self) -> dict[str, int]:
        return {
            BITS[self.module, verb, queue]: 1
            for verb, queues in (("pop", self.pops), ("push", self.pushes))
            for queue in queues
        }


class InsnSequence:
    """Instructions in the order in which they are meant, and their tokens.

    Parameters
    ----------
    rng : random.Random
        Chooses who carries a token.
    make_noop : function of (module)
        An `DraftInsn` that does nothing.
    tokens : dict of str to int
        What waits in the queues before the first instruction.
    """

    def __init__(
        self, rng: random.Random, make_noop: Callable[[ModuleId], DraftInsn], tokens: dict[str, int]
    ) -> None:
        self.items: list[DraftInsn] = []
        self.by_module: dict[ModuleId, list[DraftInsn]] = {module: [] for module in MODULES}
        self._rng = rng
        self._make_noop = make_noop
        # Pushers in order; None is a token from before. And how many were popped.
        self._pushers: dict[str, list[DraftInsn | None]] = {
            queue: [None] * tokens[queue] for queue in QUEUES.values()
        }
        self._popped = dict.fromkeys(QUEUES.values(), 0)

    def left_over(self) -> dict[str, int]:
        """Tokens that wait after the last instruction."""
        return {
            queue: len(pushers) - self._popped[queue] for queue, pushers in self._pushers.items()
        }

    def add(self, item: DraftInsn, *, greedy: bool = False) -> DraftInsn:
        """Appends an instruction, after the no-ops that it takes to order it.

        If `greedy`, it pops what tokens are left over, too.
        """
        item.known = self._knowledge(item.module)
        needs: dict[ModuleId, int] = {}
        for other in MODULES:
            if other == item.module:
                continue
            for earlier in reversed(self.by_module[other][item.known[other] :]):
                if earlier.conflicts(item):
                    needs[other] = earlier.place + 1
                    break
        if item.module != COMPUTE:
            self._ask_compute(item, needs)
        for other, need in needs.items():
            self._wait(item, other, need)
        for (_, consumer), queue in QUEUES.items():
            if (
                greedy
                and consumer == item.module
                and queue not in item.pops
                and self.left_over()[queue]
            ):
                self._pop(item, queue)
        self._append(item)
        return item

    def push(self, item: DraftInsn, queue: str) -> None:
        """A further token from the newest instruction of its module."""
        if queue not in item.pushes and item is self.by_module[item.module][-1]:
            item.pushes.add(queue)
            self._pushers[queue].append(item)

    def drain(self) -> None:
        """Pops all that is left over, by no-ops."""
        for (_, consumer), queue in QUEUES.items():
            while self.left_over()[queue]:
                self._append_popping(consumer, queue)

    def merged(self, rng: random.Random) -> list[DraftInsn]:
        """The items in another order that keeps each module's: as fetch may see them."""
        left = {module: list(items) for module, items in self.by_module.items()}
        merged: list[DraftInsn] = []
        while any(left.values()):
            module = rng.choice([module for module in MODULES if left[module]])
            for _ in range(rng.choice((1, 1, 2, 5, 30))):
                if left[module]:
                    merged.append(left[module].pop(0))
        return merged

    # -- tokens ----------------------------------------------------------------------------------

    def _knowledge(self, module: ModuleId) -> dict[ModuleId, int]:
        """What the next instruction of a module knows without further tokens."""
        mine = self.by_module[module]
        known = dict(mine[-1].known) if mine else dict.fromkeys(MODULES, 0)
        known[module] = len(mine)
        return known

    def _append(self, item: DraftInsn) -> None:
        item.place = len(self.by_module[item.module])
        self.by_module[item.module].append(item)
        self.items.append(item)

    def _ask_compute(self, item: DraftInsn, needs: dict[ModuleId, int]) -> None:
        """Turns a need of the module across into one of compute, which then must know."""
        across = STORE if item.module == LOAD else LOAD
        if across not in needs:
            return
        need = needs.pop(across)
        witness = next(
            (other for other in self.by_module[COMPUTE] if other.known[across] >= need), None
        )
        if witness is None:
            witness = self._make_noop(COMPUTE)
            witness.known = self._knowledge(COMPUTE)
            self._wait(witness, across, need)
            self._append(witness)
        needs[COMPUTE] = max(needs.get(COMPUTE, 0), witness.place + 1)

    def _wait(self, item: DraftInsn, other: ModuleId, need: int) -> None:
        """Makes `item`, the next of its module, start after the first `need` of module `other`."""
        queue = QUEUES[other, item.module]
        pushers = self._pushers[queue]
        if item.known[other] >= need:
            return
        while not any(
            pusher is not None and pusher.place + 1 >= need
            for pusher in pushers[self._popped[queue] :]
        ):
            last = max((pusher.place for pusher in pushers if pusher is not None), default=-1)
            able = self.by_module[other][max(need - 1, last + 1) :]
            if not able:
                self.add(self._make_noop(other))
                continue
            chosen = self._rng.choice((able[0], able[-1], self._rng.choice(able)))
            chosen.pushes.add(queue)
            pushers.append(chosen)
        # The token is the last one before the first that gives enough order.
        while True:
            pusher = pushers[self._popped[queue]]
            if pusher is not None and pusher.place + 1 >= need:
                break
            before = self._append_popping(item.module, queue)
            _join(item.known, before.known)
            item.known[item.module] = before.place + 1
        self._pop(item, queue)

    def _append_popping(self, module: ModuleId, queue: str) -> DraftInsn:
        noop = self._make_noop(module)
        noop.known = self._knowledge(module)
        self._pop(noop, queue)
        self._append(noop)
        return noop

    def _pop(self, item: DraftInsn, queue: str) -> None:
        pusher = self._pushers[queue][self._popped[queue]]
        self._popped[queue] += 1
        item.pops.add(queue)
        if pusher is not None:
            _join(item.known, pusher.known)
            item.known[pusher.module] = max(item.known[pusher.module], pusher.place + 1)


def _join(known: dict[ModuleId, int], other: dict[ModuleId, int]) -> None:
    for module, count in other.items():
        known[module] = max(known[module], count)
