"""`open_ssh`: starts the agent on a board by ssh, by sending its source."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import tempfile
import zlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vta.driver.remote.bundle import agent_settings, bundle
from vta.driver.remote.channel import PeerGone, SocketChannel
from vta.driver.remote.client import QUEUE_SECONDS, ConnectionLost, RemoteBoard
from vta.driver.remote.remote_session import RemoteSession, end_own_session
from vta.errors import ConfigError, RemoteError

if TYPE_CHECKING:
    from vta.config import Config

__all__ = ["open_ssh"]

PYTHON = "VTA_RPC_PYTHON"
"""The environment variable with the command that starts Python on the board."""

_OPTIONS = ("-T", "-x", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3")

_BOOT = """\
import os,sys,zlib
def r(n):
 d=b""
 while len(d)<n:
  c=os.read(0,n-len(d))
  if not c:sys.exit(1)
  d+=c
 return d
exec(zlib.decompress(r(int(r(8),16))).decode())
"""
"""What runs on the board first: it reads the length of the agent's source, and the source."""

_END_SECONDS = 5.0


class _SshChannel(SocketChannel):
    """Messages over the standard input and output of an ssh process.

    Attributes
    ----------
    said : str
        After `close`: the last line that ssh, or the board, wrote to standard error.
    """

    def __init__(self, command: list[str]) -> None:
        near, far = socket.socketpair()
        self.said = ""
        with far, contextlib.ExitStack() as failed:
            failed.callback(near.close)
            self._errors = failed.enter_context(tempfile.TemporaryFile(prefix="vta-ssh-"))
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=far.fileno(),
                    stdout=far.fileno(),
                    stderr=self._errors,
                    start_new_session=True,
                )
            except OSError as error:
                raise RemoteError(f"{command[0]} cannot be run ({error.strerror})") from None
            failed.pop_all()
        super().__init__(near)

    def close(self) -> None:
        """Ends the connection, and ssh with it."""
        super().close()
        if self._errors.closed:
            return
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read(1 << 16).decode("utf-8", "replace").strip().splitlines()
        self.said = lines[-1] if lines else ""
        self._errors.close()


def open_ssh(config: Config, url: str, queue_seconds: float = QUEUE_SECONDS) -> RemoteSession:
    """Connects to a board by ssh. Nothing has to be installed there but Python 3.10.

    Parameters
    ----------
    config : Config
        Its TARGET is the kind of the board.
    url : str
        ``ssh://user@host:port``; user and port are optional.
    queue_seconds : float
        How long to wait for the board.

    Raises
    ------
    RemoteError
        If ssh or the agent cannot be started, or the board is not free in time.
    """
    where, command = _command(url)
    end_own_session(where)
    channel = _SshChannel(command)
    try:
        source = zlib.compress(_source(config).encode())
        channel.send_raw(f"{len(source):08x}".encode() + source)
        board = RemoteBoard(channel, where)
    except (ConnectionLost, PeerGone) as error:
        channel.close()
        raise RemoteError(f"{url}: {channel.said or error}") from None
    except BaseException:
        channel.close()
        raise
    try:
        board.open(queue_seconds)
        return RemoteSession(config, board)
    except BaseException:
        board.close()
        raise


def _command(url: str) -> tuple[str, list[str]]:
    """The host, with its port if there is one, and the command that starts Python there."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host or host.startswith("-") or parts.path not in ("", "/") or parts.query:
        raise ConfigError(f"the address must be ssh://user@host:port, not {url!r}")
    place = f"{parts.username}@{host}" if parts.username else host
    python = os.environ.get(PYTHON, "python3")
    return host if port is None else f"{host}:{port}", [
        "ssh",
        *_OPTIONS,
        *(["-p", str(port)] if port else []),
        "--",
        place,
        f"{python} -c {shlex.quote(_BOOT)}",
    ]


def _source(config: Config) -> str:
    """The agent, and the call that starts it."""
    packed = json.dumps(json.dumps({"kind": config.target, **agent_settings()}))
    return (
        f"{bundle()}\n"
        "from vta.driver.remote.pipe_agent import serve_pipes\n"
        f"sys.exit(serve_pipes(_json.loads({packed})))\n"
    )
