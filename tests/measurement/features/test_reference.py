"""Reference features: made once, read whole, refused when they are not what they say."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from bench.core import extensions
from bench.core.errors import InputError
from bench.core.protocols import Statistics
from bench.measurement.features import reference, statistics_files


class Mean:
    """An extractor of two numbers."""

    version, dim = 3, 2

    def __call__(self, images):
        x = images.double()
        return torch.stack([x.mean((1, 2, 3)), x.amax((1, 2, 3))], 1).float()


IMAGES = torch.arange(5 * 16, dtype=torch.uint8).view(5, 1, 4, 4)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A data set and an extractor of that size, and an empty zoo."""
    found = {"datasets": lambda split: IMAGES, "extractors": Mean}
    monkeypatch.setattr(extensions, "lookup", lambda table, name: found[table])
    monkeypatch.setattr(extensions, "identity", lambda table, name: {"weights": "some"})
    monkeypatch.setattr(reference, "ZOO", tmp_path / "zoo")
    return tmp_path


def test_round_trip(small):
    path = reference.build("few", "mean", small / "zoo")
    features = reference.load("few", "mean")
    expected = [[IMAGES[i].double().mean(), IMAGES[i].max()] for i in range(5)]
    np.testing.assert_array_equal(features.values, np.array(expected, np.float16))
    assert (features.extractor, features.version) == ("mean", 3)
    assert features.values.dtype == np.float64
    assert not features.values.flags.writeable
    assert path.parent == small / "zoo"


def test_the_cache_serves_where_the_zoo_has_none(small, cache):
    path = reference.build("few", "mean")
    assert path.is_relative_to(cache)
    assert len(reference.load("few", "mean").values) == 5


def test_nothing_there_says_how_to_make_it(small):
    with pytest.raises(InputError, match=r"bench reference few mean"):
        reference.load("few", "mean")


def test_the_file_of_a_folder_is_named_by_its_images(small, monkeypatch):
    """The name of a folder does not tell its content, and must not leave the cache."""
    names = [reference.file_name(name, "mean") for name in ("folder:/a/b", "folder:../c")]
    assert names[0] == names[1]
    assert names[0].startswith("folder-")
    assert "/" not in names[0]
    monkeypatch.setitem(globals(), "IMAGES", IMAGES + 1)
    assert reference.file_name("folder:/a/b", "mean") != names[0]


def cut(path):
    path.write_bytes(path.read_bytes()[:-4])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def older(path):
    path.write_bytes(path.read_bytes().replace(b'"version":"3"', b'"version":"2"'))


@pytest.mark.parametrize(
    ("damage", "word"), [(cut, "whole"), (flip, "sha256"), (older, "version 2 of mean")]
)
def test_damage_is_named(small, damage, word):
    damage(reference.build("few", "mean", small / "zoo"))
    with pytest.raises(InputError, match=word):
        reference.load("few", "mean")


@pytest.mark.parametrize("damage", [cut, flip, older])
def test_damage_in_the_cache_is_made_again(small, damage, capsys):
    path = reference.build("few", "mean")
    expected, digest = reference.load("few", "mean").values, reference.digest("few", "mean")
    reference.read.cache_clear()
    damage(path)
    np.testing.assert_array_equal(reference.load("few", "mean").values, expected)
    told = capsys.readouterr().err
    assert f"{path} is damaged" in told and told.count("\n") == 1
    assert reference.digest("few", "mean") == digest
    assert capsys.readouterr().err == ""


def test_features_of_other_weights_are_refused(small, monkeypatch):
    reference.build("few", "mean")
    monkeypatch.setattr(extensions, "identity", lambda table, name: {"weights": "others"})
    with pytest.raises(
        InputError, match=r"made by other weights of mean .*`bench reference few mean`"
    ):
        reference.load("few", "mean")


def test_the_shipped_file_is_of_the_weights_that_bench_was_made_with(monkeypatch):
    """With others it is passed over, and the user's own features are wanted."""
    monkeypatch.setattr(extensions, "identity", lambda table, name: {"weights": "others"})
    with pytest.raises(InputError, match="no reference features of fashion-mnist"):
        reference.find("fashion-mnist", "efficientnet")


def test_damage_of_the_shipped_file_is_named(monkeypatch, tmp_path):
    for name in ("fashion-mnist-efficientnet.safetensors", reference.SUMS):
        (tmp_path / name).write_bytes((reference.ZOO / name).read_bytes())
    monkeypatch.setattr(reference, "ZOO", tmp_path)
    assert reference.find("fashion-mnist", "efficientnet").parent == tmp_path
    path = tmp_path / "fashion-mnist-efficientnet.safetensors"
    # The shape that it states, of which its own hash says nothing.
    path.write_bytes(path.read_bytes().replace(b'"count":"10000"', b'"count":"10001"'))
    with pytest.raises(InputError, match="its SHA-256 is not that of the release: install bench"):
        reference.find("fashion-mnist", "efficientnet")


def test_all_shipped_features_are_in_the_list_of_hashes():
    listed = {
        line.split()[1] for line in (reference.ZOO / reference.SUMS).read_text().splitlines()
    }
    shipped = {path.name for path in reference.ZOO.glob("*-efficientnet*.safetensors")}
    assert listed == shipped


def test_statistics_of_the_cache_carry_a_digest_too(small, capsys):
    found = {"mean": Statistics(np.zeros(2), np.eye(2), 5)}
    name = reference.file_name("few", "mean")
    path = (reference.folder() / name).with_suffix(".npz")
    statistics_files.write(path, found, "few")
    assert reference.find("few", "mean") == path
    assert statistics_files.read(path, "mean").sigma.tolist() == [[1, 0], [0, 1]]
    flip(path)
    with pytest.raises(InputError, match=r"take statistics with `--from FILE\.npz`"):
        reference.find("few", "mean")
    assert "is damaged" in capsys.readouterr().err


def test_the_shipped_file(monkeypatch):
    features = reference.load("fashion-mnist", "efficientnet")
    assert features.values.shape == (10_000, extensions.lookup("extractors", "efficientnet").dim)
    assert np.isfinite(features.values).all()


def test_the_command_refuses_in_one_line():
    words = [
        sys.executable,
        "-m",
        "bench.measurement.features.make_reference",
        "nothing",
        "efficientnet",
    ]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1
    assert "nothing" in done.stderr
