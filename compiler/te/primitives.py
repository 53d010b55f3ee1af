"""What a schedule is made of: one small value for each primitive that was called."""

from __future__ import annotations

from dataclasses import dataclass

from vta.errors import ScheduleError

__all__ = [
    "Bind",
    "CacheRead",
    "CacheWrite",
    "ComputeAt",
    "ComputeInline",
    "ComputeRoot",
    "Fuse",
    "Pragma",
    "Reorder",
    "SetScope",
    "Split",
    "Step",
    "Tensorize",
    "ThreadAxis",
    "Unroll",
    "thread_axis",
]

VIRTUAL_THREAD = "cthread"
"""The one kind of thread that VTA has: loops whose rounds take turns."""


@dataclass(frozen=True)
class ThreadAxis:
    """What `bind` binds an axis to."""

    tag: str


def thread_axis(dom: object = None, thread_tag: str = "") -> ThreadAxis:
    """The virtual threads ``te.thread_axis("cthread")``; as many as the axis has rounds."""
    tag = thread_tag or dom
    if tag != VIRTUAL_THREAD:
        raise ScheduleError(
            f"thread_axis must be {VIRTUAL_THREAD!r}, VTA's virtual threads, not {tag!r}"
        )
    return ThreadAxis(VIRTUAL_THREAD)


@dataclass(frozen=True)
class SetScope:
    """`stage`'s tensor lives in `scope`."""

    stage: str
    scope: str

    def __str__(self) -> str:
        return f"s[{self.stage}].set_scope({self.scope!r})"


@dataclass(frozen=True)
class Pragma:
    """From `axis` inwards, `stage` is carried out as `key` says."""

    stage: str
    axis: str
    key: str

    def __str__(self) -> str:
        return f"s[{self.stage}].pragma({self.axis}, {self.key!r})"


@dataclass(frozen=True)
class Split:
    """`axis` becomes `outer` and `inner`, by the inner's or the outer's count of rounds."""

    stage: str
    axis: str
    outer: str
    inner: str
    factor: int | None
    nparts: int | None

    def __str__(self) -> str:
        by = f"factor={self.factor}" if self.nparts is None else f"nparts={self.nparts}"
        return f"{self.outer}, {self.inner} = s[{self.stage}].split({self.axis}, {by})"


@dataclass(frozen=True)
class Fuse:
    """`axes`, which follow each other, are one."""

    stage: str
    axes: tuple[str, ...]
    fused: str

    def __str__(self) -> str:
        return f"{self.fused} = s[{self.stage}].fuse({', '.join(self.axes)})"


@dataclass(frozen=True)
class Reorder:
    """`axes` trade places so as to come in this order."""

    stage: str
    axes: tuple[str, ...]

    def __str__(self) -> str:
        return f"s[{self.stage}].reorder({', '.join(self.axes)})"


@dataclass(frozen=True)
class ComputeAt:
    """`stage` is computed inside `consumer`'s loop over `axis`, as much as is needed there."""

    stage: str
    consumer: str
    axis: str

    def __str__(self) -> str:
        return f"s[{self.stage}].compute_at(s[{self.consumer}], {self.axis})"


@dataclass(frozen=True)
class ComputeInline:
    """`stage` is computed anew wherever it is read."""

    stage: str

    def __str__(self) -> str:
        return f"s[{self.stage}].compute_inline()"


@dataclass(frozen=True)
class ComputeRoot:
    """`stage` is computed as a whole, outside all others."""

    stage: str

    def __str__(self) -> str:
        return f"s[{self.stage}].compute_root()"


@dataclass(frozen=True)
class Unroll:
    """The rounds of `axis` become micro-ops or instructions of their own, not a loop."""

    stage: str
    axis: str

    def __str__(self) -> str:
        return f"s[{self.stage}].unroll({self.axis})"


@dataclass(frozen=True)
class Bind:
    """The rounds of `axis` are virtual threads."""

    stage: str
    axis: str
    thread: str

    def __str__(self) -> str:
        return f"s[{self.stage}].bind({self.axis}, te.thread_axis({self.thread!r}))"


@dataclass(frozen=True)
class Tensorize:
    """The loops from `axis` inwards are one call of `intrin`."""

    stage: str
    axis: str
    intrin: str

    def __str__(self) -> str:
        return f"s[{self.stage}].tensorize({self.axis}, {self.intrin})"


@dataclass(frozen=True)
class CacheRead:
    """`readers` read a copy `stage` of `tensor`, which lives in `scope`."""

    stage: str
    tensor: str
    scope: str
    readers: tuple[str, ...]

    def __str__(self) -> str:
        return f"s.cache_read({self.tensor}, {self.scope!r}, [{', '.join(self.readers)}])"


@dataclass(frozen=True)
class CacheWrite:
    """`tensor` is computed as `stage` in `scope`, and copied from there."""

    stage: str
    tensor: str
    scope: str

    def __str__(self) -> str:
        return f"s.cache_write({self.tensor}, {self.scope!r})"


Step = (
    SetScope
    | Pragma
    | Split
    | Fuse
    | Reorder
    | ComputeAt
    | ComputeInline
    | ComputeRoot
    | Unroll
    | Bind
    | Tensorize
    | CacheRead
    | CacheWrite
)
