"""Artifacts: what is damaged in any way is missing, told, set aside, and made again."""

import os
import stat

import numpy as np
import pytest

from bench.system import artifacts, disk

ROWS = np.arange(12, dtype=np.uint8).reshape(4, 3)


def told(capsys):
    out, error = capsys.readouterr()
    assert out == ""
    return error


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "below" / "00000.npy"
    artifacts.save_array(found, "key 00000.npy", ROWS)
    return found


def load(path, key="key 00000.npy", shape=(4, None), dtype=np.uint8):
    return artifacts.load_array(path, key, shape, dtype)


def test_what_was_kept_is_read(path, capsys):
    np.testing.assert_array_equal(load(path), ROWS)
    assert artifacts.intact(path, "key 00000.npy")
    assert told(capsys) == ""
    # Other tools read the array: the digest stands behind it.
    np.testing.assert_array_equal(np.load(path), ROWS)


def test_what_is_not_there_is_missing_in_silence(tmp_path, capsys):
    assert load(tmp_path / "none.npy") is None
    (tmp_path / "file").write_text("")
    assert load(tmp_path / "file" / "below.npy") is None
    assert not artifacts.intact(tmp_path / "none.npy", "key")
    assert told(capsys) == ""


def rows_permuted(path):
    content = bytearray(path.read_bytes())
    start = content.index(bytes(range(12)))
    content[start : start + 12] = content[start + 3 : start + 12] + content[start : start + 3]
    path.write_bytes(content)


def every_byte(path):
    content = path.read_bytes()
    for position in range(len(content)):
        yield content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "permuted": rows_permuted,
    "longer": lambda path: path.write_bytes(path.read_bytes() * 2),
    "plain": lambda path: np.save(path, ROWS),
    "other shape": lambda path: artifacts.save_array(path, "key 00000.npy", ROWS[:2]),
    "other type": lambda path: artifacts.save_array(path, "key 00000.npy", ROWS * 1.0),
    "other key": lambda path: artifacts.save_array(path, "key 00001.npy", ROWS),
    "no array": lambda path: artifacts.write(path, "key 00000.npy", b"text"),
    "folder": lambda path: (path.unlink(), (path / "inside").mkdir(parents=True)),
    "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "endless": lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
    "circle": lambda path: (path.unlink(), path.symlink_to(path)),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_told_once_set_aside_and_made_again(path, name, capsys):
    DAMAGES[name](path)
    assert load(path) is None
    line = told(capsys)
    assert line.startswith(f"bench: {path} is damaged (") and line.count("\n") == 1
    assert line.endswith(f"set aside as {path.name}.damaged, made again\n")
    assert os.path.lexists(path.with_name(path.name + ".damaged"))
    assert load(path) is None
    artifacts.save_array(path, "key 00000.npy", ROWS)
    np.testing.assert_array_equal(load(path), ROWS)
    assert told(capsys) == ""


def test_no_byte_can_change(path, capsys):
    for changed in every_byte(path):
        path.write_bytes(changed)
        assert load(path) is None
        path.write_bytes(changed)
        assert not artifacts.intact(path, "key 00000.npy")
    told(capsys)


def test_two_files_exchanged_are_both_noticed(path, capsys):
    second = path.with_name("00001.npy")
    artifacts.save_array(second, "key 00001.npy", ROWS + 1)
    path.rename(path.with_name("x"))
    second.rename(path)
    path.with_name("x").rename(second)
    assert load(path) is None
    assert load(second, "key 00001.npy") is None
    assert told(capsys).count("its content does not match") == 2


def test_damage_comes_again_and_the_last_one_is_kept(path, capsys):
    for content in (b"first", b"second"):
        path.write_bytes(content)
        assert load(path) is None
    assert path.with_name("00000.npy.damaged").read_bytes() == b"second"
    (path / "x").mkdir(parents=True)
    assert load(path) is None
    path.write_bytes(b"third")
    assert load(path) is None
    assert path.with_name("00000.npy.damaged").read_bytes() == b"third"
    told(capsys)


def test_what_another_process_healed_stays(path, capsys, monkeypatch):
    seen = path.stat()
    artifacts.save_array(path, "key 00000.npy", ROWS)
    artifacts.set_aside(path, "damaged when it was read", seen)
    np.testing.assert_array_equal(load(path), ROWS)
    assert told(capsys) == ""


def test_a_folder_or_file_in_the_way_is_set_aside_when_writing(cache, capsys):
    path = cache / "images" / "key" / "0.npy"
    (path / "inside").mkdir(parents=True)
    artifacts.write(path, "key", b"x")
    assert artifacts.read(path, "key") == b"x"
    below = cache / "features" / "key"
    below.parent.mkdir()
    below.write_text("a file")
    artifacts.write(below / "0.npy", "key", b"y")
    assert artifacts.read(below / "0.npy", "key") == b"y"
    assert told(capsys).count("is damaged (") == 2


def test_nothing_above_the_cache_is_moved(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("of the user")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(disk.MachineError, match="cannot write"):
        artifacts.write(tmp_path / "file" / "images" / "x", "key", b"")
    assert (tmp_path / "file").read_text() == "of the user"


def test_what_cannot_be_set_aside_stops(path, monkeypatch):
    path.write_bytes(b"damaged")

    def denied(*names):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "rename", denied)
    with pytest.raises(disk.MachineError, match=r"cannot be set aside: Permission denied; delete"):
        load(path)


@pytest.mark.parametrize(
    ("number", "word"), [(24, "ulimit -n"), (13, "is damaged"), (5, "is damaged")]
)
def test_errors_of_reading(path, monkeypatch, number, word, capsys):
    """Too few files stop; what may not be read, or what the disk lost, is made again."""
    kind = PermissionError if number == 13 else OSError

    class Broken:
        def __init__(self, stream):
            self.stream = stream

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.stream.close()

        def fileno(self):
            return self.stream.fileno()

        def read(self):
            raise OSError(5, "Input/output error")

    opened = type(path).open

    def broken(self, *words):
        if number == 5:
            return Broken(opened(self, *words))
        raise kind(number, os.strerror(number))

    monkeypatch.setattr(type(path), "open", broken)
    if number == 24:
        with pytest.raises(disk.MachineError, match=word):
            load(path)
    else:
        assert load(path) is None
        assert word in told(capsys)


def test_files_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        artifacts.write(tmp_path / "a", "key", b"")
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    finally:
        os.umask(before)


def test_texts(tmp_path, capsys):
    artifacts.save_text(tmp_path / "a.txt", "key", "é\n")
    assert artifacts.load_text(tmp_path / "a.txt", "key") == "é\n"
    assert artifacts.load_text(tmp_path / "a.txt", "other") is None
    assert "a.txt is damaged" in told(capsys)
