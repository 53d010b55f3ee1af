"""The daemon outlives its clients, serves them in order, and keeps strangers out."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import vta
from tests.driver.conftest import add_seven
from tests.driver.remote.conftest import Serve, check_board, endless
from vta import rpc
from vta.config import Config
from vta.driver.board.board import Board
from vta.driver.board.kinds import KINDS
from vta.driver.board.register_table import register_map
from vta.driver.board.system import System
from vta.driver.remote.channel import SocketChannel
from vta.driver.remote.client import map_digest
from vta.driver.remote.protocol import MAGIC, MAX_CONNECTIONS, MAX_HEAD, PREFIX, PROTOCOL
from vta.driver.remote.server import Server
from vta.errors import DeviceError, DeviceTimeout, RemoteError

ROOT = Path(vta.__file__).parent.parent

CLIENT = """
import sys
from tests.driver.remote.conftest import endless
from vta import rpc
from vta.config import PRESETS
import numpy as np
config = PRESETS["tiny"].replace(target="pynq")
remote = rpc.connect("127.0.0.1", int(sys.argv[1]), config=config)
remote.program_fpga()
print("running", flush=True)
remote.machine.call(endless(config), [np.zeros(1, np.int32)])
"""


def wait_for(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def interrupt_when_running(remote: rpc.RemoteSession) -> threading.Thread:
    """A thread that ends the session's next run, once it is on the board."""

    def end() -> None:
        wait_for(lambda: remote._board._running)
        time.sleep(0.1)
        remote.interrupt()

    thread = threading.Thread(target=end)
    thread.start()
    return thread


