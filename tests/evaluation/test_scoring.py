"""Scoring without a model: images that were made elsewhere, in folders, against real ones."""

import numpy as np
import pytest
from helpers.cells import Runs
from helpers.pictures import encode, write_folder
from PIL import Image

from bench.core import extensions
from bench.core.cell import Draw, expand
from bench.core.errors import InputError
from bench.core.images import ImageSet, RealSplit
from bench.core.progress import finished
from bench.core.record import Measurement
from bench.core.scheme import Scheme
from bench.evaluation.scoring import ScoredImages, Scoring
from bench.models.cards import load_cards, verify
from bench.system.host import fingerprint

EXTRACTORS, METRICS = ("efficientnet",), ("frechet", "kernel", "psnr", "ssim", "frechet_twin")


def written(folder, images):
    """A folder of PNG files of grey images (N, 1, H, W)."""
    files = {f"{k:03d}.png": encode(image[0]) for k, image in enumerate(images)}
    return write_folder(folder, files)


def read(folder):
    """The image set of a folder, as someone would read it."""
    paths = sorted(folder.glob("*.png"))
    images = np.stack([np.asarray(Image.open(path))[None] for path in paths])
    return ImageSet.of(images, folder.name, [path.stem for path in paths], batch=3)


def numbers(measured):
    return {name: (m.value, m.low, m.high, m.n) for name, (m, _) in measured.items()}


def test_images_of_a_run_scored_from_folders_give_its_numbers(cards, cache, tmp_path):
    card = verify(load_cards(cards)[0])
    draw = Draw(steps=1, images=6, batch=3)
    full, quantized = expand([card], [Scheme.parse("w4a8+minmax")], ["simulated"], draw)
    runs = Runs(cache)
    record = runs.run(quantized)
    expected = {m.name: (m.value, m.low, m.high, m.n) for m in record.measurements}
    test, twins = (
        read(written(tmp_path / name, np.asarray(runs.images(cell))))
        for name, cell in (("test", quantized), ("reference", full))
    )
    scored = ScoredImages(test, twins, RealSplit("fashion-mnist"))
    scoring = Scoring(fingerprint(), tmp_path / "elsewhere")
    told = []
    measured, _ = finished(scoring.measure(scored, EXTRACTORS, METRICS), told.append)
    assert numbers(measured) == expected
    assert {len(terms) for _, terms in measured.values()} == {6}
    assert {progress.subject for progress in told} == {"test", "reference"}
    # Features are kept under the content of the images, wherever they lie.
    again = read(written(tmp_path / "copy", np.asarray(runs.images(quantized))))
    told.clear()
    moved = ScoredImages(again, twins, RealSplit("fashion-mnist"))
    same, _ = finished(scoring.measure(moved, EXTRACTORS, METRICS), told.append)
    assert numbers(same) == numbers(measured)
    assert "features" not in {progress.stage for progress in told}


def test_real_images_may_be_a_set_of_images_too(tmp_path):
    generator = np.random.default_rng(0)
    real, test, twins = (
        ImageSet.of(generator.integers(0, 256, (8, 1, 28, 28), np.uint8), name)
        for name in ("real", "test", "twins")
    )
    scoring = Scoring(fingerprint(), tmp_path)
    metrics = ("frechet", "kernel")
    measured, _ = finished(scoring.measure(ScoredImages(test, twins, real), EXTRACTORS, metrics))
    own = ["fd_efficientnet@8", "kd_efficientnet@8"]
    assert set(measured) == {*own, *(f"delta_{name}" for name in own)}
    itself, _ = finished(scoring.measure(ScoredImages(real, real=real), EXTRACTORS, metrics))
    # Without twins there is nothing to compare with: no changes, and no paired metric.
    assert set(itself) == set(own)
    assert itself["fd_efficientnet@8"][0].value == pytest.approx(0.0, abs=1e-3)


