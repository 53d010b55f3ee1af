"""The cache: entries appear whole or not at all, whichever process makes them."""

from __future__ import annotations

import errno
import fcntl
import logging
import multiprocessing
import os
import time
from pathlib import Path

import platformdirs
import pytest

from tests.disks import on_a_small_disk
from vta import cache
from vta.errors import ToolError

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    path = tmp_path / "cache"
    monkeypatch.setenv("VTA_CACHE_PATH", str(path))
    return path


def _hello(partial: Path) -> None:
    (partial / "hello").write_text("hello", encoding="ascii")


def _never(partial: Path) -> None:
    raise AssertionError("made, although it is in the cache")


def test_folder(folder, monkeypatch):
    assert cache.cache_dir() == folder
    monkeypatch.delenv("VTA_CACHE_PATH")
    assert cache.cache_dir() == Path(platformdirs.user_cache_dir("amaranth-vta"))
    assert not folder.exists()


def test_an_entry_is_made_once(folder):
    assert cache.lookup("kind", "key") is None
    path = cache.cached("kind", "key", _hello)
    assert (path / "hello").read_text(encoding="ascii") == "hello"
    assert cache.cached("kind", "key", _never) == path == cache.lookup("kind", "key")
    assert cache.lookup("kind", "other") is None
    assert cache.lookup("other", "key") is None


def test_store_replaces(folder):
    path = cache.cached("kind", "key", _hello)
    assert cache.store("kind", "key", lambda partial: (partial / "new").touch()) == path
    assert sorted(file.name for file in path.iterdir()) == [cache.MANIFEST, "new"]


@pytest.mark.parametrize("before", ["nothing", "an older entry"])
def test_a_full_disk(folder, before):
    """What is written does not fit: one line says so, and nothing of it is left."""
    folder.mkdir()
    said = on_a_small_disk(
        folder,
        "64k",
        f"""
        from vta import cache
        from vta.errors import ToolError

        if {before != "nothing"}:
            cache.cached("kind", "older", lambda path: (path / "file").write_bytes(b"older"))
        try:
            cache.cached("kind", "key", lambda path: (path / "file").write_bytes(bytes(1 << 20)))
        except ToolError as error:
            print(error)
        files = [path for path in cache.cache_dir().rglob("*") if path.is_file()]
        print(*(path.relative_to(cache.cache_dir()) for path in files if path.stat().st_size))
        cache.cached("kind", "key", lambda path: (path / "file").write_bytes(b"small"))
        """,
    )
    message, left = said.splitlines()
    assert message == (
        f"the cache in {folder} cannot be written (No space left on device); "
        "free some space, or name another folder in VTA_CACHE_PATH"
    )
    kept = ["kind/older/.entry.json", "kind/older/file"] if before != "nothing" else []
    assert sorted(left.split()) == kept


def test_what_fails_leaves_nothing(folder):
    def fail(partial: Path) -> None:
        (partial / "half").touch()
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        cache.cached("kind", "key", fail)
    assert cache.lookup("kind", "key") is None
    assert cache.entries() == []
    assert list((folder / "kind").iterdir()) == []
    assert cache.cached("kind", "key", _hello).is_dir()


