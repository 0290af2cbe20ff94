"""Random weights under other authors' names, their cards, and networks held against references."""

from __future__ import annotations

import torch
from helpers.tiny import write_cards
from safetensors.torch import save_file

from bench.core.noise_levels import NoiseLevels
from bench.models.cards import load_cards, verify


def randoms(shapes, seed=0):
    """Weights of these shapes, which keep the size of what they are multiplied with; a tensor is
    taken as it is."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, shape in shapes.items():
        if isinstance(shape, torch.Tensor):
            made[name] = shape.clone()
            continue
        value = torch.randn(shape, generator=generator)
        if len(shape) < 2:
            made[name] = 0.1 * value + ("norm" in name and name.endswith("weight"))
        else:
            made[name] = value / value[0].numel() ** 0.5
    return made


def card_of(folder, source, weights, **config):
    """Write weights, as safetensors, whose order is by name, and their card."""
    save_file(
        {name: value.contiguous() for name, value in weights.items()}, folder / "w.safetensors"
    )
    entry = {"name": "theirs", "family": "theirs", "method": "baseline", "source": source}
    entry |= {"uri": "w.safetensors", "dataset": "cifar10", "config": config}
    (card,) = load_cards(write_cards(folder, [entry]))
    return verify(card)


@torch.no_grad()
def differences(denoiser, expected, told):
    """Largest difference of the network to a function of (x, told, labels), and its output."""
    assert isinstance(denoiser.levels, NoiseLevels)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(len(told), *denoiser.shape, generator=generator)
    labels = None
    if denoiser.classes:
        labels = torch.tensor([0, denoiser.classes - 1, denoiser.classes])[: len(told)]
    made = denoiser.model(*([x, told] if labels is None else [x, told, labels]))
    wanted = expected(x, told, labels)
    return float((made - wanted).abs().max()), float(wanted.abs().max())
