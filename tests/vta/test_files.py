"""Files that are there as a whole or not at all, and reads with a limit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vta.files import FileTooLargeError, read_limited, replacing


def test_replaces_what_is_there(tmp_path: Path) -> None:
    place = tmp_path / "f"
    for text in ("one", "two"):
        with replacing(place) as partial:
            partial.write_text(text)
        assert place.read_text() == text
    assert os.listdir(tmp_path) == ["f"]


def test_keeps_what_was_there_when_writing_fails(tmp_path: Path) -> None:
    place = tmp_path / "f"
    place.write_text("old")

    def fail() -> None:
        with replacing(place) as partial:
            partial.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert place.read_text() == "old"
    assert os.listdir(tmp_path) == ["f"]


def test_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "f")
    with replacing(tmp_path / "link") as partial:
        partial.write_text("text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "f").read_text() == "text"


def test_does_not_replace_what_is_no_ordinary_file(tmp_path: Path) -> None:
    # A pipe stands for /dev/null, which a root user could otherwise replace.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with replacing(pipe) as partial:
        assert partial == pipe
    assert pipe.is_fifo()


def test_reads_as_much_as_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "five"
    file.write_bytes(b"12345")
    assert read_limited(file, 5) == b"12345"
    with pytest.raises(FileTooLargeError, match="must have at most 4 bytes"):
        read_limited(file, 4)
    with pytest.raises(OSError, match="not a regular file"):
        read_limited("/dev/null", 5)
