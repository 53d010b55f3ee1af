"""Golden texts, schedules in the usual form, and running programs on the functional simulator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vta import te
from vta.compiler.pipeline import build
from vta.compiler.te.schedule import Schedule
from vta.compiler.te.tensor import Tensor
from vta.config import PRESETS, Config
from vta.program import Program, RunReport
from vta.sim.functional.functional_machine import FunctionalMachine
from vta.sim.memory import Memory

from .runs import call

GOLDEN = Path(__file__).with_name("golden")
ACC = "local.acc_buffer"


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with the file of that name."""

    def compare(name: str, text: str) -> None:
        file = GOLDEN / f"{name}.txt"
        if request.config.getoption("--update-golden", default=False):
            GOLDEN.mkdir(exist_ok=True)
            file.write_text(text + "\n", encoding="utf-8")
        assert text + "\n" == file.read_text(encoding="utf-8"), (
            f"{file.name} differs; --update-golden takes the new text over"
        )

    return compare


@pytest.fixture(params=sorted(PRESETS))
def config(request: pytest.FixtureRequest) -> Config:
    return PRESETS[request.param]


class Kit:
    """What most tests need, in one place; it keeps no state but the memory."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    @staticmethod
    def stages(
        shape: Sequence[int],
        rules: Sequence[tuple[str, Sequence[str], Callable[..., Any]]],
        inputs: dict[str, str],
        stored: Sequence[str],
    ) -> tuple[Schedule, list[Tensor]]:
        """Inputs copied into ACC, `rules` (name, operands, rule) computed there, `stored` stored.

        A stored value ``X`` becomes the output ``X_out``.
        """
        tensors = {
            name: te.placeholder(shape, name=name, dtype=dtype) for name, dtype in inputs.items()
        }
        copies = {
            name: te.compute(shape, lambda *i, t=tensor: t(*i), f"{name}_buf")
            for name, tensor in tensors.items()
        }
        values = dict(copies)
        for name, operands, rule in rules:
            values[name] = te.compute(
                shape, lambda *i, r=rule, o=operands: r(te, *(values[n](*i) for n in o)), name
            )
        outputs = [
            te.compute(shape, lambda *i, v=values[name]: v(*i).astype("int8"), f"{name}_out")
            for name in stored
        ]
        schedule = te.create_schedule([tensor.op for tensor in outputs])
        used = {stage.op for stage in schedule.stages}
        for name, tensor in values.items():
            if tensor.op in used:
                stage = schedule[tensor].set_scope(ACC)
                stage.pragma(tensor.op.axis[0], "dma_copy" if name in copies else "alu")
        for tensor in outputs:
            schedule[tensor].pragma(tensor.op.axis[0], "dma_copy")
        return schedule, [t for t in tensors.values() if t.op in used] + outputs

    @classmethod
    def one(
        cls, shape: Sequence[int], rule: Callable[..., Any], *dtypes: str
    ) -> tuple[Schedule, list[Tensor]]:
        """One ALU stage ``C`` of inputs ``A``, ``B`` ... of the given dtypes."""
        names = [
            chr(ord("A") + index) if index < 2 else f"X{index}" for index in range(len(dtypes))
        ]
        return cls.stages(shape, [("C", names, rule)], dict(zip(names, dtypes, strict=True)), ["C"])

    def run(
        self, program: Program, arrays: Sequence[np.ndarray], seed: int = 0
    ) -> tuple[list[np.ndarray], RunReport]:
        """The outputs of a program called with the input `arrays`; twice in a row, no reset."""
        machine = FunctionalMachine(program.config, self.memory, seed=seed)
        try:
            return call(machine, program, arrays, times=2)
        finally:
            machine.close()

    def check(
        self,
        schedule: Schedule,
        args: Sequence[Tensor],
        config: Config,
        arrays: Sequence[np.ndarray],
        expected: Sequence[np.ndarray],
        seed: int = 0,
    ) -> Program:
        """Builds, runs, and compares with what numpy says."""
        program = build(schedule, args, config)
        found, _ = self.run(program, arrays, seed)
        assert len(found) == len(expected)
        for array, right in zip(found, expected, strict=True):
            np.testing.assert_array_equal(array, right)
        return program


@pytest.fixture(scope="session")
def kit() -> Any:
    with Memory() as memory:
        yield Kit(memory)


@pytest.fixture(scope="session")
def tutorial() -> Callable[[Config, int, int], tuple[Schedule, list[Tensor]]]:
    """The get-started tutorial's vector add of (o, m) tiles, scheduled."""

    def make(config: Config, o: int = 1, m: int = 64) -> tuple[Schedule, list[Tensor]]:
        shape = (o, m, config.batch, config.block)
        a, b = (te.placeholder(shape, name=name, dtype="int32") for name in "AB")
        a_buf = te.compute(shape, lambda *i: a(*i), "A_buf")
        b_buf = te.compute(shape, lambda *i: b(*i), "B_buf")
        c_buf = te.compute(
            shape, lambda *i: a_buf(*i).astype("int32") + b_buf(*i).astype("int32"), name="C_buf"
        )
        c = te.compute(shape, lambda *i: c_buf(*i).astype("int8"), name="C")
        schedule = te.create_schedule(c.op)
        for tensor in (a_buf, b_buf, c_buf):
            schedule[tensor].set_scope(ACC)
        for tensor in (a_buf, b_buf, c):
            schedule[tensor].pragma(schedule[tensor].op.axis[0], "dma_copy")
        schedule[c_buf].pragma(c_buf.op.axis[0], "alu")
        return schedule, [a, b, c]

    return make
