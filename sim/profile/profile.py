"""How a run spent its cycles: per instruction, per module, on the bus.

The RTL's port `events` shows when a module issues and retires an instruction and when it waits.
Instructions are issued and retired in the order of their module's queue, so the k-th pulse belongs
to the k-th instruction. Every cycle of a module has one state, the first of these that applies:

1. waiting for a token (nothing is in flight), or for room in a full token queue;
2. compute only: executing a GEMM or ALU;
3. waiting for memory: an instruction is in flight, and its next data has not arrived;
4. busy with the oldest instruction in flight;
5. idle: there is no instruction, or it is being checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vta.isa import TOKEN_LINKS, AluOp, Insn, Isa, ModuleId, Opcode
from vta.sim.replay import replay
from vta.sim.rtl.recording import MODULES, Recording
from vta.sim.rtl.rtl_machine import RtlMachine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vta.config import Config
    from vta.image import Image
    from vta.sim.memory import Memory
    from vta.sim.replay import ReplayResult
    from vta.sim.rtl.memory_model import MemoryModel

__all__ = [
    "IDLE",
    "WAIT_MEMORY",
    "ModuleProfile",
    "Profile",
    "Span",
    "analyse",
    "is_token_wait",
    "profile",
]

WAIT_MEMORY = "memory"
IDLE = "idle"

_DRAIN = 24
"""Cycles, at most, from a GEMM's or ALU's last step to its end."""


@dataclass(frozen=True, slots=True)
class Span:
    """The timing of an instruction: cycles of its issue and retirement, None if it had none."""

    insn: Insn
    issue: int | None
    retire: int | None
    cycles: int
    """From issue to retirement, both included; up to the run's end if it did not retire."""


@dataclass(frozen=True)
class ModuleProfile:
    """The states of a module: it has `states[k]` from cycle `starts[k]` until the next start.

    A state is the operation that keeps the module busy (``LOAD INP``, ``GEMM``, ``STORE`` ...),
    ``idle``, ``memory``, or the token queue that it waits for (``l2g``; ``g2l full`` for room).
    """

    name: str
    cycles: int
    spans: tuple[Span, ...]
    starts: NDArray[np.int64]
    states: tuple[str, ...]

    def stretches(self) -> Iterator[tuple[int, int, str]]:
        """The begin, end and state of each stretch."""
        ends = [*self.starts.tolist(), self.cycles][1:]
        yield from zip(self.starts.tolist(), ends, self.states, strict=True)

    def totals(self) -> dict[str, int]:
        """Cycles in each state; they add up to the run's."""
        totals: dict[str, int] = {}
        for begin, end, state in self.stretches():
            totals[state] = totals.get(state, 0) + end - begin
        return totals

    def busy(self) -> dict[str, int]:
        """Busy cycles, by operation."""
        return {
            state: count
            for state, count in self.totals().items()
            if state not in (IDLE, WAIT_MEMORY) and not is_token_wait(state)
        }

    def wait_token(self) -> dict[str, int]:
        """Cycles of waiting for a token, or for room for a token, by queue."""
        return {state: count for state, count in self.totals().items() if is_token_wait(state)}

    @property
    def wait_memory(self) -> int:
        return self.totals().get(WAIT_MEMORY, 0)

    @property
    def idle(self) -> int:
        return self.totals().get(IDLE, 0)


@dataclass(frozen=True)
class Profile:
    """The analysis of a run.

    Attributes
    ----------
    cycles : int
    bus_bytes : int
        Bytes in a beat.
    modules : dict
        A `ModuleProfile` for load, compute and store.
    recording : Recording
    replay : ReplayResult or None
        The result for memory, if an image was run.
    """

    cycles: int
    bus_bytes: int
    modules: dict[str, ModuleProfile]
    recording: Recording
    replay: ReplayResult | None = None

    def beats(self, direction: str) -> int:
        """Beats on the bus, ``read`` or ``write``."""
        return int(self.recording.lengths()[self.recording.beats(direction)].sum())

    def spans(self) -> list[Span]:
        """All instructions in stream order."""
        return sorted(
            (span for module in self.modules.values() for span in module.spans),
            key=lambda span: span.insn.index,
        )

    def slowest(self, count: int) -> list[Span]:
        """The `count` instructions that took the longest, slowest first."""
        return sorted(self.spans(), key=lambda span: -span.cycles)[:count]


def is_token_wait(state: str) -> bool:
    """Whether a state is a wait for a token, or for room for a token."""
    return state[1:2] == "2"


