"""A daemon in this process, on a port of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import vta
from tests.driver.conftest import add_seven
from vta import rpc
from vta.config import PRESETS, Config
from vta.driver.board.emulated import emulated_board
from vta.driver.board.kinds import KINDS
from vta.driver.remote.client import map_digest
from vta.driver.remote.server import Server
from vta.isa import AluOp, Isa, MemoryType, Opcode
from vta.program import DramBuffer, Program

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
def tiny() -> Config:
    return PRESETS["tiny"].replace(target="pynq")


def endless(config: Config) -> Program:
    """A program that takes minutes on the simulated RTL: 2^28 additions to one tile."""
    isa = Isa(config)
    most = isa.alu.field("iter_out").max
    insns = [
        (isa.mem.pack(opcode=Opcode.LOAD, memory_type=MemoryType.UOP, y_size=1, x_size=1), 1),
        (
            isa.alu.pack(
                opcode=Opcode.ALU,
                alu_opcode=AluOp.ADD,
                use_imm=1,
                imm=1,
                uop_end=1,
                iter_out=most,
                iter_in=most,
            ),
            -1,
        ),
        (isa.common.pack(opcode=Opcode.FINISH), -1),
    ]
    return Program(
        name="endless",
        config=config,
        insns=Isa.words([word for word, _ in insns]),
        refs=np.array([ref for _, ref in insns], np.int32),
        buffers=(
            DramBuffer(name="A", role="input", shape=(1,), dtype="int32"),
            DramBuffer(
                name="uops", role="const", shape=(1,), dtype="uint32", data=np.zeros(4, np.uint8)
            ),
        ),
    )


def check_board(port: int, config: Config, **more: Any) -> None:
    """Has the board, programs it, and runs a program to the right result."""
    program = add_seven(config)
    rng = np.random.default_rng(port)
    shape = program.args[0].shape
    a, b = (rng.integers(-1000, 1000, shape, np.int32) for _ in range(2))
    with rpc.connect("127.0.0.1", port, config=config, queue_seconds=60, **more) as remote:
        remote.program_fpga()
        (out,), _ = remote.machine.call(program, [a, b])
    np.testing.assert_array_equal(out, (a + b + 7).astype(np.int8))


@pytest.fixture
def program(tiny: Config) -> Program:
    """C = int8(A + B + 7)."""
    return add_seven(tiny)
