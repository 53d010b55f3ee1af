"""`serve_pipes`: the agent over standard input and output, as ssh starts it on a board."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

from vta.driver.board.board import Board, RegisterMap
from vta.driver.board.kinds import kind_named
from vta.driver.board.system import System
from vta.driver.remote.agent import Agent
from vta.driver.remote.channel import PipeChannel
from vta.driver.remote.protocol import HELLO_SECONDS
from vta.errors import DeviceError, RemoteError, VtaError

__all__ = ["serve_pipes"]


def serve_pipes(settings: Mapping[str, Any], system: System | None = None) -> int:
    """Serves the client at the other end of standard input and output.

    Parameters
    ----------
    settings : mapping
        ``kind``, ``version``, ``registers`` (the digest), ``offsets``, ``identity``.
    system : System, optional
        The default is this computer.

    Returns
    -------
    status : int
        0, or 1 if the session did not end well.
    """
    logging.basicConfig(stream=sys.stderr, format="board: %(message)s")
    channel = PipeChannel(0, os.dup(1))
    # What else prints must not end up between two messages.
    os.dup2(2, 1)
    system = system or System()
    try:
        registers = RegisterMap(dict(settings["offsets"]), tuple(settings["identity"]))
        board = Board(kind_named(settings["kind"]), system, registers)
    except VtaError as error:
        channel.receive(HELLO_SECONDS)
        channel.send({"id": None, "error": RemoteError.__name__, "message": str(error)})
        return 1
    agent = Agent(channel, board, version=settings["version"], registers=settings["registers"])
    try:
        with contextlib.ExitStack() as stack:
            stack.callback(board.close)
            agent.greet()
            agent.wait_for_open()
            ticket = board.queue_up()
            stack.callback(ticket.leave)
            stack.callback(board.give_back)
            agent.wait_for_board(ticket)
            agent.opened()
            agent.serve()
        return 0
    except DeviceError as error:
        agent.complain(error)
        return 1
