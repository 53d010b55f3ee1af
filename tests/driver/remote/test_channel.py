"""Messages over pipes and sockets: deadlines, and ends."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

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
