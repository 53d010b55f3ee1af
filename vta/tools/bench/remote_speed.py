"""How fast remote sessions are on this computer, as ratios to bare sockets measured in between.

The daemon and the bare peer are processes of their own, so that neither waits for this one.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vta.driver.remote.remote_session import Credentials, open_session
from vta.errors import ToolError

if TYPE_CHECKING:
    from vta.config import Config
    from vta.driver.device import Device

__all__ = ["CallOverhead", "Moved", "measure_calls", "measure_moves"]

NBYTES = 64 << 20
"""Bytes that are moved at once."""

CALLS = 200
_TOKEN = "only for this measurement"

_PEER = """
import socket, ssl, sys
nbytes, cert = int(sys.argv[1]), sys.argv[2]
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
link, _ = listener.accept()
if cert:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert)
    link = context.wrap_socket(link, server_side=True)
view = memoryview(bytearray(nbytes))
while True:
    got = 0
    while got < nbytes:
        size = link.recv_into(view[got:got + (1 << 18)])
        if not size:
            sys.exit()
        got += size
    link.sendall(b"x")
    link.sendall(view)
"""
"""The other end of a bare copy: it takes all bytes, says so, and sends them back."""


@dataclass(frozen=True, kw_only=True)
class Moved:
    """Seconds to move `NBYTES`, at best, through a session and over a bare socket in between."""

    transport: str
    direction: str
    session: float
    bare: float

    @property
    def ratio(self) -> float:
        """The session's speed as a part of the bare socket's."""
        return self.bare / self.session

    def record(self) -> dict[str, Any]:
        return {
            "kind": "remote move",
            "transport": self.transport,
            "direction": self.direction,
            "nbytes": NBYTES,
            "session_seconds": self.session,
            "bare_seconds": self.bare,
            "ratio": round(self.ratio, 2),
        }


@dataclass(frozen=True, kw_only=True)
class CallOverhead:
    """Median seconds of a call, without the machine's own work, and of one request."""

    call: float
    request: float

    def record(self) -> dict[str, Any]:
        return {
            "kind": "remote call",
            "call_overhead_seconds": self.call,
            "request_seconds": self.request,
        }


def measure_moves(config: Config, runs: int) -> list[Moved]:
    """The speed of arrays, over TCP and, if certificates can be made here, over TLS."""
    results: list[Moved] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vta-bench-")))
        for transport in ("TCP", "TLS") if shutil.which("openssl") else ("TCP",):
            cert = _certificate(folder) if transport == "TLS" else None
            with _device(config, cert) as device, _bare(cert) as link:
                results += _measure(transport, device, link, runs)
    return results


def measure_calls(config: Config) -> CallOverhead:
    """What a call of a small program costs beyond its run on the board."""
    import vta
    from vta import nd
    from vta.driver.module import LoadedModule
    from vta.driver.ndarray import Context
    from vta.testing.programs import vector_add

    with vta.Environment(config) as env, _device(config, None) as device:
        schedule, args = vector_add(env, m=4)
        module = LoadedModule(vta.build(schedule, args, env.target, name="vadd").program, device)
        shape = module.program.args[0].shape
        ctx = Context("ext_dev", 0, device)
        arrays = [nd.array(np.zeros(shape, np.int32), ctx) for _ in range(2)]
        arrays.append(nd.array(np.zeros(shape, np.int8), ctx))
        calls, requests = [], []
        for _ in range(CALLS):
            start = time.perf_counter()
            report = module.run(*arrays)
            calls.append(time.perf_counter() - start - (report.seconds or 0.0))
            start = time.perf_counter()
            device.reset()
            requests.append(time.perf_counter() - start)
    return CallOverhead(call=statistics.median(calls), request=statistics.median(requests))


def _measure(transport: str, device: Device, link: socket.socket, runs: int) -> Iterator[Moved]:
    data = np.random.default_rng(0).integers(0, 256, NBYTES, np.uint8)
    back = np.zeros(NBYTES, np.uint8)
    addr = device.allocate(NBYTES)

    def bare_up() -> None:
        link.sendall(data.data)
        _receive(link, memoryview(bytearray(1)))

    times: dict[str, list[float]] = {name: [] for name in ("up", "down", "bare up", "bare down")}
    for _ in range(runs + 1):
        times["up"].append(_seconds(lambda: device.write(addr, data)))
        times["bare up"].append(_seconds(bare_up))
        times["down"].append(_seconds(lambda: device.read(addr, NBYTES)))
        times["bare down"].append(_seconds(lambda: _receive(link, back.data)))
    if not np.array_equal(device.read(addr, NBYTES), data):
        raise ToolError("what was read back is not what was written")
    # The fastest, since what else the computer does only slows one of them down.
    best = {name: min(found[1:]) for name, found in times.items()}
    for direction in ("up", "down"):
        yield Moved(
            transport=transport,
            direction=direction,
            session=best[direction],
            bare=best[f"bare {direction}"],
        )


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _receive(link: socket.socket, view: memoryview) -> None:
    while view.nbytes:
        view = view[link.recv_into(view[: 1 << 18]) :]


@contextmanager
def _process(*words: str) -> Iterator[str]:
    """A process of this Python, and the first line that it prints."""
    process = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline()
    finally:
        process.kill()
        process.communicate()


@contextmanager
def _device(config: Config, cert: Path | None) -> Iterator[Device]:
    """A device at the other end of a session with a daemon of its own."""
    words = ["-m", "vta", "serve", "--emulate", config.target, "--functional", "--port", "0"]
    if cert is not None:
        (cert.parent / "token").write_text(_TOKEN)
        words += ["--tls-cert", str(cert), "--token-file", str(cert.parent / "token")]
    with _process(*words) as line:
        if not line.startswith("serving"):
            raise ToolError("vta serve did not start")
        port = int(line.rpartition(":")[2])
        known = Credentials(ca=str(cert), token=_TOKEN) if cert is not None else Credentials()
        with open_session(config, "127.0.0.1", port, known) as session:
            session.program_fpga()
            yield session.machine


@contextmanager
def _bare(cert: Path | None) -> Iterator[socket.socket]:
    """A connection to a process that copies and does nothing else."""
    with _process("-c", _PEER, str(NBYTES), str(cert or "")) as line:
        link = socket.create_connection(("127.0.0.1", int(line)))
        if cert is not None:
            context = ssl.create_default_context(cafile=str(cert))
            context.check_hostname = False
            link = context.wrap_socket(link)
        with link:
            yield link


def _certificate(folder: Path) -> Path:
    """A certificate that vouches for itself, with its key."""
    file = folder / "daemon.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        + ["-nodes", "-subj", "/CN=vta", "-days", "2", "-keyout", f"{file}.key", "-out", file],
        check=True,
        capture_output=True,
    )
    file.write_bytes(file.read_bytes() + Path(f"{file}.key").read_bytes())
    return file
