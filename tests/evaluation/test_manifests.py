"""Which images a folder holds: each index once, and what happens where a file is another one."""

import json

import numpy as np
import pytest
from helpers.cells import Runs

from bench.core.cell import Draw, expand
from bench.core.scheme import Scheme
from bench.evaluation import manifests
from bench.evaluation.manifests import Shard
from bench.models.cards import load_cards, verify
from bench.system import artifacts

DRAW = Draw(steps=1, images=4, batch=2)


@pytest.mark.parametrize(
    ("ranges", "images"),
    [
        ([(0, 2), (4, 6)], 4),
        ([(0, 2), (0, 2)], 4),
        ([(0, 2), (1, 3)], 3),
        ([(2, 4), (0, 2)], 4),
        ([(0, 2)], 3),
    ],
    ids=["a gap", "twice", "overlapping", "another order", "too few"],
)
def test_each_index_is_there_once(ranges, images):
    shards = [Shard(f"{k}.npy", *ends, "") for k, ends in enumerate(ranges)]
    with pytest.raises(RuntimeError, match=f"each of {images} once"):
        manifests.check(shards, images)


def test_a_last_file_may_hold_more_than_is_asked_for():
    manifests.check([Shard("0", 0, 2, ""), Shard("1", 2, 4, "")], 3)


def test_other_images_in_place_of_the_former_are_told_and_measured_anew(cards, cache, capsys):
    (cell,) = expand([verify(load_cards(cards)[0])], [Scheme()], ["float"], DRAW)
    runs = Runs(cache)
    first = runs.run(cell)
    wanted = runs.resolver.resolve(cell).images
    content = artifacts.load_text(wanted.folder / manifests.NAME, f"{wanted.key} manifest.json")
    shards = [Shard(**entry) for entry in json.loads(content)["shards"]]
    assert [(s.file, s.first, s.stop) for s in shards] == [
        ("00000.npy", 0, 2),
        ("00001.npy", 2, 4),
    ]
    path = wanted.paths[1]
    assert shards[1].sha256 == artifacts.stated(path)
    # Such as a device gives that does not repeat its own results.
    array = artifacts.load_array(path, artifacts.bound(path), (None,) * 4)
    artifacts.save_array(path, artifacts.bound(path), 255 - array)
    for record in (cache / "records").iterdir():
        record.unlink()
    capsys.readouterr()
    second = Runs(cache).run(cell)
    assert "00001.npy was made again and is not what it was" in capsys.readouterr().err
    assert [m.value for m in second.measurements] != [m.value for m in first.measurements]
    counts = [path.name.split("-")[0] for path in (cache / "features").rglob("*.npy")]
    assert sorted(counts) == ["00000", "00001", "00001"]
    runs.run(cell)
    assert capsys.readouterr().err == ""


def test_a_file_that_is_gone_before_scoring_is_lost(tmp_path):
    path = tmp_path / "key" / "00000.npy"
    with pytest.raises(artifacts.Lost):
        artifacts.stated(path)
    path.parent.mkdir()
    path.write_bytes(np.zeros(400).tobytes())
    with pytest.raises(artifacts.Lost):
        artifacts.stated(path)
