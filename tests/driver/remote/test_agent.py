"""The agent against peers that send anything, and in a Python that has nothing else."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import random
import resource
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import vta
from tests.driver.remote.conftest import ARENA_BYTES
from vta.driver.board.board import Board
from vta.driver.board.emulated import emulated_board
from vta.driver.board.kinds import KINDS
from vta.driver.remote.agent import Agent
from vta.driver.remote.bundle import MODULES, bundle
from vta.driver.remote.channel import SocketChannel
from vta.driver.remote.client import map_digest
from vta.driver.remote.protocol import MAGIC, PREFIX, PROTOCOL
from vta.errors import RemoteError

PACKAGE = Path(vta.__file__).parent
VERBS = ("identify", "program", "write", "read", "launch", "interrupt", "reset", "ping", "close")


@pytest.fixture
def board() -> Board:
    return emulated_board(KINDS["pynq"], functional=True, arena_bytes=ARENA_BYTES)


def random_head(rng: random.Random) -> dict[str, object]:
    """Mostly a request; sometimes one with a wrong field, or something else."""
    base = KINDS["pynq"].memory
    numbers = [0, 1, base, base + 4096, base + ARENA_BYTES, -1, 1 << 40, 1 << 70, 3.5, None, "x"]
    head: dict[str, object] = {"verb": rng.choice(VERBS), "id": rng.randrange(1 << 16)}
    if rng.random() < 0.97:
        head |= {
            "addr": base + rng.randrange(ARENA_BYTES),
            "nbytes": rng.randrange(64),
            "insn_addr": base,
            "insn_count": rng.randrange(4),
            "base": dict.fromkeys(("uop", "inp", "wgt", "acc", "out"), base),
            "timeout": 0.01,
        }
    while rng.random() < 0.1:
        key = rng.choice(["verb", "id", "addr", "nbytes", "base", "timeout", "insn_addr", "x"])
        head[key] = rng.choice(numbers)
    return head


def random_message(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.02:
        return rng.randbytes(rng.randrange(1, 80))
    head = random_head(rng)
    if head["verb"] == "close" and rng.random() < 0.8:
        head["verb"] = "ping"
    raw = json.dumps(head).encode()
    if kind < 0.04:
        raw = bytes(byte ^ (rng.random() < 0.05) for byte in raw)
    takes_body = head["verb"] in ("write", "program") or rng.random() < 0.02
    body = rng.randbytes(rng.randrange(40)) if takes_body else b""
    if head["verb"] == "launch" and rng.random() < 0.4:
        body = rng.randbytes(16 * int(head.get("insn_count") or 0) + rng.choice([0, 0, 0, 1, 16]))
    lengths = [len(raw), len(body)]
    if kind > 0.98:
        lengths[rng.randrange(2)] = rng.choice((0, 1, 1 << 20, 1 << 31))
    return PREFIX.pack(MAGIC, *lengths) + raw + body


def serve_messages(board: Board, messages: list[bytes]) -> bytes:
    """What an agent answers to a client that sends these and leaves."""
    near, far = socket.socketpair()
    with near, far:
        near.sendall(b"".join(messages))
        near.shutdown(socket.SHUT_WR)
        agent = Agent(SocketChannel(far), board, version="1", registers=map_digest())
        try:
            agent.greet()
            agent.wait_for_open()
            agent.opened()
            agent.serve()
        except RemoteError as error:
            agent.complain(error)
        board.reset()
        board.wipe()
        far.close()
        got = b""
        with contextlib.suppress(ConnectionError):  # what was not read resets the connection
            while piece := near.recv(1 << 16):
                got += piece
        return got


def message(head: dict[str, object]) -> bytes:
    raw = json.dumps(head).encode()
    return PREFIX.pack(MAGIC, len(raw), 0) + raw


START = [
    message({"verb": "hello", "id": 1, "protocol": PROTOCOL, "registers": map_digest()}),
    message({"verb": "open", "id": 2}),
]


@pytest.mark.parametrize(
    "sessions", [150, pytest.param(50_000, marks=pytest.mark.full)], ids="{} sessions".format
)
def test_random_messages(board: Board, sessions: int) -> None:
    """Twenty messages a session; memory does not grow, and the agent serves the next one."""
    rng = random.Random(sessions)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    served = 0
    for _ in range(sessions):
        answer = serve_messages(board, [*START, *(random_message(rng) for _ in range(20))])
        served += answer.count(b'"ok":true')
    assert served > 5 * sessions  # hello, open, and more
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 << 10  # kilobytes
    assert b'"id":3,"ok":true' in serve_messages(
        board, [*START, message({"verb": "ping", "id": 3})]
    )


def test_every_prefix_of_a_session(board: Board) -> None:
    whole = b"".join(
        [*START, message({"verb": "ping", "id": 3}), message({"verb": "close", "id": 4})]
    )
    answers = [serve_messages(board, [whole[:size]]) for size in range(len(whole) + 1)]
    assert answers[0] == b"" or b"closed the connection" in answers[0]
    assert [b'"id":4,"ok":true' in answer for answer in answers] == [False] * len(whole) + [True]


# -- a Python that has nothing else ----------------------------------------------------------------


def python_3_10() -> str:
    """A Python 3.10, wherever it is."""
    places = [
        *(Path.home() / ".pyenv" / "versions").glob("3.10.*/bin/python3.10"),
        *filter(None, [shutil.which("python3.10")]),
    ]
    for place in places:
        done = subprocess.run([place, "-c", ""], capture_output=True, check=False)
        if done.returncode == 0:
            return str(place)
    pytest.skip("there is no Python 3.10 here")


def test_the_agents_modules_import_the_standard_library_alone() -> None:
    for name in MODULES:
        path = PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py")
        tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))
        for node in ast.walk(tree):
            imported = []
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                imported = [node.module or ""]
            for module in imported:
                first = module.split(".")[0]
                assert module in MODULES or first in sys.stdlib_module_names, (name, module)


AGENT_TEST = """
import sys
exec(sys.stdin.read())
assert "numpy" not in sys.modules
import vta.driver.remote.server, vta.driver.board.kinds
from vta.driver.remote.server import Server
print(sys.version_info[:2], sorted(vta.driver.board.kinds.KINDS)[0])
"""


@pytest.mark.parametrize("old", [False, True], ids=["this Python", "Python 3.10"])
def test_the_bundle_loads_in_a_bare_python(old: bool, tmp_path: Path) -> None:
    python = python_3_10() if old else sys.executable
    done = subprocess.run(
        [python, "-I", "-S", "-W", "error", "-c", AGENT_TEST],
        input=bundle(),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.endswith(" de10nano\n")
