"""`Channel`: messages over a socket or over two pipes, with a deadline for each."""

from __future__ import annotations

import abc
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

from vta.driver.remote.protocol import (
    CALL_SECONDS,
    HELLO_SECONDS,
    MAGIC,
    MAX_HEAD,
    PREFIX,
    ProtocolError,
    decode_head,
    encode_head,
)
from vta.errors import RemoteError

__all__ = ["Channel", "PeerGone", "PipeChannel", "SocketChannel"]

_PIECE = 1 << 18
"""Bytes that are passed to the operating system at once."""

_JOINED = 1 << 14
"""A body of at most so many bytes is sent together with its head."""

_SILENT = "the other side was silent for too long"
_STUCK = "the other side took no data for too long"


class PeerGone(RemoteError):
    """The peer has closed the connection, or it broke."""


class Channel(abc.ABC):
    """Sends and receives messages. One thread may send while another one receives."""

    def send(self, head: dict[str, Any], body: bytes | bytearray | memoryview = b"") -> None:
        """Sends a message.

        Raises
        ------
        RemoteError
            If the peer takes nothing for `CALL_SECONDS`, or is gone.
        """
        view = memoryview(body).cast("B")
        if view.nbytes <= _JOINED:
            self.send_raw(encode_head(head, view.nbytes) + bytes(view))
        else:
            self.send_raw(encode_head(head, view.nbytes))
            self.send_raw(view)

    def send_raw(self, data: bytes | memoryview) -> None:
        """Sends bytes: a part of a message, or something before the first one."""
        view = memoryview(data)
        while view.nbytes:
            view = view[self._send(view[:_PIECE], time.monotonic() + CALL_SECONDS) :]

    def receive(
        self, seconds: float, *, max_head: int = MAX_HEAD, max_body: int = 0
    ) -> tuple[dict[str, Any], int]:
        """The head of the next message, and the bytes of its body, which must be read next.

        Parameters
        ----------
        seconds : float
            How long to wait for the first byte.
        max_head, max_body : int
            The most bytes that are accepted.

        Raises
        ------
        ProtocolError
            If the message is not one, or is longer than allowed.
        RemoteError
            If nothing comes in time, or the peer is gone.
        """
        prefix = bytearray(PREFIX.size)
        view = memoryview(prefix)
        # The first byte may take long; what follows it must not.
        got = self._receive(view, time.monotonic() + seconds)
        if not got:
            raise PeerGone("the other side closed the connection")
        deadline = time.monotonic() + HELLO_SECONDS
        self._fill(view[got:], deadline)
        magic, head_bytes, body_bytes = PREFIX.unpack(prefix)
        if magic != MAGIC:
            raise ProtocolError(_foreign(bytes(prefix)))
        if head_bytes > max_head:
            raise ProtocolError(f"a head must have at most {max_head} bytes, not {head_bytes}")
        if body_bytes > max_body:
            raise ProtocolError(f"a body must have at most {max_body} bytes, not {body_bytes}")
        raw = bytearray(head_bytes)
        self._fill(memoryview(raw), deadline)
        return decode_head(bytes(raw)), body_bytes

    def receive_into(self, view: memoryview) -> None:
        """Fills `view` from the body of the message whose head was received."""
        for start in range(0, view.nbytes, _PIECE):
            self._fill(view[start : start + _PIECE], time.monotonic() + CALL_SECONDS)

    def skip(self, nbytes: int) -> None:
        """Reads a body and drops it, in small pieces."""
        piece = memoryview(bytearray(min(nbytes, _PIECE)))
        while nbytes:
            self.receive_into(piece[:nbytes])
            nbytes -= min(nbytes, piece.nbytes)

    @abc.abstractmethod
    def readable(self, seconds: float) -> bool:
        """Whether a message, or the end of the connection, comes within `seconds`."""

    @abc.abstractmethod
    def close(self) -> None:
        """Ends the connection; may be called twice."""

    def _fill(self, view: memoryview, deadline: float) -> None:
        while view.nbytes:
            got = self._receive(view, deadline)
            if not got:
                raise PeerGone("the connection ended within a message")
            view = view[got:]

    @abc.abstractmethod
    def _receive(self, view: memoryview, deadline: float) -> int:
        """Receives at least one byte; 0 at the end of the connection."""

    @abc.abstractmethod
    def _send(self, view: memoryview, deadline: float) -> int:
        """Sends at least one byte."""


def _foreign(prefix: bytes) -> str:
    """What the first bytes of a peer that speaks something else say about it."""
    if prefix[:2] in (b"\x15\x03", b"\x16\x03"):
        return "the other side speaks TLS, and this side does not"
    return f"a message must start with {MAGIC!r}, not {prefix[:4]!r}"


def _late(deadline: float, problem: str) -> float:
    """Seconds left until a deadline; if there are none, raises `RemoteError` of the problem."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise RemoteError(problem)
    return left


class SocketChannel(Channel):
    """Messages over a socket, with or without TLS."""

    def __init__(self, link: socket.socket) -> None:
        self._socket = link
        self._turn = threading.Lock()
        link.setblocking(False)
        if link.family in (socket.AF_INET, socket.AF_INET6):
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if hasattr(socket, "TCP_KEEPIDLE"):
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)

    def readable(self, seconds: float) -> bool:
        with self._turn:
            if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
                return True
        try:
            return bool(select.select([self._socket], [], [], seconds)[0])
        except (OSError, ValueError):
            raise PeerGone("the connection is closed") from None

    def _receive(self, view: memoryview, deadline: float) -> int:
        return self._move(lambda: self._socket.recv_into(view), deadline, sends=False)

    def _send(self, view: memoryview, deadline: float) -> int:
        return self._move(lambda: self._socket.send(view), deadline, sends=True)

    def _move(self, move: Callable[[], int], deadline: float, *, sends: bool) -> int:
        """Calls `move` until it need not wait any more.

        Two threads must not use a TLS connection at the same time, so none waits within a call.
        """
        try:
            while True:
                left = _late(deadline, _STUCK if sends else _SILENT)
                try:
                    with self._turn:
                        return move()
                except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                    writes = isinstance(error, ssl.SSLWantWriteError) or (
                        sends and isinstance(error, BlockingIOError)
                    )
                wanted = [self._socket]
                select.select([] if writes else wanted, wanted if writes else [], [], left)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise PeerGone(f"the connection broke ({reason})") from None

    def close(self) -> None:
        self._socket.close()


class PipeChannel(Channel):
    """Messages over two file descriptors, such as a process's standard input and output."""

    def __init__(self, source: int, sink: int) -> None:
        self._source, self._sink = source, sink
        os.set_blocking(sink, False)

    def readable(self, seconds: float) -> bool:
        return bool(select.select([self._source], [], [], seconds)[0])

    def _receive(self, view: memoryview, deadline: float) -> int:
        if not select.select([self._source], [], [], _late(deadline, _SILENT))[0]:
            raise RemoteError(_SILENT)
        try:
            return os.readv(self._source, [view])
        except OSError as error:
            raise PeerGone(f"the connection broke ({error.strerror})") from None

    def _send(self, view: memoryview, deadline: float) -> int:
        if not select.select([], [self._sink], [], _late(deadline, _STUCK))[1]:
            raise RemoteError(_STUCK)
        try:
            return os.write(self._sink, view)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise PeerGone(f"the connection broke ({error.strerror})") from None

    def close(self) -> None:
        """Leaves the descriptors to the process."""
