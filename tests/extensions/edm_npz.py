"""A source of another package: networks in the parametrization of Karras et al. (2022), in .npz.

The network F is trained at sigmas instead of timesteps, and called with (c_in x, log(sigma) / 4):

    D(x; sigma) = c_skip x + c_out F(c_in x, log(sigma) / 4),   x = x_0 + sigma eps,
    c_skip = d^2 / (sigma^2 + d^2),   c_out = sigma d / sqrt(sigma^2 + d^2),
    c_in = 1 / sqrt(sigma^2 + d^2),   d the deviation of the data.

A file holds the arrays of the two layers, and `sigmas`: the least, the largest, and d.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.noise_levels import NoiseLevels

CHANNELS, WIDTH, SIZE = 1, 4, 28


class Network(nn.Module):
    """Two convolutions, and a linear layer for the level."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(CHANNELS, WIDTH, 3, padding=1)
        self.time = nn.Linear(1, WIDTH)
        self.last = nn.Conv2d(WIDTH, CHANNELS, 3, padding=1)

    def forward(self, x, c_noise):
        """F of the scaled images (B, C, H, W) at log(sigma) / 4, (B,)."""
        h = self.first(x) + self.time(c_noise[:, None])[:, :, None, None]
        return self.last(nn.functional.silu(h))


@dataclass
class EdmDenoiser(Denoiser):
    """A denoiser whose network knows sigma."""

    deviation: float = 0.5

    def inputs(self, x, level, condition=None):
        """(c_in x, log(sigma) / 4)."""
        c_noise = torch.full((len(x),), math.log(level.noise) / 4, device=x.device)
        return x / math.hypot(level.noise, self.deviation), c_noise

    def parts(self, prediction, x, level):
        """(D, the noise that it implies)."""
        sigma, d = level.noise, self.deviation
        total = math.hypot(sigma, d)
        x_0 = (d / total) ** 2 * x + sigma * d / total * prediction
        return x_0, (x - x_0) / sigma


def load(checkpoint):
    """The network of a file."""
    try:
        with np.load(checkpoint.uri) as found:
            low, high, deviation = found["sigmas"].tolist()
            names = set(found.files) - {"sigmas"}
            network = Network()
            network.load_state_dict({name: torch.from_numpy(found[name]) for name in names})
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"{checkpoint.uri}: not such a file ({error})") from None
    return EdmDenoiser(
        network.eval().requires_grad_(False),
        NoiseLevels.sigmas(low, high),
        "edm",
        (CHANNELS, SIZE, SIZE),
        description={"prediction": "F of Karras et al.", "parametrization": "EDM"},
        deviation=deviation,
    )
