import lpips
import numpy as np
import pytest
import torch
from helpers import random_backbones
from helpers.pairs import blurred, coarse, evidence, picture
from torchvision import models

from bench.core import extensions
from bench.core.errors import NotMeasured
from bench.measurement.metrics import backbones

BACKBONES = {"lpips": "alexnet", "lpips_vgg": "vgg16"}


@pytest.fixture(params=BACKBONES)
def name(request, monkeypatch, tmp_path):
    random_backbones.install(monkeypatch, BACKBONES[request.param], tmp_path)
    yield request.param
    backbones.layers.cache_clear()


def packaged(name, images, twins):
    """What the package gives with its heads and the same random backbone."""
    backbone = BACKBONES[name]
    net = {"alexnet": "alex", "vgg16": "vgg"}[backbone]
    with pytest.MonkeyPatch.context() as patch:
        made = random_backbones.network(backbone)
        patch.setattr(models, backbone, lambda pretrained: made)
        network = lpips.LPIPS(net=net, verbose=False)
    pair = (torch.from_numpy(x).expand(-1, 3, -1, -1) / 127.5 - 1 for x in (images, twins))
    with torch.inference_mode():
        return network(*pair).flatten().numpy()


def test_the_distances_are_those_of_the_package(name):
    twins = picture(64, 72)
    images = np.concatenate([coarse(twins, 40), blurred(twins), twins])
    twins = np.repeat(twins, 3, 0)
    values = extensions.lookup("metrics", name)().function(images, twins)
    assert values[2] == 0
    assert values.min() >= 0 and values[0] > 1e-3
    np.testing.assert_allclose(values, packaged(name, images, twins), atol=1e-5, rtol=1e-5)


def test_grey_is_three_equal_channels(name):
    twins = picture(40, 40, 1)
    images, metric = coarse(twins, 32), extensions.lookup("metrics", name)()
    colour = metric.function(images.repeat(3, 1), twins.repeat(3, 1))
    np.testing.assert_allclose(metric.function(images, twins), colour, rtol=1e-6)


def test_the_measurement_and_the_smallest_images(name):
    least = {"lpips": 31, "lpips_vgg": 16}[name]
    twins = np.concatenate([picture(least, 40), picture(least, 40)[..., ::-1], picture(least, 40)])
    images = np.concatenate([coarse(twins[:2], 8), blurred(twins[2:])])
    metric = extensions.lookup("metrics", name)()
    measured = metric(evidence(images, twins))
    assert (measured.name, measured.better, measured.paired) == (f"{name}@3", "lower", True)
    assert measured.low < measured.value < measured.high
    with pytest.raises(NotMeasured, match=f"{name} needs images of at least {least} x {least}"):
        metric(evidence(images[:, :, 1:], twins[:, :, 1:]))


def test_package_heads_and_backbone_are_in_the_keys():
    alex, vgg = (extensions.identity("metrics", name) for name in BACKBONES)
    assert alex["package"] == vgg["package"] == "lpips 0.1.4"
    # SHA-256 of weights/v0.1/alex.pth.
    assert alex["weights"] == "df73285e35b22355a2df87cdb6b70b34"
    assert alex["backbone"].startswith("alexnet 7be5be79")
    assert vgg["backbone"].startswith("vgg16 397923af")
