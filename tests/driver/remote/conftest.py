"""A daemon in this process, on a port of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import vta
from tests.driver.conftest import add_seven
from tests.vta.commands import Result, Run
from vta.cli import app
from vta.config import PRESETS, Config
from vta.driver.board.emulated import emulated_board
from vta.driver.board.kinds import KINDS
from vta.driver.remote.client import map_digest
from vta.driver.remote.server import Server
from vta.program import Program

ARENA_BYTES = 1 << 24

Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a daemon with an emulated board; the keywords are those of `Server`."""
    started: list[tuple[Server, threading.Thread]] = []
    boards = []

    def start(
        kind: str = "pynq", *, functional: bool = True, arena_bytes: int = ARENA_BYTES, **more: Any
    ) -> Server:
        board = emulated_board(KINDS[kind], functional=functional, arena_bytes=arena_bytes)
        boards.append(board)
        more = {"version": vta.__version__, "registers": map_digest(), "ports": range(1), **more}
        server = Server(board, **more)
        thread = threading.Thread(target=server.serve)
        started.append((server, thread))
        thread.start()
        return server

    yield start
    for server, thread in started:
        server.close()
        thread.join()
    for board in boards:
        board.close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command of `vta`."""

    def call(*args: object) -> Result:
        status = app.run([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return call


@pytest.fixture
def tiny() -> Config:
    return PRESETS["tiny"].replace(target="pynq")


@pytest.fixture
def program(tiny: Config) -> Program:
    """C = int8(A + B + 7)."""
    return add_seven(tiny)
