"""`FunctionalMachine`: the instruction set in numpy, without a clock.

Fetch and the three modules take turns in a random order, for a random number of steps each. A seed
makes the order reproducible. A program whose tokens order everything gives the same result under
every seed; a program that lacks a token does not.
"""

from __future__ import annotations

import functools
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from vta.errors import DeviceError, Fault
from vta.isa import (
    INSN_BYTES,
    MAX_TOKENS,
    TOKEN_LINKS,
    TOKEN_QUEUES,
    Cause,
    Isa,
    MemoryType,
    ModuleId,
    Opcode,
)
from vta.program import STAT_KEYS, RunReport
from vta.sim.functional.datapath import Datapath
from vta.sim.functional.insn_checks import Checker, StoppedError, misaligned
from vta.sim.machine import check_call

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vta.config import Config
    from vta.isa import Insn
    from vta.sim.memory import Memory

__all__ = ["FunctionalMachine"]

FETCHED = 4096
"""Instructions that are read and decoded at a time."""

STRETCHES = (1, 1, 2, 3, 8, 40)
"""How many steps a module may take in one turn. Long turns let it run far ahead of the others."""

PROGRESS = 1 << 12
"""Work, in the units of `max_cycles`, between two calls of `progress`."""


@dataclass
class _Unit:
    """One module's queue and state.

    `queue` holds the instructions that fetch has sent and that have not yet popped their tokens.
    `checked` says whether its head has passed the static checks. `finished` is an instruction that
    has executed but cannot push its tokens yet.
    """

    module: ModuleId
    queue: deque[Insn] = field(default_factory=deque)
    checked: bool = False
    finished: Insn | None = None
    fault: Fault | None = None

    def __post_init__(self) -> None:
        # By the instruction's bits; a side that does not exist has no queue (and is an error).
        links = {
            side: link for (module, side), link in TOKEN_LINKS.items() if module == self.module
        }
        self.pops = _queues({side: link.pops for side, link in links.items()})
        self.pushes = _queues({side: link.pushes for side, link in links.items()})
        self.counter = f"{self.module.name.lower()}_insns"


