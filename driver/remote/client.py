"""`RemoteBoard`: the client's end of a connection to a board's agent."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import vta
from vta.driver.board.board import BoardInfo, BoardRun
from vta.driver.board.register_table import register_map
from vta.driver.remote.channel import Channel
from vta.driver.remote.protocol import (
    CALL_SECONDS,
    ERRORS,
    HELLO_SECONDS,
    MAX_MOVE,
    PROTOCOL,
    ProtocolError,
    number,
)
from vta.errors import DeviceError, RemoteError
from vta.registers import REGISTERS

__all__ = ["QUEUE_SECONDS", "ConnectionLost", "RemoteBoard", "map_digest"]

logger = logging.getLogger(__name__)

QUEUE_SECONDS = 3600.0
"""How long a client waits for its turn, by default."""

_SLACK = 30.0
"""Seconds that the answer to a run may take beyond the run's own limit."""

_MASK = 0xFFFF_FFFF


def map_digest() -> str:
    """The digest of the register map, which client and agent compare."""
    table = [(register.name, register.offset) for register in REGISTERS]
    return hashlib.sha256(json.dumps(table).encode()).hexdigest()[:16]


class ConnectionLost(RemoteError):
    """The connection ended, or what came over it cannot be understood."""


class RemoteBoard:
    """A board at the other end of a connection; see `BoardLink`.

    Threads may share it: requests go one at a time.

    Parameters
    ----------
    channel : Channel
    where : str
        The other end's name, for messages.
    token : str, optional

    Attributes
    ----------
    info : BoardInfo

    Raises
    ------
    RemoteError
        If the other side refuses, or the connection is lost. It is lost for good: make another.
    """

    def __init__(self, channel: Channel, where: str, *, token: str | None = None) -> None:
        self.where = where
        self._channel = channel
        # Scripts seldom close a session, and should not get a warning for its socket.
        weakref.finalize(self, channel.close)
        self._lock = threading.RLock()
        self._id = 0
        self._lost: RemoteError | None = None
        # A message of one thread must not end up within another's.
        self._sending = threading.Lock()
        self._running = False
        hello: dict[str, Any] = {
            "protocol": PROTOCOL,
            "version": vta.__version__,
            "registers": map_digest(),
        }
        if token is not None:
            hello["token"] = token
        answer = self._call("hello", hello, seconds=HELLO_SECONDS)
        try:
            self.info = BoardInfo(
                kind=str(answer["kind"]),
                address=number(answer, "address", (1 << 40) - 1),
                nbytes=number(answer, "nbytes", MAX_MOVE),
                emulated=bool(answer.get("emulated")),
            )
        except (KeyError, ProtocolError) as error:
            self._lose("hello", ProtocolError(f"its hello lacks something ({error})"))

    def open(self, seconds: float = QUEUE_SECONDS) -> None:
        """Waits for the board, in a queue with other clients.

        Raises
        ------
        RemoteError
            If it is not free within `seconds`; the message says how many are ahead. The session
            is over then.
        """
        end = time.monotonic() + seconds
        place = 0

        def heard(event: dict[str, Any]) -> None:
            nonlocal place
            if event.get("place") != place:
                place = number(event, "place", _MASK)
                logger.warning("%s is in use; waiting at place %d", self.where, place)
            if time.monotonic() > end:
                late = RemoteError(
                    f"{self.where} was not free within {seconds:g} s; this client was at place "
                    f"{place}"
                )
                self._break(late)
                raise late

        self._call("open", heard=heard)

    # -- a board ---------------------------------------------------------------------------------

    def write(self, addr: int, data: memoryview) -> None:
        self._call("write", {"addr": addr}, body=data)

    def read(self, addr: int, into: memoryview) -> None:
        self._call("read", {"addr": addr, "nbytes": into.nbytes}, into=into)

    def launch(
        self,
        insn_addr: int,
        insn_count: int,
        base: Mapping[str, int],
        timeout: float | None,
        insns: memoryview | None = None,
    ) -> BoardRun:
        """Runs a stream. Ctrl-C ends the run on the board, too."""
        head = {
            "insn_addr": insn_addr,
            "insn_count": insn_count,
            "base": dict(base),
            "timeout": timeout,
        }
        body = b"" if insns is None else insns
        answer = self._call("launch", head, body=body, seconds=_SLACK, interrupts=True)
        registers = self._registers("launch", answer, register_map().offsets)
        seconds = answer.get("seconds")
        if not isinstance(seconds, (int, float)) or not 0 <= seconds <= _MASK:
            self._lose("launch", ProtocolError("its report of the run is damaged"))
        return BoardRun(registers, float(seconds))

    def interrupt(self) -> None:
        """Ends a run that another thread waits for; that thread gets a `DeviceError`."""
        with self._sending:
            if self._running:
                self._channel.send({"verb": "interrupt", "id": 0})

    def identify(self) -> dict[str, int]:
        answer = self._call("identify")
        wanted = register_map().identity if answer.get("registers") != {} else ()
        return self._registers("identify", answer, wanted)

    def reset(self) -> None:
        self._call("reset")

    def program(self, bitstream: bytes, clock_hz: int | None = None) -> None:
        """Programs the FPGA. There is one line about it if it takes long."""
        head = {} if clock_hz is None else {"clock_hz": clock_hz}
        told = False

        def heard(event: dict[str, Any]) -> None:
            nonlocal told
            if not told:
                why = "; it builds its simulator, which takes a minute or two, once"
                logger.warning(
                    "%s is being programmed%s", self.where, why if self.info.emulated else ""
                )
            told = True

        self._call("program", head, body=bitstream, heard=heard)

    def ping(self) -> None:
        """Asks for an answer, and nothing else."""
        self._call("ping")

    def close(self) -> None:
        """Gives the board back; may be called twice."""
        with self._lock:
            if self._lost is None:
                try:
                    self._call("close", seconds=HELLO_SECONDS)
                except RemoteError as error:
                    logger.debug("%s", error)
                self._lost = RemoteError(f"the session with {self.where} is closed")
            self._channel.close()

    # -- requests --------------------------------------------------------------------------------

    def _call(
        self,
        verb: str,
        head: dict[str, Any] | None = None,
        *,
        body: bytes | memoryview = b"",
        into: memoryview | None = None,
        seconds: float = CALL_SECONDS,
        heard: Callable[[dict[str, Any]], None] | None = None,
        interrupts: bool = False,
    ) -> dict[str, Any]:
        """Sends a request and waits for its answer, at most `seconds` after each event."""
        with self._lock:
            if self._lost is not None:
                raise RemoteError(str(self._lost))
            self._id += 1
            try:
                with self._sending:
                    self._channel.send({"verb": verb, "id": self._id, **(head or {})}, body)
                    self._running = interrupts
                answer, interrupted = self._answer(into, seconds, heard, interrupts)
            except RemoteError as error:
                if self._lost is not None:
                    raise  # the error says why this side ended the session
                self._lose(verb, error)
            except BaseException:
                # A message may be half read: nothing more can be understood.
                self._break(RemoteError(f"the session with {self.where} ended in {verb}"))
                raise
            finally:
                self._running = False
        if interrupted is not None:
            raise interrupted
        if "error" in answer:
            kind = ERRORS.get(str(answer["error"]), DeviceError)
            refused = kind(f"{self.where}: {answer.get('message')}")
            if isinstance(refused, RemoteError):
                self._break(refused)
            raise refused
        return answer

    def _answer(
        self,
        into: memoryview | None,
        seconds: float,
        heard: Callable[[dict[str, Any]], None] | None,
        interrupts: bool,
    ) -> tuple[dict[str, Any], KeyboardInterrupt | None]:
        """Receives events until the answer comes; a body goes to `into`.

        Also returns the Ctrl-C that was passed on to the board, if there was one.
        """
        interrupted: KeyboardInterrupt | None = None
        wanted = 0 if into is None else into.nbytes
        while True:
            if interrupts:
                try:
                    self._channel.readable(seconds)
                except KeyboardInterrupt as error:
                    interrupted, interrupts = error, False
                    self.interrupt()
            answer, nbytes = self._channel.receive(seconds, max_body=wanted)
            if "event" in answer:
                if heard is not None:
                    heard(answer)
                continue
            if "error" in answer and answer.get("id") is None:
                return answer, interrupted
            if answer.get("id") != self._id:
                raise ProtocolError(
                    f"its answer is to request {answer.get('id')}, not to {self._id}"
                )
            if "error" not in answer and nbytes != wanted:
                raise ProtocolError(f"its answer has {nbytes} bytes, not {wanted}")
            if into is not None and nbytes:
                self._channel.receive_into(into)
            return answer, interrupted

    def _registers(
        self, verb: str, answer: dict[str, Any], wanted: Iterable[str]
    ) -> dict[str, int]:
        """The values of registers in an answer, which must have all that are wanted."""
        registers = answer.get("registers")
        if not isinstance(registers, dict):
            self._lose(verb, ProtocolError("its registers are damaged"))
        try:
            return {name: number(registers, name, _MASK) for name in wanted}
        except ProtocolError as error:
            self._lose(verb, error)

    def _lose(self, verb: str, error: RemoteError) -> NoReturn:
        lost = ConnectionLost(
            f"the connection to {self.where} was lost in {verb}: {error}; connect again"
        )
        self._break(lost)
        raise lost from None

    def _break(self, error: RemoteError) -> None:
        self._lost = error
        self._channel.close()
