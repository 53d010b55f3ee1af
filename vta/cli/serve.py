"""`vta serve`: lets others use a board over the network, one at a time."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import click

import vta
from vta.cli.output import path_argument
from vta.driver.board.kinds import KINDS, SERVED, kind_named
from vta.driver.remote.protocol import IDLE_SECONDS, PORTS
from vta.files import replacing
from vta.processes import unwound_by_sigterm

if TYPE_CHECKING:
    from vta.driver.board.board import Board

__all__ = ["command"]


@click.command("serve", short_help="Serve a board, or an emulated one, over the network.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORTS.start,
    show_default=True,
    help="The first port to try; 0 takes any free one.",
)
@click.option(
    "--port-end",
    type=click.IntRange(0, 65535),
    default=PORTS.stop - 1,
    show_default=True,
    help="The last port to try.",
)
@click.option("--board", type=click.Choice(SERVED), help="The board that this computer is.")
@click.option("--emulate", type=click.Choice(list(KINDS)), help="Emulate this board.")
@click.option(
    "--functional",
    is_flag=True,
    help="Emulate with the functional simulator instead of the RTL: no cycles, but faster.",
)
@click.option("--token-file", type=path_argument, help="A file with the word that clients need.")
@click.option("--tls-cert", type=path_argument, help="The daemon's certificate (PEM): use TLS.")
@click.option("--tls-key", type=path_argument, help="Its key, if it is not in the same file.")
@click.option("--client-ca", type=path_argument, help="Ask for client certificates from here.")
@click.option(
    "--idle",
    type=click.FloatRange(1),
    default=IDLE_SECONDS,
    show_default=True,
    help="Seconds that a client may keep the board without using it.",
)
@click.option(
    "--devmem",
    metavar="ADDRESS:BYTES",
    help="Use /dev/mem instead of UIO and u-dma-buf, with this memory for the machine.",
)
@click.option(
    "--write",
    metavar="FILE",
    type=path_argument,
    help="Write the daemon as one file for a board that has only Python 3.10, and end.",
)
def command(
    host: str,
    port: int,
    port_end: int,
    board: str | None,
    emulate: str | None,
    functional: bool,
    token_file: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    client_ca: str | None,
    idle: float,
    devmem: str | None,
    write: str | None,
) -> int:
    """Serve a board to clients that call `vta.rpc.connect(host, port)`, one at a time; the others
    wait in a queue. Without TLS and a token or client certificates it listens on this computer
    alone. It prints one line when it is ready, and serves until it is interrupted.

    Example: vta serve --emulate pynq
    """
    from vta.driver.remote.client import map_digest
    from vta.driver.remote.daemon import read_token, server_context
    from vta.driver.remote.server import Server

    if write is not None:
        return _write(write)
    if (board is None) == (emulate is None):
        raise click.UsageError("name one board, by --board or by --emulate")
    _log_clients()
    with unwound_by_sigterm(), contextlib.ExitStack() as stack:
        served = _open(board or "", emulate or "", functional, devmem)
        stack.callback(served.close)
        server = Server(
            served,
            version=vta.__version__,
            registers=map_digest(),
            host=host,
            ports=range(port, max(port, port_end if port else 0) + 1),
            tls=server_context(tls_cert, tls_key, client_ca),
            token=read_token(token_file),
            idle=idle,
        )
        stack.callback(server.close)
        kind = f"emulated {emulate}" if emulate else board
        click.echo(f"serving {kind} on {host}:{server.port}")
        server.serve()
    return 0


def _write(file: str) -> int:
    from vta.driver.remote.bundle import daemon_file

    with replacing(file) as partial:
        partial.write_text(daemon_file(), encoding="utf-8")
    click.echo(f"{file}: written; run it on the board with python3")
    return 0


def _open(board: str, emulate: str, functional: bool, devmem: str | None) -> Board:
    from vta.driver.board.board import Board
    from vta.driver.board.devmem import parse_range
    from vta.driver.board.emulated import emulated_board
    from vta.driver.board.register_table import register_map
    from vta.driver.board.system import System

    if emulate:
        return emulated_board(kind_named(emulate), functional=functional)
    place = None if devmem is None else parse_range(devmem)
    return Board(kind_named(board), System(), register_map(), devmem=place)


def _log_clients() -> None:
    """Shows who comes and goes, and what takes long meanwhile, unless -q was given."""
    if logging.getLogger().getEffectiveLevel() <= logging.WARNING:
        logging.getLogger("vta").setLevel(logging.INFO)
        logging.getLogger().handlers[0].setLevel(logging.INFO)
