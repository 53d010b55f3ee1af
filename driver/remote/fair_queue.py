"""`FairQueue`: one user at a time, first come first served, and each knows its place."""

from __future__ import annotations

import threading
from collections import deque

__all__ = ["FairQueue"]


class FairQueue:
    """A lock with a queue. Threads may share it.

    A user takes a ticket by `join`, asks for its `place` until that is 0, and gives the ticket
    back by `leave`, whether or not its turn has come.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tickets: deque[object] = deque()

    def join(self) -> object:
        """A ticket at the end of the queue."""
        ticket = object()
        with self._changed:
            self._tickets.append(ticket)
        return ticket

    def place(self, ticket: object, seconds: float = 0.0) -> int:
        """How many are ahead of a ticket; waits at most `seconds` until the ticket is first."""
        with self._changed:
            self._changed.wait_for(lambda: self._tickets[0] is ticket, seconds)
            return self._tickets.index(ticket)

    def leave(self, ticket: object) -> None:
        """Takes a ticket out of the queue."""
        with self._changed:
            self._tickets.remove(ticket)
            self._changed.notify_all()
