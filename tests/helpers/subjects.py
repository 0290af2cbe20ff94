"""Subjects with known answers: a quadratic, a linear network, and a small convolutional one."""

from dataclasses import dataclass

import torch
from torch import nn

from bench.core.denoiser import Denoiser, diffuse
from bench.core.noise_levels import NoiseLevels
from bench.measurement.probes.context import Examples, ProbeContext, Setting
from bench.models.schedules import alpha_bar
from bench.system.random import seeded

FIELDS = {"schemes": (), "batch": 4}


def examples(count=16, shape=(1, 4, 4), steps=1000):
    generator = seeded("examples", count, *shape)
    x_0 = torch.rand(count, *shape, generator=generator) * 2 - 1
    noise = torch.randn(x_0.shape, generator=generator)
    return Examples(x_0, torch.arange(count) * steps // count, noise)


@dataclass(eq=False)
class ToyContext(ProbeContext):
    """A context whose methods are the functions of a table."""

    functions: dict

    def losses(self, network, examples):
        return self.functions["losses"](network, examples)

    def constants(self, scheme):
        return self.functions["constants"](scheme)

    def allocations(self, scheme, budgets, uniform):
        return self.functions["allocations"](scheme, budgets, uniform)

    def executed(self, scheme):
        return self.functions["executed"](scheme)

    def sample(self, denoiser, count=None, around=None, start=None):
        return self.functions["sample"](denoiser, count, around, start)

    def quality(self, images):
        return self.functions["quality"](images)

    def likeness(self, images, twins):
        return self.functions["likeness"](images, twins)


def subject(model, losses, drawn, setting=None, **changes):
    full = Denoiser(
        model.requires_grad_(False),
        NoiseLevels.discrete(alpha_bar("cosine")),
        "epsilon",
        drawn.x_0.shape[1:],
    )
    fields = {name: changes.pop(name, usual) for name, usual in FIELDS.items()}
    setting = setting or Setting(chunk=5, images=6)
    functions = {"losses": losses, **changes}
    return ToyContext(full, drawn, drawn.x_0, setting, **fields, functions=functions)


class Quadratic(nn.Module):
    """L = 1/2 sum_i curvature_i w_i^2, with a parameter that it does not depend on."""

    def __init__(self, curvature, w):
        super().__init__()
        self.curvature = torch.as_tensor(curvature)
        self.w = nn.Parameter(torch.as_tensor(w))
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, x, t):
        return (self.curvature * self.w.square()).sum() / 2 * torch.ones(len(x))


def quadratic(curvature, w, setting=None):
    return subject(
        Quadratic(curvature, w), lambda network, e: network(e.x_0, e.t), examples(), setting
    )


class Linear(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.map = nn.Linear(size, size, bias=False)

    def forward(self, x, t):
        return self.map(x.flatten(1)).view(x.shape)


def squared(network, e):
    return (network(e.x_0, e.t) - e.noise).square().flatten(1).mean(1)


class Small(nn.Module):
    """A smooth network with attention by torch's fused operator."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.time = nn.Linear(1, 4)
        self.mix = nn.Conv2d(4, 12, 1)
        self.last = nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, x, t):
        h = torch.tanh(self.first(x) + self.time(t[:, None] / 1000)[:, :, None, None])
        q, k, v = self.mix(h).flatten(2).transpose(1, 2)[:, None].chunk(3, -1)
        attended = nn.functional.scaled_dot_product_attention(q, k, v)[:, 0]
        return self.last(h + attended.transpose(1, 2).reshape(h.shape))


def denoising(network, e):
    x_t = diffuse(e.x_0, e.noise, alpha_bar("cosine")[e.t])
    return (network(x_t, e.t) - e.noise).square().flatten(1).mean(1)


def small(setting=None, **changes):
    torch.manual_seed(0)
    return subject(Small(), denoising, examples(), setting, **changes)
