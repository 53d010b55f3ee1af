"""What hypothesis draws for random launches, so that it shrinks them by leaving steps out."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from vta.tools.fuzz.random_launches import FAULTS, KINDS, LaunchPlan


@dataclass(frozen=True)
class Recipe:
    """Launches on one machine; buffers and left-over tokens survive from one to the next."""

    plans: tuple[LaunchPlan, ...]


def recipes(*, faulty):
    """A strategy of recipes; if `faulty`, of those whose first launch ends with an error."""
    seeds = st.integers(0, 2**20)
    step_lists = st.lists(st.tuples(st.sampled_from(KINDS), seeds), min_size=1, max_size=24).map(
        tuple
    )
    plan = st.builds(LaunchPlan, seeds, step_lists)
    if not faulty:
        return st.builds(Recipe, st.lists(plan, min_size=1, max_size=3).map(tuple))
    wrong = st.builds(LaunchPlan, seeds, step_lists, st.tuples(st.sampled_from(FAULTS), seeds))
    return st.builds(lambda first, second: Recipe((first, second)), wrong, plan)
