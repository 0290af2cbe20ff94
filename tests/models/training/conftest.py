"""A tiny recipe and tiny data, for all tests of training."""

import gzip
import struct

import numpy as np
import pytest
import torch
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
    folder = tmp_path / "data" / "fashion-mnist"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    for stem in ("train", "t10k"):
        header = struct.pack(">4B3I", 0, 0, 8, 3, *pixels.shape)
        with gzip.open(folder / f"{stem}-images-idx3-ubyte.gz", "wb") as stream:
            stream.write(header + pixels.tobytes())
    monkeypatch.setenv("BENCH_DATA", str(folder.parent))
    return folder
