"""The serial port of a board, one program at a time; the rest is in `tests/hw/boards`."""

from __future__ import annotations

import os

import pytest

from vta.driver.board.serial_board import open_serial_port
from vta.errors import DeviceError

pytest.importorskip("serial", reason="serial is missing: pip install 'amaranth-vta[boards]'")


def test_two_programs_do_not_share_a_port() -> None:
    """A pseudo-terminal stands for the cable."""
    ours, theirs = os.openpty()
    try:
        name = os.ttyname(theirs)
        link = open_serial_port(name)
        with pytest.raises(DeviceError, match=f"{name}: cannot be opened .*exclusively lock"):
            open_serial_port(name)
        link.close()
        open_serial_port(name).close()
    finally:
        os.close(ours)
        os.close(theirs)
