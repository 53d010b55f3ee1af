"""Makes a case that differs as small as it gets, by leaving out all that the difference needs not.

Every smaller case is legal and free of races like the one that was drawn: steps and instructions
are left out before tokens are inserted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from vta.sim.rtl.memory_model import MemoryModel
from vta.tools.fuzz.random_cases import Case, added, choices_of
from vta.tools.fuzz.trial import Difference, MakeRtl, make_rtl, run_case

__all__ = ["minimise"]

T = TypeVar("T")
MOST_TRIALS = 500
LONGEST = 180.0
"""Seconds after which nothing more is tried: a machine that hangs takes seconds for each try."""


class _Minimiser:
    def __init__(self, difference: Difference, make: MakeRtl, trials: int) -> None:
        self.best = difference
        self._make = make
        self._left = trials
        self._until = time.monotonic() + LONGEST

    def try_case(self, case: Case) -> bool:
        """Takes a case over if it differs in the same way."""
        if case == self.best.case:
            return True
        if self._left <= 0 or time.monotonic() > self._until:
            return False
        self._left -= 1
        found = run_case(case, self._make).difference
        if found is None or found.kind != self.best.kind:
            return False
        self.best = found
        return True

    def shorten(self, items: Sequence[T], make: Callable[[Sequence[T]], Case]) -> None:
        """Leaves out stretches of `items`, long ones first."""
        kept = list(items)
        length = max(1, len(kept) // 2)
        while length and kept:
            place = 0
            while place < len(kept):
                fewer = kept[:place] + kept[place + length :]
                if self.try_case(make(fewer)):
                    kept = fewer
                else:
                    place += length
            length = min(length, len(kept)) // 2


def minimise(
    difference: Difference, make: MakeRtl = make_rtl, *, trials: int = MOST_TRIALS
) -> Difference:
    """The difference in the smallest case that `trials` runs lead to."""
    state = _Minimiser(difference, make, trials)
    state.try_case(replace(difference.case, model=MemoryModel()))
    state.try_case(replace(state.best.case, short=None))
    state.try_case(replace(state.best.case, model=replace(state.best.case.model, stall_seed=None)))
    state.try_case(replace(state.best.case, model=replace(state.best.case.model, order_seed=None)))
    if state.best.case.schedule is not None:
        _choices(state)
        return state.best
    _launches(state)
    for number in range(len(state.best.case.plans)):
        _plan(state, number)
    return state.best


def _launches(state: _Minimiser) -> None:
    """Leaves out the launches after the difference, and those before that it does not need."""
    case = state.best.case
    state.try_case(replace(case, plans=case.plans[: state.best.launch + 1]))
    state.shorten(state.best.case.plans, lambda fewer: replace(state.best.case, plans=tuple(fewer)))
    # An image holds one launch, so the steps of several are better in one.
    while len(state.best.case.plans) > 1:
        *others, one, two = state.best.case.plans
        if not any(
            state.try_case(replace(state.best.case, plans=(*others, merged)))
            for merged in (
                replace(plan, steps=one.steps + two.steps, fault=two.fault) for plan in (one, two)
            )
        ):
            return


def _plan(state: _Minimiser, number: int) -> None:
    """Leaves out of one launch its error, its reset, steps, and single instructions."""

    def changed(**changes: object) -> Case:
        plans = list(state.best.case.plans)
        plans[number] = replace(plans[number], **changes)  # type: ignore[arg-type]
        return replace(state.best.case, plans=tuple(plans))

    state.try_case(changed(fault=None))
    state.try_case(changed(reset_after=None))
    state.shorten(state.best.case.plans[number].steps, lambda fewer: changed(steps=tuple(fewer)))
    every = frozenset(range(added(state.best.case, number)))
    state.shorten(sorted(every), lambda fewer: changed(dropped=every - frozenset(fewer)))


def _choices(state: _Minimiser) -> None:
    """Leaves out choices of a compiled program: those that are left out are the simplest."""
    state.shorten(
        choices_of(state.best.case), lambda fewer: replace(state.best.case, choices=tuple(fewer))
    )
