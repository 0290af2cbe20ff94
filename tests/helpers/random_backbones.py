"""AlexNet and VGG-16 with random weights, for metrics whose published weights are not here."""

import functools
from types import SimpleNamespace

import torch
from torchvision import models


@functools.cache
def state(backbone):
    """Random weights of the convolutions, named as in torchvision's files."""
    with torch.device("meta"):
        layers = getattr(models, backbone)(weights=None).features
    generator = torch.Generator().manual_seed(len(backbone))
    found = {}
    for name, value in layers.state_dict().items():
        fan = value[0].numel() if value.ndim == 4 else 100
        drawn = torch.randn(value.shape, generator=generator) * (2 / fan) ** 0.5
        found[f"features.{name}"] = drawn
    return found


def network(backbone):
    """What torchvision's function returns, with these weights and no classifier."""
    from bench.measurement.metrics.backbones import built

    return SimpleNamespace(features=built(backbone, state(backbone)))


def install(monkeypatch, backbone, folder):
    """Put a published file with these weights into a folder that BENCH_BACKBONES names."""
    from dataclasses import replace

    from bench.measurement.metrics import backbones
    from bench.system import disk

    path = folder / backbones.FILES[backbone].name
    torch.save(state(backbone), path)
    file = replace(backbones.FILES[backbone], digest=disk.sha256(path))
    monkeypatch.setitem(backbones.FILES, backbone, file)
    monkeypatch.setenv(backbones.VARIABLE, str(folder))
    backbones.layers.cache_clear()
