from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import correlate1d

from bench.core import extensions
from bench.core.errors import InputError, NotMeasured
from bench.core.protocols import Evidence, Features
from bench.measurement.metrics import pair_blocks, paired
from bench.measurement.metrics.pair_blocks import BATCH, per_image
from bench.measurement.metrics.paired import C_1, C_2, psnr, ssim


def constant(value, count=3, channels=1, size=16):
    return np.full((count, channels, size, size), value, np.uint8)


def noisy(images, sigma, seed=0):
    noise = np.random.default_rng(seed).normal(0, sigma, images.shape)
    return np.clip(images + noise, 0, 255).astype(np.uint8)


def evidence(images, twins):
    features = Features("toy", 1, np.zeros((len(images), 1)), np.arange(len(images)))
    return Evidence(images, twins, features, features, features)


def test_psnr_of_a_known_shift():
    # 20 log10(255 / 10)
    np.testing.assert_allclose(psnr(constant(30), constant(40)), 28.130803608679102, rtol=1e-12)
    # No wrap-around of uint8: 0 dB.
    np.testing.assert_allclose(psnr(constant(0), constant(255)), 0, atol=1e-12)


def test_psnr_cap():
    np.testing.assert_array_equal(psnr(constant(9), constant(9)), 100)
    other = constant(9)
    other[:, 0, 0, 0] = 10
    # One pixel of 256 off by one: 10 log10(255^2 * 256).
    np.testing.assert_allclose(psnr(constant(9), other), 72.2132, atol=1e-4)


def test_ssim_of_constant_images():
    # (2 * 100 * 120 + 6.5025) / (100^2 + 120^2 + 6.5025)
    expected = 0.9836109249983687
    assert expected == pytest.approx(24006.5025 / 24406.5025)
    np.testing.assert_allclose(ssim(constant(100), constant(120)), expected, rtol=1e-9)


def test_ssim_by_direct_sums():
    random = np.random.default_rng(0)
    a = random.integers(0, 256, (1, 1, 11, 12), np.uint8)
    b = noisy(a, 30)
    axis = np.exp(-((np.arange(11) - 5.0) ** 2) / 4.5)
    weight = np.outer(axis, axis) / axis.sum() ** 2
    values = []
    for left in (0, 1):
        p, q = (v[0, 0, :, left : left + 11].astype(float) for v in (a, b))
        mean_p, mean_q = (weight * p).sum(), (weight * q).sum()
        spread_p, spread_q = (weight * (p - mean_p) ** 2).sum(), (weight * (q - mean_q) ** 2).sum()
        shared = (weight * (p - mean_p) * (q - mean_q)).sum()
        top = (2 * mean_p * mean_q + 6.5025) * (2 * shared + 58.5225)
        values.append(top / ((mean_p**2 + mean_q**2 + 6.5025) * (spread_p + spread_q + 58.5225)))
    np.testing.assert_allclose(ssim(a, b), np.mean(values), rtol=1e-10)


def test_ssim_identical_and_falling_with_noise():
    images = np.random.default_rng(1).integers(0, 256, (2, 3, 28, 28), np.uint8)
    np.testing.assert_allclose(ssim(images, images), 1, rtol=1e-12)
    values = [ssim(noisy(images, sigma), images).mean() for sigma in (5, 20, 60)]
    assert values == sorted(values, reverse=True)


def ssim_by_scipy(a, b):
    """SSIM as it was computed first, with scipy's filter of whole images."""
    weights = np.exp(-((np.arange(11) - 5) ** 2) / 4.5)
    weights /= weights.sum()

    def smooth(x):
        return correlate1d(correlate1d(x, weights, axis=2), weights, axis=3)[:, :, 5:-5, 5:-5]

    a, b = a.astype(np.float64), b.astype(np.float64)
    mean_a, mean_b = smooth(a), smooth(b)
    variance_a, variance_b = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2
    likeness = (2 * mean_a * mean_b + C_1) * (2 * (smooth(a * b) - mean_a * mean_b) + C_2)
    likeness /= (mean_a**2 + mean_b**2 + C_1) * (variance_a + variance_b + C_2)
    return likeness.mean((1, 2, 3))


