"""Statistics of features are taken only where they can be those of images."""

import os

import numpy as np
import pytest

from bench.core import tables
from bench.core.errors import InputError
from bench.measurement.features import statistics_files
from bench.measurement.metrics.frechet import frechet_distance

DIM = 6


class Tiny:
    dim, version = DIM, 3


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(tables.EXTRACTORS, "tiny", f"{__name__}:Tiny")


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(40, DIM))


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def of(features):
    return {"mu": features.mean(0), "sigma": np.cov(features, rowvar=False)}


@pytest.mark.parametrize("images", [40, 3, 1])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_what_other_tools_write_is_read(tmp_path, features, images, kind):
    """Also of fewer images than dimensions, and of single precision."""
    some = features[:images]
    sigma = np.cov(some, rowvar=False) if images > 1 else np.zeros((DIM, DIM))
    path = save(tmp_path / "x.npz", mu=some.mean(0).astype(kind), sigma=sigma.astype(kind))
    found = statistics_files.read(path, "tiny")
    assert found.mu.dtype == found.sigma.dtype == np.float64
    assert np.allclose(found.sigma, sigma, atol=1e-6)
    assert found.count == 0
    assert abs(frechet_distance(found.mu, found.sigma, found.mu, found.sigma)) < 1e-5


def test_what_is_written_is_read(tmp_path, features):
    made = statistics_files.Statistics(**of(features), count=40)
    statistics_files.write(tmp_path / "x.npz", {"tiny": made}, "data")
    found = statistics_files.read(tmp_path / "x.npz", "tiny")
    assert found.count == 40
    assert np.array_equal(found.sigma, made.sigma)


def tilted(sigma):
    sigma = sigma.copy()
    sigma[0, 1] += 0.01
    return sigma


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda s: {"sigma": tilted(s["sigma"])}, "not symmetric, by up to 0.01"),
        (lambda s: {"sigma": s["sigma"] - 2 * np.eye(DIM)}, "a variance of -"),
        (lambda s: {"sigma": -s["sigma"]}, "a variance of -"),
        (lambda s: {"sigma": s["sigma"].astype(complex)}, "real numbers"),
        (lambda s: {"mu": s["mu"].astype(complex)}, "real numbers"),
        (lambda s: {"sigma": np.eye(DIM, dtype=int)}, "real numbers"),
        (lambda s: {"mu": np.zeros(DIM, object)}, "no whole npz"),
        (lambda s: {"mu": np.array(["x"] * DIM)}, "real numbers"),
        (lambda s: {"mu": np.full(DIM, np.nan)}, "NaN"),
        (lambda s: {"sigma": s["sigma"] * np.inf}, "NaN"),
        (lambda s: {"mu": s["mu"][:3]}, "dimensions"),
        (lambda s: {"sigma": s["sigma"][:3, :3]}, "dimensions"),
        (lambda s: {"mu": s["mu"][None]}, "dimensions"),
        (lambda s: {"count": "many"}, "count must be"),
        (lambda s: {"count": "9" * 5000}, "count must be"),
        (lambda s: {"count": np.array([1, 2])}, "count must be one"),
        (lambda s: {"count": -5}, "count must be"),
        (lambda s: {"extractor": np.array(["tiny", "x"])}, "extractor must be one"),
        (lambda s: {"extractor": "\x1b[31m", "version": "3"}, r"of \\x1b"),
        (lambda s: {"version": "x" * 3000, "extractor": "tiny"}, "of version x"),
    ],
)
def test_impossible_statistics_are_refused_in_one_line(tmp_path, features, change, reason):
    given = of(features)
    path = save(tmp_path / "x.npz", **{**given, **change(given)})
    with pytest.raises(InputError, match=reason) as caught:
        statistics_files.read(path, "tiny")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


def test_damaged_files_and_pipes(tmp_path, features):
    path = save(tmp_path / "x.npz", **of(features))
    path.write_bytes(path.read_bytes()[:-50])
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "text.npz").write_text("mu sigma")
    for name in ("x.npz", "pipe.npz", "text.npz", "none.npz", "a\0b.npz"):
        with pytest.raises(InputError, match="no whole npz"):
            statistics_files.read(tmp_path / name, "tiny")
