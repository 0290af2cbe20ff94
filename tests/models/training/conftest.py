"""A tiny recipe and tiny data, for all tests of training."""

import pytest
import torch
from helpers.idx import write_fashion
from helpers.tiny import TINY_NETWORK

from bench.models.training import recipes
from bench.models.training.recipe import Recipe


@pytest.fixture
def recipe():
    """Six updates of four images on the smallest network."""
    return Recipe(
        name="tiny",
        dataset="fashion-mnist",
        shape=(1, 28, 28),
        network=TINY_NETWORK,
        updates=6,
        batch=4,
        warmup=2,
        swa_start=0.5,
        swa_every=1,
        ema_decays=(0.9,),
    )


@pytest.fixture
def images():
    """Nine random grey images."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (9, 1, 28, 28), generator=generator, dtype=torch.uint8)


@pytest.fixture
def tiny_recipe(monkeypatch, recipe):
    """The tiny recipe as a named one."""
    monkeypatch.setitem(recipes.RECIPES, "tiny", recipe)
    return recipe


@pytest.fixture
def dataset(monkeypatch, tmp_path):
    """A folder with the IDX files of a tiny Fashion-MNIST, named by the environment."""
    folder = write_fashion(tmp_path / "data", 40)
    monkeypatch.setenv("BENCH_DATA", str(folder))
    return folder / "fashion-mnist"
