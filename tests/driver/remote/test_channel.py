"""Messages over pipes and sockets: deadlines, and ends."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from vta.driver.remote import channel as channel_module
from vta.driver.remote.channel import Channel, PeerGone, PipeChannel, SocketChannel
from vta.driver.remote.protocol import MAGIC, PREFIX
from vta.errors import RemoteError


@pytest.fixture(params=["pipes", "sockets"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[Channel, Channel]]:
    if request.param == "sockets":
        near, far = socket.socketpair()
        with near, far:
            yield SocketChannel(near), SocketChannel(far)
        return
    (read, far_write), (far_read, write) = os.pipe(), os.pipe()
    yield PipeChannel(read, write), PipeChannel(far_read, far_write)
    for file in (read, write, far_read, far_write):
        try:
            os.close(file)
        except OSError:
            continue  # the test closed it


def test_messages(ends: tuple[Channel, Channel]) -> None:
    near, far = ends
    assert not far.readable(0)
    near.send({"verb": "x"}, b"body")
    assert far.readable(1)
    assert far.receive(1, max_body=4) == ({"verb": "x"}, 4)
    body = bytearray(4)
    far.receive_into(memoryview(body))
    assert body == b"body"
    far.send({"ok": True})
    assert near.receive(1) == ({"ok": True}, 0)
    near.send({}, bytes(1000))
    far.receive(1, max_body=1000)
    far.skip(1000)
    assert not far.readable(0)


def test_silence(ends: tuple[Channel, Channel], monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = ends
    with pytest.raises(RemoteError, match="the other side was silent for too long"):
        far.receive(0.01)
    monkeypatch.setattr(channel_module, "HELLO_SECONDS", 0.05)
    near.send_raw(PREFIX.pack(MAGIC, 10, 0) + b"{")
    with pytest.raises(RemoteError, match="the other side was silent for too long"):
        far.receive(1)


def test_threads_do_not_use_one_socket_at_the_same_time() -> None:
    """A TLS connection does not bear it; a thread that waits for a message must let others send."""
    inside = threading.Lock()
    overlaps = []

    class Watched(socket.socket):
        def recv_into(self, *args: Any, **more: Any) -> int:
            return self.alone(super().recv_into, *args, **more)

        def send(self, *args: Any, **more: Any) -> int:
            return self.alone(super().send, *args, **more)

        def alone(self, call: Callable[..., int], *args: Any, **more: Any) -> int:
            if not inside.acquire(blocking=False):
                overlaps.append(call.__name__)
                return call(*args, **more)
            try:
                time.sleep(0.001)  # others get their chance
                return call(*args, **more)
            finally:
                inside.release()

    near, far = socket.socketpair()
    with near, far, ThreadPoolExecutor() as pool:
        channel, other = SocketChannel(Watched(fileno=near.detach())), SocketChannel(far)
        waiting = pool.submit(channel.receive, 20)
        for _ in range(50):
            channel.send({"verb": "interrupt"})
            assert other.receive(20) == ({"verb": "interrupt"}, 0)
        other.send({"ok": True})
        assert waiting.result(20) == ({"ok": True}, 0)
        channel.close()
    assert overlaps == []


def test_a_peer_that_takes_nothing(
    ends: tuple[Channel, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    near, _ = ends
    monkeypatch.setattr(channel_module, "CALL_SECONDS", 0.05)
    with pytest.raises(RemoteError, match="the other side took no data for too long"):
        near.send({}, bytes(1 << 24))


def test_a_peer_that_is_gone() -> None:
    read, write = os.pipe()
    os.close(write)
    lonely, sink = os.pipe()
    os.close(lonely)
    pipes = PipeChannel(read, sink)
    assert pipes.readable(0)
    with pytest.raises(PeerGone, match="the other side closed the connection"):
        pipes.receive(1)
    with pytest.raises(PeerGone, match="the connection broke .Broken pipe"):
        pipes.send({})
    os.close(read)
    os.close(sink)
    near, far = socket.socketpair()
    far.close()
    channel = SocketChannel(near)
    with pytest.raises(PeerGone, match="the connection broke .Broken pipe"):
        channel.send({})
    channel.close()
    channel.close()
    for call in (lambda: channel.readable(0), lambda: channel.receive(1), lambda: channel.send({})):
        with pytest.raises(PeerGone):
            call()
