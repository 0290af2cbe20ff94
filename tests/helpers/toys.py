"""A small network with every kind of layer, and calibrations that replay given inputs."""

import torch
from torch import nn

from bench.core.denoiser import diffuse
from bench.models.schedules import alpha_bar
from bench.system.random import seeded


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

    place = plain = None

    @property
    def shape(self):
        return self[0][0].shape

    @property
    def kept(self):
        return self[:2]

    def __call__(self, model):
        for x, t in self:
            model(x, t)
        return "replayed"


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
