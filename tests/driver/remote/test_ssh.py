"""Boards by ssh, with a command `ssh` that runs here what it is told to run there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import vta
from tests.driver.conftest import add_seven
from tests.driver.remote.conftest import Serve
from tests.driver.remote.test_agent import python_3_10
from tests.driver.remote.test_server import interrupt_when_running, wait_for
from tests.vta.commands import Run
from vta import rpc
from vta.config import Config
from vta.driver.board.board import Board
from vta.driver.board.emulated_bitstream import emulated_bitstream
from vta.driver.board.kinds import KINDS
from vta.driver.board.register_table import register_map
from vta.driver.board.system import System
from vta.driver.remote.ssh import _command
from vta.errors import ConfigError, DeviceError, DeviceTimeout, RemoteError
from vta.registers import BY_NAME, REGISTERS

BRIDGE = """\
#!{python}
# Takes the source that is sent and drops it; a daemon stands for the agent.
import os, socket, sys, threading
from pathlib import Path
Path({log!r}).write_text(repr(sys.argv))
size = int(os.read(0, 8), 16)
while size:
    size -= len(os.read(0, size))
link = socket.create_connection(("127.0.0.1", {port}))
def up():
    while data := os.read(0, 1 << 16):
        link.sendall(data)
    link.shutdown(socket.SHUT_WR)
threading.Thread(target=up, daemon=True).start()
while data := link.recv(1 << 16):
    os.write(1, data)
"""

LOCAL = """\
#!{shell}
for last; do :; done
exec env -u PYTHONPATH {shell} -c "$last"
"""

TOY = """\
# Runs the agent that is sent, on a system whose "machine" adds 1 to each byte that it is given:
# pointer `inp` is the first, and the count of instructions is the number of bytes. With the
# pointer `wgt` set, it never ends.
import os, sys, zlib
def get(n):
    data = b""
    while len(data) < n:
        data += os.read(0, n - len(data))
    return data
