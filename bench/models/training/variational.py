"""The variational term that trains a learned variance (Nichol and Dhariwal 2021, section 3.1).

The reverse step p(x_{t-1} | x_t) is a Gaussian whose log variance the network interpolates between
the two analytic ones, log beta_t and that of the posterior q(x_{t-1} | x_t, x_0):

    log sigma^2 = f log beta_t + (1 - f) log beta~_t,    f = (v + 1) / 2.

The term of one timestep is KL(q || p) in bits for each dimension, and for t = 0 the negative log
likelihood of the pixels, discretized to 256 levels. Its gradient reaches the variance alone: the
predicted mean enters detached.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

LEVEL = 1 / 255


class Posterior:
    """The Gaussians of one reverse step for each timestep.

    Args:
        alpha_bar: signal power, float32 (T,).
        device: where the batches are.
    """

    def __init__(self, alpha_bar: Tensor, device: torch.device) -> None:
        exact = alpha_bar.to(torch.float64)
        previous = torch.cat([exact.new_ones(1), exact[:-1]])
        beta = 1 - exact / previous
        variance = beta * (1 - previous) / (1 - exact)
        # At t = 0 the posterior has variance 0; its logarithm is that of t = 1 instead.
        variance[0] = variance[1]
        constants = {
            "log_beta": beta.log(),
            "log_variance": variance.log(),
            "of_x_0": beta * previous.sqrt() / (1 - exact),
            "of_x_t": (1 - previous) * (exact / previous).sqrt() / (1 - exact),
        }
        self._constants = {name: c.float().to(device) for name, c in constants.items()}

    def at(self, name: str, t: Tensor) -> Tensor:
        """A constant of timesteps t (B,), shaped (B, 1, 1, 1) to go with images."""
        return self._constants[name][t].view(-1, 1, 1, 1)

    def mean(self, x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Mean of q(x_{t-1} | x_t, x_0), (B, C, H, W)."""
        return self.at("of_x_0", t) * x_0 + self.at("of_x_t", t) * x_t

    def bits(
        self, interpolation: Tensor, predicted_x_0: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor
    ) -> Tensor:
        """The term of each image in bits for each dimension, (B,).

        Args:
            interpolation: v of the network, in [-1, 1] once trained, (B, C, H, W).
            predicted_x_0: the image that the network's mean implies, detached.
            x_0, x_t: the image and its noisy version.
            t: timesteps (B,).
        """
        share = (interpolation + 1) / 2
        low = self.at("log_variance", t)
        log_variance = share * self.at("log_beta", t) + (1 - share) * low
        mean = self.mean(predicted_x_0, x_t, t)
        divergence = gaussian_divergence(self.mean(x_0, x_t, t), low, mean, log_variance)
        likelihood = discretized_log_likelihood(x_0, mean, log_variance)
        first = (t == 0).view(-1, 1, 1, 1)
        return torch.where(first, -likelihood, divergence).flatten(1).mean(1) / math.log(2)


def gaussian_divergence(
    mean_1: Tensor, log_variance_1: Tensor, mean_2: Tensor, log_variance_2: Tensor
) -> Tensor:
    """KL divergence of two Gaussians in nats, elementwise."""
    difference = (mean_1 - mean_2).square() * torch.exp(-log_variance_2)
    spread = torch.exp(log_variance_1 - log_variance_2)
    return 0.5 * (log_variance_2 - log_variance_1 + spread + difference - 1)


def discretized_log_likelihood(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log probability of pixels x in [-1, 1] on 256 levels, the ends open, in nats, elementwise.

    The Gaussian's distribution function is approximated by sigmoid(1.5958 (z + 0.0447 z^3)), which
    is stable in the tails (Page 1977), as in the published ADM code.
    """
    scale = torch.exp(-0.5 * log_variance)
    upper = _log_odds(scale * (x - mean + LEVEL))
    lower = _log_odds(scale * (x - mean - LEVEL))
    between = (torch.sigmoid(upper) - torch.sigmoid(lower)).clamp(min=1e-12).log()
    inner = torch.where(x > 0.999, logsigmoid(-lower), between)
    return torch.where(x < -0.999, logsigmoid(upper), inner)


def _log_odds(z: Tensor) -> Tensor:
    """Log odds of the approximate Gaussian distribution function."""
    return 2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)
