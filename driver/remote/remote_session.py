"""`RemoteSession`: a session whose device is a board elsewhere, and `open_session`."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vta.driver.board.board_device import BoardDevice
from vta.driver.remote.channel import SocketChannel
from vta.driver.remote.client import QUEUE_SECONDS, RemoteBoard
from vta.driver.remote.protocol import is_loopback
from vta.driver.session import Session
from vta.errors import ConfigError, RemoteError

if TYPE_CHECKING:
    from vta.config import Config
    from vta.driver.device import Device

__all__ = ["Credentials", "RemoteSession", "end_own_session", "open_session"]

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What a client shows and checks: paths of PEM files, and the daemon's token.

    Attributes
    ----------
    ca : str
        The certificate, or its authority's, that the daemon must have; "" for no TLS. With an
        authority's certificate, every certificate that it has signed is accepted as the daemon's.
    cert, key : str
        The client's own.
    token : str
    """

    ca: str = ""
    cert: str = ""
    key: str = ""
    token: str = ""

    def context(self) -> ssl.SSLContext | None:
        """The client's side of TLS; None without a `ca`.

        Raises
        ------
        ConfigError
            If a file cannot be used.
        """
        if self.key and not self.cert:
            raise ConfigError("a client's key needs cert, the certificate that it belongs to")
        if not self.ca:
            if self.cert:
                raise ConfigError("a client certificate needs a ca, the daemon's certificate")
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca)
            # `ca` is normally the daemon's own certificate, so its name need not match.
            context.check_hostname = False
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            if self.cert:
                context.load_cert_chain(self.cert, self.key or None)
        except OSError as error:
            named = ", ".join(name for name in (self.ca, self.cert, self.key) if name)
            raise ConfigError(f"{named}: cannot be used for TLS ({error})") from None
        return context


class RemoteSession(Session):
    """A session on a board elsewhere. It has the board until it is closed.

    Parameters
    ----------
    config : Config
        Its TARGET is the kind of the board.
    board : RemoteBoard
        Open; closed with the session.

    Raises
    ------
    ConfigError
        If the board is of another kind than the configuration's TARGET.
    """

    def __init__(self, config: Config, board: RemoteBoard) -> None:
        kind = board.info.kind
        if config.target != kind:
            raise ConfigError(f"{board.where} is a {kind}, and TARGET is {config.target}")
        super().__init__(config)
        self._board = board
        _own[threading.get_ident(), board.where] = self

    def _open_device(self) -> Device:
        return BoardDevice(self.config, self._board)

    def reconfigure(self, config: Config) -> None:
        """Makes the session's runtime that of another configuration, if it is not in use yet."""
        self._check_open()
        if self._device is None and config.target == self.config.target:
            self.config = config
        super().reconfigure(config)

    def interrupt(self) -> None:
        """Ends the run that another thread waits for, which gets a `DeviceError`."""
        self._board.interrupt()

    def close(self) -> None:
        """Gives the board back, and removes the uploaded files."""
        super().close()
        self._board.close()


def open_session(
    config: Config,
    host: str,
    port: int,
    credentials: Credentials,
    queue_seconds: float = QUEUE_SECONDS,
) -> RemoteSession:
    """Connects to a daemon and waits for its board.

    Raises
    ------
    RemoteError
        If it cannot be reached, refuses, or its board is not free in time.
    ConfigError
        If the credentials cannot be used, or would show the token to others.
    """
    where = f"{host}:{port}"
    context = credentials.context()
    if credentials.token and context is None and not is_loopback(host):
        raise ConfigError(
            f"a token for {host} needs ca: without TLS, anyone on the way can read it"
        )
    end_own_session(where)
    try:
        link = socket.create_connection((host, port), CONNECT_SECONDS)
    except OSError as error:
        raise RemoteError(
            f"{where} cannot be reached ({error.strerror or error}): `vta serve` must run there"
        ) from None
    try:
        if context is not None:
            link = context.wrap_socket(link, server_hostname=host)
    except OSError as error:
        link.close()
        raise RemoteError(f"{where}: TLS failed: {_tls_problem(error)}") from None
    board = RemoteBoard(SocketChannel(link), where, token=credentials.token or None)
    try:
        board.open(queue_seconds)
        return RemoteSession(config, board)
    except BaseException:
        board.close()
        raise


_own: weakref.WeakValueDictionary[tuple[int, str], RemoteSession] = weakref.WeakValueDictionary()
"""The open sessions of this process, by thread and place."""


def end_own_session(where: str) -> None:
    """Closes this thread's session with a place, which it would wait for without end.

    This happens where a script or a notebook's cell connects again.
    """
    session = _own.pop((threading.get_ident(), where), None)
    if session is not None and not session.closed:
        logger.warning(
            "%s serves one session at a time: the earlier one of this thread is closed", where
        )
        session.close()


def _tls_problem(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return "it does not speak TLS"
    return str(getattr(error, "reason", None) or error.strerror or error)
