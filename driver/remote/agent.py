"""`Agent`: serves one client's requests on a board. Standard library alone."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from vta.driver.board.board import INSN_BYTES, Board
from vta.driver.board.fpga_manager import MAX_BITSTREAM
from vta.driver.board.ticket import Ticket
from vta.driver.remote.channel import Channel, PeerGone
from vta.driver.remote.protocol import (
    BEAT_SECONDS,
    HELLO_SECONDS,
    IDLE_SECONDS,
    MAX_HELLO,
    MAX_MOVE,
    PROTOCOL,
    ProtocolError,
    encode_head,
    number,
)
from vta.errors import DeviceError, RemoteError, VtaError

__all__ = ["Agent", "Refused"]

logger = logging.getLogger(__name__)

_ADDRESS = (1 << 40) - 1
_COUNT = (1 << 32) - 1
_BASES = ("uop", "inp", "wgt", "acc", "out")
MAX_SECONDS = 1e6

_LOOK_SECONDS = 0.1
"""How often a session that waits looks whether the board is free, and whether its client left."""

_PIECE = 1 << 20
"""Bytes whose caches are maintained at once."""


class Refused(RemoteError):
    """The client is not let in."""


class _Interrupted(Exception):
    """The client asked to end the run."""


class Agent:
    """One client's session on a board.

    Parameters
    ----------
    channel : Channel
    board : Board
    version : str
        The version of this package.
    registers : str
        The digest of the register map, which must be the client's too.
    token : str, optional
        The word that lets a client in.
    idle : float
        Seconds that the client may keep the board without a request.
    """

    def __init__(
        self,
        channel: Channel,
        board: Board,
        *,
        version: str,
        registers: str,
        token: str | None = None,
        idle: float = IDLE_SECONDS,
    ) -> None:
        self._channel, self._board = channel, board
        self._version, self._registers = version, registers
        self._token, self._idle = token, idle
        self._id: int | None = 0

    # -- letting a client in ---------------------------------------------------------------------

    def greet(self) -> None:
        """Reads the client's hello and answers it.

        Raises
        ------
        Refused
            If its protocol or its token is wrong; the client is told.
        """
        head, _ = self._channel.receive(HELLO_SECONDS, max_head=MAX_HELLO)
        if head.get("verb") != "hello":
            raise ProtocolError(f"the first verb must be hello, not {head.get('verb')!r:.40}")
        self._id = number(head, "id", _COUNT)
        if problem := self._refusal(head):
            error = Refused(problem)
            self._fail(error)
            raise error
        info = self._board.info
        self._answer(
            version=self._version,
            kind=info.kind,
            address=info.address,
            nbytes=info.nbytes,
            emulated=info.emulated,
        )

    def _refusal(self, head: dict[str, Any]) -> str:
        if self._token is not None:
            given = head.get("token")
            if not isinstance(given, str) or not hmac.compare_digest(
                given.encode("utf-8", "surrogatepass"), self._token.encode()
            ):
                return "the token is wrong" if given else "a token is needed"
        if head.get("protocol") != PROTOCOL:
            return f"the protocol must be {PROTOCOL}, not {head.get('protocol')!r:.40}"
        if head.get("registers") != self._registers:
            return (
                f"this side has version {self._version} and the client "
                f"{head.get('version')!r:.40}: their register maps differ; install the same on both"
            )
        return ""

    def wait_for_open(self) -> None:
        """Reads the client's request for the board; `opened` answers it."""
        head, _ = self._channel.receive(HELLO_SECONDS)
        if head.get("verb") != "open":
            raise ProtocolError(f"the second verb must be open, not {head.get('verb')!r:.40}")
        self._id = number(head, "id", _COUNT)

    def wait_for_board(self, ticket: Ticket, noted: Callable[[int], None] | None = None) -> None:
        """Takes the board when it is the ticket's turn, and tells the client its place until then.

        Parameters
        ----------
        ticket : Ticket
        noted : callable, optional
            Gets each place that the client is told.

        Raises
        ------
        RemoteError
            If the client leaves.
        """
        told, beat = 0, 0.0
        # Tickets give no right: something may have deleted those of others.
        while place := ticket.place() or int(not self._board.take()):
            if place != told or time.monotonic() - beat > BEAT_SECONDS:
                told, beat = place, time.monotonic()
                self._channel.send({"event": "waiting", "place": place})
                if noted is not None:
                    noted(place)
            if self._channel.readable(_LOOK_SECONDS):
                self._channel.receive(0.1)
                raise ProtocolError("a client that waits for the board must be silent")

    def opened(self) -> None:
        """Tells the client that the board is its own."""
        self._answer()

    # -- serving it ------------------------------------------------------------------------------

    def serve(self) -> None:
        """Serves requests until the client closes the session.

        Raises
        ------
        RemoteError
            If the client is gone, idle for too long, or breaks the protocol.
        """
        verbs: dict[str, Callable[[dict[str, Any], int], None]] = {
            "identify": self._identify,
            "program": self._program,
            "write": self._write,
            "read": self._read,
            "launch": self._launch,
            "interrupt": self._late_interrupt,
            "reset": self._reset,
            "ping": self._ping,
        }
        while True:
            if not self._channel.readable(self._idle):
                error = RemoteError(f"the session was idle for {self._idle:g} s and is closed")
                self._id = None
                self._fail(error)
                raise error
            head, nbytes = self._channel.receive(HELLO_SECONDS, max_body=MAX_MOVE)
            verb = head.get("verb")
            self._id = number(head, "id", _COUNT)
            if verb == "close":
                self._answer()
                return
            if not isinstance(verb, str) or verb not in verbs:
                raise ProtocolError(f"unknown verb {verb!r:.40}")
            if nbytes and verb not in ("write", "program", "launch"):
                raise ProtocolError(f"{verb} has no body")
            try:
                verbs[verb](head, nbytes)
            except RemoteError:
                raise
            except VtaError as error:
                self._fail(error)

    def _identify(self, head: dict[str, Any], nbytes: int) -> None:
        self._answer(registers=self._board.identify())

    def _program(self, head: dict[str, Any], nbytes: int) -> None:
        if nbytes > MAX_BITSTREAM:
            raise ProtocolError(f"a bitstream must have at most {MAX_BITSTREAM} bytes")
        clock_hz = number(head, "clock_hz", _COUNT) if "clock_hz" in head else None
        content = bytearray(nbytes)
        self._channel.receive_into(memoryview(content))
        # An emulated board may have to build its simulator first, which takes minutes.
        with ThreadPoolExecutor(1) as pool:
            programming = pool.submit(self._board.program, bytes(content), clock_hz)
            while not wait([programming], BEAT_SECONDS).done:
                self._channel.send({"event": "programming"})
        programming.result()
        self._answer()

    def _write(self, head: dict[str, Any], nbytes: int) -> None:
        self._fill(number(head, "addr", _ADDRESS), nbytes)
        self._answer()

    def _fill(self, addr: int, nbytes: int) -> None:
        """Puts the body of a message into the board's memory."""
        try:
            self._board.locate(addr, nbytes)
        except DeviceError:
            self._channel.skip(nbytes)
            raise
        # In pieces, so that one is flushed while the next one comes.
        for start in range(0, nbytes, _PIECE):
            size = min(_PIECE, nbytes - start)
            try:
                with self._board.writing(addr + start, size) as view:
                    self._channel.receive_into(view)
            except RemoteError:
                raise
            except DeviceError:
                # This piece was received; the rest must not be taken for a message.
                self._channel.skip(nbytes - start - size)
                raise

    def _read(self, head: dict[str, Any], nbytes: int) -> None:
        addr, size = number(head, "addr", _ADDRESS), number(head, "nbytes", MAX_MOVE)
        self._board.locate(addr, size)
        if size <= _PIECE:
            with self._board.reading(addr, size) as view:
                self._channel.send({"id": self._id, "ok": True}, view)
            return
        self._channel.send_raw(encode_head({"id": self._id, "ok": True}, size))
        for start in range(0, size, _PIECE):
            try:
                with self._board.reading(addr + start, min(_PIECE, size - start)) as view:
                    self._channel.send_raw(view)
            except RemoteError:
                raise
            except DeviceError as error:
                # The client would take an answer for a part of the body that was promised.
                raise RemoteError(f"a read failed halfway ({error})") from None

    def _launch(self, head: dict[str, Any], nbytes: int) -> None:
        base = head.get("base")
        if not isinstance(base, dict) or set(base) != set(_BASES):
            raise ProtocolError(f"base must have the keys {', '.join(_BASES)}")
        timeout = head.get("timeout")
        if timeout is not None and not (
            isinstance(timeout, (int, float)) and 0 <= timeout <= MAX_SECONDS
        ):
            raise ProtocolError(f"timeout must be seconds, not {timeout!r:.40}")
        addr, count = number(head, "insn_addr", _ADDRESS), number(head, "insn_count", _COUNT)
        registers = {name: number(base, name, _ADDRESS) for name in _BASES}
        if nbytes not in (0, count * INSN_BYTES):
            raise ProtocolError(
                f"a stream of {count} instructions has {count * INSN_BYTES} bytes, not {nbytes}"
            )
        if nbytes:
            self._fill(addr, nbytes)
        beat = time.monotonic()

        def watch() -> None:
            nonlocal beat
            if self._channel.readable(0.0):
                asked, _ = self._channel.receive(HELLO_SECONDS)
                if asked.get("verb") != "interrupt":
                    raise ProtocolError("during a run, the only verb is interrupt")
                raise _Interrupted
            if time.monotonic() - beat > BEAT_SECONDS:
                beat = time.monotonic()
                self._channel.send({"event": "running"})

        try:
            run = self._board.launch(addr, count, registers, timeout, watch=watch)
        except _Interrupted:
            raise DeviceError("the run was interrupted, and the machine was reset") from None
        self._answer(registers=dict(run.registers), seconds=run.seconds)

    def _late_interrupt(self, head: dict[str, Any], nbytes: int) -> None:
        """An interrupt that crossed the answer of its run: there is nothing to do or to answer."""

    def _reset(self, head: dict[str, Any], nbytes: int) -> None:
        self._board.reset()
        self._answer()

    def _ping(self, head: dict[str, Any], nbytes: int) -> None:
        self._answer()

    # -- answers ---------------------------------------------------------------------------------

    def _answer(self, **values: Any) -> None:
        self._channel.send({"id": self._id, "ok": True, **values})

    def _fail(self, error: Exception) -> None:
        """Tells the client of an error, if it is there to hear it."""
        name = type(error).__name__ if not isinstance(error, Refused) else "RemoteError"
        try:
            self._channel.send({"id": self._id, "error": name, "message": str(error)[:2000]})
        except PeerGone:
            logger.debug("the client left before it could be told: %s", error)

    def complain(self, error: Exception) -> None:
        """Tells a client why it is cut off, if it breaks the protocol or the board fails.

        Other errors of the connection are left out: the client was told, or cannot be.
        """
        if isinstance(error, ProtocolError) or not isinstance(error, RemoteError):
            self._fail(error)
