"""Runs one case on all machines, and keeps what shows a difference."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vta.config import Config
from vta.image import Image, Segment
from vta.isa import Isa
from vta.sim.machine import Machine
from vta.sim.memory import PAGE_BYTES, Memory
from vta.tools.fuzz import coverage
from vta.tools.fuzz.machines import Disagreement, Machines, failure
from vta.tools.fuzz.random_cases import Case, Prepared, launches, memory_end

if TYPE_CHECKING:
    from vta.sim.rtl.memory_model import MemoryModel

__all__ = ["Difference", "MakeRtl", "Trial", "make_rtl", "run_case"]

COMPILED, REFUSED = "a compiled program", "a schedule that the compiler refuses"

MakeRtl = Callable[[Config, Memory, "MemoryModel"], Machine]
"""Makes the machine that is compared with the others."""


@dataclass(frozen=True)
class Difference:
    """What went wrong in a case.

    Attributes
    ----------
    case : Case
    launch : int
        The launch in which it showed, from 0.
    kind, text : str
        See `Disagreement`.
    image : Image or None
        Memory before that launch, and what it should be after it; None if there is no program,
        because the compiler failed.
    insns : int
        Instructions in the launch.
    """

    case: Case
    launch: int
    kind: str
    text: str
    image: Image | None

    @property
    def insns(self) -> int:
        return 0 if self.image is None else self.image.insn_count


@dataclass
class Trial:
    """What became of a case.

    Attributes
    ----------
    launches, errors, resets : int
        How many launches were compared; how many ended with an error, or were reset in mid-run.
    covered : Counter of (group, name)
    difference : Difference or None
    """

    launches: int = 0
    errors: int = 0
    resets: int = 0
    covered: Counter[coverage.Row] = field(default_factory=Counter)
    difference: Difference | None = None


def make_rtl(config: Config, memory: Memory, model: MemoryModel) -> Machine:
    """The RTL with its assertions, and with a record of its events."""
    from vta.sim.rtl.rtl_machine import RtlMachine

    return RtlMachine(config, _verilog(config), memory, model=model, record=True)


@functools.cache
def _verilog(config: Config) -> str:
    """To find it among the cache's files takes a tenth of the time of a case."""
    from vta.driver.verilog_cache import cached_verilog

    return cached_verilog(config, assertions=True)


def run_case(case: Case, make: MakeRtl = make_rtl) -> Trial:
    """Runs a case to its end, or to the first difference."""
    trial = Trial(covered=coverage.of_model(case.model))
    isa, after_error, number = Isa(case.config), False, 0
    with Machines(
        case.config,
        lambda config, memory: make(config, memory, case.model),
        case.interleaving,
        memory_end(case),
    ) as machines:
        prepared = before = None
        try:
            for number, prepared in enumerate(_launches(case)):
                machines.write(prepared.launch)
                before = _copy(machines)
                after_error = _run_one(machines, prepared, isa, trial, after_error)
                before = None
                trial.covered["launch", "a launch after another"] += number > 0
            if case.schedule is not None:
                trial.covered["launch", COMPILED if trial.launches else REFUSED] += 1
        except Disagreement as error:
            image = None
            if prepared is not None and before is not None:
                image = _image(case, prepared, before, machines)
            trial.difference = Difference(case, number, error.kind, str(error), image)
    return trial


def _launches(case: Case) -> Iterator[Prepared]:
    """The launches of a case, which can fail in no other way than by refusing a schedule."""
    try:
        yield from launches(case)
    except Exception as error:
        raise failure("no program", error) from error


def _run_one(
    machines: Machines, prepared: Prepared, isa: Isa, trial: Trial, after_error: bool
) -> bool:
    """Runs a launch; says whether it ended with an error."""
    trial.launches += 1
    if prepared.reset_after is not None:
        running = machines.interrupt(
            prepared.launch, prepared.reset_after, prepared.recovery(everything=True)
        )
        trial.resets += running
        trial.covered["launch", "reset in mid-run"] += running
        return False
    report = machines.run(prepared.launch)
    trial.covered += coverage.of_run(report, getattr(machines.rtl, "recording", None))
    trial.covered["launch", "a launch after an error"] += after_error
    if report.fault is None:
        trial.covered += coverage.of_launch(isa, prepared)
        return False
    trial.errors += 1
    machines.follow()
    responded = machines.got_error_response(report)
    if responded and report.fault.cause == "memory_response":
        trial.covered["memory", f"error response to {report.fault.module}"] += 1
    machines.recover(prepared.recovery(everything=responded))
    return True


def _copy(machines: Machines) -> dict[int, NDArray[np.uint8]]:
    return {number: page.copy() for number, page in machines.interpreter.pages.items()}


def _image(
    case: Case, prepared: Prepared, before: dict[int, NDArray[np.uint8]], machines: Machines
) -> Image:
    """The launch as a memory image; `after` is what the functional simulator, or, if all machines
    report the same, the interpreter has left."""
    launch = prepared.launch
    after = {
        number: machines.memories[1].read(number * PAGE_BYTES, PAGE_BYTES)
        for number in sorted({*before, *machines.memories[1].dirty_pages().tolist()})
    }
    changed = {
        number: page
        for number, page in after.items()
        if number not in before or not np.array_equal(page, before[number])
    }
    return Image(
        config=case.config,
        insn_addr=launch.insn_addr,
        insn_count=launch.insn_count,
        before=_segments(before),
        after=_segments(changed, zeros=True),
        base=dict(launch.base),
        tokens_before=prepared.tokens,
    )


def _segments(pages: dict[int, NDArray[np.uint8]], *, zeros: bool = False) -> tuple[Segment, ...]:
    """Pages as segments, neighbours joined; those of zeros alone only if asked for."""
    numbers = [number for number in sorted(pages) if zeros or pages[number].any()]
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return tuple(
        Segment(run[0] * PAGE_BYTES, np.concatenate([pages[number] for number in run]))
        for run in runs
    )
