"""The client against a daemon that answers anything."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
from collections.abc import Callable

import pytest

from vta import registers
from vta.driver.remote.channel import SocketChannel
from vta.driver.remote.client import RemoteBoard
from vta.driver.remote.protocol import MAGIC, PREFIX
from vta.errors import DeviceError, RemoteError

INFO = {"version": "x", "kind": "pynq", "address": 4096, "nbytes": 4096, "emulated": True}


def answer(identity: int | None, body: bytes = b"", **values: object) -> bytes:
    raw = json.dumps({"id": identity, **values}).encode()
    return PREFIX.pack(MAGIC, len(raw), len(body)) + raw + body


HELLO = answer(1, ok=True, **INFO)
REGISTERS = {register.name: 3 for register in registers.REGISTERS}


def talk(said: bytes, call: Callable[[RemoteBoard], object]) -> object:
    """What a call gives with a daemon that says all this, whatever it is asked, and leaves."""
    near, far = socket.socketpair()

    def daemon() -> None:
        with far, contextlib.suppress(ConnectionError):
            far.sendall(said)
            far.shutdown(socket.SHUT_WR)
            while far.recv(1 << 16):
                pass

    thread = threading.Thread(target=daemon)
    thread.start()
    channel = SocketChannel(near)
    try:
        return call(RemoteBoard(channel, "there"))
    finally:
        channel.close()
        thread.join()


def read(board: RemoteBoard) -> bytes:
    into = bytearray(4)
    board.read(4096, memoryview(into))
    return bytes(into)


def test_good_answers() -> None:
    assert talk(HELLO, lambda board: board.info.kind) == "pynq"
    assert talk(HELLO + answer(2, b"abcd", ok=True), read) == b"abcd"
    event = answer(None, event="running")
    run = answer(2, ok=True, registers=REGISTERS, seconds=0.5)
    found = talk(HELLO + event + event + run, lambda board: board.launch(4096, 1, {}, None))
    assert (found.registers, found.seconds) == (REGISTERS, 0.5)


@pytest.mark.parametrize(
    ("said", "call", "error"),
    [
        (b"", read, "lost in hello: the other side closed the connection"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", read, "lost in hello: a message must start with b'VTA1'"),
        (answer(1, ok=True), read, "lost in hello: its hello lacks something"),
        (answer(1, ok=True, **{**INFO, "nbytes": -1}), read, "lost in hello: its hello lacks some"),
        (answer(7, ok=True, **INFO), read, "its answer is to request 7, not to 1"),
        (answer(1, b"x", ok=True, **INFO), read, "a body must have at most 0 bytes, not 1"),
        (HELLO, read, "lost in read: the other side closed the connection; connect again"),
        (HELLO + answer(2, b"abc", ok=True), read, "its answer has 3 bytes, not 4"),
        (HELLO + answer(2, b"abcde", ok=True), read, "a body must have at most 4 bytes, not 5"),
        (HELLO + answer(2, b"abcd", ok=True)[:-1], read, "the connection ended within a message"),
        (HELLO + answer(None, error="RemoteError", message="idle"), read, "^there: idle$"),
        (HELLO + answer(2, error="SystemExit", message="no"), read, "^there: no$"),
        (HELLO + answer(2, ok=True), lambda b: b.identify(), "its registers are damaged"),
        (
            HELLO + answer(2, ok=True, registers={"id": "x"}),
            lambda b: b.identify(),
            "id must be a whole number",
        ),
        (
            HELLO + answer(2, ok=True, registers={"id": 1}),
            lambda b: b.identify(),
            "lost in identify: version must be a whole number",
        ),
        *(
            (
                HELLO + answer(2, ok=True, registers=given, seconds=seconds),
                lambda b: b.launch(4096, 1, {}, None),
                said,
            )
            for given, seconds, said in (
                (3, 1, "its registers are damaged"),
                ({"cycle_count": 3}, 1, "lost in launch: control must be a whole number"),
                ({**REGISTERS, "control": float("inf")}, 1, "control must be a whole number"),
                ({**REGISTERS, "control": "1"}, 1, "control must be a whole number"),
                (REGISTERS, None, "its report of the run is damaged"),
                (REGISTERS, 10**400, "its report of the run is damaged"),
                (REGISTERS, float("nan"), "its report of the run is damaged"),
            )
        ),
        (
            HELLO + answer(None, event="waiting", place="x"),
            lambda b: b.open(),
            "place must be a whole number",
        ),
    ],
)
def test_bad_answers(said: bytes, call: Callable[[RemoteBoard], object], error: str) -> None:
    with pytest.raises(DeviceError, match=error):
        talk(said, call)


def test_random_answers() -> None:
    """Whatever is damaged is one error of ours, or the right bytes."""
    rng = random.Random(1)
    whole = HELLO + answer(2, b"abcd", ok=True)
    for _ in range(300):
        said = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            said[rng.randrange(len(said))] = rng.randrange(256)
        with contextlib.suppress(DeviceError):
            assert len(talk(bytes(said), read)) == 4


def test_after_a_loss_all_calls_say_so() -> None:
    def twice(board: RemoteBoard) -> None:
        with pytest.raises(RemoteError, match="lost in read"):
            read(board)
        with pytest.raises(RemoteError, match="lost in read"):
            board.reset()
        board.close()
        board.close()

    talk(HELLO, twice)
