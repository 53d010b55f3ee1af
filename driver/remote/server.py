"""`Server`: the daemon that serves a board to one client at a time. Standard library alone."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading

from vta.driver.board.board import Board
from vta.driver.remote.agent import Agent, Refused
from vta.driver.remote.channel import PeerGone, SocketChannel
from vta.driver.remote.protocol import (
    HELLO_SECONDS,
    IDLE_SECONDS,
    MAGIC,
    MAX_CONNECTIONS,
    MAX_HELLO,
    PORTS,
    is_loopback,
)
from vta.errors import DeviceError, RemoteError

__all__ = ["Server"]

logger = logging.getLogger(__name__)

_CLOSE_SECONDS = 15.0
"""How long `close` waits for a client's run to end."""


class Server:
    """Listens on a port and serves a board.

    Parameters
    ----------
    board : Board
        Stays open when the server closes.
    version, registers : str
        As for `Agent`.
    host : str
    ports : range
        The first free one is taken; 0 means any.
    tls : ssl.SSLContext, optional
    token : str, optional
        The word that clients must know.
    idle : float
        Seconds that a client may keep the board without using it.

    Attributes
    ----------
    port : int

    Raises
    ------
    RemoteError
        If no port is free, or if others than this computer could connect without being asked for
        a token or a certificate.
    """

    def __init__(
        self,
        board: Board,
        *,
        version: str,
        registers: str,
        host: str = "127.0.0.1",
        ports: range = PORTS,
        tls: ssl.SSLContext | None = None,
        token: str | None = None,
        idle: float = IDLE_SECONDS,
    ) -> None:
        self._check_exposure(host, tls, token)
        self._board, self._version, self._registers = board, version, registers
        self._tls, self._token, self._idle = tls, token, idle
        self._links: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._listener = self._bind(host, ports)
        self.port = int(self._listener.getsockname()[1])

    @staticmethod
    def _check_exposure(host: str, tls: ssl.SSLContext | None, token: str | None) -> None:
        asks = tls is not None and (token is not None or tls.verify_mode == ssl.CERT_REQUIRED)
        if not is_loopback(host) and not asks:
            raise RemoteError(
                f"without TLS and a token or client certificates, the host must be 127.0.0.1, not "
                f"{host}: whoever can connect can use the board, and can write to all of its memory"
            )

    @staticmethod
    def _bind(host: str, ports: range) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        reason = "there is none"
        for port in ports:
            listener = socket.socket(family, socket.SOCK_STREAM)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((host, port))
                listener.listen(MAX_CONNECTIONS)
                return listener
            except OSError as error:
                reason = error.strerror or str(error)
                listener.close()
        raise RemoteError(
            f"no port of {host} from {ports.start} to {ports.stop - 1} can be used ({reason})"
        )

    def serve(self) -> None:
        """Serves clients until `close` is called from another thread, or an exception ends it."""
        while not self._closed:
            try:
                link, address = self._listener.accept()
            except OSError:
                return  # closed
            name = f"{address[0]}:{address[1]}"
            thread = threading.Thread(target=self._serve_link, args=(link, name), daemon=True)
            with self._lock:
                full = len(self._links) >= MAX_CONNECTIONS
                if not full and not self._closed:
                    self._links[link] = thread
                    thread.start()
                    continue
            if full:
                logger.warning("%s: refused: %d clients are connected", name, MAX_CONNECTIONS)
            link.close()

    def close(self) -> None:
        """Stops listening, cuts off all clients, and waits until the board is left alone.

        It may be called twice.
        """
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            self._closed = True
            links = dict(self._links)
        for link in links:
            with contextlib.suppress(OSError):
                # A TLS socket's own `shutdown` would pull its TLS state from under its thread.
                socket.socket.shutdown(link, socket.SHUT_RDWR)
        for link, thread in links.items():
            try:
                thread.join(_CLOSE_SECONDS)
            except RuntimeError:  # a signal came while `serve` was starting it
                link.close()

    # -- one client, in its own thread -----------------------------------------------------------

    def _serve_link(self, link: socket.socket, name: str) -> None:
        """Serves a client to its end; whatever happens, the board is free afterwards."""
        used = link
        try:
            if self._tls is not None:
                link.settimeout(HELLO_SECONDS)
                if link.recv(len(MAGIC), socket.MSG_PEEK) == MAGIC:
                    raise _refuse_plain(SocketChannel(link))
                used = self._tls.wrap_socket(link, server_side=True, do_handshake_on_connect=False)
                with self._lock:
                    # The TLS socket has taken over the connection, so `close` must end that one.
                    self._links[used] = self._links.pop(link)
                    if self._closed:
                        return
                used.do_handshake()
            self._serve_client(SocketChannel(used), name)
        except ssl.SSLError as error:
            logger.warning("%s: refused: %s", name, _tls_problem(error))
        except PeerGone as error:
            logger.info("%s: gone: %s", name, error)
        except Refused as error:
            logger.warning("%s: refused: %s", name, error)
        except (DeviceError, OSError) as error:
            logger.warning("%s: cut off: %s", name, error)
        except Exception:
            logger.exception("%s: cut off by a defect of the daemon", name)
        finally:
            with self._lock:
                self._links.pop(used, None)
            used.close()
            link.close()

    def _serve_client(self, channel: SocketChannel, name: str) -> None:
        agent = Agent(
            channel,
            self._board,
            version=self._version,
            registers=self._registers,
            token=self._token,
            idle=self._idle,
        )
        try:
            agent.greet()
            agent.wait_for_open()
            ticket = self._board.queue_up()
            try:
                agent.wait_for_board(
                    ticket, lambda place: logger.info("%s: waits at place %d", name, place)
                )
                try:
                    agent.opened()
                    logger.info("%s: uses the board", name)
                    agent.serve()
                    logger.info("%s: done", name)
                finally:
                    self._clean(name)
            finally:
                ticket.leave()
        except DeviceError as error:
            agent.complain(error)
            raise

    def _clean(self, name: str) -> None:
        """Makes the board ready for the next client."""
        try:
            self._board.give_back()
        except DeviceError as error:
            logger.error("the board is not usable after %s: %s", name, error)


def _refuse_plain(channel: SocketChannel) -> Refused:
    """Tells a client without TLS, in its own terms, that it needs it."""
    channel.receive(HELLO_SECONDS, max_head=MAX_HELLO)
    error = Refused("this port speaks TLS, so pass the daemon's certificate as ca")
    channel.send({"id": None, "error": RemoteError.__name__, "message": str(error)})
    return Refused("the client does not speak TLS")


def _tls_problem(error: ssl.SSLError) -> str:
    """A failed handshake in words."""
    said = (error.reason or str(error)).lower().replace("_", " ")
    if error.reason in ("HTTP_REQUEST", "WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL"):
        said = "the client does not speak TLS"
    elif error.reason in ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "CERTIFICATE_REQUIRED"):
        said = "the client has no certificate"
    elif isinstance(error, ssl.SSLCertVerificationError):
        said = f"the client's certificate is not accepted ({error.verify_message})"
    return said
