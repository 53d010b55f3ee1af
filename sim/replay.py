"""Runs a memory image on a machine, and compares memory with the expected memory."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vta.errors import ImageError, MachineError
from vta.image import BASES, Image, Segment
from vta.isa import INSN_BYTES, Isa, MemoryType, Opcode
from vta.sim.machine import Machine
from vta.sim.memory import PAGE_BYTES, Memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vta.config import Config
    from vta.program import RunReport

__all__ = ["MachineFactory", "ReplayResult", "replay"]

MachineFactory = Callable[["Config", Memory], Machine]

PIECE = 1 << 22
"""The number of bytes compared at a time."""

GAP = 256
"""Changed bytes with at most this distance form one segment."""


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """The result of running an image.

    Attributes
    ----------
    image : Image
        The image that was run.
    report : RunReport
        The report of the image's run, without the run that made `tokens_before`.
    match : bool or None
        Whether the whole memory equals `before` overlaid with `after`; None if the image has no
        `after`.
    difference : str or None
        A description of the first byte that differs.
    after : tuple of Segment
        The memory that the run changed.
    """

    image: Image
    report: RunReport
    match: bool | None
    difference: str | None
    after: tuple[Segment, ...]

    def to_image(self) -> Image:
        """The image, with the memory that the run changed as its `after`."""
        return dataclasses.replace(self.image, after=self.after)


def replay(
    image: Image,
    make_machine: MachineFactory,
    *,
    max_cycles: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> ReplayResult:
    """Runs `image` on a new machine.

    Parameters
    ----------
    image : Image
    make_machine : function of (config, memory)
        Makes the machine, which is closed at the end.
    max_cycles, progress
        As for `Machine.run`.

    Raises
    ------
    ImageError
        If the image has no free memory for the instructions that make its `tokens_before`.
    MachineError
        If those instructions fail.
    """
    with Memory(image.config.addr_width) as memory:
        for segment in image.before:
            memory.write(segment.addr, segment.data)
        machine = make_machine(image.config, memory)
        try:
            _make_tokens(image, machine)
            memory.clear_dirty()
            report = machine.run(
                image.insn_addr,
                image.insn_count,
                image.base,
                max_cycles=max_cycles,
                progress=progress,
            )
        finally:
            machine.close()
        return _compare(image, memory, report)


# -- tokens before the run -----------------------------------------------------------------------


def _make_tokens(image: Image, machine: Machine) -> None:
    """Fills the token queues by a run of no-ops, which does not change memory."""
    stream = _token_stream(Isa(image.config), image.tokens_before)
    if len(stream) == 1:
        return
    addr = _free_address(image, len(stream) * INSN_BYTES)
    machine.memory.write(addr, stream)
    report = machine.run(addr, len(stream), dict.fromkeys(BASES, 0))
    if report.fault is not None:
        raise MachineError(report.fault)
    machine.memory.write(addr, np.zeros(len(stream) * INSN_BYTES, np.uint8))


def _token_stream(isa: Isa, tokens: dict[str, int]) -> NDArray[np.uint64]:
    """Empty transfers, each of which pushes a token, and a FINISH."""
    pushers = (
        ("l2g", Opcode.LOAD, MemoryType.INP, "push_next"),
        ("g2l", Opcode.LOAD, MemoryType.UOP, "push_prev"),
        ("g2s", Opcode.LOAD, MemoryType.UOP, "push_next"),
        ("s2g", Opcode.STORE, MemoryType.OUT, "push_prev"),
    )
    return np.concatenate(
        [
            *(
                np.repeat(
                    Isa.words([isa.mem.pack(opcode=opcode, memory_type=memory, **{push: 1})]),
                    tokens[queue],
                    axis=0,
                )
                for queue, opcode, memory, push in pushers
            ),
            Isa.words([isa.common.pack(opcode=Opcode.FINISH)]),
        ]
    )


def _free_address(image: Image, nbytes: int) -> int:
    """The highest place for `nbytes` bytes that the image does not use."""
    segments = (*image.before, *(image.after or ()))
    taken = sorted((segment.addr, segment.end) for segment in segments if len(segment.data))
    end = 1 << image.config.addr_width
    while True:
        highest = max((last for _, last in taken), default=0)
        start = (end - nbytes) // INSN_BYTES * INSN_BYTES
        if start >= highest and start >= 0:
            return start
        if not taken:
            raise ImageError(
                f"the image leaves no {nbytes} bytes free for the instructions that "
                "make tokens_before"
            )
        end = min(end, taken.pop()[0])


# -- comparison ----------------------------------------------------------------------------------


class _Overlay:
    """Memory with segments over zeros; any range can be read, and segments may be large."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        # Empty segments have no bytes, and two of them may share an address.
        self._segments = sorted(
            (segment for segment in segments if len(segment.data)), key=lambda segment: segment.addr
        )
        self._ends = [segment.end for segment in self._segments]

    def put(self, start: int, into: NDArray[np.uint8]) -> None:
        """Overwrites the parts of `into` (at byte address `start`) that segments cover."""
        end = start + len(into)
        for segment in self._segments[bisect.bisect_right(self._ends, start) :]:
            if segment.addr >= end:
                break
            low, high = max(start, segment.addr), min(end, segment.end)
            into[low - start : high - start] = segment.data[
                low - segment.addr : high - segment.addr
            ]

    def pages(self) -> NDArray[np.int64]:
        parts = [
            np.arange(segment.addr // PAGE_BYTES, -(-segment.end // PAGE_BYTES))
            for segment in self._segments
        ]
        return np.concatenate([np.empty(0, np.int64), *parts])


def _compare(image: Image, memory: Memory, report: RunReport) -> ReplayResult:
    before, after = _Overlay(image.before), _Overlay(image.after or ())
    # Bytes that are neither written nor expected to change cannot differ.
    pages = np.union1d(memory.dirty_pages(), after.pages())
    difference: str | None = None
    changed: list[Segment] = []
    for start, end in _ranges(pages):
        found = memory.array[start:end]
        expected = np.zeros(end - start, np.uint8)
        before.put(start, expected)
        changed.extend(_changes(start, found, expected))
        if image.after is not None and difference is None:
            after.put(start, expected)
            if not np.array_equal(found, expected):
                place = int((found != expected).argmax())
                difference = (
                    f"byte {start + place:#x} must be {expected[place]:#04x}, "
                    f"not {found[place]:#04x}"
                )
    return ReplayResult(
        image=image,
        report=report,
        match=None if image.after is None else difference is None,
        difference=difference,
        after=tuple(changed),
    )


def _ranges(pages: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Byte ranges of at most `PIECE` bytes that cover `pages` (ascending), neighbours joined."""
    for run in np.split(pages, np.flatnonzero(np.diff(pages) != 1) + 1):
        if len(run):
            first, end = int(run[0]) * PAGE_BYTES, (int(run[-1]) + 1) * PAGE_BYTES
            for start in range(first, end, PIECE):
                yield start, min(start + PIECE, end)


def _changes(start: int, found: NDArray[np.uint8], before: NDArray[np.uint8]) -> Iterator[Segment]:
    """The parts of `found` (at byte address `start`) that have changed."""
    places = np.flatnonzero(found != before)
    for run in np.split(places, np.flatnonzero(np.diff(places) > GAP) + 1):
        if len(run):
            low, high = int(run[0]), int(run[-1]) + 1
            yield Segment(start + low, found[low:high].copy())
