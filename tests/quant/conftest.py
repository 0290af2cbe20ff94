import functools

import pytest
import torch
from torch import nn

from bench.networks import alpha_bar, build_network, diffuse, seeded
from bench.protocols import Denoiser
from bench.spec import Scheme

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


class Toy(nn.Module):
    """Two convolutions around a linear layer and an attention of its own."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding="same")
        self.mix = nn.Conv2d(4, 12, 1)
        self.time = nn.Linear(3, 4)
        self.last = nn.Conv2d(4, 1, 3, padding=1, bias=False)
        self.active = nn.ReLU(inplace=True)

    def forward(self, x, t):
        steps = torch.stack([t / 1000, t * 0.0, t * 0.0 + 1], 1)
        h = self.active(self.first(x)) + self.time(steps)[:, :, None, None]
        q, k, v = self.mix(h).flatten(2).chunk(3, 1)
        scores = torch.einsum("bct,bcs->bts", q, k).softmax(-1)
        h = h + torch.matmul(v, scores.transpose(1, 2)).view(h.shape)
        return self.last(self.active(h))


class Replay(list):
    """A calibration that evaluates the network on the pairs (x, t) of this list."""

    place = None
    digest = "replayed"

    @property
    def shape(self):
        return self[0][0].shape

    def __call__(self, model):
        for x, t in self:
            model(x, t)


def noisy(shape, count=4, size=3):
    generator = seeded("quant", *shape)
    signal = alpha_bar("cosine")
    pairs = Replay()
    for _ in range(count):
        t = torch.randint(0, 1000, (size,), generator=generator)
        x_0 = torch.rand(size, *shape, generator=generator) * 2 - 1
        noise = torch.randn(x_0.shape, generator=generator)
        pairs.append((diffuse(x_0, noise, signal[t]), t))
    return pairs


@pytest.fixture(scope="session")
def tiny():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_network(TINY).eval()
    return Denoiser(model, alpha_bar("cosine"), "epsilon", (1, 8, 8))


@pytest.fixture(scope="session")
def toy():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Toy().eval()
    return Denoiser(model, alpha_bar("cosine"), "epsilon", (1, 6, 6))


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