def test_remains_of_a_killed_process_are_removed(folder):
    (folder / ".locks").mkdir(parents=True)
    for kind, key in (("kind", "key"), ("kind", "other"), ("more", "third")):
        remains = folder / kind / f".{key}.abcdef"
        remains.mkdir(parents=True)
        (remains / "half").touch()
        (folder / ".locks" / f"{kind}.{key}").touch()
    assert cache.lookup("kind", "key") is None
    # Another process is at work on this one.
    with open(folder / ".locks" / "more.third", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        cache.cached("kind", "key", _hello)
        assert [path.name for path in (folder / "kind").iterdir()] == ["key"]
        assert (folder / "more" / ".third.abcdef" / "half").exists()
    cache.cached("kind", "fourth", _hello)
    assert list((folder / "more").iterdir()) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_bytes(file.read_bytes()[:3]),
        lambda file: file.write_bytes(b"hellO"),
        lambda file: file.write_bytes(b""),
        lambda file: file.unlink(),
        lambda file: (file.parent / cache.MANIFEST).unlink(),
        lambda file: (file.parent / cache.MANIFEST).write_bytes(b"{}"),
        lambda file: (file.parent / cache.MANIFEST).write_bytes(b"\xff"),
    ],
    ids=["truncated", "flipped", "emptied", "removed", "no-manifest", "no-digests", "no-json"],
)
def test_a_damaged_entry_is_made_again(folder, spoil, caplog):
    # Commands that other tests ran have set levels of their own.
    caplog.set_level(logging.WARNING)
    caplog.set_level(logging.WARNING, logger="vta")
    path = cache.cached("kind", "key", _hello)
    spoil(path / "hello")
    assert cache.lookup("kind", "key") is None
    assert cache.cached("kind", "key", _hello) == path
    assert (path / "hello").read_text(encoding="ascii") == "hello"
    (line,) = caplog.messages
    assert "made again" in line
    caplog.clear()
    assert cache.cached("kind", "key", _never) == path
    assert caplog.messages == []


def test_old_entries_go_when_there_are_too_many_bytes(folder, monkeypatch):
    monkeypatch.setenv("VTA_CACHE_MAX_BYTES", "250")
    day, now = 86400, time.time()

    def make(key: str, age: float) -> None:
        path = cache.cached("kind", key, lambda partial: (partial / "x").write_bytes(bytes(100)))
        os.utime(path / cache.MANIFEST, (now - age, now - age))

    make("old", 5 * day)
    make("older", 9 * day)
    make("new", 0)
    assert [entry.key for entry in cache.entries()] == ["new", "old"]
    # What is used stays; of the others the one used least recently goes.
    cache.cached("kind", "old", _never)
    make("newer", 0)
    # All were used within the hour: somebody may be about to read them.
    assert [entry.key for entry in cache.entries()] == ["new", "newer", "old"]
    monkeypatch.setenv("VTA_CACHE_MAX_BYTES", "much")
    with pytest.raises(ToolError, match="VTA_CACHE_MAX_BYTES must be a number of bytes, not 'm"):
        make("last", 0)


def test_small_entries_leave_looking_at_the_size_to_others(folder, monkeypatch):
    monkeypatch.setenv("VTA_CACHE_MAX_BYTES", "250")
    long_ago = time.time() - 9 * 86400

    def make(key: str, small: bool) -> None:
        path = cache.cached(
            "kind", key, lambda partial: (partial / "x").write_bytes(bytes(100)), small=small
        )
        os.utime(path / cache.MANIFEST, (long_ago, long_ago))

    for number in range(5):
        make(f"small{number}", True)
    assert len(cache.entries()) == 5
    make("large", False)
    assert [entry.key for entry in cache.entries()][0] == "large"
    assert len(cache.entries()) < 4


