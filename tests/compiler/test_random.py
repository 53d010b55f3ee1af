"""Random elementwise programs: what is compiled equals numpy, at every configuration."""

from __future__ import annotations

import operator
from dataclasses import dataclass

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.compiler.shifts import shift_left, shift_right
from vta import te
from vta.config import PRESETS

OPERATORS = ("+", "-", "*", "min", "max", ">>", "<<", ">> t", "<< t", "int8", "int32", "neg")
NUMBERS = st.one_of(
    st.integers(-(1 << 31), (1 << 31) - 1),
    st.integers(-40000, 40000),
    st.sampled_from([0, 1, -1, 32767, 32768, -32768, -32769, (1 << 31) - 1]),
)


@dataclass(frozen=True)
class Step:
    """Value `index` of `first` and `second`, which are values before it, or a number."""

    op: str
    first: int
    second: int | None
    number: int


@dataclass(frozen=True)
class Plan:
    preset: str
    shape: tuple[int, ...]
    inputs: tuple[str, ...]
    steps: tuple[Step, ...]
    stage_ends: tuple[bool, ...]
    seed: int


@st.composite
def plans(draw):
    preset = draw(st.sampled_from(sorted(PRESETS)))
    config = PRESETS[preset]
    lead = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    inputs = tuple(draw(st.lists(st.sampled_from(["int8", "int32"]), min_size=1, max_size=3)))
    steps = []
    for index in range(draw(st.integers(1, 8))):
        earlier = st.integers(0, len(inputs) + index - 1)
        steps.append(
            Step(
                draw(st.sampled_from(OPERATORS)),
                draw(earlier),
                draw(st.one_of(st.none(), earlier)),
                draw(NUMBERS),
            )
        )
    ends = tuple(draw(st.booleans()) for _ in steps)
    return Plan(
        preset,
        (*lead, config.batch, config.block),
        inputs,
        tuple(steps),
        ends,
        draw(st.integers(0, 1 << 16)),
    )


def apply(step, lib, dtype, a, b):
    """One step on expressions (`lib` Te) or on arrays (Numpy); `dtype` is that of `a`."""
    if step.op in ("int8", "int32"):
        return a.astype(step.op)
    if step.op == "neg":
        return -a
    if step.op in (">>", "<<"):
        amount = step.number % 32
        return a >> amount if step.op == ">>" else a << amount
    if b is None:
        limits = np.iinfo(dtype)
        b = (step.number - limits.min) % (1 << limits.bits) + limits.min
    elif step.op in (">> t", "<< t"):
        return lib.shift_right(a, b) if step.op == ">> t" else lib.shift_left(a, b)
    if step.op in (">> t", "<< t"):
        return a + b
    if step.op in ("min", "max"):
        return getattr(lib, step.op)(a, b)
    return {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b}[step.op]()


class Numpy:
    min, max = staticmethod(np.minimum), staticmethod(np.maximum)
    shift_right, shift_left = staticmethod(shift_right), staticmethod(shift_left)


class Te:
    min, max = staticmethod(te.min), staticmethod(te.max)
    shift_right, shift_left = staticmethod(operator.rshift), staticmethod(operator.lshift)


def reference(plan, arrays):
    values = list(arrays)
    for step in plan.steps:
        second = None if step.second is None else values[step.second]
        values.append(apply(step, Numpy, values[step.first].dtype.name, values[step.first], second))
    return values


def declare(plan):
    """The plan as stages in ACC: some steps end a stage, the others are inside the next one's."""
    placeholders = [
        te.placeholder(plan.shape, name=f"I{n}", dtype=dtype) for n, dtype in enumerate(plan.inputs)
    ]
    copies = [te.compute(plan.shape, lambda *i, t=t: t(*i), f"{t.name}_buf") for t in placeholders]
    rules = [lambda *i, t=t: t(*i) for t in copies]
    stages = list(copies)
    for index, step in enumerate(plan.steps):
        first = rules[step.first]
        second = None if step.second is None else rules[step.second]

        def rule(*i, step=step, first=first, second=second):
            a = first(*i)
            return apply(step, Te, a.dtype, a, None if second is None else second(*i))

        if plan.stage_ends[index]:
            stage = te.compute(plan.shape, rule, f"S{index}")
            stages.append(stage)
            rules.append(lambda *i, t=stage: t(*i))
        else:
            rules.append(rule)
    last = te.compute(plan.shape, rules[-1], "L")
    out = te.compute(plan.shape, lambda *i: last(*i).astype("int8"), "O")
    schedule = te.create_schedule(out.op)
    used = {stage.op for stage in schedule.stages}
    for tensor in (*stages, last):
        if tensor.op in used:
            key = "dma_copy" if tensor in copies else "alu"
            schedule[tensor].set_scope("local.acc_buffer").pragma(tensor.op.axis[0], key)
    schedule[out].pragma(out.op.axis[0], "dma_copy")
    return schedule, [t for t in placeholders if t.op in used], out


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@example(
    plan=Plan(
        "tiny",
        (9, 9, 1, 8),
        ("int8", "int8"),
        (Step("+", 0, 1, 0), Step("<< t", 2, 0, 0), Step("int32", 3, None, 0), Step("-", 4, 2, 0)),
        (True, False, False, True),
        1,
    )
)
@given(plan=plans())
def test_random_chains(kit, plan):
    schedule, inputs, out = declare(plan)
    rng = np.random.default_rng(plan.seed)
    arrays = [
        rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, plan.shape, dtype, endpoint=True)
        for dtype in plan.inputs
    ]
    with np.errstate(over="ignore"):
        expected = reference(plan, arrays)[-1].astype(np.int8)
    used = [arrays[int(t.name[1:])] for t in inputs]
    kit.check(schedule, [*inputs, out], PRESETS[plan.preset], used, [expected], plan.seed)
