"""The mirror: what one machine makes another one finds; a store that fails is asked again."""

import contextlib
import logging
import shutil
import socket

import numpy as np
import pytest
from helpers.object_store import served

from bench.core.errors import InputError
from bench.system import artifacts, disk, mirror, store

fsspec = pytest.importorskip("fsspec")
ROWS = np.arange(12, dtype=np.uint8).reshape(4, 3)
KEY = "0123 00000.npy"


@pytest.fixture
def two(tmp_path, monkeypatch):
    """Go to the first or the second of two caches with one mirror, in the memory of this process;
    what is known of the mirror's names is forgotten."""
    monkeypatch.setenv("BENCH_MIRROR", f"memory://{tmp_path.name}")
    monkeypatch.setattr(mirror, "PAUSE", 0)

    def go(name):
        monkeypatch.setenv("BENCH_CACHE", str(tmp_path / name))
        mirror._listed.clear()
        return tmp_path / name / "images" / "0123" / "00000.npy"

    yield go
    with contextlib.suppress(FileNotFoundError):
        fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)


def load(path):
    return artifacts.load_array(path, KEY, (4, None), np.uint8)


def test_another_machine_finds_what_was_made(two):
    artifacts.save_array(two("a"), KEY, ROWS)
    path = two("b")
    assert not path.exists()
    assert artifacts.exists(path)
    np.testing.assert_array_equal(load(path), ROWS)
    # It is in that machine's cache from now on.
    assert path.exists()
    assert artifacts.stated(path) == artifacts.stated(two("a"))


def test_what_nobody_made_is_missing(two):
    path = two("a")
    assert load(path) is None
    assert not artifacts.exists(path)
    with pytest.raises(artifacts.Lost):
        artifacts.stated(path)


def test_the_digest_alone_is_enough_to_ask_for_the_file(two):
    artifacts.save_array(two("a"), KEY, ROWS)
    expected = artifacts.stated(two("a"))
    assert artifacts.stated(two("b")) == expected


def test_what_is_damaged_here_comes_from_the_mirror(two, capsys):
    path = two("a")
    artifacts.save_array(path, KEY, ROWS)
    path.write_bytes(path.read_bytes()[:-3])
    np.testing.assert_array_equal(load(path), ROWS)
    assert capsys.readouterr().err.count("set aside") == 1
    assert path.with_name("00000.npy.damaged").exists()


def test_what_is_damaged_in_the_mirror_is_told_and_made_again(two, capsys):
    artifacts.save_array(two("a"), KEY, ROWS)
    memory = fsspec.filesystem("memory")
    (name,) = memory.glob("/*/images/0123/00000.npy")
    memory.pipe_file(name, b"\0" + memory.cat_file(name)[1:])
    path = two("b")
    assert load(path) is None
    assert "its content does not match its SHA-256" in capsys.readouterr().err
    artifacts.save_array(path, KEY, ROWS)
    shutil.rmtree(path.parent)
    np.testing.assert_array_equal(load(path), ROWS)


def test_what_is_the_users_own_is_not_mirrored(two):
    path = two("a").parents[2] / "data" / "pictures.npy"
    artifacts.save_array(path, "key", ROWS)
    assert not fsspec.filesystem("memory").find(f"/{mirror.address().partition('//')[2]}")
    path.unlink()
    assert not artifacts.exists(path)


def test_what_is_removed_is_gone_from_both(two):
    path = two("a")
    artifacts.save_array(path, KEY, ROWS)
    artifacts.remove(path)
    artifacts.remove(path)
    assert load(path) is None


def test_a_file_that_the_mirror_did_not_take_is_not_kept(two, monkeypatch):
    """Else it would never come to the others."""
    path = two("a")
    monkeypatch.setattr(mirror, "_opened", lambda *key: (Failing(mirror.TRIES), "root"))
    with pytest.raises(disk.MachineError, match="cannot write root/images/0123"):
        artifacts.save_array(path, KEY, ROWS)
    assert not path.exists()
    monkeypatch.setattr(mirror, "_opened", lambda *key: failing)
    failing = Failing(mirror.TRIES - 1), "root"
    artifacts.save_array(path, KEY, ROWS)
    assert path.exists()


class Failing:
    """A store that fails a number of times."""

    def __init__(self, times, error=OSError("busy")):
        self.times, self.error = times, error

    def pipe_file(self, place, content):
        self.times -= 1
        if self.times >= 0:
            raise self.error


def test_a_store_that_forbids_is_not_asked_again(two, monkeypatch):
    failing = Failing(9, PermissionError("denied"))
    monkeypatch.setattr(mirror, "_opened", lambda *key: (failing, "root"))
    with pytest.raises(disk.MachineError, match="denied"):
        artifacts.save_array(two("a"), KEY, ROWS)
    assert failing.times == 8


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("/shared/folder", "must be the address of an object store"),
        ("file:///shared", "named by BENCH_CACHE"),
        ("nonsense://x", "cannot be imported"),
    ],
)
def test_an_address_that_is_none_is_one_line(address, says, cache, monkeypatch):
    monkeypatch.setenv("BENCH_MIRROR", address)
    with pytest.raises(InputError, match=says):
        store.check_cache()


def test_s3_that_fails_every_third_request(tmp_path, monkeypatch):
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with served() as s3:
        s3.every = 3
        monkeypatch.setenv("BENCH_MIRROR", "s3://bench/folder")
        store.check_cache()
        for k in range(5):
            for name in ("a", "b"):
                monkeypatch.setenv("BENCH_CACHE", str(tmp_path / name))
                path = tmp_path / name / "images" / "0123" / f"{k:05d}.npy"
                key = artifacts.bound(path)
                if name == "a":
                    assert artifacts.load_array(path, key, (4, 3)) is None
                    artifacts.save_array(path, key, ROWS + k)
                np.testing.assert_array_equal(artifacts.load_array(path, key, (4, 3)), ROWS + k)
        assert s3.failed > 3
        mirror._listed.clear()
        shutil.rmtree(tmp_path / "b")
        assert artifacts.exists(path)


def test_google_cloud_storage(tmp_path, monkeypatch):
    """Of a local server of its kind; `pip install gcsfs gcp-storage-emulator`."""
    pytest.importorskip("gcsfs")
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="bench")
    server.start()
    try:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("BENCH_MIRROR", f"gs://bench/{tmp_path.name}")
        for name in ("a", "b"):
            mirror._listed.clear()
            monkeypatch.setenv("BENCH_CACHE", str(tmp_path / name))
            path = tmp_path / name / "images" / "0123" / "00000.npy"
            assert artifacts.exists(path) == (name == "b")
            if name == "a":
                assert load(path) is None
                artifacts.save_array(path, KEY, ROWS)
            np.testing.assert_array_equal(load(path), ROWS)
        artifacts.remove(path)
        mirror._listed.clear()
        assert not artifacts.exists(path)
    finally:
        server.stop()
