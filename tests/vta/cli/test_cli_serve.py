"""`vta serve`: what it says of itself and of what it cannot do. `tests/driver/remote` uses it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import vta
from tests.vta.commands import Run

ROOT = Path(vta.__file__).parent.parent


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_that_it_is_ready_and_ends_when_told(number: signal.Signals) -> None:
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "vta",
            "serve",
            "--emulate",
            "zcu104",
            "--functional",
            "--port",
            "0",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as daemon:
        assert daemon.stdout is not None
        line = daemon.stdout.readline()
        assert line.startswith("serving emulated zcu104 on 127.0.0.1:")
        socket.create_connection(("127.0.0.1", int(line.rpartition(":")[2]))).close()
        daemon.send_signal(number)
        out, err = daemon.communicate(timeout=20)
    assert out == ""
    lines = err.splitlines()
    # The peer that left is reported too, before or after.
    assert ("vta: interrupted" if number == signal.SIGINT else "vta: terminated") in lines
    assert daemon.returncode == 128 + number


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name one board, by --board or by --emulate"),
        (["--emulate", "pynq", "--board", "pynq"], "name one board, by --board or by --emulate"),
        (["--emulate", "arty"], "'arty' is not one of 'pynq', 'ultra96', 'zcu104', 'de10nano'"),
        (["--board", "intelfocl"], "'intelfocl' is not one of 'pynq', 'ultra96', 'zcu104', 'de10"),
        (["--emulate", "pynq", "--host", "0.0.0.0"], "the host must be 127.0.0.1, not 0.0.0.0"),
        (["--emulate", "pynq", "--client-ca", "x"], "--tls-key and --client-ca need --tls-cert"),
        (["--emulate", "pynq", "--tls-cert", "x"], "x: cannot be used for TLS"),
        (["--emulate", "pynq", "--token-file", "short"], "short: a token must have at least 16"),
        (["--emulate", "pynq", "--token-file", "none"], "none: No such file or directory"),
        (["--board", "pynq"], "there is no u-dma-buf device"),
        (["--board", "pynq", "--devmem", "x"], "the memory must be ADDRESS:BYTES in whole pages"),
    ],
)
def test_what_it_refuses(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short").write_text("secret\n")
    result = run("serve", "--functional", *words)
    assert result.status == 2
    assert said in result.complaint