def test_clear_says_what_it_could_not_remove(folder, monkeypatch):
    cache.cached("kind", "key", _hello)

    def refuse(*arguments: object, **more: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        with pytest.raises(ToolError, match=r"5 of 5 bytes could not be removed \(Read-only"):
            cache.clear()
    assert cache.cached("kind", "key", _never)
    assert cache.clear() == 5


def test_entries_size_discard_and_clear(folder):
    assert cache.entries() == []
    assert cache.size() == 0
    assert cache.clear() == 0
    before = time.time()
    cache.cached("b", "two", lambda partial: (partial / "data").write_bytes(bytes(1000)))
    cache.cached("a", "one", lambda partial: (partial / "data").write_bytes(bytes(24)))
    cache.cached("b", "four", _hello)
    found = cache.entries()
    assert [(entry.kind, entry.key, entry.nbytes) for entry in found] == [
        ("a", "one", 24),
        ("b", "four", 5),
        ("b", "two", 1000),
    ]
    assert all(before - 2 <= entry.made <= time.time() + 2 for entry in found)
    assert all(before - 2 <= entry.used <= time.time() + 2 for entry in found)
    assert cache.size() == 1029
    cache.discard("b", "four")
    cache.discard("b", "four")
    assert cache.size() == 1024
    assert cache.clear() == 1024
    assert cache.entries() == []
    assert cache.size() == 0


def test_clear_leaves_what_is_not_of_the_cache(folder):
    cache.cached("kind", "key", _hello)
    (folder / "notes").write_text("mine", encoding="ascii")
    (folder / "documents").mkdir()
    (folder / "documents" / "letter").touch()
    for name in ("sources/project", "kind/project"):
        (folder / name).mkdir(parents=True)
        (folder / name / "main.c").write_text("mine", encoding="ascii")
    assert cache.size() == 5
    assert [entry.key for entry in cache.entries()] == ["key"]
    assert cache.clear() == 5
    assert sorted(path.name for path in folder.iterdir()) == [
        "documents",
        "kind",
        "notes",
        "sources",
    ]
    for name in ("documents/letter", "sources/project/main.c", "kind/project/main.c"):
        assert (folder / name).exists()
    assert cache.lookup("kind", "key") is None


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a b"])
def test_names(name):
    with pytest.raises(ValueError, match="must be letters"):
        cache.cached("kind", name, _hello)
    with pytest.raises(ValueError, match="must be letters"):
        cache.lookup(name, "key")


def test_a_folder_that_cannot_be_written(folder):
    folder.write_text("a file is in the way", encoding="ascii")
    with pytest.raises(ToolError, match=r"cannot be written .*name another folder in VTA_CACHE"):
        cache.cached("kind", "key", _hello)


def test_digest():
    assert cache.digest("ab", "c") != cache.digest("a", "bc") != cache.digest("abc")
    assert cache.digest("ab", "c") == cache.digest(b"ab", b"c")
    # SHA-256 of eight bytes of length, then nothing.
    assert cache.digest("") == ("af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc")


def _compete(folder: str, start: object, made: object, seen: object) -> None:
    os.environ["VTA_CACHE_PATH"] = folder

    def make(partial: Path) -> None:
        with made.get_lock():
            made.value += 1
        (partial / "first").write_text(str(os.getpid()), encoding="ascii")
        time.sleep(0.3)
        (partial / "second").write_text(str(os.getpid()), encoding="ascii")

    start.wait()
    path = cache.cached("kind", "key", make)
    seen.put(tuple((path / name).read_text(encoding="ascii") for name in ("first", "second")))


@pytest.mark.parametrize("locks", [True, False])
def test_processes_that_want_the_same_entry(folder, locks, monkeypatch):
    count = 4
    start, made, seen = SPAWN.Barrier(count), SPAWN.Value("i", 0), SPAWN.Queue()
    compete = _compete if locks else _compete_without_locks
    processes = [
        SPAWN.Process(target=compete, args=(str(folder), start, made, seen)) for _ in range(count)
    ]
    for process in processes:
        process.start()
    found = {seen.get(timeout=60) for _ in range(count)}
    for process in processes:
        process.join()
        assert process.exitcode == 0
    ((first, second),) = found
    assert first == second
    if locks:
        assert made.value == 1
    else:
        assert 1 <= made.value <= count
    assert [path.name for path in (folder / "kind").iterdir()] == ["key"]


def _compete_without_locks(folder: str, start: object, made: object, seen: object) -> None:
    """As on a file system where locks do not work."""
    import fcntl

    def refuse(*arguments: object) -> None:
        raise OSError("no locks here")

    fcntl.flock = refuse
    _compete(folder, start, made, seen)