def profile(
    image: Image,
    verilog: str,
    *,
    model: MemoryModel | None = None,
    max_cycles: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Profile:
    """Runs an image on the RTL and analyses it.

    Parameters
    ----------
    image : Image
    verilog : str
        The hardware of the image's configuration.
    model, max_cycles, progress
        As for `RtlMachine` and its `run`.

    Raises
    ------
    ImageError, MachineError
        As for `replay`. If the image's run has a fault, it is in `replay.report` of the result, and
        the profile shows the cycles up to it.
    """
    machines: list[RtlMachine] = []

    def make(config: Config, memory: Memory) -> RtlMachine:
        machines.append(RtlMachine(config, verilog, memory, model=model, record=True))
        return machines[0]

    result = replay(image, make, max_cycles=max_cycles, progress=progress)
    recording = machines[0].recording
    assert recording is not None
    insns = Isa(image.config).decode_stream(image.stream())
    return analyse(insns, recording, bus_bytes=image.config.bus_bytes, replay=result)


def analyse(
    insns: Sequence[Insn],
    recording: Recording,
    *,
    bus_bytes: int,
    replay: ReplayResult | None = None,
) -> Profile:
    """A profile of the stream `insns` from the recording of its run."""
    finish = next(
        (number for number, insn in enumerate(insns) if insn.opcode == Opcode.FINISH), len(insns)
    )
    queues: dict[str, list[Insn]] = {name: [] for name in MODULES}
    for insn in insns[: finish + 1]:
        queues[insn.module.name.lower()].append(insn)
    return Profile(
        cycles=recording.cycles,
        bus_bytes=bus_bytes,
        recording=recording,
        replay=replay,
        modules={name: _module(name, queue, recording) for name, queue in queues.items()},
    )


def _module(name: str, insns: Sequence[Insn], recording: Recording) -> ModuleProfile:
    issues = recording.pulses("issue", name)
    retires = recording.pulses("retire", name)
    # Every pulse needs an instruction, even if a program overwrites its own stream.
    issues, retires = issues[: len(insns)], retires[: len(insns)]
    spans = tuple(_spans(insns, issues.tolist(), retires.tolist(), recording.cycles))
    loops = _loops(spans) if name == "compute" else []
    begins = np.array([begin for begin, _, _ in loops], np.int64)
    ends = np.array([end for _, end, _ in loops], np.int64)

    # Nothing changes between these cycles.
    at = np.unique(np.concatenate([recording.starts, issues, retires + 1, begins, ends]))
    at = at[at < recording.cycles]
    of = np.searchsorted(recording.starts, at, "right") - 1
    waits = {side: recording.bit(f"wait_{side}", name)[of].tolist() for side in ("prev", "next")}
    waits_memory = recording.bit("wait_memory", name)[of].tolist()
    oldest = np.searchsorted(retires, at).tolist()
    issued = np.searchsorted(issues, at, "right").tolist()
    loop = np.searchsorted(ends, at, "right").tolist()

    states = []
    for number, cycle in enumerate(at.tolist()):
        in_flight = issued[number] > oldest[number]
        queues = [
            _wait(name, side, full=in_flight) for side in ("prev", "next") if waits[side][number]
        ]
        if queues:
            states.append(" and ".join(queues))
        elif loop[number] < len(loops) and loops[loop[number]][0] <= cycle:
            states.append(loops[loop[number]][2])
        elif waits_memory[number]:
            states.append(WAIT_MEMORY)
        elif in_flight:
            states.append(_kind(insns[oldest[number]]))
        else:
            states.append(IDLE)
    changes = [
        number for number, state in enumerate(states) if number == 0 or state != states[number - 1]
    ]
    return ModuleProfile(
        name=name,
        cycles=recording.cycles,
        spans=spans,
        starts=at[changes],
        states=tuple(states[number] for number in changes),
    )


def _spans(
    insns: Sequence[Insn], issues: list[int], retires: list[int], end: int
) -> Iterator[Span]:
    for number, insn in enumerate(insns):
        issue = issues[number] if number < len(issues) else None
        retire = retires[number] if number < len(retires) else None
        cycles = 0 if issue is None else (end if retire is None else retire + 1) - issue
        yield Span(insn, issue, retire, cycles)


def _wait(module: str, side: str, *, full: bool) -> str:
    """The queue on a side; `full` if an instruction in flight cannot push."""
    link = TOKEN_LINKS[ModuleId[module.upper()], side]
    return f"{link.pushes} full" if full else link.pops


def _kind(insn: Insn) -> str:
    """The name of the operation with which an instruction keeps its module busy."""
    if insn.module == ModuleId.STORE:
        return "STORE"
    if insn.opcode in (Opcode.GEMM, Opcode.ALU):
        return insn.name
    return insn.operation


def _loops(spans: Sequence[Span]) -> list[tuple[int, int, str]]:
    """When each GEMM and ALU executed: begin, end, kind.

    They execute one after the other, and usually retire when they end. If an older LOAD is still in
    flight, they retire just after that LOAD. Then only the cycles that the steps can take count,
    and the rest belongs to the LOAD. An instruction that is issued during a LOAD and retires well
    after it may have been delayed by it: then it counts from the cycle when its steps must have
    begun.
    """
    loops: list[tuple[int, int, str]] = []
    free, load = 0, -1
    for number, span in enumerate(spans):
        if span.issue is None:
            break
        if span.insn.opcode == Opcode.LOAD:
            load = number
        if span.insn.opcode not in (Opcode.GEMM, Opcode.ALU):
            continue
        begin, end = max(span.issue, free), span.issue + span.cycles
        if load >= 0 and span.retire is not None:
            load_retire = spans[load].retire
            if load_retire is not None and span.retire - load_retire <= number - load:
                end = min(end, begin + _steps(span.insn) + _DRAIN)
            elif load_retire is not None and load_retire > span.issue:
                # It waited for the tiles of that LOAD.
                begin = max(begin, end - _steps(span.insn) - _DRAIN)
        if begin < end:
            loops.append((begin, end, span.insn.name))
            free = end
    return loops


def _steps(insn: Insn) -> int:
    """The most steps of a GEMM or ALU, at one step a cycle."""
    tiles = max(0, insn.uop_end - insn.uop_bgn) * insn.iter_out * insn.iter_in
    if insn.opcode == Opcode.GEMM:
        return tiles
    return tiles * ((5 if insn.alu_opcode == AluOp.MUL else 1) + (not insn.use_imm))
