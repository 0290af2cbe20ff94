"""Who makes which file of a cache that is shared, and what a lock may never do."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from bench.system import claims


def is_kept(path):
    return path.exists()


def test_what_another_one_makes_comes_last_and_is_not_made_again(tmp_path):
    paths = [tmp_path / f"{k}" for k in range(4)]
    paths[3].write_text("kept")
    with claims.claimed(paths[0]):
        ours = claims.shared(paths, is_kept)
        assert next(ours)[0] == 1
        paths[1].write_text("made")
        assert next(ours) == (2, paths[2])
        paths[2].write_text("made")
        paths[0].write_text("made by the other one")
    assert list(ours) == []
    assert not list(tmp_path.glob(".*"))


def test_what_another_one_makes_is_left_to_it_where_nobody_waits(tmp_path):
    paths = [tmp_path / f"{k}" for k in range(3)]
    with claims.claimed(paths[1]):
        assert [number for number, _ in claims.shared(paths, is_kept, waits=False)] == [0, 2]
    assert [number for number, _ in claims.shared(paths, is_kept, waits=False)] == [0, 1, 2]


def test_what_the_other_one_did_not_make_is_made(tmp_path):
    with claims.claimed(tmp_path / "0"):
        ours = claims.shared([tmp_path / "0", tmp_path / "1"], is_kept)
        assert next(ours)[0] == 1
    assert [number for number, _ in ours] == [0]


def test_a_killed_process_holds_nothing(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from bench.system import claims\n"
        "with claims.claimed(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "a")]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        with claims.claimed(tmp_path / "a", patience=0) as is_free:
            assert not is_free
        process.send_signal(signal.SIGKILL)
        process.wait()
    with claims.claimed(tmp_path / "a", patience=0) as is_free:
        assert is_free


def test_a_wait_is_told_and_ends(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(claims, "TOLD", 0.05)
    with claims.claimed(tmp_path / "a"):
        start = time.monotonic()
        with claims.claimed(tmp_path / "a", patience=0.2) as is_free:
            assert not is_free and time.monotonic() - start >= 0.2
    assert "another worker or command makes" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSPC, errno.EROFS, errno.ENOSYS])
def test_a_disk_without_locks_is_worked_on_without(tmp_path, monkeypatch, number):
    def refused(*arguments, **more):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("filelock.FileLock.acquire", refused)
    assert list(claims.shared([tmp_path / "a"], is_kept)) == [(0, tmp_path / "a")]


def test_an_error_in_the_block_frees_the_claim(tmp_path):
    with pytest.raises(KeyError), claims.claimed(tmp_path / "a"):
        raise KeyError
    with claims.claimed(tmp_path / "a", patience=0) as is_free:
        assert is_free