def _queues(sides: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Token queues by the number that the bits prev (1) and next (2) make."""
    return [
        tuple(queue for side, queue in sides.items() if bits & (1 if side == "prev" else 2))
        for bits in range(4)
    ]


class FunctionalMachine:
    """A `vta.sim.machine.Machine` that obeys the ISA to the bit and has no clock.

    Parameters
    ----------
    config : Config
    memory : Memory
        Of the configuration's address width.
    seed : int
        Of the random order in which the modules take turns.

    Raises
    ------
    DeviceError
        A memory of another size.
    """

    target = "sim"

    def __init__(self, config: Config, memory: Memory, *, seed: int = 0) -> None:
        if memory.size != 1 << config.addr_width:
            raise DeviceError(
                f"memory must have 2^{config.addr_width} bytes for this "
                f"configuration, not {memory.size:#x}"
            )
        self.config = config
        self.memory = memory
        self.datapath = Datapath(config, memory, self._spend)
        self.tokens: dict[str, int] = dict.fromkeys(TOKEN_QUEUES, 0)
        """How many tokens wait in each queue."""
        self._isa = Isa(config)
        self._random = random.Random(seed)
        self._halted: Fault | None = None

    def reset(self) -> None:
        """Empties queues, tokens, counters and errors; the buffers keep their content."""
        self.tokens = dict.fromkeys(TOKEN_QUEUES, 0)
        self._halted = None

    def close(self) -> None:
        """Does nothing: the memory belongs to the caller."""

    def run(
        self,
        insn_addr: int,
        insn_count: int,
        base: Mapping[str, int],
        *,
        max_cycles: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> RunReport:
        """Runs a stream; see `vta.sim.machine.Machine`.

        There are no cycles here. `max_cycles` bounds the work instead: one unit for each
        instruction, each tile that GEMM or ALU writes, and each element that LOAD or STORE writes.
        Beyond it the machine stops with `timeout`.

        Raises
        ------
        DeviceError
            The machine is halted by an earlier error, or an address or count is out of range.
        """
        check_call(self.memory, self._halted, insn_addr, insn_count, base, max_cycles)
        self._launch(base, max_cycles, progress)
        if wrong := misaligned(self.config, insn_addr, base):
            fault: Fault | None = _fault(Cause.MISALIGNED_BASE, ModuleId.FETCH, 0, detail=wrong)
        elif insn_count == 0:
            fault = _fault(Cause.NO_FINISH, ModuleId.FETCH, 0, detail="the stream is empty")
        else:
            self._fetch = _Fetch(self._isa, self.memory, insn_addr, insn_count)
            fault = self._take_turns() or self._outcome()
        self._halted = fault
        stats = dict(self.datapath.stats)
        return RunReport(
            target=self.target,
            instructions=sum(stats[unit.counter] for unit in self._units),
            stats=stats,
            fault=fault,
        )

    def _launch(
        self,
        base: Mapping[str, int],
        max_cycles: int | None,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._checker = Checker(self.config, base)
        self._units = [
            _Unit(module) for module in (ModuleId.LOAD, ModuleId.COMPUTE, ModuleId.STORE)
        ]
        self._left = max_cycles
        self._progress, self._unreported = progress, 0
        self.datapath.stats = dict.fromkeys(STAT_KEYS, 0)

    def _spend(self, work: int) -> None:
        if self._left is not None:
            if work > self._left:
                raise StoppedError(
                    Cause.TIMEOUT,
                    "max_cycles, here a bound on instructions, tiles and elements, is used up",
                )
            self._left -= work
        self._unreported += work
        if self._progress is not None and self._unreported >= PROGRESS:
            self._unreported = 0
            self._progress(sum(self.datapath.stats[unit.counter] for unit in self._units))

    # -- turns -----------------------------------------------------------------------------------

    def _take_turns(self) -> Fault | None:
        """Runs until no module can go on; returns a fault if the bound on the work is reached."""
        steps: list[Callable[[], bool]] = [
            self._dispatch,
            *(functools.partial(self._step, unit) for unit in self._units),
        ]
        able = list(steps)
        while able:
            step = self._random.choice(able)
            stretch = self._random.choice(STRETCHES)
            taken = 0
            while taken < stretch and step():
                taken += 1
            if taken:
                able = list(steps)
            else:
                able.remove(step)
            for unit in self._units:
                if unit.fault is not None and unit.fault.cause == "timeout":
                    return unit.fault
        return None

    def _dispatch(self) -> bool:
        """Fetch sends one instruction to its queue, unless that is full."""
        insn = self._fetch.head()
        if insn is None:
            return False
        queue = self._units[_module(insn) - ModuleId.LOAD].queue
        if len(queue) == self.config.insn_queue_depth:
            return False
        queue.append(insn)
        self._fetch.advance()
        return True

    def _step(self, unit: _Unit) -> bool:
        """Does one thing that the module can do now: find an error, execute, or push tokens."""
        insn = unit.finished
        if insn is not None:
            return self._retire(unit, insn)
        if unit.fault is not None or not unit.queue:
            return False
        insn = unit.queue[0]
        try:
            if not unit.checked:
                self._checker.check(insn, unit.module)
                unit.checked = True
            tokens, pops = (
                self.tokens,
                unit.pops[insn.values["pop_prev"] + 2 * insn.values["pop_next"]],
            )
            for queue in pops:
                if not tokens[queue]:
                    return False
            for queue in pops:
                tokens[queue] -= 1
            unit.queue.popleft()
            unit.checked = False
            self._spend(1)
            self.datapath.execute(insn, self._checker)
        except StoppedError as stop:
            unit.fault = _fault(stop.cause, unit.module, insn.index, str(insn), stop.detail)
            return True
        unit.finished = insn
        self._retire(unit, insn)
        return True

    def _retire(self, unit: _Unit, insn: Insn) -> bool:
        """Pushes the instruction's tokens, all at once, if all their queues have room."""
        pushes = unit.pushes[insn.values["push_prev"] + 2 * insn.values["push_next"]]
        for queue in pushes:
            if self.tokens[queue] == MAX_TOKENS:
                return False
        for queue in pushes:
            self.tokens[queue] += 1
        unit.finished = None
        self.datapath.stats[unit.counter] += 1
        self.datapath.retire(insn, self._checker)
        return True

    # -- the end ---------------------------------------------------------------------------------

    def _outcome(self) -> Fault | None:
        """What the machine reports when no module can go on."""
        faults = [unit.fault for unit in self._units if unit.fault is not None]
        if self._fetch.fault is not None:
            faults.append(self._fetch.fault)
        if faults:
            return min(faults, key=lambda fault: fault.insn_index)
        waiting = [entry for entry in map(self._waiting, self._units) if entry is not None]
        if waiting:
            waiting.sort(key=lambda entry: entry["insn_index"])
            lowest = waiting[0]
            blocked = self._fetch.head()
            detail = (
                ""
                if blocked is None
                else (
                    f"fetch is blocked at instruction {blocked.index}: "
                    f"{_module(blocked).name.lower()}"
                    f"'s queue holds {self.config.insn_queue_depth}"
                )
            )
            return Fault(
                cause="deadlock",
                module=lowest["module"],
                insn_index=lowest["insn_index"],
                insn=lowest["insn"],
                detail=detail,
                waiting=tuple(waiting),
            )
        if not self._fetch.finish:
            return _fault(
                Cause.NO_FINISH,
                ModuleId.FETCH,
                self._fetch.count,
                detail=f"none of {self._fetch.count} instructions is FINISH",
            )
        return None

    def _waiting(self, unit: _Unit) -> dict[str, Any] | None:
        if unit.finished is not None:
            insn, bits = unit.finished, unit.finished.values
            queues = [
                f"{queue} full"
                for queue in unit.pushes[bits["push_prev"] + 2 * bits["push_next"]]
                if self.tokens[queue] == MAX_TOKENS
            ]
        elif unit.queue:
            insn, bits = unit.queue[0], unit.queue[0].values
            queues = [
                queue
                for queue in unit.pops[bits["pop_prev"] + 2 * bits["pop_next"]]
                if not self.tokens[queue]
            ]
        else:
            return None
        return {
            "module": unit.module.name.lower(),
            "insn_index": insn.index,
            "insn": str(insn),
            "token": " and ".join(queues),
        }


class _Fetch:
    """Reads the stream in order, some thousand instructions at a time, up to FINISH."""

    def __init__(self, isa: Isa, memory: Memory, addr: int, count: int) -> None:
        self._isa = isa
        self._memory = memory
        self._addr = addr
        self.count = count
        self.finish = False
        self.fault: Fault | None = None
        self._next = 0
        self._decoded: list[Insn] = []
        self._first = 0

    def head(self) -> Insn | None:
        """The instruction to send next; None if there is none, or none can be read."""
        if self.finish or self.fault is not None or self._next == self.count:
            return None
        place = self._next - self._first
        if place == len(self._decoded) and not self._read():
            return None
        return self._decoded[self._next - self._first]

    def advance(self) -> None:
        """The head has been sent."""
        self.finish = self._decoded[self._next - self._first].opcode == Opcode.FINISH
        self._next += 1

    def _read(self) -> bool:
        self._first = self._next
        begin = self._addr + self._next * INSN_BYTES
        readable = (self._memory.end - begin) // INSN_BYTES
        count = min(self.count - self._next, FETCHED, readable)
        if count <= 0:
            self.fault = _fault(
                Cause.MEMORY_RESPONSE,
                ModuleId.FETCH,
                self._next,
                detail=f"the instruction at {begin:#x} lies past memory's end, "
                f"{self._memory.end - 1:#x}",
            )
            return False
        words = self._memory.read(begin, count * INSN_BYTES).view("<u8").reshape(-1, 2)
        self._decoded = self._isa.decode_stream(words.astype(np.uint64), self._first)
        return True


def _module(insn: Insn) -> ModuleId:
    # As Insn.module, without the cost of making enumeration members of numbers.
    if insn.opcode == Opcode.LOAD and insn.values["memory_type"] in (
        MemoryType.INP,
        MemoryType.WGT,
    ):
        return ModuleId.LOAD
    return ModuleId.STORE if insn.opcode == Opcode.STORE else ModuleId.COMPUTE


def _fault(cause: Cause, module: ModuleId, index: int, insn: str = "", detail: str = "") -> Fault:
    return Fault(
        cause=cause.name.lower(),
        module=module.name.lower(),
        insn_index=index,
        insn=insn,
        detail=detail,
    )
