"""Pictures from elsewhere as records: their numbers, whatever their sizes, and what is refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from helpers.picture_sets import moved, pictures, save

from bench.core.errors import InputError
from bench.core.estimates import interval
from bench.evaluation import elsewhere
from bench.evaluation.elsewhere import Asked
from bench.measurement.data import pictures as places
from bench.measurement.features import reference, statistics_files
from bench.measurement.metrics.paired import psnr, ssim
from bench.system.host import fingerprint

PAIRED = ("psnr", "ssim")


def scored(cache, tmp_path, sets, **fields):
    paths = {name: save(tmp_path / name, made) for name, made in sets.items()}
    asked = Asked({n: places.find(p) for n, p in paths.items()}, **fields)
    return elsewhere.score(asked, fingerprint(), cache)


def planes(made, name):
    return made[name].transpose(2, 0, 1)[None]


def test_numbers_of_mixed_sizes_are_means_over_pairs(cache, tmp_path):
    """Against each metric's function on each pair by itself; terms are in the order of rows."""
    made = pictures(6, ((40, 48), (24, 32)))
    test = moved(made)
    outcome = scored(cache, tmp_path, {"ref": made, "test": test}, metrics=PAIRED)
    full, record = outcome.records
    assert full.cell.is_reference and not full.measurements
    order = [*sorted(made)[1::2], *sorted(made)[::2]]
    for name, function in (("psnr", psnr), ("ssim", ssim)):
        pairs = [(planes(test, n), planes(made, n)) for n in order]
        values = np.array([function(*pair)[0] for pair in pairs])
        measured = record.measurement(name)
        assert measured.value == pytest.approx(values.mean(), rel=1e-12)
        ends = interval(values.mean(), values - values.mean())
        assert (measured.low, measured.high) == pytest.approx(ends, rel=1e-9)
        terms = outcome.terms[f"ref test elsewhere|{name}@6"]
        np.testing.assert_allclose(terms, values - values.mean(), atol=1e-9)
    assert record.elsewhere.sizes == {"32x24": 3, "48x40": 3}
    assert (record.equal, record.coverage) == (0, None)


@pytest.mark.parametrize(
    ("metrics", "reads"),
    [((*PAIRED, "ms_ssim"), {"ref": 2, "test": 2}), (("psnr", "frechet_twin"), None)],
)
def test_pictures_are_decoded_no_more_often_than_needed(metrics, reads, cache, tmp_path):
    """To look at them, for all metrics of pairs, and for features; beside those that are shown."""
    sets = {"ref": pictures(20, ((24, 24),))}
    sets["test"] = moved(sets["ref"])
    read = Counter()

    def watched(label, place):
        def decode(name):
            read[label, name] += 1
            return place.read(name)

        return replace(place, read=decode)

    found = {n: places.find(save(tmp_path / n, made)) for n, made in sets.items()}
    asked = Asked({n: watched(n, place) for n, place in found.items()}, metrics=metrics)
    record = elsewhere.score(asked, fingerprint(), cache).records[1]
    assert len(record.measurements) == len(metrics)
    # The last ones are not among the 16 that are shown.
    last = {label: read[label, "p19"] for label in sets}
    assert last == (reads or {"ref": 3, "test": 3})
    assert (cache / "features").exists() == (reads is None)


def test_features_of_mixed_sizes_are_those_of_each_size(cache, tmp_path):
    """A set against itself has no distance, also where batches end within a size."""
    made = pictures(7, ((40, 48), (24, 32)))
    sets = {"ref": made, "same": made}
    outcome = scored(cache, tmp_path, sets, metrics=("frechet_twin",), batch=2)
    apart = outcome.records[1].measurement("fd_twin_efficientnet")
    assert apart.value == pytest.approx(0, abs=1e-6)
    assert outcome.records[1].equal == 7


def test_a_metric_that_changes_with_the_size_has_no_mean(cache, tmp_path):
    """MS-SSIM of 24 pixels has two scales, of 48 three."""
    made = pictures(6, ((48, 48), (24, 24)))
    sets = {"ref": made, "test": moved(made)}
    record = scored(cache, tmp_path, sets, metrics=("psnr", "ms_ssim")).records[1]
    assert "ms_ssim_2scales and ms_ssim_3scales" in record.error
    assert [m.name for m in record.measurements] == ["psnr@6"]


def test_grey_pictures_are_one_channel(cache, tmp_path):
    made = pictures(4, channels=1)
    sets = {"ref": made, "test": moved(made)}
    outcome = scored(cache, tmp_path, sets, metrics=PAIRED)
    assert outcome.strips[outcome.records[0].cell].shape == (40, 4 * 40, 1)


def test_statistics_alone_are_enough_for_the_frechet_distance(cache, tmp_path):
    made = pictures(8)
    features = np.random.default_rng(0).normal(size=(900, 272))
    known = elsewhere.Statistics(features.mean(0), np.cov(features.T), 900)
    path = tmp_path / "real.npz"
    statistics_files.write(path, {"efficientnet": known}, "real")
    sets = {"ref": made, "test": moved(made)}
    full, record = scored(cache, tmp_path, sets, real=str(path)).records
    change = record.measurement("delta_fd_efficientnet")
    before, after = (r.measurement("fd_efficientnet").value for r in (full, record))
    assert change.value == pytest.approx(after - before)
    assert record.real_images == {"efficientnet": 900}
    assert record.cell.checkpoint.dataset == "real.npz"
    with pytest.raises(InputError, match="statistics alone"):
        scored(cache, tmp_path, sets, real=str(path), metrics=("kernel",))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"metrics": ("kernel",)}, "name some by --real"),
        ({"metrics": ("no",)}, "unknown"),
        ({"real": "no"}, "unknown"),
        ({"real": "folder:nowhere"}, "nowhere"),
        ({"metrics": ("psnr_simulated",)}, "simulation"),
    ],
)
def test_what_cannot_be_measured_is_refused(cache, tmp_path, fields, words):
    made = pictures(3)
    with pytest.raises(InputError, match=words):
        scored(cache, tmp_path, {"ref": made, "test": made}, **fields)


def test_a_data_set_gives_the_real_images(cache, tmp_path):
    made = pictures(4, ((32, 32),), channels=1)
    sets = {"ref": made, "test": moved(made)}
    fields = {"real": "fashion-mnist", "metrics": ("kernel",)}
    record = scored(cache, tmp_path, sets, **fields).records[1]
    assert record.measurement("delta_kd_efficientnet") is not None
    assert record.real == {"efficientnet": reference.digest("fashion-mnist", "efficientnet")}
