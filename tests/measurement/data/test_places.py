import pytest

from bench.core.errors import InputError
from bench.measurement.data import places


def test_the_order_of_search(tmp_path, monkeypatch, cache):
    own = tmp_path / "own"
    assert places.folders("x", own) == [own, cache / "data" / "x"]
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    assert places.folders("x", own) == [tmp_path / "x", own, cache / "data" / "x"]


def test_finds_the_first_candidate_of_the_first_folder(tmp_path, monkeypatch, cache):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    assert places.find("x", ("a", "b")) is None
    for path in (cache / "data" / "x" / "a", tmp_path / "x" / "b"):
        path.mkdir(parents=True)
    assert places.find("x", ("a", "b")) == tmp_path / "x" / "b"
    assert places.find("x", ("a",)) == cache / "data" / "x" / "a"


def test_an_unknown_split_is_one_line():
    for split in places.SPLITS:
        places.check_split(split)
    with pytest.raises(InputError, match=r"^unknown split 'val': use train or test$"):
        places.check_split("val")


def test_missing_says_what_goes_where(cache):
    message = str(places.missing("x", "a.zip"))
    assert message == f"x not found: put a.zip into $BENCH_DATA/x or {cache / 'data' / 'x'}"
