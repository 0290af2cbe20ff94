import functools

import pytest
import torch
from helpers.toys import Toy, noisy

from bench.core.denoiser import Denoiser
from bench.core.noise_levels import NoiseLevels
from bench.core.scheme import Scheme
from bench.models.networks import build_network
from bench.models.schedules import alpha_bar

TINY = {
    "patch": 2,
    "unet": {
        "sample_size": 4,
        "in_channels": 4,
        "out_channels": 4,
        "layers_per_block": 1,
        "block_out_channels": [8, 16],
        "norm_num_groups": 4,
        "attention_head_dim": 8,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    },
}


@pytest.fixture(scope="session")
def tiny():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_network(TINY).eval()
    return Denoiser(model, NoiseLevels.discrete(alpha_bar("cosine")), "epsilon", (1, 8, 8))


@pytest.fixture(scope="session")
def toy():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Toy().eval()
    return Denoiser(model, NoiseLevels.discrete(alpha_bar("cosine")), "epsilon", (1, 6, 6))


@pytest.fixture(scope="session")
def batches():
    """Of the tiny network."""
    return noisy((1, 8, 8))


@pytest.fixture(scope="session")
def toy_batches():
    return noisy((1, 6, 6))


@pytest.fixture(scope="session")
def tiny_graph(tiny, batches):
    """The tiny network under a scheme; made once, for tests that only read it."""
    from bench.quant.graph import quantize_graph

    return functools.cache(lambda words: quantize_graph(tiny, Scheme.parse(words), batches))
