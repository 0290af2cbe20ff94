"""Sharpness-Aware Minimization (Foret et al. 2021, arXiv 2010.01412, Algorithm 1).

The gradient is taken not at the weights w but at w + rho g / ||g||, the first-order worst point of
the ball of radius rho around w: two forward and backward passes for each update.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def sharpness_aware_gradient(
    parameters: Sequence[nn.Parameter], loss_with_gradient: Callable[[], Tensor], rho: float
) -> Tensor:
    """Leave the SAM gradient in `.grad`, the weights as they were, and return the loss at w.

    Args:
        parameters: those that are trained; `.grad` is overwritten.
        loss_with_gradient: zeroes the gradients, computes the loss, runs backward; the same data,
            timesteps and noise at each call.
        rho: radius of the ball, L2 norm over all parameters together.
    """
    loss = loss_with_gradient()
    gradients = [p.grad for p in parameters if p.grad is not None]
    scale = rho / (torch.nn.utils.get_total_norm(gradients) + 1e-12)
    weights = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for p in parameters:
            if p.grad is not None:
                p.add_(p.grad * scale)
    loss_with_gradient()
    with torch.no_grad():
        for p, w in zip(parameters, weights, strict=True):
            p.copy_(w)
    return loss
