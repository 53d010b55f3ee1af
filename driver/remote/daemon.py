"""`main`: the daemon's command line on a board that has only Python; see `vta serve --write`."""

from __future__ import annotations

import argparse
import logging
import signal
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vta.driver.board.board import Board, RegisterMap
from vta.driver.board.devmem import parse_range
from vta.driver.board.kinds import KINDS, SERVED
from vta.driver.board.system import System
from vta.driver.remote.protocol import IDLE_SECONDS, PORTS
from vta.driver.remote.server import Server
from vta.errors import ConfigError, VtaError

__all__ = ["main", "read_token", "server_context"]

MIN_TOKEN = 16


def main(settings: Mapping[str, Any], arguments: Sequence[str]) -> int:
    """Serves this board until it is interrupted.

    Parameters
    ----------
    settings : mapping
        ``version``, ``registers`` (the digest), ``offsets``, ``identity``.
    arguments : sequence of str
        The command line without the program's name.
    """
    parser = argparse.ArgumentParser(prog="vta-daemon", description="Serves a board to VTA.")
    parser.add_argument("--board", choices=SERVED, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=PORTS.start, help="the first port to try")
    parser.add_argument("--port-end", type=int, default=PORTS.stop - 1, help="the last port to try")
    parser.add_argument("--token-file", help="a file with the word that clients need")
    parser.add_argument("--tls-cert", help="the daemon's certificate (PEM)")
    parser.add_argument("--tls-key", help="its key, if it is not in the same file")
    parser.add_argument("--client-ca", help="asks for client certificates from here")
    parser.add_argument("--idle", type=float, default=IDLE_SECONDS, help="seconds")
    parser.add_argument(
        "--devmem", metavar="ADDRESS:BYTES", help="use /dev/mem, with this memory for the machine"
    )
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        registers = RegisterMap(dict(settings["offsets"]), tuple(settings["identity"]))
        devmem = None if given.devmem is None else parse_range(given.devmem)
        board = Board(KINDS[given.board], System(), registers, devmem=devmem)
        try:
            server = Server(
                board,
                version=settings["version"],
                registers=settings["registers"],
                host=given.host,
                ports=range(given.port, max(given.port, given.port_end) + 1),
                tls=server_context(given.tls_cert, given.tls_key, given.client_ca),
                token=read_token(given.token_file),
                idle=given.idle,
            )
            logging.info("serving %s on %s:%d", given.board, given.host, server.port)
            try:
                server.serve()
            finally:
                server.close()
        finally:
            board.close()
    except (VtaError, OSError) as error:
        sys.stderr.write(f"vta-daemon: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def read_token(file: str | None) -> str | None:
    """The token in a file.

    Raises
    ------
    ConfigError
        If it is too short to be hard to guess.
    """
    if file is None:
        return None
    token = Path(file).read_text(encoding="utf-8").strip()
    if len(token) < MIN_TOKEN:
        raise ConfigError(f"{file}: a token must have at least {MIN_TOKEN} characters")
    return token


def server_context(
    cert: str | None, key: str | None, client_ca: str | None
) -> ssl.SSLContext | None:
    """The daemon's side of TLS; None without a certificate.

    Raises
    ------
    ConfigError
        If a file cannot be used.
    """
    if cert is None:
        if key or client_ca:
            raise ConfigError("--tls-key and --client-ca need --tls-cert")
        return None
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(cert, key)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:
        named = ", ".join(name for name in (cert, key, client_ca) if name)
        raise ConfigError(f"{named}: cannot be used for TLS ({error})") from None
    return context
