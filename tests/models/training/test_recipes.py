"""The named recipes: the paper's networks have the published sizes, and all take a step."""

import dataclasses

import pytest
import torch

from bench.core.errors import InputError
from bench.models.networks import build_network
from bench.models.training import recipes
from bench.models.training.loop import Trainer


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("fashion-unet", 686_769),
        ("adm-cifar10", 57_094_662),
        ("adm-lsun64", 295_136_454),
        ("adm-ffhq64", 295_136_454),
    ],
)
def test_sizes(name, size):
    with torch.device("meta"):
        network = build_network(recipes.find(name).network)
    assert sum(parameter.numel() for parameter in network.parameters()) == size


@pytest.mark.parametrize("name", ["adm-cifar10", "adm-lsun64", "adm-ffhq64"])
@pytest.mark.parametrize("method", ["baseline", "ip+sam"])
def test_a_step_at_reduced_width(name, method):
    recipe = recipes.find(name)
    widths = [32] * len(recipe.network["unet"]["block_out_channels"])
    settings = {"network.unet.block_out_channels": str(widths), "batch": "2", "method": method}
    settings |= {"network.unet.layers_per_block": "1", "network.unet.attention_head_dim": "16"}
    small = dataclasses.replace(recipe.changed(settings), precision="float32")
    images = torch.randint(0, 256, (4, *recipe.shape), dtype=torch.uint8)
    trainer = Trainer(small, images)
    before = [p.detach().clone() for p in trainer.parameters]
    assert torch.isfinite(trainer.step())
    moved = [not torch.equal(a, b) for a, b in zip(before, trainer.parameters, strict=True)]
    assert sum(moved) > 0.9 * len(moved)
    assert trainer.drops


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(InputError, match="adm-cifar10"):
        recipes.find("adm-cifar")
