"""Opens a board that is part of this computer, or an emulated one where the user asks for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vta.driver.board.board import Board
from vta.driver.board.board_device import BoardDevice
from vta.driver.board.kinds import kind_named
from vta.driver.board.register_table import register_map
from vta.driver.board.system import System
from vta.errors import ConfigError, DeviceError

if TYPE_CHECKING:
    from vta.config import Config

__all__ = ["EMULATE", "open_board_device"]

EMULATE = "VTA_EMULATE"
"""The environment variable that opens an emulated board: ``rtl`` or ``functional``."""


def open_board_device(config: Config, root: str = "/") -> BoardDevice:
    """The board of a configuration's TARGET, in this computer.

    Parameters
    ----------
    config : Config
    root : str
        Where the computer's files are; another folder in tests.

    Raises
    ------
    ConfigError
        If this computer is not that board.
    DeviceError
        If another process uses it.
    """
    kind = kind_named(config.target)
    how = os.environ.get(EMULATE, "")
    if how not in ("", "rtl", "functional"):
        raise ConfigError(f"{EMULATE} must be rtl or functional, not {how!r}")
    if how:
        from vta.driver.board.emulated import emulated_board

        return BoardDevice(config, emulated_board(kind, functional=how == "functional"))
    try:
        board = Board(kind, System(root), register_map())
    except DeviceError as error:
        raise ConfigError(
            f"TARGET {config.target} is not this computer ({error}); connect to the board with "
            f"vta.rpc.connect(host), or set {EMULATE}=rtl for an emulated one"
        ) from None
    try:
        board.ticket = board.queue_up()
        if board.ticket.place() or not board.take():
            raise DeviceError(f"{config.target} is in use by another process of this computer")
    except BaseException:
        board.close()
        raise
    return BoardDevice(config, board)