source = zlib.decompress(get(int(get(8), 16))).decode()
start, call = source.rsplit("sys.exit(", 1)
exec(start)
from vta.driver.board.system import System
class Toy(System):
    def __init__(self):
        super().__init__({root!r})
        self.values = [0] * 1024
    def words(self, name, nbytes, offset=0):
        return self if name == "dev/uio0" else super().words(name, nbytes, offset)
    def interrupt(self, name):
        return self
    def __getitem__(self, index):
        return self.values[index]
    def __setitem__(self, index, value):
        self.values[index] = value & ~4 if index == 0 else value
        if index == 0 and value == 1 and not self.values[{wgt} // 4]:
            view = self.map("dev/udmabuf0", 65536)
            first = self.values[{inp} // 4] - 0x16800000
            for place in range(first, first + 16 * self.values[{count} // 4]):
                view[place] = view[place] + 1 & 255
            self.values[0] = 2
    def enable(self):
        pass
    def wait(self, seconds):
        return False
    def close(self):
        pass
exec("sys.exit(" + call.rstrip()[:-2] + ", Toy()))")
"""


def toy_text(root: Path) -> str:
    places = {"inp": "inp_ptr", "wgt": "wgt_ptr", "count": "insn_count"}
    offsets = {name: BY_NAME[register].offset for name, register in places.items()}
    return TOY.format(root=str(root), **offsets)


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (folder / "bin").mkdir()
    file = folder / "bin" / "ssh"
    file.write_text(text)
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")


def test_a_session(
    serve: Serve, tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    text = BRIDGE.format(python=sys.executable, port=serve().port, log=str(log))
    install(tmp_path, monkeypatch, text)
    monkeypatch.setenv("VTA_RPC_PYTHON", "sudo -n python3")
    program = add_seven(tiny)
    rng = np.random.default_rng(5)
    a, b = (rng.integers(-99, 99, program.args[0].shape, np.int32) for _ in range(2))
    for _ in range(2):
        with rpc.connect("ssh://xilinx@pynq.local:2222", config=tiny) as remote:
            remote.program_fpga()
            (out,), _ = remote.machine.call(program, [a, b])
            np.testing.assert_array_equal(out, (a + b + 7).astype(np.int8))
            big = rng.integers(0, 255, 3_000_000, np.uint8)
            addr = remote.machine.allocate(big.nbytes)
            remote.machine.write(addr, big)
            np.testing.assert_array_equal(remote.machine.read(addr, big.nbytes), big)
    words = log.read_text()
    assert "'-p', '2222', '--', 'xilinx@pynq.local', " in words
    assert "sudo -n python3 -c " in words


def test_a_computer_that_is_no_board(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent really starts, in a shell of its own, and finds no memory for a machine."""
    install(tmp_path, monkeypatch, LOCAL.format(shell="/bin/sh"))
    monkeypatch.setenv("VTA_RPC_PYTHON", f"{sys.executable} -I -S")
    with pytest.raises(RemoteError, match="there is no u-dma-buf device: load the kernel module"):
        rpc.connect("ssh://pynq", config=tiny)


def test_what_ssh_says_is_shown(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "#!/bin/sh\necho 'x@y: Permission denied.' >&2\nexit 255\n")
    with pytest.raises(RemoteError, match=r"^ssh://x@y: x@y: Permission denied\.$"):
        rpc.connect("ssh://x@y", config=tiny)
    monkeypatch.setenv("VTA_RPC_PYTHON", "no-such-python")
    (tmp_path / "bin" / "ssh").write_text(LOCAL.format(shell="/bin/sh"))
    with pytest.raises(RemoteError, match="ssh://y: .*no-such-python.*not found"):
        rpc.connect("ssh://y", config=tiny)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RemoteError, match="ssh cannot be run .No such file"):
        rpc.connect("ssh://y", config=tiny)


@pytest.mark.parametrize(
    ("url", "place"), [("ssh://u@pynq:2222", "pynq:2222"), ("ssh://u@pynq", "pynq")]
)
def test_two_ports_of_a_host_are_two_places(url: str, place: str) -> None:
    assert _command(url)[0] == place


@pytest.mark.parametrize("url", ["ssh://", "ssh://-oProxyCommand=x", "ssh://x/y", "ssh://x:port"])
def test_addresses(tiny: Config, url: str) -> None:
    with pytest.raises(ConfigError, match="the address must be ssh://user@host:port, not"):
        rpc.connect(url, config=tiny)


def arm_python() -> str:
    """Debian's Python for 32-bit Arm, as Pynq's processor runs it."""
    root = os.environ.get("VTA_ARMHF_ROOT", "")
    if not root or shutil.which("qemu-arm") is None:
        pytest.skip("needs qemu-arm, and in VTA_ARMHF_ROOT what make_armhf.sh makes")
    return f"qemu-arm -L {root} {root}/usr/bin/python3.11"


PYTHONS = {
    "this Python": lambda: sys.executable,
    "Python 3.10": python_3_10,
    "32-bit Arm": arm_python,
}


@pytest.mark.parametrize("python", PYTHONS)
def test_the_agent_in_a_bare_python(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    """Memory, runs, time limits and programming, in a Python that has nothing else."""
    root = tmp_path / "root"
    toy = tmp_path / "toy.py"
    toy.write_text(toy_text(root))
    install(tmp_path, monkeypatch, f"#!/bin/sh\nexec {PYTHONS[python]()} -I -S {toy}\n")
    fake_board(root)
    with rpc.connect("ssh://pynq", config=tiny) as remote:
        board = remote._board
        assert board.identify() == {}
        board.program(emulated_bitstream(KINDS["pynq"], tiny))
        assert (root / "run/vta/programmed").is_file()
        assert set(board.identify()) == {"id", "version", "config_0", "config_1", "config_2"}
        addr = board.info.address + 4096
        board.write(addr, memoryview(bytes(range(200))))
        base = {**dict.fromkeys(("uop", "wgt", "acc", "out"), 0), "inp": addr}
        run = board.launch(addr, 2, base, 1.0)
        expected = bytes([*range(1, 33), *range(32, 200)])
        got = bytearray(200)
        board.read(addr, memoryview(got))
        assert got == expected
        assert set(run.registers) == {register.name for register in REGISTERS}
        assert run.registers["insn_count"] == 2
        with pytest.raises(DeviceTimeout, match="the run had not finished after 0.1 s"):
            board.launch(addr, 2, {**base, "wgt": 1}, 0.1)
        ender = interrupt_when_running(remote)
        with pytest.raises(DeviceError, match="interrupted"):
            board.launch(addr, 2, {**base, "wgt": 1}, 60.0)
        ender.join()
        with pytest.raises(DeviceError, match="must lie in the board's memory"):
            board.read(0, memoryview(bytearray(4)))
    assert not (root / "dev/udmabuf0").read_bytes()[4096:4300].strip(b"\0")


class Sessions:
    """Clients of a board by ssh, each in a thread, and the order in which they get the board."""

    def __init__(self, config: Config, caplog: pytest.LogCaptureFixture) -> None:
        self._config, self._caplog = config, caplog
        self._threads: list[threading.Thread] = []
        self.order: list[str] = []
        self.wrong: list[str] = []

    def start(self, name: str, *place: object) -> None:
        thread = threading.Thread(target=self._work, args=(name, *(place or ("ssh://pynq",))))
        thread.name = name
        self._threads.append(thread)
        thread.start()

    def _work(self, name: str, *place: object) -> None:
        with rpc.connect(*place, config=self._config) as remote:
            self.order.append(name)
            # Others that used the board now would leave their numbers here.
            addr = remote.machine.allocate(4096)
            data = np.full(4096, len(self.order), np.uint8)
            for _ in range(3):
                remote.machine.write(addr, data)
                if not np.array_equal(remote.machine.read(addr, 4096), data):
                    self.wrong.append(name)

    def places(self, name: str) -> list[int]:
        """What a client was told."""
        return [
            int(record.getMessage().rpartition(" ")[2])
            for record in self._caplog.records
            if record.threadName == name and "is in use; waiting at place" in record.getMessage()
        ]

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)


@pytest.fixture
def toy_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Has ssh start the agent on a toy, on the files of a board at `root`."""

    def make(root: Path | None = None) -> Path:
        if root is None:
            root = tmp_path / "root"
            fake_board(root)
        (tmp_path / "toy.py").write_text(toy_text(root))
        toy = f"#!/bin/sh\nexec {sys.executable} -I -S {tmp_path / 'toy.py'}\n"
        install(tmp_path, monkeypatch, toy)
        return root

    return make


def test_sessions_share_the_board_with_a_program_on_it(
    tiny: Config, toy_board: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """Which has no ticket."""
    others = Board(KINDS["pynq"], System(toy_board()), register_map())
    assert others.take()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(rpc.connect, "ssh://pynq", config=tiny)
        wait_for(lambda: "pynq is in use; waiting at place 1" in caplog.text)
        assert not waiting.done()
        others.give_back()
        with waiting.result(20) as remote:
            remote.machine.write(remote.machine.allocate(4), np.ones(4, np.uint8))
            assert not others.take()
        wait_for(others.take)
    others.close()


def test_ten_sessions_at_once_are_served_in_the_order_of_their_tickets(
    tiny: Config, toy_board: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"client {number}" for number in range(10)]
    first = Board(KINDS["pynq"], System(toy_board()), register_map())
    ticket = first.queue_up()
    assert first.take()
    sessions = Sessions(tiny, caplog)
    for name in names:
        sessions.start(name)
    wait_for(lambda: all(sessions.places(name) for name in names), 60)
    tickets = {sessions.places(name)[0]: name for name in names}
    assert sorted(tickets) == list(range(1, 11))
    assert sessions.order == []
    first.give_back()
    ticket.leave()
    sessions.join()
    assert sessions.order == [tickets[place] for place in range(1, 11)]
    assert sessions.wrong == []
    for name in names:
        places = sessions.places(name)
        assert places == sorted(set(places), reverse=True)
    first.close()


def test_a_session_that_is_killed_in_the_queue_is_skipped(
    tiny: Config, toy_board: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    root = toy_board()
    first = Board(KINDS["pynq"], System(root), register_map())
    ticket = first.queue_up()
    assert first.take()
    with ThreadPoolExecutor() as pool:
        killed = pool.submit(rpc.connect, "ssh://pynq", config=tiny)
        wait_for(lambda: "waiting at place 1" in caplog.text)
        sessions = Sessions(tiny, caplog)
        sessions.start("next")
        wait_for(lambda: sessions.places("next") == [2])
        os.kill(int((root / "tmp/vta-queue/2").read_text()), signal.SIGKILL)
        wait_for(lambda: sessions.places("next") == [2, 1])
        with pytest.raises(RemoteError, match="the connection to pynq was lost in open"):
            killed.result(20)
    first.give_back()
    ticket.leave()
    sessions.join()
    assert sessions.order == ["next"]
    first.close()


KILLED = """
from vta import rpc
from vta.config import PRESETS
board = rpc.connect("ssh://pynq", config=PRESETS["tiny"].replace(target="pynq"))._board
print("running", flush=True)
board.launch(board.info.address, 1, {"wgt": 1, "uop": 0, "inp": 0, "acc": 0, "out": 0}, None)
"""


def test_a_client_that_is_killed_in_mid_run_frees_the_board(
    tiny: Config, toy_board: Callable[..., Path]
) -> None:
    root = toy_board()
    (root / "run/vta").mkdir(parents=True)
    (root / "run/vta/programmed").touch()
    client = subprocess.Popen(
        [sys.executable, "-c", KILLED],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(vta.__file__).parent.parent)},
    )
    try:
        assert client.stdout is not None
        assert client.stdout.readline() == "running\n"
        time.sleep(0.3)
        assert client.poll() is None
    finally:
        client.kill()
        client.communicate()
    with rpc.connect("ssh://pynq", config=tiny, queue_seconds=20) as remote:
        assert remote.machine.allocate(4)


def test_a_daemons_clients_and_sessions_over_ssh_stand_in_one_queue(
    serve: Serve, tiny: Config, toy_board: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    toy_board(server._board._system.root)
    daemon = ("127.0.0.1", server.port)
    sessions = Sessions(tiny, caplog)
    with rpc.connect(*daemon, config=tiny):
        for place, how in enumerate([("ssh://pynq",), daemon, ("ssh://pynq",), daemon], 1):
            sessions.start(str(place), *how)
            wait_for(lambda place=place: sessions.places(str(place)) == [place])
    sessions.join()
    assert sessions.order == ["1", "2", "3", "4"]
    assert sessions.wrong == []


def test_a_board_that_does_not_come_out_of_reset(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    fake_board(root)
    (root / "run/vta").mkdir(parents=True)
    (root / "run/vta/programmed").touch()
    text = toy_text(root).replace("value & ~4", "value")
    shorter = "import vta.driver.board.board\nvta.driver.board.board.RESET_SECONDS = 0.1\n"
    (tmp_path / "toy.py").write_text(text.replace("exec(start)\n", f"exec(start)\n{shorter}"))
    toy = f"#!/bin/sh\nexec {sys.executable} -I -S {tmp_path / 'toy.py'}\n"
    install(tmp_path, monkeypatch, toy)
    with pytest.raises(DeviceTimeout, match="^pynq: the machine did not come out of reset within"):
        rpc.connect("ssh://pynq", config=tiny)


DAEMON = """
import sys
_, file, root, *words = sys.argv
start, call = open(file).read().rsplit("sys.exit(", 1)
exec(start)
import vta.driver.remote.daemon as daemon
system = daemon.System
daemon.System = lambda: system(root)
sys.argv = ["daemon", *words]
exec("sys.exit(" + call)
"""


def test_the_daemon_in_a_bare_python(tiny: Config, tmp_path: Path, run: Run) -> None:
    """The file that `vta serve --write` writes, in Python 3.10, on the files of a Pynq."""
    file = tmp_path / "daemon.py"
    said = run("serve", "--write", file).out
    assert said == f"{file}: written; run it on the board with python3\n"
    root = tmp_path / "root"
    fake_board(root)
    words = ["-I", "-S", "-c", DAEMON, str(file), str(root), "--board", "pynq", "--port", "0"]
    daemon = subprocess.Popen(
        [python_3_10(), *words, "--port-end", "0"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert daemon.stderr is not None
        line = daemon.stderr.readline()
        assert " serving pynq on 127.0.0.1:" in line
        port = int(line.rpartition(":")[2])
        with rpc.connect("127.0.0.1", port, config=tiny) as remote:
            addr = remote.machine.allocate(1000)
            remote.machine.write(addr, np.arange(500, dtype=np.uint16))
            got = remote.machine.read(addr, 1000).view(np.uint16)
            np.testing.assert_array_equal(got, np.arange(500))
        daemon.terminate()
        assert daemon.wait(20) == 0
    finally:
        daemon.kill()
        daemon.communicate()
    done = subprocess.run(
        [python_3_10(), "-I", "-S", str(file), "--board", "pynq", "--host", "0.0.0.0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("vta-daemon: there is no u-dma-buf device")


def fake_board(root: Path) -> None:
    """The files of a Pynq that has just been switched on."""
    buffer, fpga = "sys/class/u-dma-buf/udmabuf0", "sys/class/fpga_manager/fpga0"
    for name, content in {
        "sys/class/uio/uio0/maps/map0/addr": b"0x40000000",
        "sys/class/uio/uio0/maps/map0/size": b"0x10000",
        f"{buffer}/phys_addr": b"0x16800000",
        f"{buffer}/size": b"65536",
        f"{buffer}/sync_for_cpu": b"",
        f"{buffer}/sync_for_device": b"",
        f"{fpga}/state": b"operating",
        f"{fpga}/flags": b"",
        f"{fpga}/firmware": b"",
        "dev/udmabuf0": bytes(65536),
        "dev/mem": b"",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    with open(root / "dev/mem", "r+b") as file:
        file.truncate(1 << 32)
