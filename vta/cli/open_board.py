"""`open_board`: the board that a command is to use, here or elsewhere."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import click

from vta.config import SIMULATED_TARGETS
from vta.driver.backends import BACKENDS, open_device
from vta.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vta.config import Config
    from vta.driver.board.board_device import BoardDevice

__all__ = ["BOARDS", "host_options", "open_board"]

BOARDS = tuple(name for name in BACKENDS if name not in SIMULATED_TARGETS)


def host_options(function: Callable[..., object]) -> Callable[..., object]:
    """The options ``--host`` and ``--port``."""
    host = click.option(
        "--host",
        metavar="HOST",
        help="Where `vta serve` runs, or ssh://user@host (default: $VTA_RPC_HOST; without it, this "
        "computer is the board).",
    )
    port = click.option(
        "--port",
        type=click.IntRange(1, 65535),
        help="The daemon's port (default: $VTA_RPC_PORT, or 9091).",
    )
    return host(port(function))


def open_board(
    config: Config, host: str | None, port: int | None, stack: contextlib.ExitStack
) -> BoardDevice:
    """The board of a configuration's TARGET: at a host, or in this computer.

    Parameters
    ----------
    config : Config
    host : str, optional
        The default is `$VTA_RPC_HOST`.
    port : int, optional
    stack : ExitStack
        Closes the board.

    Raises
    ------
    RemoteError
        If the host cannot be reached, or its board is not free.
    ConfigError
        If the host is another board, or this computer is none.
    """
    from vta import rpc
    from vta.driver.board.board_device import BoardDevice

    host = host or os.environ.get("VTA_RPC_HOST")
    if host:
        session = stack.enter_context(contextlib.closing(rpc.connect(host, port, config=config)))
        device = session.machine
    elif port is not None:
        raise click.UsageError("--port needs --host")
    else:
        device = open_device(config)
        stack.callback(device.close)
    if not isinstance(device, BoardDevice):
        raise ConfigError(f"{config.target} is not a board")
    return device
