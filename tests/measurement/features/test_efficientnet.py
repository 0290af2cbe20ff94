"""Features of the embedded network: pinned values, order under damage, no trace of the batch."""

import pytest
import torch

from bench.core.errors import InputError
from bench.measurement.features.efficientnet import (
    BATCH,
    STAGES,
    EfficientNet,
    load_network,
    prepare,
    stage_means,
)
from bench.measurement.features.moments import statistics
from bench.measurement.metrics.frechet import frechet_distance

PINNED = [-5.2036, 6.8848, 11.0071]


@pytest.fixture(scope="module")
def extract():
    return EfficientNet()


def shapes(count, channels=1):
    """Smooth blobs of random place and size, uint8 (count, channels, 28, 28)."""
    generator = torch.Generator().manual_seed(0)
    place = torch.rand(count, 2, 1, 1, generator=generator) * 16 + 6
    size = torch.rand(count, 1, 1, generator=generator) * 6 + 3
    row, column = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    distance = ((row - place[:, 0]) ** 2 + (column - place[:, 1]) ** 2).sqrt()
    images = (255 * torch.sigmoid(size - distance)).round().to(torch.uint8)
    return images[:, None].expand(-1, channels, -1, -1).contiguous()


def test_shape_and_type(extract):
    features = extract(shapes(3))
    assert features.shape == (3, extract.dim)
    assert features.dtype == torch.float32
    assert torch.isfinite(features).all()


def test_pinned_values(extract):
    """Of a ramp of grey values; a change of more than rounding must raise `version`."""
    ramp = torch.arange(28 * 28).mul(255).div(28 * 28 - 1).to(torch.uint8).view(1, 1, 28, 28)
    features = extract(ramp)[0].double()
    found = [features[:80].sum(), features[80:].sum(), features.norm()]
    assert extract.version == 1
    assert [float(x) for x in found] == pytest.approx(PINNED, rel=1e-3)


def test_the_fast_network_is_the_original_but_for_rounding(extract):
    images = shapes(BATCH + 3)
    means = stage_means(load_network(), prepare(images))
    expected = torch.cat([means[stage] for stage in STAGES], dim=1)
    assert (extract(images) - expected).abs().max() < 1e-5 * expected.abs().max()


def test_no_images_have_no_features(extract):
    assert extract(torch.zeros(0, 1, 28, 28, dtype=torch.uint8)).shape == (0, extract.dim)


def test_an_image_does_not_depend_on_its_batch(extract):
    images = shapes(7)
    alone = torch.cat([extract(image[None]) for image in images])
    torch.testing.assert_close(extract(images), alone, rtol=1e-4, atol=1e-5)


def test_grey_is_rgb_of_equal_channels(extract):
    torch.testing.assert_close(extract(shapes(4)), extract(shapes(4, 3)))


@pytest.mark.slow
def test_distance_grows_with_noise_and_falls_with_bit_depth(extract):
    clean = shapes(200)
    x = clean[:100].float()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    noisy = [x + sigma * noise for sigma in (4, 12, 32)]
    coarse = [(x / 255 * top).round() / top * 255 for top in (15, 4, 1)]
    real = statistics(extract(clean[100:]).double().numpy())
    for levels in (noisy, coarse):
        images = [clean[:100], *(y.round().clamp(0, 255).to(torch.uint8) for y in levels)]
        scores = [
            frechet_distance(*statistics(extract(y).double().numpy()), *real) for y in images
        ]
        assert scores == sorted(scores)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(1, 1, 28, 28),
        torch.zeros(1, 2, 28, 28, dtype=torch.uint8),
        torch.zeros(1, 28, 28, dtype=torch.uint8),
    ],
)
def test_other_input_is_refused(extract, images):
    with pytest.raises(InputError, match="uint8"):
        extract(images)
