"""One random program after another: made, built, run, and compared with the interpreter."""

from __future__ import annotations

import contextlib
import re
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from tests.compiler.fuzz.interpreter import evaluate
from tests.compiler.runs import call
from vta.compiler.check.proof import VerifyError
from vta.compiler.pipeline import build
from vta.compiler.te.expr import Expr, Reduce, Select
from vta.compiler.te.expr_text import show_expr
from vta.compiler.te.schedule import Schedule
from vta.config import PRESETS
from vta.errors import CompileError, ScheduleError
from vta.program import Program
from vta.sim.functional.functional_machine import FunctionalMachine
from vta.sim.machine import Machine
from vta.sim.memory import Memory
from vta.tools.fuzz.choices import Choices
from vta.tools.fuzz.drawn import Drawn
from vta.tools.fuzz.random_expressions import draw_program
from vta.tools.fuzz.random_schedules import draw_schedule

__all__ = ["Made", "Outcomes", "compare", "fault", "make", "run_seeds"]

CONFIGS = ("tiny", "tiny", "tiny", "batch4", "batch4", "small", "default", "wide")
HANG = 120
"""Seconds after which a program is taken to hang; most take a twentieth of a second."""


@dataclass
class Made:
    """A random program; `program` is None where it was refused, and `refusal` says why."""

    drawn: Drawn
    schedule: Schedule | None = None
    program: Program | None = None
    refusal: str = ""

    def __str__(self) -> str:
        lines = [str(tensor) for tensor in self.drawn.used_inputs()]
        for tensor in self.drawn.roles:
            axes = ", ".join(f"{axis.name} < {axis.extent}" for axis in tensor.op.axis)
            lines.append(f"{tensor.name}: {tensor.dtype}[{axes}] = {_shown(tensor.op.body)}")
        lines.append(f"outputs {', '.join(tensor.name for tensor in self.drawn.outputs)}")
        return "\n".join([*lines, str(self.schedule)])


def _shown(body: Expr) -> str:
    if isinstance(body, Reduce):
        axes = ", ".join(f"{axis.name} < {axis.extent}" for axis in body.axes)
        begins = "" if body.init is None else f" from {_shown(body.init)}"
        return f"{body.op} over {axes}{begins} of {_shown(body.value)}"
    if isinstance(body, Select):
        conditions = " and ".join(f"{show_expr(item.value)} >= 0" for item in body.conditions)
        return f"{_shown(body.then)} if {conditions} else {_shown(body.other)}"
    return show_expr(body)


def make(choices: Choices, preset: str = "") -> Made:
    """A program and its schedule, built.

    Raises
    ------
    AssertionError
        An error that is not the user's, or that names no stage.
    """
    config = PRESETS[preset or choices.pick(CONFIGS)]
    if not preset:
        config = config.replace(hw_ver=choices.pick(["0.0.2", "0.0.3"]))
    made = Made(draw_program(choices, config))
    try:
        made.schedule, args = draw_schedule(choices, made.drawn)
        made.program = build(made.schedule, args, config)
    except VerifyError as error:
        raise AssertionError(f"VerifyError: {error}\n{made}") from error
    except (ScheduleError, CompileError) as error:
        made.refusal = f"{type(error).__name__}: {error}"
    names = [tensor.name for tensor in (*made.drawn.inputs, *made.drawn.roles)]
    pattern = rf"\b({'|'.join(map(re.escape, names))})\b"
    assert not made.refusal or re.search(pattern, made.refusal), (
        f"names no stage: {made.refusal}\n{made}"
    )
    return made


def compare(made: Made, machine: Machine) -> None:
    """Runs a program that was not refused, and compares each output."""
    assert made.program is not None
    arrays = dict(zip(made.drawn.inputs, made.drawn.arrays, strict=True))
    expected = evaluate(made.drawn.outputs, arrays)
    found, _ = call(machine, made.program, [arrays[item] for item in made.drawn.used_inputs()])
    for tensor, right, array in zip(made.drawn.outputs, expected, found, strict=True):
        wrong = np.argwhere(right != array)
        assert not len(wrong), (
            f"{tensor.name} is wrong in {len(wrong)} of {right.size} places, first at "
            f"{wrong[0]}: {array[tuple(wrong[0])]}, not {right[tuple(wrong[0])]}\n{made}"
        )


def fault(choices: Choices, memory: Memory, seed: int) -> tuple[str, Made | None]:
    """What is wrong with a program, and the program; "" if nothing is."""
    made = None
    try:
        with _limited():
            made = make(choices)
            if made.program is not None:
                machine = FunctionalMachine(made.program.config, memory, seed=seed)
                try:
                    compare(made, machine)
                finally:
                    machine.close()
    except Exception as error:
        return f"{type(error).__name__}: {error}", made
    return "", made


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def hangs(*_: object) -> None:
        raise TimeoutError(f"no end after {HANG} seconds")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(HANG)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@dataclass
class Outcomes:
    """How many programs were right and refused, and how often each primitive was taken."""

    right: int = 0
    refused: int = 0
    primitives: Counter[str] = field(default_factory=Counter)


def run_seeds(first: int, count: int, memory: Memory) -> Outcomes:
    """`count` programs from a seed on, on the functional simulator.

    Raises
    ------
    AssertionError
        A program that went wrong, and its seed.
    """
    outcomes = Outcomes()
    for seed in range(first, first + count):
        wrong, made = fault(Choices(seed), memory, seed)
        assert not wrong, (
            f"program of seed {seed}: {wrong}\npython -m tests.compiler.fuzz {seed} makes it small"
        )
        assert made is not None
        if made.program is None:
            outcomes.refused += 1
            continue
        outcomes.right += 1
        assert made.schedule is not None
        outcomes.primitives.update({step.primitive for step in made.schedule.steps})
    return outcomes
