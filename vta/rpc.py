"""Sessions: `rpc.LocalSession()` on a device in this process, `rpc.connect()` on a board."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from vta.calls import check_calls
from vta.config import Config
from vta.driver import session
from vta.driver.module import LoadedModule
from vta.driver.remote.client import QUEUE_SECONDS
from vta.driver.remote.protocol import PORTS
from vta.driver.remote.remote_session import Credentials, RemoteSession, open_session
from vta.driver.remote.ssh import open_ssh
from vta.environment import get_env
from vta.errors import ConfigError

__all__ = ["LocalSession", "RemoteSession", "connect"]


class LocalSession(session.Session):
    """A session on the device that the current environment's `TARGET` names.

    Threads may share it; see `vta.driver.session.Session`.

    Parameters
    ----------
    config : Config, optional
        The default is the configuration of the current environment.
    """

    def __init__(self, config: Config | None = None) -> None:
        super().__init__(config if config is not None else get_env().config)


def connect(
    url: str | None = None,
    port: int | None = None,
    *,
    token: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    key_file: str | os.PathLike[str] | None = None,
    queue_seconds: float = QUEUE_SECONDS,
    config: Config | None = None,
) -> RemoteSession:
    """Connects to a board, and waits until it is free.

    On the board `vta serve` runs; or, with ``ssh://user@host``, nothing needs to run or to be
    installed but Python 3.10, and ssh lets the user in.

    Parameters
    ----------
    url : str, optional
        The host, or ``ssh://user@host``; the default is `$VTA_RPC_HOST`.
    port : int, optional
        The default is `$VTA_RPC_PORT`, or 9091.
    token : str, optional
        What the daemon asks for; the default is the content of the file `$VTA_RPC_TOKEN_FILE`.
    ca : path, optional
        The daemon's certificate, or its authority's (PEM), which turns TLS on; the default is
        `$VTA_RPC_CA`. With an authority's certificate, every certificate that it has signed is
        accepted as the daemon's: use an authority that signs nothing else.
    cert, key_file : path, optional
        The client's own certificate and key; the defaults are `$VTA_RPC_CERT`, `$VTA_RPC_KEY`.
    queue_seconds : float
        How long to wait for the board.
    config : Config, optional
        The default is the configuration of the current environment.

    Raises
    ------
    RemoteError
        If it cannot be reached, refuses, or is not free in time.
    ConfigError
        If the board is of another kind than TARGET, or a token would leave this computer without
        TLS.
    """
    host = url or os.environ.get("VTA_RPC_HOST", "")
    if not host:
        raise ConfigError("connect needs a host: pass one, or set VTA_RPC_HOST")
    credentials = Credentials(
        ca=str(ca or os.environ.get("VTA_RPC_CA", "")),
        cert=str(cert or os.environ.get("VTA_RPC_CERT", "")),
        key=str(key_file or os.environ.get("VTA_RPC_KEY", "")),
        token=token or _token_from_file(),
    )
    used = config if config is not None else get_env().config
    if host.startswith("ssh://"):
        return open_ssh(used, host, queue_seconds)
    return open_session(used, host, _port(port), credentials, queue_seconds)


def _port(given: int | None) -> int:
    value = given if given is not None else os.environ.get("VTA_RPC_PORT", PORTS.start)
    try:
        port = int(value)
    except (TypeError, ValueError):
        port = -1
    if not 0 < port < 1 << 16:
        raise ConfigError(f"the port must be 1 to 65535, not {value!r}")
    return port


def _token_from_file() -> str:
    name = os.environ.get("VTA_RPC_TOKEN_FILE", "")
    if not name:
        return ""
    try:
        return Path(name).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read ({error.strerror})") from None


def __getattr__(name: str) -> NoReturn:
    hint = ""
    if name == "connect_tracker":
        hint = ": there is no tracker; use rpc.connect(host, port), which waits for a free board"
    raise AttributeError(f"module 'vta.rpc' has no attribute {name!r}{hint}")


check_calls("rpc.", globals(), __all__, session.Session, LoadedModule)
