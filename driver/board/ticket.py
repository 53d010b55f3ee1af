"""`Ticket`: a place in the queue of those who want to use a board. Standard library alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from vta.driver.board.system import System
from vta.errors import DeviceError

__all__ = ["Ticket"]

_FOLDER = "tmp/vta-queue"
"""Where the tickets are: files whose names are their numbers, with the process in them."""

_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK


class Ticket:
    """A place at the end of the queue.

    The queue holds daemons' clients and sessions over ssh alike. A ticket is a file that its
    process locks. The lock ends with the process, and then the ticket does not count. Tickets give
    an order, no right: that is `Board.take`.

    Parameters
    ----------
    system : System

    Raises
    ------
    DeviceError
        From any method, if the tickets cannot be read or written.
    """

    def __init__(self, system: System) -> None:
        self._path = system.root / _FOLDER
        with self._alone() as folder:
            self._number = 1 + max(_numbers(folder), default=0)
            flags = _FLAGS | os.O_CREAT | os.O_EXCL | os.O_RDWR
            self._file = os.open(str(self._number), flags, dir_fd=folder)
            try:
                os.fchmod(self._file, 0o644)  # so that other users can look whether it is locked
                fcntl.flock(self._file, fcntl.LOCK_EX)
                os.write(self._file, b"%d\n" % os.getpid())
            except BaseException:
                os.close(self._file)
                raise

    def place(self) -> int:
        """How many are ahead of this ticket."""
        with self._alone() as folder:
            ahead = [number for number in _numbers(folder) if number < self._number]
            return sum(_counts(folder, str(number)) for number in ahead)

    def leave(self) -> None:
        """Takes the ticket out of the queue."""
        try:
            with self._alone() as folder:
                # If somebody has removed it, its number may be another one's by now.
                if os.fstat(self._file).st_nlink:
                    os.unlink(str(self._number), dir_fd=folder)
        finally:
            os.close(self._file)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[int]:
        """The folder's descriptor; no other process looks at the tickets meanwhile."""
        try:
            with contextlib.suppress(FileExistsError):
                self._path.mkdir(parents=True)
                self._path.chmod(0o1777)  # as /tmp has it: all users share the queue
            folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
                yield folder
            finally:
                os.close(folder)
        except OSError as error:
            raise DeviceError(
                f"{self._path}: the queue for the board cannot be used ({error.strerror})"
            ) from None


def _numbers(folder: int) -> list[int]:
    return [int(name) for name in os.listdir(folder) if name.isascii() and name.isdigit()]


def _counts(folder: int, name: str) -> bool:
    """Whether a ticket's process lives; if not, the ticket is removed."""
    try:
        file = os.open(name, _FLAGS | os.O_RDONLY, dir_fd=folder)
    except OSError:
        return False  # it is no ticket
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        with contextlib.suppress(OSError):  # it is another user's
            os.unlink(name, dir_fd=folder)
        return False
    finally:
        os.close(file)
