"""What the campaign runs: a `Case` is a handful of launches, or one compiled program."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from vta.compiler.check.proof import VerifyError
from vta.compiler.pipeline import build
from vta.config import Config
from vta.driver.program_image import to_image
from vta.errors import CompileError, ScheduleError
from vta.isa import INSN_BYTES
from vta.sim.memory import PAGE_BYTES
from vta.sim.rtl.memory_model import MemoryModel
from vta.tools.fuzz.choices import Choices
from vta.tools.fuzz.random_expressions import draw_program
from vta.tools.fuzz.random_launches import FAULTS, KINDS, Launch, LaunchBuilder, LaunchPlan
from vta.tools.fuzz.random_schedules import draw_schedule
from vta.tools.fuzz.random_transfers import ARENA_BYTES

__all__ = ["Case", "Prepared", "added", "choices_of", "draw_case", "launches", "memory_end"]

COMPILED = 0.15
"""The share of compiled programs."""
FAULTY = 0.2
"""The share of launches with an error, among those that are not compiled."""
SHORT = 0.1
"""The share of cases whose memory ends early, among those that are not compiled."""
RESET = 0.1
"""The share of launches that are reset in mid-run."""


@dataclass(frozen=True)
class Case:
    """What to run, from power-on.

    Attributes
    ----------
    name : str
        Of the configuration, for people.
    number : int
        Of the case; with the seed and the name, all that it takes to draw it again.
    plans : tuple of LaunchPlan
        Empty for a compiled program.
    schedule : int or None
        The seed of the compiled program.
    choices : tuple of int or None
        Instead of those that the seed gives.
    short : int or None
        The seed of the place where memory ends early.
    model : MemoryModel
    interleaving : int
    """

    name: str
    number: int
    config: Config
    model: MemoryModel
    interleaving: int
    plans: tuple[LaunchPlan, ...] = ()
    schedule: int | None = None
    choices: tuple[int, ...] | None = None
    short: int | None = None


@dataclass(frozen=True)
class Prepared:
    """A launch, and what to do around it.

    Attributes
    ----------
    tokens : dict of str to int
        Left over from the launches before.
    reset_after : int or None
        As in `LaunchPlan`.
    builder : LaunchBuilder
        As it is after this launch.
    compiled : bool
        Whether the compiler made the launch, and not the builder.
    """

    launch: Launch
    tokens: dict[str, int]
    reset_after: int | None
    builder: LaunchBuilder
    compiled: bool = False

    def recovery(self, *, everything: bool) -> Launch:
        """What follows an error, or with `everything` a reset in mid-run."""
        return self.builder.recovery(everything=everything)


def draw_case(seed: int, name: str, config: Config, number: int) -> Case:
    """The case of a seed and a number."""
    rng = random.Random(f"{seed}/{name}/{number}")
    case = Case(name, number, config, _draw_model(rng), rng.randrange(1000))
    if rng.random() < COMPILED:
        return replace(case, schedule=rng.randrange(2**32))
    short = rng.randrange(2**20) if rng.random() < SHORT else None
    return replace(
        case, short=short, plans=tuple(_draw_plan(rng) for _ in range(rng.choice((1, 1, 2, 3))))
    )


def _draw_plan(rng: random.Random) -> LaunchPlan:
    steps = tuple(
        (rng.choice(KINDS), rng.randrange(2**20)) for _ in range(rng.choice((1, 3, 6, 12, 24)))
    )
    plan = LaunchPlan(rng.randrange(2**20), steps)
    if rng.random() < FAULTY:
        plan = replace(plan, fault=(rng.choice(FAULTS), rng.randrange(2**20)))
    if rng.random() < RESET:
        plan = replace(plan, reset_after=rng.choice((1, 10, 100, 1000)) * rng.randrange(1, 10))
    return plan


def _draw_model(rng: random.Random) -> MemoryModel:
    """How memory behaves: in a third of the cases quietly, else with any mix of disturbances."""
    if rng.random() < 0.33:
        return MemoryModel(latency=rng.choice((1, 20, 20, 100)))
    return MemoryModel(
        latency=rng.choice((1, 2, 5, 20, 70)),
        write_response=rng.choice((1, 1, 8, 60)),
        outstanding=rng.choice((None, None, 1, 2)),
        stall_seed=rng.choice((None, rng.randrange(2**16), rng.randrange(2**16))),
        order_seed=rng.choice((None, rng.randrange(2**16))),
    )


def launches(case: Case) -> Iterator[Prepared]:
    """The launches of a case, one after the other; none if the compiler refuses its schedule.

    Raises
    ------
    Exception
        Any other failure of the compiler, a failed proof of its program included.
    """
    builder = LaunchBuilder(case.config)
    if case.schedule is not None:
        launch = _compiled(case)
        if launch is not None:
            yield Prepared(launch, dict(builder.tokens), None, builder, compiled=True)
        return
    for plan in case.plans:
        tokens = dict(builder.tokens)
        yield Prepared(builder.build(plan), tokens, plan.reset_after, builder)


def memory_end(case: Case) -> int | None:
    """Where memory ends if it ends early: within the data of the first launch, or its stream.

    It does not if the launch cannot be drawn.
    """
    if case.short is None or not case.plans:
        return None
    try:
        prepared = next(launches(case))
    except Exception:
        return None
    first, arena = prepared.launch.insn_addr, prepared.builder.arena
    areas = [(first, first + INSN_BYTES * prepared.launch.insn_count)]
    if arena > first:
        areas.append((arena, arena + ARENA_BYTES))
    pages = [range((low // PAGE_BYTES + 1) * PAGE_BYTES, high, PAGE_BYTES) for low, high in areas]
    rng, pages = random.Random(case.short), [ends for ends in pages if ends]
    return rng.choice(rng.choice(pages)) if pages else None


def _compiled(case: Case) -> Launch | None:
    assert case.schedule is not None
    choices = Choices(case.schedule, case.choices)
    drawn = draw_program(choices, case.config)
    try:
        schedule, args = draw_schedule(choices, drawn)
        program = build(schedule, args, case.config)
    except VerifyError:
        raise
    except (ScheduleError, CompileError):
        return None
    arrays = dict(zip(drawn.inputs, drawn.arrays, strict=True))
    inputs = {tensor.name: arrays[tensor] for tensor in drawn.used_inputs()}
    image = to_image(program, inputs, seed=case.number)
    words = image.stream()
    return Launch(
        [(segment.addr, np.asarray(segment.data)) for segment in image.before],
        image.insn_addr,
        image.insn_count,
        image.base,
        [int(low) | int(high) << 64 for low, high in words.tolist()],
    )


def added(case: Case, number: int) -> int:
    """How many instructions the steps of a launch make, those left out included.

    Up to an error, if drawing ends with one.
    """
    builder = LaunchBuilder(case.config)
    with contextlib.suppress(Exception):
        for plan in case.plans[: number + 1]:
            builder.build(plan)
    return builder.added


def choices_of(case: Case) -> list[int]:
    """The choices that a compiled program is made of; up to an error, if drawing ends with one."""
    assert case.schedule is not None
    choices = Choices(case.schedule, case.choices)
    with contextlib.suppress(Exception):
        draw_schedule(choices, draw_program(choices, case.config))
    return choices.made