def test_what_a_metric_takes_is_asked_for_before_anything_is_extracted(tmp_path):
    images = np.zeros((4, 1, 28, 28), np.uint8)
    test = ImageSet.of(images, "test", "abcd")
    scoring = Scoring(fingerprint(), tmp_path)
    for metrics, says in (
        (("psnr", "kernel"), "metric kernel compares with real images"),
        (("psnr", "psnr_simulated"), "metric psnr_simulated compares with images of a simulation"),
    ):
        with pytest.raises(InputError, match=says):
            finished(scoring.measure(ScoredImages(test, test), EXTRACTORS, metrics))
    with pytest.raises(
        InputError, match="test and other do not pair up: no partner have 'd', 'e'"
    ):
        ScoredImages(test, ImageSet.of(images, "other", "abce"))
    assert not list(tmp_path.iterdir())


class Corners:
    """A metric of images alone of another package, which looks at features all the same."""

    better, version, least, paired = "lower", 1, 2, True
    kinds = ()
    needs = ""

    def measure(self, evidence):
        sides = (np.asarray(f.values) for f in (evidence.features, evidence.twin_features))
        values = np.linalg.norm(np.subtract(*sides), axis=1)
        assert len(evidence.features.seeds) == len(values)
        value = float(values.mean())
        n = len(values)
        named = Measurement(f"corners@{n}", value, None, None, n, "", "lower", 1, paired=True)
        return named, values - value


def test_features_are_extracted_where_a_metric_takes_or_asks_for_them(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    test, twins = (
        ImageSet.of(generator.integers(0, 256, (6, 1, 28, 28), np.uint8), name)
        for name in ("test", "twins")
    )
    told = []
    scoring = Scoring(fingerprint(), tmp_path)
    measured, _ = finished(
        scoring.measure(ScoredImages(test, twins), EXTRACTORS, ("psnr", "ssim")), told.append
    )
    assert [*measured] == ["psnr@6", "ssim@6"]
    assert not list(tmp_path.iterdir())
    assert {progress.stage for progress in told} == {"psnr, ssim", "psnr", "ssim"}
    lookup = extensions.lookup
    monkeypatch.setattr(
        extensions, "lookup", lambda table, n: Corners if n == "corners" else lookup(table, n)
    )
    names = ("corners", "psnr", "frechet_twin")
    alone, both = (
        finished(scoring.measure(ScoredImages(test, twins), EXTRACTORS, chosen))[0]
        for chosen in (names[:2], names)
    )
    assert alone["corners@6"][0].value == both["corners@6"][0].value > 0
    assert numbers({"psnr@6": alone["psnr@6"]}) == numbers({"psnr@6": measured["psnr@6"]})


def test_twins_of_several_cells_are_measured_once(tmp_path, monkeypatch):
    images = np.random.default_rng(4).integers(0, 256, (3, 6, 1, 28, 28), np.uint8)
    twins, first, second = (ImageSet.of(each, "noise", batch=3) for each in images)
    measured = []
    kernel = extensions.lookup("metrics", "kernel")
    real_measure = kernel.measure

    def counted(self, evidence):
        measured.append(evidence.images)
        return real_measure(self, evidence)

    monkeypatch.setattr(kernel, "measure", counted)
    split = RealSplit("fashion-mnist")

    def scored(scoring, test):
        wanted = ScoredImages(test, twins, split)
        return numbers(finished(scoring.measure(wanted, EXTRACTORS, ["kernel"]))[0])

    kept = Scoring(fingerprint(), tmp_path / "cache")
    found = [scored(kept, each) for each in (first, second)]
    # The reference by itself, too: it is the twin that was measured.
    alone = numbers(
        finished(kept.measure(ScoredImages(twins, None, split), EXTRACTORS, ["kernel"]))[0]
    )
    assert len(measured) == 3
    # Each for itself gives the same numbers.
    fresh = [Scoring(fingerprint(), tmp_path / "cache") for _ in range(3)]
    assert found == [scored(new, each) for new, each in zip(fresh, (first, second), strict=False)]
    wanted = ScoredImages(twins, None, split)
    assert alone == numbers(finished(fresh[2].measure(wanted, EXTRACTORS, ["kernel"]))[0])
