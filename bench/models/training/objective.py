"""The denoising loss of each image, for every kind of prediction and with perturbed inputs.

    x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) (eps + gamma xi)

The target is eps, or v = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x_0 (Salimans and Ho 2022).
Input perturbation (Ning et al. 2023, arXiv 2301.11706) is gamma > 0 with a fresh Gaussian xi: the
network sees inputs that are off the forward process, as sampling's are, and is still asked for
eps. A network with learned variance is trained by the hybrid loss of `training.variational`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.core.denoiser import diffuse, implied
from bench.models.schedules import alpha_bar
from bench.models.training.recipe import Recipe
from bench.models.training.variational import Posterior


@dataclass(frozen=True)
class Batch:
    """The input of one update, all of one batch size B.

    Attributes:
        x_0: images in [-1, 1], float32 (B, C, H, W).
        t: timesteps, int64 (B,).
        noise: eps, float32 (B, C, H, W).
        xi: noise of the input perturbation, like `noise`; None for methods without.
        weight: importance weight of each image's loss, float32 (B,).
    """

    x_0: Tensor
    t: Tensor
    noise: Tensor
    xi: Tensor | None
    weight: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        xi = None if self.xi is None else self.xi.to(device)
        x_0, t, noise = (value.to(device) for value in (self.x_0, self.t, self.noise))
        return Batch(x_0, t, noise, xi, self.weight.to(device))


class Objective:
    """Losses of a recipe.

    Args:
        recipe: states what is predicted, and how strongly inputs are perturbed.
        device: where the batches are.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe = recipe
        schedule = alpha_bar(recipe.schedule, recipe.timesteps)
        self.alpha_bar = schedule.to(device)
        self.posterior = Posterior(schedule, device) if recipe.learns_variance else None

    def __call__(self, network: Callable[[Tensor, Tensor], Tensor], batch: Batch) -> Tensor:
        """Mean squared error of each image, plus the variance's term where it is learned, (B,)."""
        scale = self.alpha_bar[batch.t]
        x_t = diffuse(batch.x_0, self._noise(batch), scale)
        prediction = network(x_t, batch.t).float()
        channels = batch.x_0.shape[1]
        mean, variance = prediction[:, :channels], prediction[:, channels:]
        error = (mean - self._target(batch, scale)).square().flatten(1).mean(1)
        if self.posterior is None:
            return error
        power = scale.view(-1, 1, 1, 1)
        scales = power.sqrt(), (1 - power).sqrt()
        x_0, _ = implied(self.recipe.predicts, mean.detach(), x_t, *scales)
        bits = self.posterior.bits(variance, x_0, batch.x_0, x_t, batch.t)
        # T bits are the whole bound; Nichol and Dhariwal weigh it by 1/1000.
        return error + bits * self.recipe.timesteps / 1000

    def _noise(self, batch: Batch) -> Tensor:
        if batch.xi is None:
            return batch.noise
        return batch.noise + self.recipe.gamma * batch.xi

    def _target(self, batch: Batch, scale: Tensor) -> Tensor:
        if self.recipe.predicts == "epsilon":
            return batch.noise
        if self.recipe.predicts == "sample":
            return batch.x_0
        return diffuse(batch.noise, -batch.x_0, scale)