def start_client(port: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_client_that_dies_in_mid_run_frees_the_board(
    serve: Serve, tiny: Config, number: signal.Signals
) -> None:
    server = serve(functional=False)
    client = start_client(server.port)
    try:
        assert client.stdout is not None
        assert client.stdout.readline() == "running\n"
        time.sleep(0.3)
        assert client.poll() is None
        client.send_signal(number)
        _, err = client.communicate(timeout=20)
    finally:
        client.kill()
    if number == signal.SIGINT:
        assert err.endswith("KeyboardInterrupt\n")
    check_board(server.port, tiny)


def test_a_daemon_that_dies_is_one_clear_error(tiny: Config) -> None:
    daemon = subprocess.Popen(
        [sys.executable, "-m", "vta", "serve", "--emulate", "pynq", "--functional", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert daemon.stdout is not None
        line = daemon.stdout.readline()
        assert line.startswith("serving emulated pynq on 127.0.0.1:")
        port = int(line.rpartition(":")[2])
        remote = rpc.connect("127.0.0.1", port, config=tiny)
        remote.program_fpga()
        device = remote.machine
        daemon.kill()
        daemon.communicate()
        for _ in range(2):
            with pytest.raises(
                RemoteError, match=rf"connection to 127.0.0.1:{port} was lost in read: .*again$"
            ):
                device.read(device.allocate(4), 4)
        remote.close()
    finally:
        daemon.kill()
        daemon.communicate()


def test_a_run_can_be_interrupted_and_has_a_time_limit(serve: Serve, tiny: Config) -> None:
    server = serve(functional=False)
    zero = np.zeros(1, np.int32)
    with rpc.connect("127.0.0.1", server.port, config=tiny) as remote:
        remote.program_fpga()
        with pytest.raises(DeviceTimeout, match="the run had not finished after 0.2 s"):
            remote.machine.call(endless(tiny), [zero], timeout=0.2)
        ender = interrupt_when_running(remote)
        with pytest.raises(DeviceError, match="the run was interrupted, and the machine was reset"):
            remote.machine.call(endless(tiny), [zero], timeout=60)
        ender.join()
        program = add_seven(tiny)
        a = np.ones(program.args[0].shape, np.int32)
        (out,), _ = remote.machine.call(program, [a, a])
        assert (out == 9).all()


def test_ten_clients_are_served_in_order_and_each_gets_its_result(
    serve: Serve, tiny: Config, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    program = add_seven(tiny)
    shape = program.args[0].shape
    order: list[int] = []
    wrong: list[int] = []

    def work(number: int) -> None:
        with rpc.connect("127.0.0.1", server.port, config=tiny) as remote:
            order.append(number)
            remote.program_fpga()
            for turn in range(3):
                a = np.full(shape, 10 * number + turn, np.int32)
                (out,), _ = remote.machine.call(program, [a, a])
                if not (out == np.int32(2 * (10 * number + turn) + 7).astype(np.int8)).all():
                    wrong.append(number)

    with caplog.at_level(logging.INFO, "vta.driver.remote"):
        with rpc.connect("127.0.0.1", server.port, config=tiny):
            threads = []
            for number in range(10):
                threads.append(threading.Thread(target=work, args=(number,)))
                threads[-1].start()
                wait_for(lambda place=number + 1: f"waits at place {place}" in caplog.text)
            assert order == []
        for thread in threads:
            thread.join(60)
    assert order == list(range(10))
    assert wrong == []
    assert f"127.0.0.1:{server.port} is in use; waiting at place 10" in caplog.text


def test_a_client_that_leaves_the_queue_loses_its_place(
    serve: Serve, tiny: Config, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    with caplog.at_level(logging.INFO, "vta.driver.remote"):
        with rpc.connect("127.0.0.1", server.port, config=tiny):
            with ThreadPoolExecutor() as pool:
                second = pool.submit(
                    rpc.connect, "127.0.0.1", server.port, config=tiny, queue_seconds=0
                )
                said = (
                    f"^127.0.0.1:{server.port} was not free within 0 s; this client was at place 1$"
                )
                with pytest.raises(RemoteError, match=said):
                    second.result(20)
            third = threading.Thread(target=check_board, args=(server.port, tiny))
            third.start()
            wait_for(lambda: caplog.text.count("waits at place 1") >= 2)
        third.join(30)
    assert not third.is_alive()


def test_two_clients_never_have_the_board_even_if_the_queue_is_deleted(
    serve: Serve, tiny: Config, caplog: pytest.LogCaptureFixture
) -> None:
    """As something that cleans /tmp may do."""
    server = serve()
    with caplog.at_level(logging.INFO, "vta.driver.remote"):
        with rpc.connect("127.0.0.1", server.port, config=tiny):
            shutil.rmtree(server._board._system.root / "tmp")
            with ThreadPoolExecutor() as pool:
                second = pool.submit(
                    rpc.connect, "127.0.0.1", server.port, config=tiny, queue_seconds=0
                )
                with pytest.raises(RemoteError, match="this client was at place 1$"):
                    second.result(20)
    check_board(server.port, tiny)


def test_a_daemon_waits_for_other_processes(
    serve: Serve, tiny: Config, caplog: pytest.LogCaptureFixture
) -> None:
    """Which use the board by ssh; nor does it touch the machine of a client that leaves then."""
    server = serve()
    board = server._board
    other = Board(KINDS["pynq"], System(board._system.root), register_map())
    assert other.take()
    with caplog.at_level(logging.INFO, "vta.driver.remote"):
        with ThreadPoolExecutor() as pool:
            leaves = pool.submit(
                rpc.connect, "127.0.0.1", server.port, config=tiny, queue_seconds=0
            )
            with pytest.raises(RemoteError, match="not free within 0 s"):
                leaves.result(20)
            wait_for(lambda: ": gone: " in caplog.text)
            assert not other.taken or not board.taken
            waits = pool.submit(check_board, server.port, tiny)
            wait_for(lambda: caplog.text.count("waits at place 1") >= 2)
            assert not waits.done()
            other.give_back()
            waits.result(20)
    other.close()


def test_an_idle_client_loses_the_board(serve: Serve, tiny: Config) -> None:
    server = serve(idle=1.5)
    with rpc.connect("127.0.0.1", server.port, config=tiny) as remote:
        device = remote.machine
        with ThreadPoolExecutor() as pool:
            pool.submit(check_board, server.port, tiny).result(20)
        with pytest.raises(RemoteError, match="the session was idle for 1.5 s and is closed"):
            device.read(device.allocate(4), 4)


def test_the_next_client_does_not_see_the_last_ones_data(serve: Serve, tiny: Config) -> None:
    server = serve()
    with rpc.connect("127.0.0.1", server.port, config=tiny) as remote:
        secret = remote.machine.allocate(5000)
        remote.machine.write(secret, np.full(5000, 123, np.uint8))
    with rpc.connect("127.0.0.1", server.port, config=tiny) as remote:
        assert not remote.machine.read(secret, 5000).any()


def test_a_port_of_a_range_is_taken(serve: Serve) -> None:
    first = serve()
    assert serve(ports=range(first.port, first.port + 30)).port > first.port
    with pytest.raises(RemoteError, match=f"no port of 127.0.0.1 from {first.port} to "):
        serve(ports=range(first.port, first.port + 1))


def test_others_may_not_connect_without_being_asked_for_something() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.2"):
        with pytest.raises(RemoteError, match="the host must be 127.0.0.1, not"):
            Server(None, version="", registers="", host=host, token="x" * 20)  # type: ignore[arg-type]


def test_a_daemon_can_be_stopped_while_it_takes_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal comes when the client's thread is known, and not yet started."""
    server = Server(
        None,  # type: ignore[arg-type]
        version="",
        registers="",
        ports=range(1),
    )

    def interrupted(thread: threading.Thread) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with connected(server) as link:
        with pytest.raises(KeyboardInterrupt):
            server.serve()
        server.close()
        assert link.recv(1) == b""


# -- peers that do not keep to the protocol --------------------------------------------------------


def connected(server: Server) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", server.port), 10)
    link.settimeout(10)
    return link


def hello(**changes: object) -> dict[str, object]:
    head = {"verb": "hello", "id": 1, "protocol": PROTOCOL, "version": "x"}
    return {**head, "registers": map_digest(), **changes}


def drain(link: socket.socket) -> bytes:
    """What comes until the daemon closes the connection."""
    got = b""
    try:
        while piece := link.recv(4096):
            got += piece
    except ConnectionError:
        pass
    link.close()
    return got


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "a message must start with"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(20), "the other side speaks TLS"),
        (PREFIX.pack(MAGIC, MAX_HEAD + 1, 0), "a head must have at most 1024 bytes"),
        (PREFIX.pack(MAGIC, 0xFFFF_FFFF, 0), "a head must have at most 1024 bytes"),
        (PREFIX.pack(MAGIC, 2, 1 << 60) + b"{}", "a body must have at most 0 bytes"),
        (PREFIX.pack(MAGIC, 2, 0) + b"[]", "a head must be a JSON object"),
        (PREFIX.pack(MAGIC, 4, 0) + b"\xff{{{", "a head must be JSON"),
        (PREFIX.pack(MAGIC, 900, 0) + b"[" * 900, "a head must be JSON"),
        (PREFIX.pack(MAGIC, 2, 0) + b"{}", "the first verb must be hello, not None"),
    ],
)
def test_junk_is_told_what_is_wrong_and_cut_off(
    serve: Serve, tiny: Config, caplog: pytest.LogCaptureFixture, sent: bytes, said: str
) -> None:
    server = serve()
    link = connected(server)
    link.sendall(sent)
    assert said in drain(link).decode("latin-1")
    wait_for(lambda: "cut off" in caplog.text)
    (line,) = (entry.getMessage() for entry in caplog.records if "cut off" in entry.getMessage())
    assert said in line
    check_board(server.port, tiny)


LAUNCH = {
    "verb": "launch",
    "base": dict.fromkeys(("uop", "inp", "wgt", "acc", "out"), 0),
    "insn_addr": 0,
    "insn_count": 2,
    "timeout": 1.0,
}

BAD_REQUESTS = [
    ({"verb": "explode"}, "unknown verb 'explode'"),
    ({"verb": None}, "unknown verb None"),
    ({"verb": "read", "addr": -1, "nbytes": 4}, "addr must be a whole number from 0"),
    ({"verb": "read", "addr": 4096}, "nbytes must be a whole number from 0"),
    ({"verb": "read", "addr": True, "nbytes": 4}, "addr must be a whole number from 0"),
    ({"verb": "launch", "base": {}}, "base must have the keys uop, inp, wgt, acc, out"),
    ({**LAUNCH, "insn_count": 3}, "a stream of 3 instructions has 48 bytes, not 32"),
    ({**LAUNCH, "insn_addr": -1}, "insn_addr must be a whole number from 0"),
    ({"verb": "reset", "id": "x"}, "id must be a whole number"),
]


@pytest.mark.parametrize(("head", "said"), BAD_REQUESTS)
def test_a_bad_request_ends_the_session(
    serve: Serve, tiny: Config, head: dict[str, object], said: str
) -> None:
    server = serve()
    channel = SocketChannel(connected(server))
    for first in (hello(), {"verb": "open", "id": 2}):
        channel.send(first)
        assert channel.receive(10)[0]["ok"]
    channel.send({"id": 3, **head}, bytes(32) if head["verb"] == "launch" else b"")
    answer, _ = channel.receive(10)
    assert answer["error"] == "ProtocolError"
    assert said in answer["message"]
    with pytest.raises(RemoteError):
        channel.receive(10)
    channel.close()
    check_board(server.port, tiny)


def test_a_client_that_talks_while_it_waits_is_cut_off(serve: Serve, tiny: Config) -> None:
    server = serve()
    with rpc.connect("127.0.0.1", server.port, config=tiny):
        channel = SocketChannel(connected(server))
        channel.send(hello())
        assert channel.receive(10)[0]["ok"]
        channel.send({"verb": "open", "id": 2})
        assert channel.receive(10)[0] == {"event": "waiting", "place": 1}
        channel.send({"verb": "reset", "id": 3})
        answer, _ = channel.receive(10)
        assert answer["message"] == "a client that waits for the board must be silent"
        channel.close()
    check_board(server.port, tiny)


def test_what_is_out_of_range_is_an_error_and_the_session_goes_on(
    serve: Serve, tiny: Config
) -> None:
    server = serve()
    with rpc.connect("127.0.0.1", server.port, config=tiny) as remote:
        remote.program_fpga()
        device = remote.machine
        with pytest.raises(DeviceError, match="must lie in the board's memory, which has 16777216"):
            device.write(0, np.zeros(1 << 20, np.uint8))
        with pytest.raises(DeviceError, match="4 bytes at 0x0 must lie"):
            device.read(0, 4)
        with pytest.raises(DeviceError, match="32 bytes at 0x40 must lie"):
            device.launch(64, 2, insns=np.zeros((2, 2), np.uint64))
        addr = device.allocate(4)
        device.write(addr, np.arange(4, dtype=np.uint8))
        assert device.read(addr, 4).tolist() == [0, 1, 2, 3]


def test_cuts_at_every_message_boundary_and_within(serve: Serve, tiny: Config) -> None:
    server = serve()
    recorded: list[bytes] = []

    class Recorder(SocketChannel):
        def _send(self, view: memoryview, deadline: float) -> int:
            recorded.append(bytes(view))
            return super()._send(view, deadline)

    from vta.driver.board.board_device import BoardDevice
    from vta.driver.remote.client import RemoteBoard

    board = RemoteBoard(Recorder(connected(server)), "here")
    board.open()
    with BoardDevice(tiny, board) as device:
        device.program()
        program = add_seven(tiny)
        a = np.ones(program.args[0].shape, np.int32)
        device.call(program, [a, a])
    assert len(recorded) >= 10
    for count in range(len(recorded)):
        for part in (recorded[:count], [*recorded[:count], recorded[count][:-1]]):
            # The daemon ends the connection first where the client before still has the board,
            # because a client must be silent while it waits.
            with connected(server) as link, contextlib.suppress(OSError):
                link.sendall(b"".join(part))
                if count % 2:
                    link.shutdown(socket.SHUT_WR)
                    drain(link)
    check_board(server.port, tiny)


def test_too_many_clients_are_refused(
    serve: Serve, tiny: Config, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    links = [connected(server) for _ in range(MAX_CONNECTIONS)]
    wait_for(lambda: len(server._links) == MAX_CONNECTIONS)
    with pytest.raises(RemoteError, match="was lost in hello"):
        rpc.connect("127.0.0.1", server.port, config=tiny)
    assert f"refused: {MAX_CONNECTIONS} clients are connected" in caplog.text
    for link in links:
        link.close()
    wait_for(lambda: len(server._links) == 0)
    check_board(server.port, tiny)


def test_a_token_that_is_no_text_is_wrong(serve: Serve) -> None:
    server = serve(token="a word that nobody guesses")
    channel = SocketChannel(connected(server))
    channel.send(hello(token="\ud800"))
    assert channel.receive(10)[0]["message"] == "the token is wrong"
    channel.close()


def test_another_version_is_refused(serve: Serve) -> None:
    server = serve()
    for changes, said in (
        ({"protocol": 1}, f"the protocol must be {PROTOCOL}, not 1"),
        ({"registers": "0"}, "their register maps differ; install the same on both"),
    ):
        channel = SocketChannel(connected(server))
        channel.send(hello(**changes))
        assert said in channel.receive(10)[0]["message"]
        channel.close()
