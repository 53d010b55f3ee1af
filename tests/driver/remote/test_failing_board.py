"""The daemon when the board fails: its client gets one error, and the next one is served."""

from __future__ import annotations

import numpy as np
import pytest

from tests.driver.remote.conftest import Serve, check_board
from tests.driver.remote.test_server import wait_for
from vta import rpc
from vta.config import Config
from vta.driver.board.board import Board
from vta.errors import DeviceError, DeviceTimeout, RemoteError


def test_a_board_that_does_not_come_out_of_reset_is_the_clients_error(
    serve: Serve, tiny: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()

    def hang() -> None:
        raise DeviceTimeout("its memory port hangs")

    with monkeypatch.context() as patch:
        patch.setattr(server._board, "reset", hang)
        with pytest.raises(DeviceTimeout, match=f"^127.0.0.1:{server.port}: its memory port hangs"):
            rpc.connect("127.0.0.1", server.port, config=tiny)
    check_board(server.port, tiny)


def test_a_client_leaves_the_queue_whatever_happens(
    serve: Serve, tiny: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    remote = rpc.connect("127.0.0.1", server.port, config=tiny)

    def fail() -> None:
        raise OSError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(server._board, "reset", fail)
        remote.close()
        wait_for(lambda: not server._links)
    check_board(server.port, tiny)


def fail_at(board: Board, name: str, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Makes the arena's `flush` or `invalidate` fail once, in its call number `count`."""
    whole = getattr(board._arena, name)
    calls = []

    def failing(offset: int, nbytes: int) -> None:
        calls.append(offset)
        if len(calls) == count:
            raise DeviceError("the cache is on strike")
        whole(offset, nbytes)

    monkeypatch.setattr(board._arena, name, failing)


def test_a_write_that_fails_halfway_is_an_error_and_the_session_goes_on(
    serve: Serve, tiny: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    with rpc.connect("127.0.0.1", server.port, config=tiny) as remote:
        device = remote.machine
        data = np.random.default_rng(1).integers(0, 256, (3 << 20) + 5, np.uint8)
        addr = device.allocate(data.nbytes)
        fail_at(server._board, "flush", monkeypatch, 2)
        with pytest.raises(DeviceError, match="the cache is on strike"):
            device.write(addr, data)
        device.write(addr, data)
        np.testing.assert_array_equal(device.read(addr, data.nbytes), data)


def test_a_stream_that_fails_halfway_is_an_error_and_the_session_goes_on(
    serve: Serve, tiny: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    with rpc.connect("127.0.0.1", server.port, config=tiny) as remote:
        remote.program_fpga()
        device = remote.machine
        insns = np.full((200_000, 2), 3, np.uint64)  # four pieces; the first word ends the run
        fail_at(server._board, "flush", monkeypatch, 2)
        with pytest.raises(DeviceError, match="the cache is on strike"):
            device.run_stream(insns)
        assert device.run_stream(insns).instructions == 1


def test_a_read_that_fails_halfway_gives_no_wrong_data(
    serve: Serve, tiny: Config, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size is promised then, so the session must end before the promised bytes."""
    server = serve()
    with rpc.connect("127.0.0.1", server.port, config=tiny) as remote:
        device = remote.machine
        # The last piece is shorter than an error message.
        addr = device.allocate((2 << 20) + 5)
        fail_at(server._board, "invalidate", monkeypatch, 3)
        with pytest.raises(RemoteError, match="was lost in read: .*; connect again"):
            device.read(addr, (2 << 20) + 5)
    wait_for(lambda: "cut off: a read failed halfway (the cache is on strike)" in caplog.text)
    check_board(server.port, tiny)
