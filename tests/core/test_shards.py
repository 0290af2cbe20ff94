"""Blocks from disk equal the array, and what is measured of them does not grow with N."""

import tracemalloc

import numpy as np
import pytest

from bench.core import extensions, shards
from bench.core.protocols import Evidence, Features, Statistics
from bench.measurement.features import moments
from bench.measurement.metrics import frechet

DIM = 64


def write(folder, values, size):
    paths = []
    for start in range(0, len(values), size):
        paths.append(folder / f"{start:06d}.npy")
        np.save(paths[-1], values[start : start + size])
    return paths


@pytest.mark.parametrize("length", [1, 7, 10])
def test_shards_are_the_array(tmp_path, length):
    values = np.arange(30, dtype=np.float32).reshape(10, 3)
    found = shards.Shards(write(tmp_path, values, 4), length)
    assert (len(found), found.shape, found.dtype) == (length, (length, 3), np.float32)
    np.testing.assert_array_equal(np.asarray(found), values[:length])
    for start, stop in ((0, 4), (3, 5), (0, 99), (7, 7), (2, 9)):
        np.testing.assert_array_equal(found[start:stop], values[:length][start:stop])
    parts = list(shards.blocks(found, 4))
    np.testing.assert_array_equal(np.concatenate(parts), values[:length])
    assert parts[0].dtype == np.float64
    with pytest.raises(ValueError, match="in order"):
        found[::2]


@pytest.mark.parametrize("count", [40, 300])
def test_the_distance_of_blocks_is_that_of_the_whole(tmp_path, count):
    """Below and above N = D, against the distance of two covariances."""
    random = np.random.default_rng(0)
    values = random.normal(size=(count, DIM)).astype(np.float32)
    other = random.normal(size=(500, DIM)) * random.uniform(0.5, 2, DIM)
    mu, sigma = other.mean(0), np.cov(other, rowvar=False)
    found = shards.Shards(write(tmp_path, values, 7), count)
    distance, terms = frechet.distance_and_influence(found, mu, sigma)
    exact = values.astype(np.float64)
    expected = frechet.frechet_distance(exact.mean(0), np.cov(exact, rowvar=False), mu, sigma)
    assert distance == pytest.approx(expected, rel=1e-9)
    assert abs(terms.mean()) < 1e-9


@pytest.mark.parametrize("metric", ["frechet", "kernel", "precision"])
def test_memory_does_not_grow_with_the_number_of_images(tmp_path, metric, monkeypatch):
    monkeypatch.setattr(shards, "BLOCK", 100)
    random, peaks = np.random.default_rng(0), []
    real = Features("toy", 1, random.normal(size=(200, DIM)), np.arange(200))
    known = Statistics(*moments.statistics(real.values), 200)
    # Both are of several blocks of all metrics.
    for count in (2000, 5000):
        folder = tmp_path / str(count)
        folder.mkdir()
        values = random.normal(size=(count, DIM)).astype(np.float32)
        found = Features("toy", 1, shards.Shards(write(folder, values, 50), count), range(count))
        images = np.zeros((count, 1, 1, 1), np.uint8)
        evidence = Evidence(images, images, found, found, real, known)
        tracemalloc.start()
        extensions.lookup("metrics", metric)()(evidence)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # All features of the larger set alone would take 2 MB in float64; a few numbers an image may.
    assert peaks[1] - peaks[0] < 3000 * 8 * 12
