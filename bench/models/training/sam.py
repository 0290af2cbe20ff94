"""Sharpness-Aware Minimization (Foret et al. 2021, arXiv 2010.01412, Algorithm 1).

The gradient is taken not at the weights w but at w + e, with e = rho g / ||g||: the first-order
worst point of the ball of radius rho around w. That is two forward and backward passes for each
update. The adaptive variant (Kwon et al. 2021, arXiv 2102.11600) measures the ball relative to the
weights: e = rho s^2 g / ||s g||, with s = |w| + 0.01 elementwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

ADAPTIVE_OFFSET = 0.01
# Keeps the step finite where the gradient vanishes.
TINY = 1e-12


def sharpness_aware_gradient(
    parameters: Sequence[nn.Parameter],
    loss_with_gradient: Callable[[], Tensor],
    rho: float,
    adaptive: bool = False,
) -> Tensor:
    """Leave the SAM gradient in `.grad`, the weights as they were, and return the loss at w.

    Args:
        parameters: the trained parameters; `.grad` is overwritten.
        loss_with_gradient: zeroes the gradients, computes the loss, runs backward; the same data,
            timesteps, noise and dropout at each call.
        rho: radius of the ball, L2 norm over all parameters together.
        adaptive: whether the radius is relative to each weight (ASAM).
    """
    loss = loss_with_gradient()
    with torch.no_grad():
        trained: list[Tensor] = [p for p in parameters if p.grad is not None]
        gradients = [p.grad for p in parameters if p.grad is not None]
        weights = [p.clone() for p in trained]
        directions: tuple[Tensor, ...] | list[Tensor]
        if adaptive:
            scales = torch._foreach_add(torch._foreach_abs(weights), ADAPTIVE_OFFSET)
            scaled = torch._foreach_mul(gradients, scales)
            step = rho / (torch.nn.utils.get_total_norm(scaled) + TINY)
            directions = torch._foreach_mul(scaled, scales)
        else:
            step = rho / (torch.nn.utils.get_total_norm(gradients) + TINY)
            directions = gradients
        torch._foreach_add_(trained, torch._foreach_mul(directions, step))
    loss_with_gradient()
    with torch.no_grad():
        torch._foreach_copy_(trained, weights)
    return loss
