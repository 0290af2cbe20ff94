import numpy as np
import pytest
import torch
from DISTS_pytorch import DISTS
from helpers import random_backbones
from helpers.pairs import blurred, coarse, evidence, picture
from torchvision import models

from bench.core import extensions
from bench.measurement.metrics import backbones, dists


@pytest.fixture
def metric(monkeypatch, tmp_path):
    random_backbones.install(monkeypatch, "vgg16", tmp_path)
    yield extensions.lookup("metrics", "dists")()
    backbones.layers.cache_clear()


def packaged(images, twins):
    """What the package gives with its weights and the same random backbone."""
    with pytest.MonkeyPatch.context() as patch:
        made = random_backbones.network("vgg16")
        patch.setattr(models, "vgg16", lambda pretrained: made)
        network = DISTS(load_weights=False)
    # Where the package looks for them is not where every installer puts them.
    network.alpha.data, network.beta.data = dists.weights()
    pair = (torch.from_numpy(x).expand(-1, 3, -1, -1) / 255 for x in (images, twins))
    return network(*pair).detach().numpy()


def test_the_distances_are_those_of_the_package(metric):
    twins = picture(48, 57)
    images = np.concatenate([coarse(twins, 40), blurred(twins), twins])
    twins = np.repeat(twins, 3, 0)
    values = metric.function(images, twins)
    assert values[2] == 0 and values[:2].min() > 1e-3
    np.testing.assert_allclose(values, packaged(images, twins), atol=1e-5)


def test_grey_is_three_equal_channels(metric):
    twins = picture(28, 28, 1)
    images = coarse(twins, 32)
    colour = metric.function(images.repeat(3, 1), twins.repeat(3, 1))
    np.testing.assert_allclose(metric.function(images, twins), colour, rtol=1e-6)


def test_pooling_is_the_root_of_a_window_of_squares():
    x = torch.full((1, 2, 4, 4), 3.0)
    # The window has the sum 1; at the border a quarter or a half of it lies outside.
    pooled = dists._pooled(x)[0, 0]
    expected = 3 * torch.tensor([[0.75, 0.75**0.5], [0.75**0.5, 1.0]])
    torch.testing.assert_close(pooled, expected)


def test_the_measurement(metric):
    twins = np.concatenate([picture(32, 32), picture(32, 32)[..., ::-1], picture(32, 32)])
    images = np.concatenate([coarse(twins[:2], 8), blurred(twins[2:])])
    measured = metric(evidence(images, twins))
    assert (measured.name, measured.better, measured.paired) == ("dists@3", "lower", True)
    assert measured.low < measured.value < measured.high


def test_package_weights_and_backbone_are_in_the_keys():
    said = extensions.identity("metrics", "dists")
    assert said["package"] == "DISTS-pytorch 0.1"
    assert len(said["weights"]) == 32 and said["backbone"].startswith("vgg16 397923af")
