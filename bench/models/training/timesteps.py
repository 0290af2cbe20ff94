"""The timesteps that an update trains on: uniform, or more often where the loss is large.

Loss-second-moment importance sampling (Nichol and Dhariwal 2021, section 3.3) draws t with
probability p_t proportional to sqrt(E[L_t^2]) over the last HISTORY losses of t, mixed with a
thousandth of the uniform distribution; each loss is weighted by 1 / (T p_t), which keeps the
expected gradient. Until every timestep has a full history it draws uniformly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.core.errors import InputError

HISTORY = 10
UNIFORM = 0.001


class Uniform:
    """All timesteps alike.

    Args:
        timesteps: number T of timesteps.
    """

    def __init__(self, timesteps: int) -> None:
        self.timesteps = timesteps

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(t int64, weights float32), both (count,)."""
        t = torch.randint(0, self.timesteps, (count,), generator=generator)
        return t, torch.ones(count)

    def learn(self, t: Tensor, losses: Tensor) -> None:
        """Nothing to learn."""

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Nothing to restore."""


class LossSecondMoment(Uniform):
    """Importance sampling by the second moment of the last losses.

    Args:
        timesteps: number T of timesteps.
    """

    def __init__(self, timesteps: int) -> None:
        super().__init__(timesteps)
        self.losses = torch.zeros(timesteps, HISTORY)
        self.counts = torch.zeros(timesteps, dtype=torch.int64)

    def probabilities(self) -> Tensor:
        """p_t of shape (T,), float64, summing to 1."""
        if (self.counts < HISTORY).any():
            return torch.full((self.timesteps,), 1 / self.timesteps, dtype=torch.float64)
        moment = self.losses.to(torch.float64).square().mean(1).sqrt()
        return (1 - UNIFORM) * moment / moment.sum() + UNIFORM / self.timesteps

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(t int64, weights float32), both (count,)."""
        p = self.probabilities()
        t = torch.multinomial(p, count, replacement=True, generator=generator)
        return t, (1 / (self.timesteps * p[t])).to(torch.float32)

    def learn(self, t: Tensor, losses: Tensor) -> None:
        """Take the unweighted losses of timesteps t, both (B,); the oldest ones are forgotten.

        Raises:
            InputError: a loss is not finite: the run has diverged.
        """
        if not torch.isfinite(losses).all():
            raise InputError("the loss is not finite: lower the learning rate or rho")
        for timestep, loss in zip(t.tolist(), losses.tolist(), strict=True):
            self.losses[timestep, self.counts[timestep] % HISTORY] = loss
            self.counts[timestep] += 1

    def state_dict(self) -> dict[str, Tensor]:
        """The histories."""
        return {"losses": self.losses, "counts": self.counts}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the histories."""
        self.losses, self.counts = state["losses"].clone(), state["counts"].clone()


SAMPLERS = {"uniform": Uniform, "loss-second-moment": LossSecondMoment}
