"""The three small interfaces that drive a machine: registers, an interrupt, and memory."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Arena", "Interrupt", "Registers", "Words"]


class Words(Protocol):
    """32-bit words by index, such as a mapped file cast to them."""

    def __getitem__(self, index: int) -> int: ...

    def __setitem__(self, index: int, value: int) -> None: ...


class Registers(Protocol):
    """The machine's registers, by byte offset."""

    def read(self, offset: int) -> int: ...

    def write(self, offset: int, value: int) -> None: ...

    def close(self) -> None: ...


class Interrupt(Protocol):
    """The machine's interrupt."""

    def enable(self) -> None:
        """Lets the next interrupt through; one that is already raised counts."""
        ...

    def wait(self, seconds: float) -> bool:
        """Waits until the interrupt comes, at most `seconds`; returns whether it came."""
        ...

    def close(self) -> None: ...


class Arena(Protocol):
    """One contiguous block of memory that processor and machine share.

    The machine does not see the processor's caches. `flush` writes what the processor wrote to
    memory; `invalidate` makes the processor read what the machine wrote.

    Attributes
    ----------
    address : int
        The machine's address of the first byte.
    nbytes : int
    view : memoryview
        The processor's view, of bytes.
    """

    address: int
    nbytes: int
    view: memoryview

    def flush(self, offset: int, nbytes: int) -> None: ...

    def invalidate(self, offset: int, nbytes: int) -> None: ...

    def close(self) -> None: ...