@pytest.mark.parametrize(
    "shape", [(40, 1, 28, 28), (20, 3, 32, 32), (2, 3, 90, 300), (1, 1, 400, 61), (3, 1, 11, 12)]
)
def test_ssim_of_strips_is_that_of_whole_images_to_the_bit(shape):
    """Committed runs rest on it."""
    twins = np.random.default_rng(4).integers(0, 256, shape, np.uint8)
    images = noisy(twins, 12)
    np.testing.assert_array_equal(ssim(images, twins), ssim_by_scipy(images, twins))


def test_small_images_are_refused():
    with pytest.raises(InputError, match="at least 11 x 11"):
        ssim(constant(1, size=10), constant(1, size=10))


def test_batches_do_not_matter():
    images = np.random.default_rng(2).integers(0, 256, (BATCH + 3, 1, 12, 12), np.uint8)
    twins = noisy(images, 9)
    np.testing.assert_array_equal(per_image(psnr, images, twins), psnr(images, twins))
    with pytest.raises(InputError, match="do not pair up"):
        per_image(psnr, images, twins[1:])


@pytest.mark.parametrize("threads", [1, 3])
def test_large_images_are_read_few_at_a_time_and_threads_do_not_matter(threads, monkeypatch):
    images = np.random.default_rng(2).integers(0, 256, (11, 3, 20, 20), np.uint8)
    twins, asked = noisy(images, 9), []
    whole = ssim(images, twins)

    class Watched:
        """What counts the images that are taken at once, as shards would read them."""

        shape = images.shape

        def __len__(self):
            return len(images)

        def __getitem__(self, rows):
            asked.append(rows.stop - rows.start)
            return images[rows]

    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    monkeypatch.setattr(pair_blocks, "VALUES", 8 * 2 * images[0].size)
    np.testing.assert_array_equal(per_image(ssim, Watched(), twins), whole)
    assert sum(asked) == 11 and max(asked) == 2


def test_kernels_are_compared_with_the_simulation():
    metric = extensions.lookup("metrics", "psnr_simulated")()
    found = evidence(constant(10), constant(99))
    with pytest.raises(InputError, match="needs the images of the simulation"):
        metric(found)
    value = metric(replace(found, simulated_images=constant(15)))
    assert value.name == "psnr_simulated@3"
    assert value.value == pytest.approx(20 * np.log10(255 / 5))


@pytest.mark.parametrize(("name", "unit"), [("psnr", "dB"), ("ssim", "")])
def test_measurements(name, unit):
    images = np.random.default_rng(3).integers(0, 256, (5, 1, 28, 28), np.uint8)
    metric = extensions.lookup("metrics", name)()
    found = metric(evidence(noisy(images, 10), images))
    assert (found.name, found.unit, found.n) == (f"{name}@5", unit, 5)
    assert (found.better, found.paired, metric.least) == ("higher", True, 2)
    assert found.low < found.value < found.high


class Halves(paired.Psnr):
    """A likeness of another package that measures in its own way."""

    name = "halves"

    def measure(self, found):
        return self.mean(psnr(found.images, found.twin_images) / 2)


def test_metrics_of_pairs_share_one_reading_and_give_the_same_as_alone(monkeypatch):
    twins = np.random.default_rng(3).integers(0, 256, (5, 1, 28, 28), np.uint8)
    found = evidence(noisy(twins, 10), twins)
    found = replace(found, simulated_images=noisy(twins, 3))
    chosen = [paired.Psnr(), paired.Ssim(), Halves(), paired.SimulatedPsnr()]
    alone = [metric.measure(found)[0] for metric in chosen]
    known = paired.pairwise(chosen, found)
    assert set(known) == {id(metric) for metric in chosen[:2]}
    shared = replace(found, pairwise=known)
    assert [metric.measure(shared)[0] for metric in chosen] == alone
    monkeypatch.setattr(paired, "per_image", None)
    assert chosen[0].measure(shared)[0] == alone[0]


def test_a_metric_that_is_not_defined_says_so_after_the_shared_reading():
    twins = constant(10, size=10)
    found = evidence(constant(12, size=10), twins)
    chosen = [paired.Psnr(), paired.Ssim()]
    shared = replace(found, pairwise=paired.pairwise(chosen, found))
    assert chosen[0].measure(shared)[0].name == "psnr@3"
    with pytest.raises(NotMeasured, match="at least 11 x 11"):
        chosen[1].measure(shared)
