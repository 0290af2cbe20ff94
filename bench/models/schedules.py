"""Noise schedules: the signal power alpha_bar over the training timesteps."""

from __future__ import annotations

from torch import Tensor

from bench.system.quiet import quiet_import

# Names of schedules, and what diffusers calls them; the ends of beta are its usual ones.
SCHEDULES = {
    "cosine": "squaredcos_cap_v2",
    "linear": "linear",
    "scaled_linear": "scaled_linear",
    "sigmoid": "sigmoid",
}


def alpha_bar(schedule: str, timesteps: int = 1000) -> Tensor:
    """Signal power alpha_bar_t of the forward process, float32 of shape (timesteps,).

    Args:
        schedule: "cosine" (Nichol and Dhariwal 2021, eq. 17), "linear" (Ho et al. 2020),
            "scaled_linear" (linear in the root of beta) or "sigmoid", as diffusers has them.
        timesteps: number of training timesteps T.
    """
    with quiet_import():
        from diffusers import DDPMScheduler

    return DDPMScheduler(timesteps, beta_schedule=SCHEDULES[schedule]).alphas_cumprod.clone()
