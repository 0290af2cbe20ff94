"""Rounding down or up, as something that can be learned (Nagel et al. 2020, arXiv 2004.10568).

With step s a weight w becomes s (floor(w / s) + h) with h = clamp(1.2 sigmoid(v) - 0.1, 0, 1), so
that it reaches both ends. Adam makes an error least over v, beside a regularizer

    10 sum(1 - |2 h - 1|^b),

whose b falls from 20 to 2 after a fifth of the updates: at first each h is left to the error, and
at last it is 0 or 1. The error is to be in units of what nearest rounding has for each weight.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.quant.methods.rounded import Grid

STRETCH = 1.2, -0.1
# The regularizer: its weight, where the error of nearest rounding is 1 for each weight; the share
# of the updates without it; and its power at the start and at the end.
WEIGHT, WARM, POWERS = 10.0, 0.2, (20.0, 2.0)


def power(done: float) -> float | None:
    """The power of the regularizer after a share of all updates; None before it begins."""
    if done < WARM:
        return None
    first, last = POWERS
    return first + (last - first) * (done - WARM) / (1 - WARM)


class Rounding:
    """The weights of some layers on their way to being rounded.

    Args:
        layers: weights in full precision (C_out, K), and what they may become.
        rate: of Adam.
    """

    def __init__(self, layers: Sequence[tuple[Tensor, Grid]], rate: float) -> None:
        self.grids = [grid for _, grid in layers]
        positions = [weight.detach() / grid.steps for weight, grid in layers]
        self.down = [position.floor() for position in positions]
        wide, least = STRETCH
        self.variables = [
            torch.logit((position - down - least) / wide).requires_grad_()
            for position, down in zip(positions, self.down, strict=True)
        ]
        self.update = torch.optim.Adam(self.variables, lr=rate)

    def weights(self) -> list[Tensor]:
        """The weights on their way, (C_out, K) each, with gradients."""
        return [
            grid.within(down + share) * grid.steps
            for grid, down, share in zip(self.grids, self.down, self._shares(), strict=True)
        ]

    def step(self, error: Tensor, done: float) -> None:
        """One update.

        Args:
            error: of the weights, a number with gradients.
            done: share of all updates that were made before.
        """
        if (exponent := power(done)) is not None:
            for share in self._shares():
                # Its slope has no value where a share is in the middle; there it pulls nowhere.
                away = (2 * share - 1).abs().clamp(min=1e-6)
                error = error + WEIGHT * (1 - away**exponent).sum()
        self.update.zero_grad()
        error.backward()
        self.update.step()

    def _shares(self) -> list[Tensor]:
        wide, least = STRETCH
        return [(wide * torch.sigmoid(v) + least).clamp(0, 1) for v in self.variables]

    def codes(self) -> list[Tensor]:
        """Whole numbers of steps (C_out, K), each rounded the way that was learned."""
        return [
            grid.within(down + (v.detach() > 0))
            for grid, down, v in zip(self.grids, self.down, self.variables, strict=True)
        ]
