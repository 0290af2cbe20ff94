"""The disk: files whole or not at all, whose mode is the system's, and what errors of it mean."""

import errno
import os
import platform
import threading
import time

import pytest

from bench.core.errors import InputError
from bench.system import disk


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (errno.ENOSPC, "No space left on device; make room"),
        (errno.EDQUOT, "make room"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EROFS, "give the permission, or set --out or BENCH_CACHE to another folder"),
    ],
)
def test_a_disk_that_takes_nothing_says_what_to_do(tmp_path, number, word, monkeypatch):
    def refused(*words, **more):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(disk.MachineError, match=word), disk.atomic(tmp_path / "a"):
        pass
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


def test_files_are_synchronized_before_they_appear(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda f: (order.append("fsync"), fsync(f)))
    monkeypatch.setattr(os, "replace", lambda *names: (order.append("rename"), replace(*names)))
    disk.save_text(tmp_path / "a", "x")
    assert order == ["fsync", "rename", "fsync"]


def test_the_umask_of_the_process_never_changes(tmp_path, monkeypatch):
    """Another thread that makes a file meanwhile must get the mode that it asks for."""
    monkeypatch.setattr(os, "umask", None)
    disk.save_text(tmp_path / "a", "x")
    monkeypatch.undo()
    before = os.umask(0o077)
    try:
        disk.save_text(tmp_path / "b", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600


def test_a_long_name_leaves_room_for_that_of_the_unfinished_file(tmp_path):
    disk.save_text(tmp_path / ("x" * 250), "whole")
    assert (tmp_path / ("x" * 250)).read_text() == "whole"


def test_many_writers_of_one_file(tmp_path):
    texts = [str(k) * 50_000 for k in range(8)]
    threads = [
        threading.Thread(target=disk.save_text, args=(tmp_path / "a", text)) for text in texts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_text() in texts
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def wrapped(inner, outer):
    try:
        try:
            raise inner
        except Exception as error:
            raise outer from error
    except Exception as error:
        return error


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "make room"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "give the permission"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "make room"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 4 TB"), "lower --batch"),
        (MemoryError(), "lower --batch"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20 GiB"), "lower --batch"),
        (OSError(errno.EIO, "Input/output error"), "look after the disk"),
        (wrapped(OSError(errno.EDQUOT, "Quota"), RuntimeError("backend failed")), "make room"),
    ],
)
def test_the_machine_stops_a_command_in_one_line(error, word):
    stop = disk.stops(error)
    assert isinstance(stop, InputError) and word in str(stop)
    assert "repeat the command" in str(stop) and "\n" not in str(stop)


@pytest.mark.parametrize(
    "error", [RuntimeError("no kernel"), FileNotFoundError(2, "no"), KeyError("x")]
)
def test_what_is_a_cells_own_stops_nothing(error):
    assert disk.stops(error) is None


def test_what_dead_processes_left_is_removed(tmp_path):
    host = disk.unfinished_name().split("-", 4)[-1]
    day = time.time() - disk.ABANDONED - 60
    dead = 2**22 + 5
    kept = {
        "of ours": f".bench-{os.getpid()}-0123456789ab-{host}",
        "elsewhere": f".bench-{dead}-0123456789ab-otherhost",
        "hidden": ".config.settings",
        "plain": "00000.npy",
    }
    gone = {
        "dead": f".bench-{dead}-0123456789ab-{host}",
        "old": f".bench-{dead}-0123456789ac-otherhost",
        "earlier": ".00000.npy.a1b2c3d4",
    }
    for name in (*kept.values(), *gone.values()):
        (tmp_path / "below").mkdir(exist_ok=True)
        (tmp_path / "below" / name).write_text("x")
    (tmp_path / f".bench-{dead}-aaaaaaaaaaaa-{host}" / "run").mkdir(parents=True)
    # Whatever the clock says: what a living process writes is its own.
    for name in ("hidden", "plain", "of ours"):
        os.utime(tmp_path / "below" / kept[name], (day, day))
    for name in ("old", "earlier"):
        os.utime(tmp_path / "below" / gone[name], (day, day))
    disk.sweep(tmp_path)
    assert {path.name for path in (tmp_path / "below").iterdir()} == set(kept.values())
    assert [path.name for path in tmp_path.iterdir()] == ["below"]


def test_a_host_of_odd_characters(monkeypatch, tmp_path):
    monkeypatch.setattr(platform, "node", lambda: "a/b\n" + "c" * 300)
    assert disk.UNFINISHED.fullmatch(disk.unfinished_name())
    disk.save_text(tmp_path / "a", "x")
