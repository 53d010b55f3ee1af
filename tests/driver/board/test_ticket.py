"""Tickets keep the order in which processes ask for a board, and die with them."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import vta
from vta.driver.board.system import System
from vta.driver.board.ticket import Ticket
from vta.errors import DeviceError

ROOT = Path(vta.__file__).parent.parent

HOLDER = """
import sys
from vta.driver.board.system import System
from vta.driver.board.ticket import Ticket
ticket = Ticket(System(sys.argv[1]))
print(ticket.place(), flush=True)
sys.stdin.read()
"""


def test_places_follow_the_order_of_coming(tmp_path: Path) -> None:
    first, second, third = (Ticket(System(tmp_path)) for _ in range(3))
    assert [first.place(), second.place(), third.place()] == [0, 1, 2]
    second.leave()
    fourth = Ticket(System(tmp_path))
    assert [first.place(), third.place(), fourth.place()] == [0, 1, 2]
    first.leave()
    assert [third.place(), fourth.place()] == [0, 1]
    third.leave()
    fourth.leave()
    assert not list((tmp_path / "tmp/vta-queue").iterdir())


def test_a_process_that_is_killed_loses_its_place(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "0\n"
        assert (tmp_path / "tmp/vta-queue/1").read_text() == f"{holder.pid}\n"
        ours = Ticket(System(tmp_path))
        assert ours.place() == 1
    finally:
        holder.kill()
        holder.communicate()
    assert ours.place() == 0
    assert [path.name for path in (tmp_path / "tmp/vta-queue").iterdir()] == ["2"]
    ours.leave()


def test_many_at_once_get_places_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        tickets = list(pool.map(Ticket, [System(tmp_path)] * 64))
        assert sorted(pool.map(Ticket.place, tickets)) == list(range(64))
        list(pool.map(Ticket.leave, tickets[::2]))
        assert sorted(pool.map(Ticket.place, tickets[1::2])) == list(range(32))
    for ticket in tickets[1::2]:
        ticket.leave()


def test_all_users_share_the_queue(tmp_path: Path) -> None:
    """Whatever the umask of the first one is."""
    old = os.umask(0o077)
    try:
        ticket = Ticket(System(tmp_path))
    finally:
        os.umask(old)
    folder = tmp_path / "tmp/vta-queue"
    assert folder.stat().st_mode & 0o7777 == 0o1777
    assert (folder / "1").stat().st_mode & 0o777 == 0o644
    ticket.leave()


def test_what_is_no_ticket_does_not_count(tmp_path: Path) -> None:
    folder = tmp_path / "tmp/vta-queue"
    folder.mkdir(parents=True)
    (folder / "notes").touch()
    (folder / "1").symlink_to("nowhere")
    os.mkfifo(folder / "2")
    (folder / "3").mkdir()
    ticket = Ticket(System(tmp_path))
    assert ticket.place() == 0
    assert (folder / "4").is_file()
    ticket.leave()


def test_tickets_that_are_cleaned_away_harm_no_other(tmp_path: Path) -> None:
    old = Ticket(System(tmp_path))
    (tmp_path / "tmp/vta-queue/1").unlink()
    new = Ticket(System(tmp_path))
    old.leave()
    assert (tmp_path / "tmp/vta-queue/1").is_file()
    new.leave()


def test_a_queue_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp/vta-queue").symlink_to(tmp_path)
    with pytest.raises(DeviceError, match="tmp/vta-queue: the queue for the board cannot be used"):
        Ticket(System(tmp_path))
