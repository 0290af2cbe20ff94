import pytest
from helpers.records import RUN

from bench.core.errors import InputError
from bench.core.record import to_json
from bench.system import store
from bench.system.runs import find_run, read_run


def test_atomic_leaves_nothing_after_an_error(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), store.atomic(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_sha256_is_pinned(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert store.sha256(tmp_path / "a") == expected


def test_find_run(tmp_path):
    with pytest.raises(InputError, match="no runs"):
        find_run(tmp_path, None)
    for name in ("20260101T000000Z-a", "20260102T000000Z-b"):
        store.save_text(tmp_path / name / "run.json", to_json(RUN))
    assert find_run(tmp_path, None).name.endswith("-b")
    assert find_run(tmp_path, "20260101T000000Z-a").name.endswith("-a")
    assert read_run(find_run(tmp_path, None)) == RUN
    with pytest.raises(InputError, match="no run 'x'"):
        find_run(tmp_path, "x")


def test_check_writable_names_the_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write to .*file"):
        store.check_writable(tmp_path / "file" / "below")


def test_cache_root_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    assert store.cache_root() == tmp_path
    monkeypatch.delenv("BENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert str(store.cache_root()) == "/x/bench"


def test_a_disk_that_takes_nothing_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*below/a\.txt"):
        store.save_text(tmp_path / "file" / "below" / "a.txt", "text")

    def full(path):
        raise OSError(28, "No space left on device")

    with (
        pytest.raises(InputError, match="No space left on device"),
        store.atomic(tmp_path / "b") as temporary,
    ):
        full(temporary)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("data", [b"\xff\xfe", b"5", b'{"schema": 1, "records": [5]}'])
def test_what_is_no_run_is_one_line(tmp_path, data):
    (tmp_path / "run.json").write_bytes(data)
    with pytest.raises(InputError, match=r"not a run\.json"):
        read_run(tmp_path)
