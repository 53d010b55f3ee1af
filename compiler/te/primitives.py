"""The record that a schedule keeps of the primitives called on it."""

from __future__ import annotations

from dataclasses import dataclass

from vta.compiler.te.expr import Axis
from vta.errors import ScheduleError

__all__ = ["Fuse", "ScheduleLog", "Split", "Step", "ThreadAxis", "thread_axis"]

VIRTUAL_THREAD = "cthread"
"""The only kind of thread in VTA: the rounds of a loop take turns."""


@dataclass(frozen=True)
class ThreadAxis:
    """The thread that `bind` binds an axis to."""

    tag: str


def thread_axis(dom: object = None, thread_tag: str = "", name: str = "") -> ThreadAxis:
    """The virtual threads ``te.thread_axis("cthread")``, one for each round of the axis.

    `name` has no effect; it is accepted for existing scripts.
    """
    tag = thread_tag or dom
    if tag != VIRTUAL_THREAD:
        raise ScheduleError(
            f"thread_axis must be {VIRTUAL_THREAD!r}, VTA's virtual threads, not {tag!r}"
        )
    return ThreadAxis(VIRTUAL_THREAD)


@dataclass(frozen=True)
class Step:
    """One call of a primitive; its text is the line of Python that makes it.

    Attributes
    ----------
    stage : str
        The stage that it was called on; "" for a primitive of the schedule.
    primitive : str
        The primitive's name, such as ``split``.
    arguments : tuple of str
        The arguments as written in the call.
    results : tuple of str
        The names of the axes that it makes.
    """

    stage: str
    primitive: str
    arguments: tuple[str, ...] = ()
    results: tuple[str, ...] = ()

    def __str__(self) -> str:
        owner = f"s[{self.stage}]" if self.stage else "s"
        call = f"{owner}.{self.primitive}({', '.join(self.arguments)})"
        return f"{', '.join(self.results)} = {call}" if self.results else call


@dataclass(frozen=True, eq=False)
class Split:
    """`axis` became `outer` and `inner`; `number` is the rounds of one of them.

    It is `inner` if `counts_inner`, otherwise `outer`.
    """

    axis: Axis
    outer: Axis
    inner: Axis
    number: int
    counts_inner: bool


@dataclass(frozen=True, eq=False)
class Fuse:
    """Consecutive `axes` became `fused`."""

    axes: tuple[Axis, ...]
    fused: Axis


class ScheduleLog:
    """The primitives that were called on a schedule, in order.

    Attributes
    ----------
    steps : list of Step
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
