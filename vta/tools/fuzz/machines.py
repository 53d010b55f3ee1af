"""The RTL, the functional simulator twice, and the plain interpreter, side by side."""

from __future__ import annotations

import gc
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vta.config import Config
from vta.program import RunReport
from vta.sim.functional.functional_machine import FunctionalMachine
from vta.sim.machine import Machine
from vta.sim.memory import PAGE_BYTES, Memory
from vta.tools.fuzz.plain_interpreter import PlainInterpreter
from vta.tools.fuzz.random_launches import Launch

__all__ = ["MOST_CYCLES", "Disagreement", "Machines", "failure"]

MOST_CYCLES = 1 << 22
"""Cycles after which a launch on the RTL is taken to hang; the watchdog stops it earlier."""


class Disagreement(Exception):
    """What one machine did and another did not.

    Attributes
    ----------
    kind : str
        ``report``, ``memory`` or ``exception``.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class Machines:
    """All that must agree, as after power-on.

    Parameters
    ----------
    config : Config
    make_rtl : function of (config, memory)
        Makes the machine that is compared with the others.
    interleaving : int
        The seed of the first functional simulator; the second takes the next one.
    memory_end : int or None
        Where memory ends, if it ends early.

    Attributes
    ----------
    rtl, functional, interpreter
    """

    def __init__(
        self,
        config: Config,
        make_rtl: Callable[[Config, Memory], Machine],
        interleaving: int,
        memory_end: int | None = None,
    ) -> None:
        self.config = config
        self.memories = [Memory(config.addr_width) for _ in range(3)]
        self.ends_early = memory_end is not None
        for memory in self.memories:
            memory.end = memory_end or memory.size
        self.rtl = make_rtl(config, self.memories[0])
        self.functional = [
            FunctionalMachine(config, memory, seed=interleaving + number)
            for number, memory in enumerate(self.memories[1:])
        ]
        self.interpreter = PlainInterpreter(config)

    def __enter__(self) -> Machines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.rtl.close()
        for memory in self.memories:
            memory.close()
        if self.config.addr_width > 36:
            # A mapping goes with the last view of it, and a process has room for few of 2^40 bytes.
            del self.rtl, self.functional
            gc.collect()

    def write(self, launch: Launch) -> None:
        """Puts what a launch needs into memory."""
        for addr, data in launch.writes:
            for memory in self.memories:
                memory.write(addr, data)
            self.interpreter.write(addr, data)

    def run(self, launch: Launch) -> RunReport:
        """Runs a launch that is in memory on all, and gives the report of the RTL.

        Raises
        ------
        Disagreement
            In the reports, the counters, or a byte of memory.
        """
        others = [
            _guarded("the functional simulator", machine.run, launch) for machine in self.functional
        ]
        reports = [_guarded("the RTL", self.rtl.run, launch, max_cycles=MOST_CYCLES), *others]
        # After an error response, how much of what follows was done already is undefined.
        found = [
            _summary(report, everything=not self.got_error_response(report)) for report in reports
        ]
        for name, other in (("one interleaving", found[1]), ("another interleaving", found[2])):
            _require_equal(found[0], other, f"the functional simulator in {name}")
        if reports[0].fault is None:
            self.interpreter.run(launch.meaning, launch.base)
            _require_equal(
                {"stats": found[0]["stats"]}, {"stats": self.interpreter.stats}, "the interpreter"
            )
        if self.got_error_response(reports[0]):
            # How far such a transfer came before it is undefined.
            self._restore()
        self._compare_memory(by_interpreter=reports[0].fault is None)
        return reports[0]

    def got_error_response(self, report: RunReport) -> bool:
        """Whether memory itself may have answered with an error: then only the fault is defined."""
        return self.ends_early and report.fault is not None

    def recover(self, launch: Launch) -> None:
        """After an error: reset, and start again from what is still defined."""
        self._reset()
        self._run_well(launch)

    def follow(self) -> None:
        """The interpreter takes over what an erroneous run has left."""
        datapath = self.functional[0].datapath
        self.interpreter.inp[...] = datapath.inp
        self.interpreter.wgt[...] = datapath.wgt
        for number in self._dirty().tolist():
            self.interpreter.page(number)[:] = self._page(number)

    def interrupt(self, launch: Launch, cycles: int, recovery: Launch) -> bool:
        """Resets the RTL in the middle of a run; says whether it was still running.

        What the run wrote is undone, and then `recovery` clears every buffer on all machines.
        """
        report = _guarded("the RTL", self.rtl.run, launch, max_cycles=cycles)
        self._reset()
        self._restore()
        self._run_well(recovery)
        return report.fault is not None and report.fault.cause == "timeout"

    def _reset(self) -> None:
        try:
            for machine in (self.rtl, *self.functional):
                machine.reset()
        except Exception as error:
            raise failure("a reset", error) from error

    def _restore(self) -> None:
        """Gives the RTL's memory the content of the functional simulator's."""
        for number in self.memories[0].dirty_pages().tolist():
            self.memories[0].write(number * PAGE_BYTES, self._page(number))

    def _run_well(self, launch: Launch) -> None:
        self.write(launch)
        fault = self.run(launch).fault
        if fault is not None:
            raise Disagreement("report", f"after a reset the machines report {fault}")

    def _compare_memory(self, *, by_interpreter: bool) -> None:
        pages = np.union1d(self._dirty(), sorted(self.interpreter.pages))
        for number in pages.tolist():
            expected = self.interpreter.page(number) if by_interpreter else self._page(number)
            for name, memory in zip(
                ("the RTL", "the functional simulator", "the functional simulator"),
                self.memories,
                strict=True,
            ):
                found = memory.array[number * PAGE_BYTES : (number + 1) * PAGE_BYTES]
                if not np.array_equal(found, expected):
                    place = int((found != expected).argmax())
                    raise Disagreement(
                        "memory",
                        f"byte {number * PAGE_BYTES + place:#x} must be {expected[place]:#04x}, "
                        f"and {name} has {found[place]:#04x}",
                    )

    def _dirty(self) -> NDArray[np.int64]:
        return np.unique(np.concatenate([memory.dirty_pages() for memory in self.memories]))

    def _page(self, number: int) -> NDArray[np.uint8]:
        return self.memories[1].read(number * PAGE_BYTES, PAGE_BYTES)


def _guarded(name: str, run: Callable[..., RunReport], launch: Launch, **options: Any) -> RunReport:
    """A run, whose exception is a difference too."""
    try:
        return run(launch.insn_addr, launch.insn_count, launch.base, **options)
    except Exception as error:
        raise failure(name, error) from error


def failure(where: str, error: Exception) -> Disagreement:
    """An exception of any class as a difference, so that a campaign goes on."""
    return Disagreement("exception", f"{where}: {type(error).__name__}: {error}")


def _summary(report: RunReport, *, everything: bool) -> dict[str, Any]:
    fault = report.fault
    summary = {
        "fault": fault and (fault.cause, fault.module, fault.insn_index, fault.insn),
        "waiting": [
            (entry["module"], entry["insn_index"], entry["token"])
            for entry in (fault.waiting if fault else ())
        ],
    }
    if everything:
        summary |= {"instructions": report.instructions, "stats": dict(report.stats)}
    return summary


def _require_equal(rtl: dict[str, Any], other: dict[str, Any], name: str) -> None:
    for what, found in rtl.items():
        if found != other.get(what):
            raise Disagreement("report", f"{what}: the RTL has {found}, {name} {other.get(what)}")
